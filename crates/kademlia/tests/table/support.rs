//! Simulated contacts, random numbers, and times to begin with.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use p2p_kademlia::{Contact, Key, Table};

pub(crate) use self::contact::Node;
pub(crate) use self::random::Random;

#[path = "../support/contact.rs"]
mod contact;

#[path = "../support/random.rs"]
mod random;

impl Node {
    pub(crate) fn new(key: Key, ip: Option<IpAddr>) -> Self {
        Self { key, ip, seq: 1 }
    }
}

/// Puts a list into a random order.
pub(crate) fn shuffle<T>(random: &mut Random, list: &mut [T]) {
    for at in (1..list.len()).rev() {
        list.swap(at, random.below(at + 1));
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
