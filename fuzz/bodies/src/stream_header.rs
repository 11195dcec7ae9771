//! Stream headers: one form, bounded, and framed as messages are.

use p2p_net::fuzzing::decode_length;
use p2p_peer_pool::header::{Header, MAX_HEADER, StreamKind};

pub fn run(data: &[u8]) {
    let Ok(header) = Header::from_bytes(data) else { return };
    assert!(data.len() <= MAX_HEADER);
    assert_eq!(header.to_bytes().ok().as_deref(), Some(data));
    let framed = header.to_framed().expect("a header has an encoding");
    let length = decode_length(&framed).ok().flatten();
    assert_eq!(length, Some((data.len() as u64, framed.len() - data.len())));
    assert_eq!(&framed[framed.len() - data.len()..], data);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let header = |id: &str, kind| {
        let header = Header { protocol: id.parse().expect("an id"), kind };
        header.to_bytes().expect("a header has an encoding").to_vec()
    };
    let long = "x".repeat(64);
    vec![header("/chat/1", StreamKind::Messages), header(&long, StreamKind::Raw), header(&long[..60], StreamKind::Raw)]
}
