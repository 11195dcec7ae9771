//! Simulated contacts, random numbers, and times to begin with.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use p2p_kademlia::{Contact, Key, Table};

/// A contact that is a position and an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) key: Key,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) seq: u64,
}

impl Node {
    pub(crate) fn new(key: Key, ip: Option<IpAddr>) -> Self {
        Self { key, ip, seq: 1 }
    }
}

impl Contact for Node {
    fn key(&self) -> Key {
        self.key
    }

    fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    fn seq(&self) -> u64 {
        self.seq
    }
}

/// Random numbers that are the same in each run (SplitMix64, Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn key(&mut self) -> Key {
        let mut bytes = [0; 32];
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|chunk| *chunk = self.next().to_be_bytes());
        Key::from_bytes(bytes)
    }

    /// A key whose first `bits` bits are those of `like`.
    pub(crate) fn key_like(&mut self, like: &Key, bits: usize) -> Key {
        let mut bytes = *self.key().as_bytes();
        for bit in 0..bits {
            let mask = 0x80 >> (bit % 8);
            bytes[bit / 8] = bytes[bit / 8] & !mask | like.as_bytes()[bit / 8] & mask;
        }
        Key::from_bytes(bytes)
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.below(at + 1));
        }
    }
}

/// An address of its own /24, for each number below 2^21.
pub(crate) fn elsewhere(n: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(0x2000_0000 + ((n as u32) << 8) + 1).into())
}

/// The first `bits` bits of a key, then those of `rest`.
pub(crate) fn key_with(prefix: &[u8], last: u8) -> Key {
    let mut bytes = [0; 32];
    bytes[..prefix.len()].copy_from_slice(prefix);
    bytes[31] = last;
    Key::from_bytes(bytes)
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
pub(crate) fn start() -> Instant {
    // Late enough to go back from.
    Instant::now() + secs(20 * 366 * 24 * 3600)
}

pub(crate) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A contact answers at the address of its record.
pub(crate) fn alive(table: &mut Table<Node>, now: Instant, node: Node) -> p2p_kademlia::Insert {
    table.on_alive(now, node, node.ip)
}
