//! A network as a sorted array of ids, in which tables and nearest nodes are found by bisection.
//!
//! A table is built when its owner is asked and, in a large network, dropped after: so a million nodes fit into memory. Each is
//! the production table, filled as by a long quiet time: up to k random nodes of each bucket's range.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::Instant;

use p2p_kademlia::{Contact, Key, Table, TableConfig};

use crate::random::Random;

pub(crate) const K: usize = 20;

/// Networks up to this size keep their tables.
const KEPT: usize = 2_000;

/// A simulated node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) key: Key,
    pub(crate) ip: Option<Ipv4Addr>,
}

impl Contact for Peer {
    fn key(&self) -> Key {
        self.key
    }

    fn ip(&self) -> Option<IpAddr> {
        self.ip.map(IpAddr::V4)
    }

    fn seq(&self) -> u64 {
        1
    }
}

/// The `n`-th address prefix that is nobody else's: 11.0.0.0 and what follows, without local ones.
pub(crate) fn prefix(n: usize) -> Ipv4Addr {
    Ipv4Addr::from((0x0b_00_00 + n as u32) << 8 | 1)
}

#[expect(clippy::disallowed_methods, reason = "the simulation needs some instant to begin with; none is read later")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    /// In the order of keys.
    keys: Vec<Key>,
    /// By index; empty in a large network.
    tables: Vec<OnceCell<Table<Peer>>>,
    random: Random,
    begin: Instant,
}

impl World {
    pub(crate) fn new(count: usize, random: &Random) -> Self {
        let mut drawn = random.fork(1);
        Self::of((0..count).map(|_| drawn.key()).collect(), random)
    }

    pub(crate) fn of(mut keys: Vec<Key>, random: &Random) -> Self {
        keys.sort_unstable();
        let tables = if keys.len() <= KEPT { vec![OnceCell::new(); keys.len()] } else { Vec::new() };
        Self { keys, tables, random: random.fork(2), begin: start() }
    }

    /// With these nodes too.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = Key>) -> Self {
        Self::of(self.keys.iter().copied().chain(more).collect(), &self.random)
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, index: usize) -> Key {
        self.keys[index]
    }

    pub(crate) fn index(&self, key: &Key) -> Option<usize> {
        self.keys.binary_search(key).ok()
    }

    /// Looks at the table of a node, which is always the same one.
    pub(crate) fn at_table<R>(&self, owner: &Key, look: impl FnOnce(&Table<Peer>) -> R) -> R {
        match self.index(owner).and_then(|index| self.tables.get(index)) {
            Some(kept) => look(kept.get_or_init(|| self.table(owner))),
            None => look(&self.table(owner)),
        }
    }

    /// The table of a node.
    pub(crate) fn table(&self, owner: &Key) -> Table<Peer> {
        let mut table = Table::new(*owner, TableConfig::default());
        let mut random = self.random.fork(u64::from_be_bytes(owner.as_bytes()[..8].try_into().unwrap_or_default()));
        let mut range = 0..self.keys.len();
        let mut bit = 0;
        while range.len() > 1 && bit < 256 {
            let (own, other) = self.halves(range, owner, bit);
            for one in random.sample(other.len(), K) {
                table.on_alive(self.begin, Peer { key: self.keys[other.start + one], ip: None }, None);
            }
            range = own;
            bit += 1;
        }
        table
    }

    /// What an honest node answers.
    pub(crate) fn answer(&self, by: &Key, target: &Key) -> Vec<Peer> {
        self.at_table(by, |table| table.closest(target, K).copied().collect())
    }

    /// The `count` nodes closest to `target` of those that `counts`.
    pub(crate) fn closest(&self, target: &Key, count: usize, counts: impl Fn(&Key) -> bool) -> Vec<Key> {
        let mut found = Vec::with_capacity(count);
        self.collect(0..self.keys.len(), target, 0, count, &counts, &mut found);
        found
    }

    fn collect(
        &self,
        range: Range<usize>,
        target: &Key,
        bit: usize,
        count: usize,
        counts: &impl Fn(&Key) -> bool,
        found: &mut Vec<Key>,
    ) {
        if range.len() <= 2 * K || bit >= 256 {
            let mut keys: Vec<Key> = self.keys[range].iter().copied().filter(|key| counts(key)).collect();
            keys.sort_unstable_by_key(|key| target.distance(key));
            found.extend(keys.into_iter().take(count - found.len()));
            return;
        }
        let (near, far) = self.halves(range, target, bit);
        self.collect(near, target, bit + 1, count, counts, found);
        if found.len() < count {
            self.collect(far, target, bit + 1, count, counts, found);
        }
    }

    /// The part of a range (whose keys have the first `bit` bits in common) that has the next bit of `key`, and the other.
    fn halves(&self, range: Range<usize>, key: &Key, bit: usize) -> (Range<usize>, Range<usize>) {
        let is_set = |key: &Key| key.as_bytes()[bit / 8] & (0x80 >> (bit % 8)) != 0;
        let middle = range.start + self.keys[range.clone()].partition_point(|key| !is_set(key));
        let (low, high) = (range.start..middle, middle..range.end);
        if is_set(key) { (high, low) } else { (low, high) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_equals_brute_force() {
        let mut random = Random::new(3);
        let world = World::new(700, &random);
        for _ in 0..50 {
            let target = random.key();
            let counts = |key: &Key| !key.as_bytes()[31].is_multiple_of(3);
            let mut all: Vec<Key> = world.keys.iter().copied().filter(counts).collect();
            all.sort_unstable_by_key(|key| target.distance(key));
            all.truncate(K);
            assert_eq!(world.closest(&target, K, counts), all);
        }
    }

    #[test]
    fn buckets_are_full_or_complete() {
        let world = World::new(700, &Random::new(4));
        let owner = world.key(17);
        let table = world.table(&owner);
        for bit in 0..12 {
            let range = world.keys.iter().filter(|key| owner.common_prefix_len(key) == bit).count();
            let known = table.iter().filter(|peer| owner.common_prefix_len(&peer.key) == bit).count();
            assert_eq!(known, range.min(K));
        }
    }
}
