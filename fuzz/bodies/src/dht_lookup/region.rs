//! A search of a whole region: bounded as a whole, with nobody asked twice for the same.

use std::collections::{BTreeMap, BTreeSet};

use p2p_kademlia::lookup::{LookupConfig, RegionLookup, RttEstimator};
use p2p_kademlia::{Distance, Key};

use super::MAX_STEPS;
use super::network::{LOCAL, Network, Node, TARGET, position};
use crate::input::{Input, start};

pub(super) fn run(mut input: Input<'_>, config: LookupConfig) {
    let mut network = Network::new(input.byte());
    let begun = start();
    let mut now = begun;
    let radius = Key::from_bytes([0; 32]).distance(&position(input.byte(), 0));
    let seeds = network.contacts(&mut input);
    let rtt = RttEstimator::default();
    let mut region = RegionLookup::new(LOCAL, TARGET, radius, seeds, config.clone(), rtt, now);
    let (mut queries, mut failures) = (0, 0);
    let mut asked: BTreeSet<(Key, Key)> = BTreeSet::new();
    let mut pending: Vec<(Node, Key)> = Vec::new();
    let mut answered: BTreeMap<Distance, Node> = BTreeMap::new();
    for _ in 0..MAX_STEPS {
        while let Some((node, target)) = region.next(now) {
            queries += 1;
            assert!(node.key != LOCAL && asked.insert((node.key, target)), "{node:?} is asked twice");
            if node.is_forged() {
                region.on_invalid(&node.key);
                asked.remove(&(node.key, target));
                failures += 1;
            } else {
                pending.push((node, target));
            }
        }
        assert!(queries <= config.region_queries, "{queries} questions");
        let Some(deadline) = region.deadline(now) else { break };
        assert!(deadline > now && !pending.is_empty(), "nobody is asked, and it does not end");
        let at = input.below(256) % pending.len();
        let (node, target) = pending[at];
        match input.below(8) {
            0 => now = deadline,
            1 => assert!(!region.on_answer(now, &node.key, &LOCAL, []), "an answer to another question"),
            2 => {
                region.on_failure(&node.key, &target);
                pending.swap_remove(at);
            }
            _ => {
                let contacts = network.contacts(&mut input);
                if region.on_answer(now, &node.key, &target, contacts) {
                    answered.entry(TARGET.distance(&node.key)).or_insert(node);
                }
                pending.swap_remove(at);
            }
        }
        assert!(now <= begun + config.max_time);
    }
    if !region.is_finished() {
        while region.next(begun + config.max_time).is_some() {}
        assert!(region.is_finished() && region.stats().truncated, "it takes too long");
    }
    let stats = region.stats();
    assert!(stats.queries == queries && stats.answers >= answered.len() && stats.failures >= failures);
    let found: Vec<Distance> = region.found().map(|node| TARGET.distance(&node.key)).collect();
    let within = answered.range(..=radius).count();
    let expected: Vec<Distance> = answered.keys().copied().take(within.max(config.k)).collect();
    assert_eq!(found, expected);
}
