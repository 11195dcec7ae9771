//! Nodes that answer what an input says.

use std::net::IpAddr;

use p2p_kademlia::Key;

pub(super) use crate::contact::Node;
use crate::input::Input;

pub(super) const LOCAL: Key = Key::from_bytes([0xee; 32]);
pub(super) const TARGET: Key = Key::from_bytes([0; 32]);

/// Sequence numbers from here on are of descriptions that their nodes did not give.
const FORGED: u64 = 100;

impl Node {
    pub(super) fn is_forged(&self) -> bool {
        self.seq >= FORGED
    }
}

pub(super) struct Network {
    /// How the nodes are spread over addresses.
    addresses: u8,
}

impl Network {
    pub(super) fn new(addresses: u8) -> Self {
        Self { addresses }
    }

    /// What somebody names: any nodes, some twice, and whoever asks.
    pub(super) fn contacts(&mut self, input: &mut Input<'_>) -> Vec<Node> {
        let count = input.below(12);
        (0..count).map(|_| self.named(input.any())).collect()
    }

    /// A node by the number that it has.
    pub(super) fn node(&self, n: u8) -> Node {
        let ip = match self.addresses & 3 {
            0 => None,
            1 => Some(IpAddr::from([8, 8, n >> 2, n])),
            2 => Some(IpAddr::from([8, 8, n & self.addresses >> 2, n])),
            _ => Some(IpAddr::from([[8, 10][usize::from(n & 1)], 0, n >> 6, n])),
        };
        Node { key: position(n, n), ip, seq: 1 }
    }

    fn named(&self, [n, how]: [u8; 2]) -> Node {
        match how {
            0xff => Node { key: LOCAL, ip: None, seq: 1 },
            0xfe => Node { key: TARGET, ..self.node(n) },
            0xf0..=0xfd => Node { seq: FORGED + u64::from(how), ..self.node(n) },
            _ => self.node(n),
        }
    }
}

/// A position that has the first bits in common with the target: the more, the higher `n`.
pub(super) fn position(n: u8, last: u8) -> Key {
    let mut bytes = [0; 32];
    let bit = usize::from(n >> 3);
    bytes[bit / 8] = 0x80 >> (bit % 8);
    bytes[bit / 8 + 1] = n << 5;
    bytes[31] = last;
    Key::from_bytes(bytes)
}
