//! Peer ids: as text and as bytes, each in one form.

use p2p_core::{InvalidPeerId, PeerId};

/// 2^255 − 19, big-endian.
const P: [u8; 32] = {
    let mut p = [0xff; 32];
    p[0] = 0x7f;
    p[31] = 0xed;
    p
};

pub fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(id) = text.parse::<PeerId>()
    {
        assert_eq!(id.to_string(), text);
        assert_eq!(PeerId::from_bytes(*id.as_bytes()), Ok(id));
    }
    if let Some(bytes) = data.first_chunk::<32>() {
        let mut y = *bytes;
        y.reverse();
        y[0] &= 0x7f;
        let result = PeerId::from_bytes(*bytes);
        assert_eq!(result == Err(InvalidPeerId::NonCanonical), y >= P);
        if let Ok(id) = result {
            assert_eq!(id.as_bytes(), bytes);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
    if data.len() != 32 {
        assert_eq!(PeerId::try_from(data), Err(InvalidPeerId::Length));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let ids = [crate::input::peer(1), crate::input::peer(200)];
    let texts = ids.iter().map(|id| id.to_string().into_bytes());
    let edges = [[0; 32], [0xff; 32], {
        let mut p = P;
        p.reverse();
        p
    }];
    texts.chain(ids.iter().map(|id| id.as_bytes().to_vec())).chain(edges.map(Vec::from)).collect()
}
