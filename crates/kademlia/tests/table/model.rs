//! The table against a simple model, under any order of calls.

use std::collections::BTreeMap;
use std::time::Instant;

use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;
use p2p_kademlia::{Insert, Key, Table, TableConfig};
use proptest::prelude::*;

use crate::support::{Node, key_with, secs, start};

const LOCAL: Key = Key::from_bytes([0x5a; 32]);

/// What can happen to a table.
#[derive(Debug, Clone)]
enum Op {
    Alive {
        node: Node,
        at: u8,
    },
    Failed(Key),
    Update(Node),
    Remove(Key),
    Lookup(Key),
    Check {
        answers: bool,
    },
    Refresh(u64),
    /// Time goes on, or back.
    Wait(i64),
}

/// Few keys, so that calls meet: all buckets from 0 to 7, some keys that differ in their last byte only, and our own.
fn key() -> impl Strategy<Value = Key> {
    (any::<u8>(), 0u8..3).prop_map(|(first, last)| {
        let mut bytes = *LOCAL.as_bytes();
        (bytes[0], bytes[31]) = (first, bytes[31] ^ last);
        Key::from_bytes(bytes)
    })
}

/// Few prefixes: public ones in both families and forms, and a local one.
fn address(n: u8) -> Option<std::net::IpAddr> {
    let text = match n % 8 {
        0 => return None,
        1 => "127.0.0.1".into(),
        2 => format!("2001:db8:{}::1", n / 8 % 2),
        3 => format!("::ffff:192.0.{}.1", n / 8 % 3),
        _ => format!("192.0.{}.{n}", n / 8 % 3),
    };
    Some(text.parse().expect("an address"))
}

fn node() -> impl Strategy<Value = Node> {
    (key(), any::<u8>(), 0u64..4).prop_map(|(key, ip, seq)| Node { key, ip: address(ip), seq })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (node(), any::<u8>()).prop_map(|(node, at)| Op::Alive { node, at }),
        4 => key().prop_map(Op::Failed),
        2 => node().prop_map(Op::Update),
        1 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::Lookup),
        6 => any::<bool>().prop_map(|answers| Op::Check { answers }),
        1 => any::<u64>().prop_map(Op::Refresh),
        3 => (0i64..400).prop_map(Op::Wait),
        1 => prop_oneof![Just(-400), Just(-300_000_000), Just(300_000_000)].prop_map(Op::Wait),
    ]
}

fn config() -> impl Strategy<Value = TableConfig> {
    (1usize..=32, 0usize..10, any::<[bool; 3]>(), 1u32..4).prop_map(
        |(k, replacements, [caps, limit_local, balance], max_failures)| TableConfig {
            k,
            replacements,
            caps,
            limit_local,
            balance,
            max_failures,
            ..TableConfig::default()
        },
    )
}

/// What the model remembers of a contact that is in the table or waits beside it.
#[derive(Debug, Clone, Copy)]
struct Known {
    seq: u64,
    prefix: Option<Prefix>,
    failures: u32,
}

struct Model {
    config: TableConfig,
    table: Table<Node>,
    members: BTreeMap<Key, Known>,
    waiting: BTreeMap<Key, Known>,
}

