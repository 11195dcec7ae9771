//! Protocol ids: printable ASCII of a bounded length, in text and on the wire.

use p2p_identity::ProtocolId;

pub fn run(data: &[u8]) {
    let valid = (1..=64).contains(&data.len()) && data.iter().all(|byte| (0x21..=0x7e).contains(byte));
    let text = std::str::from_utf8(data);
    let parsed = text.ok().and_then(|text| text.parse::<ProtocolId>().ok());
    assert_eq!(parsed.is_some(), valid);
    if let Some(id) = parsed {
        assert_eq!(id.as_str().as_bytes(), data);
        let bytes = p2p_identity::encode(&id).expect("an id has an encoding");
        assert_eq!(p2p_identity::decode::<ProtocolId>(&bytes).ok(), Some(id));
    }
    if let Ok(id) = p2p_identity::decode::<ProtocolId>(data) {
        assert_eq!(p2p_identity::encode(&id).ok().as_deref(), Some(data));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let long = "x".repeat(64);
    ["/chat/1", "~", "\x07/chat/1", "a b", &long, &format!("\x40{long}")].map(Vec::from).into()
}
