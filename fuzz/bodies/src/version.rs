//! Version text: what is read is written so that it is read as the same, and compatibility is mutual.

use p2p_identity::Version;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (one, two) = text.split_once('|').unwrap_or((text, ""));
    let (one, two) = (one.parse::<Version>(), two.parse::<Version>());
    for version in [&one, &two].into_iter().flatten() {
        let written = version.to_string();
        assert!(written.len() <= Version::MAX_LEN, "{written}");
        assert_eq!(written.parse::<Version>().ok().as_ref(), Some(version), "{written}");
        assert!(version.accepts(version.own()) && version.is_compatible_with(version));
        let bytes = p2p_identity::encode(version).expect("a version has an encoding");
        assert_eq!(p2p_identity::decode::<Version>(&bytes).ok().as_ref(), Some(version));
    }
    if let (Ok(one), Ok(two)) = (one, two) {
        assert_eq!(one.is_compatible_with(&two), two.is_compatible_with(&one));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "0.2.0",
        "1.2.3-rc.1+build.7, >=1.0.0-alpha, <2",
        "0.1.0, ~0.1|0.1.5, ^0.1.2",
        "1.0.0, *|2.0.0, =1.0",
        "18446744073709551615.0.0",
        "1.0.0,1,1,1,1,1",
        "1.0.0, >=1.*",
    ];
    texts.map(Vec::from).into()
}