impl Model {
    fn new(config: TableConfig) -> Self {
        let table = Table::new(LOCAL, config.clone());
        Self { config, table, members: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    fn prefix(&self, ip: Option<std::net::IpAddr>) -> Option<Prefix> {
        ip.filter(|ip| self.config.caps && (self.config.limit_local || !is_local(*ip))).map(Prefix::of)
    }

    fn has_room(&self, key: &Key, prefix: Option<Prefix>) -> bool {
        let bucket = LOCAL.common_prefix_len(key);
        let all = self.members.iter().chain(&self.waiting);
        let same = |(other, known): &(&Key, &Known)| known.prefix == prefix && *other != key;
        let in_bucket = all.filter(same).filter(|(other, _)| LOCAL.common_prefix_len(other) == bucket).count();
        let in_table = self.members.iter().filter(same).count();
        prefix.is_none() || in_bucket < self.config.per_bucket_prefix && in_table < self.config.per_table_prefix
    }

    fn alive(&mut self, now: Instant, node: Node, ip: Option<std::net::IpAddr>) {
        let key = node.key;
        let bucket = LOCAL.common_prefix_len(&key);
        let prefix = self.prefix(ip);
        let fits = self.members.get(&key).is_some_and(|known| known.prefix == prefix) || self.has_room(&key, prefix);
        let in_bucket = self.members.keys().filter(|key| LOCAL.common_prefix_len(key) == bucket).count();
        let before = self.members.get(&key).or(self.waiting.get(&key)).copied();
        let seq = before.map_or(node.seq, |known| known.seq.max(node.seq));
        let known = Known { seq, prefix, failures: 0 };
        let insert = self.table.on_alive(now, node, ip);
        match insert {
            Insert::Own => assert_eq!(key, LOCAL),
            Insert::PrefixFull => {
                assert!(!fits);
                self.members.remove(&key);
                self.waiting.remove(&key);
            }
            Insert::Known => assert!(fits && self.members.insert(key, known).is_some()),
            Insert::Added => {
                assert!(fits && in_bucket < self.config.k && !self.members.contains_key(&key));
                self.waiting.remove(&key);
                self.members.insert(key, known);
            }
            Insert::Replaced(gone) => {
                assert!(fits && in_bucket == self.config.k && !self.members.contains_key(&key));
                let lost = self.members.remove(&gone).expect("it was there");
                // Without balance, nobody alive makes room for anybody.
                assert!(self.config.balance || lost.failures >= self.config.max_failures);
                assert_eq!(LOCAL.common_prefix_len(&gone), bucket);
                self.waiting.remove(&key);
                self.members.insert(key, known);
                self.reconcile_waiting(Some((gone, lost)));
            }
            Insert::Waiting | Insert::Full => {
                assert!(fits && in_bucket == self.config.k && !self.members.contains_key(&key));
                self.reconcile_waiting(Some((key, known)));
                assert_eq!(insert == Insert::Waiting, self.waiting.contains_key(&key));
                let waiting = self.waiting.keys().filter(|key| LOCAL.common_prefix_len(key) == bucket).count();
                assert!(insert == Insert::Waiting || waiting == self.config.replacements);
            }
        }
    }

    /// Who waits may be pushed out by others who wait; but nobody comes out of nowhere.
    fn reconcile_waiting(&mut self, new: Option<(Key, Known)>) {
        self.waiting.extend(new);
        let there: Vec<Key> = self.table.replacements().map(|node| node.key).collect();
        self.waiting.retain(|key, _| there.contains(key));
    }

    fn failed(&mut self, now: Instant, key: Key) {
        let left = self.table.on_failed(now, &key);
        self.waiting.remove(&key);
        if let Some(known) = self.members.get_mut(&key) {
            known.failures += 1;
            // Fewer may have counted, never more.
            if let Some(node) = left {
                assert!(node.key == key && known.failures >= self.config.max_failures);
                self.members.remove(&key);
            }
        } else {
            assert_eq!(left, None);
        }
    }

    fn update(&mut self, node: Node) {
        let key = node.key;
        let known = self.members.get(&key).or(self.waiting.get(&key)).copied();
        let fits = self.has_room(&key, self.prefix(node.ip));
        let taken = self.table.update(node);
        match known {
            Some(known) if node.seq > known.seq => assert!(taken || !fits),
            _ => assert!(!taken),
        }
        if taken {
            let known = self.members.get_mut(&key).or(self.waiting.get_mut(&key)).expect("it was there");
            known.seq = node.seq;
        }
    }

    fn check(&self, target: &Key, count: usize) {
        let nodes: Vec<Node> = self.table.iter().copied().collect();
        assert_eq!(self.table.len(), nodes.len());
        assert_eq!(nodes.len(), self.members.len(), "no duplicates, nobody unknown");
        for node in &nodes {
            assert_eq!(self.members.get(&node.key).map(|known| known.seq), Some(node.seq));
            assert_eq!(self.table.get(&node.key), Some(node));
        }
        let waiting: Vec<Node> = self.table.replacements().copied().collect();
        assert_eq!(waiting.len(), self.waiting.len());
        assert!(
            waiting.iter().all(|node| self.waiting[&node.key].seq == node.seq && self.table.get(&node.key).is_none())
        );
        assert!(!self.members.contains_key(&LOCAL) && !self.waiting.contains_key(&LOCAL));
        for info in self.table.buckets() {
            let here = |key: &&Key| LOCAL.common_prefix_len(key) == info.index;
            assert_eq!(info.len, self.members.keys().filter(here).count());
            assert_eq!(info.replacements, self.waiting.keys().filter(here).count());
            assert!(info.len <= self.config.k && info.replacements <= self.config.replacements);
        }
        let (mut in_bucket, mut in_table) = (BTreeMap::new(), BTreeMap::new());
        for (key, known) in self.members.iter().chain(&self.waiting) {
            *in_bucket.entry((LOCAL.common_prefix_len(key), known.prefix)).or_insert(0) += 1;
        }
        self.members.values().for_each(|known| *in_table.entry(known.prefix).or_insert(0) += 1);
        let (per_bucket, per_table) = (self.config.per_bucket_prefix, self.config.per_table_prefix);
        assert!(in_bucket.iter().all(|((_, prefix), count)| prefix.is_none() || *count <= per_bucket));
        assert!(in_table.iter().all(|(prefix, count)| prefix.is_none() || *count <= per_table));
        let mut all: Vec<Key> = self.members.keys().copied().collect();
        all.sort_by_cached_key(|key| key.distance(target));
        all.truncate(count);
        let closest = self.table.closest(target, count);
        assert_eq!(closest.len(), all.len());
        assert!(closest.map(|node| node.key).eq(all));
    }
}

fn run(config: TableConfig, ops: Vec<Op>, targets: &[(Key, usize)]) {
    let mut model = Model::new(config);
    let mut now = start();
    for (step, op) in ops.into_iter().enumerate() {
        match op {
            Op::Alive { node, at } => model.alive(now, node, if at % 4 == 0 { address(at) } else { node.ip }),
            Op::Failed(key) => model.failed(now, key),
            Op::Update(node) => model.update(node),
            Op::Remove(key) => {
                let known = model.members.remove(&key).is_some() | model.waiting.remove(&key).is_some();
                assert_eq!(model.table.remove(&key).is_some(), known);
            }
            Op::Lookup(key) => model.table.on_lookup(now, &key),
            Op::Check { answers } => {
                let due = model.table.next_due(now);
                match model.table.due_check(now) {
                    Some(node) => {
                        assert!(due.is_some_and(|due| due <= now));
                        assert!(model.members.contains_key(&node.key) || model.waiting.contains_key(&node.key));
                        if answers { model.alive(now, node, node.ip) } else { model.failed(now, node.key) }
                    }
                    None if due.is_some_and(|due| due <= now) => {
                        assert!(model.table.due_refresh(now, &mut || 1).is_some());
                    }
                    None => {}
                }
            }
            Op::Refresh(random) => {
                if let Some(target) = model.table.due_refresh(now, &mut || random) {
                    let bucket = LOCAL.common_prefix_len(&target);
                    assert!(model.members.keys().any(|key| LOCAL.common_prefix_len(key) >= bucket));
                }
            }
            Op::Wait(by) if by < 0 => now = now.checked_sub(secs(by.unsigned_abs())).unwrap_or(now),
            Op::Wait(by) => now += secs(by.unsigned_abs()),
        }
        let (target, count) = &targets[step % targets.len()];
        model.check(target, *count);
    }
}

proptest! {
    #[test]
    fn invariants_hold_in_any_order(
        config in config(),
        ops in prop::collection::vec(op(), 0..250),
        targets in prop::collection::vec((key(), 0usize..60), 3),
    ) {
        run(config, ops, &targets);
    }

    /// Whole tables of random keys, and targets that share any number of bits with us.
    #[test]
    fn closest_is_what_a_full_sort_finds(
        keys in prop::collection::btree_set(any::<[u8; 32]>(), 0..600),
        noise: [u8; 32],
        near in 0usize..257,
        count in 0usize..80,
        k in 1usize..33,
        deep in 0usize..32,
    ) {
        let config = TableConfig { k, balance: false, ..TableConfig::default() };
        let mut table = Table::new(LOCAL, config);
        let now = start();
        for (n, mut bytes) in keys.into_iter().enumerate() {
            // Every third key is so close to us that only its last bytes differ.
            if n % 3 == 0 { bytes[..deep].copy_from_slice(&LOCAL.as_bytes()[..deep]) }
            table.on_alive(now, Node::new(Key::from_bytes(bytes), None), None);
        }
        let bit = |bytes: &[u8; 32], at: usize| bytes[at / 8] & (0x80 >> (at % 8));
        let mut target = noise;
        for at in 0..near {
            target[at / 8] = target[at / 8] & !(0x80 >> (at % 8)) | bit(LOCAL.as_bytes(), at);
        }
        let target = Key::from_bytes(target);
        let mut all: Vec<Key> = table.iter().map(|node| node.key).collect();
        all.sort_by_key(|key| key.distance(&target));
        all.truncate(count);
        prop_assert!(table.closest(&target, count).map(|node| node.key).eq(all));
    }
}

#[test]
fn keys_that_share_all_but_their_last_bits_are_told_apart() {
    let mut table = Table::new(LOCAL, TableConfig::default());
    for last in 0..20 {
        assert_eq!(table.on_alive(start(), Node::new(key_with(&[0xff; 31], last), None), None), Insert::Added);
    }
    for last in 0..=255 {
        let target = key_with(&[0xff; 31], last);
        let lasts: Vec<u8> = table.closest(&target, 20).map(|node| node.key.as_bytes()[31] ^ last).collect();
        assert!(lasts.is_sorted() && lasts.len() == 20);
    }
}
