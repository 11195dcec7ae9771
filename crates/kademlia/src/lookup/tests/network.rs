//! A network of nodes that answer from full buckets, and what drives a lookup through it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::lookup::{Lookup, LookupConfig, RttEstimator};
use crate::{Contact, Key};

pub(super) use self::contact::Node;
pub(super) use self::random::Random;

#[path = "../../../tests/support/contact.rs"]
mod contact;

#[path = "../../../tests/support/random.rs"]
mod random;

pub(super) const K: usize = 20;

pub(super) fn node(key: Key) -> Node {
    Node { key, ip: None, seq: 1 }
}

/// A node that has the first `bits` bits in common with `key`, the rest at random: as close as a liar likes.
pub(super) fn close_to(key: &Key, bits: usize, random: &mut Random) -> Node {
    node(random.key_near(key, bits))
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
pub(super) fn start() -> Instant {
    Instant::now()
}

/// Nodes with the tables that they would have after a long quiet time: each bucket full, or complete.
pub(super) struct Network {
    pub(super) tables: BTreeMap<Key, Vec<Node>>,
}

impl Network {
    pub(super) fn new(count: usize, random: &mut Random) -> Self {
        let nodes = (0..count).map(|_| node(random.key())).collect();
        Self::of(nodes, K, random)
    }

    pub(super) fn of(nodes: Vec<Node>, bucket_size: usize, random: &mut Random) -> Self {
        let table = |owner: &Node, random: &mut Random| {
            let mut buckets: BTreeMap<usize, Vec<Node>> = BTreeMap::new();
            let first = random.below(nodes.len());
            for other in nodes[first..].iter().chain(&nodes[..first]).filter(|other| *other != owner) {
                let bucket = buckets.entry(owner.key.common_prefix_len(&other.key)).or_default();
                if bucket.len() < bucket_size {
                    bucket.push(*other);
                }
            }
            buckets.into_values().flatten().collect()
        };
        Self { tables: nodes.iter().map(|node| (node.key, table(node, random))).collect() }
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.tables.keys().copied().collect()
    }

    /// What an honest node answers.
    pub(super) fn answer(&self, by: &Key, target: &Key, count: usize) -> Vec<Node> {
        let by_distance = self.tables[by].iter().map(|node| (target.distance(&node.key), node));
        let closest = by_distance.collect::<BTreeMap<_, _>>().into_values();
        closest.take(count).cloned().collect()
    }

    /// The closest there are, `without` one.
    pub(super) fn closest(&self, target: &Key, without: &Key, count: usize) -> Vec<Key> {
        let mut keys: Vec<Key> = self.tables.keys().copied().filter(|key| key != without).collect();
        keys.sort_by_key(|key| target.distance(key));
        keys.truncate(count);
        keys
    }

    pub(super) fn lookup(&self, local: Key, target: Key, config: LookupConfig, now: Instant) -> Lookup<Node> {
        let seeds = self.answer(&local, &target, config.k.max(config.paths * config.width));
        Lookup::new(local, target, seeds, config, RttEstimator::default(), now)
    }
}

/// What became of a question.
pub(super) enum Reply {
    Contacts(Vec<Node>),
    Failure,
    Silence,
}

/// Drives a lookup to its end, each answer after a time of its own, and checks what must hold whatever others do.
/// Returns who was asked, and when it ended.
pub(super) fn drive(
    lookup: &mut Lookup<Node>,
    local: &Key,
    config: &LookupConfig,
    random: &mut Random,
    mut reply: impl FnMut(&Key) -> Reply,
) -> (BTreeSet<Key>, Duration) {
    let begin = start();
    let (mut now, mut asked) = (begin, BTreeSet::new());
    let mut answers: BTreeMap<(Instant, usize), (Key, Reply)> = BTreeMap::new();
    while !lookup.is_finished() {
        while let Some(contact) = lookup.next(now) {
            assert_ne!(contact.key, *local, "it asks itself");
            assert!(asked.insert(contact.key), "{:?} is asked twice", contact.key);
            assert!(asked.len() <= config.max_queries, "{} questions", asked.len());
            lookup.on_connected(now, &contact.key);
            let after = Duration::from_millis(20 + random.below(200) as u64);
            answers.insert((now + after, asked.len()), (contact.key, reply(&contact.key)));
        }
        let next_answer = answers.first_key_value().map(|((at, _), _)| *at);
        let Some(deadline) = lookup.deadline(now) else { break };
        match next_answer.filter(|at| *at <= deadline) {
            Some(at) => {
                now = at;
                let (_, (from, reply)) = answers.pop_first().unwrap();
                match reply {
                    Reply::Contacts(contacts) => _ = lookup.on_answer(now, &from, contacts),
                    Reply::Failure => lookup.on_failure(&from),
                    Reply::Silence => {}
                }
            }
            None => now = now.max(deadline),
        }
        assert!(now - begin <= config.max_time, "it takes too long");
    }
    assert_eq!(lookup.stats().queries, asked.len());
    (asked, now - begin)
}
