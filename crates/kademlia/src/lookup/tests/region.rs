//! Everyone within a distance, whoever crowds around its center.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::network::{K, Network, Node, Random, close_to, node, start};
use crate::lookup::{LookupConfig, RegionLookup, RttEstimator};
use crate::{Contact, Distance, Key};

/// Who is found within a distance, and with how many questions. Each answers at once; the liars name only one another.
fn found(network: &Network, liars: &BTreeSet<Key>, local: Key, center: Key, radius: Distance) -> (Vec<Key>, usize) {
    let (now, config) = (start(), LookupConfig::writing());
    let seeds = network.answer(&local, &center, 2 * K);
    let mut region = RegionLookup::new(local, center, radius, seeds, config.clone(), RttEstimator::default(), now);
    let mut asked = Vec::new();
    while !region.is_finished() {
        asked.extend(std::iter::from_fn(|| region.next(now)));
        for (by, target) in asked.drain(..) {
            let mut contacts = network.answer(&by.key, &target, K);
            if liars.contains(&by.key) {
                contacts = liars.iter().take(K).map(|key| node(*key)).collect();
            }
            let other = Random(u64::MAX).key();
            assert!(!region.on_answer(now, &by.key, &other, contacts.clone()), "an answer to another question");
            region.on_answer(now, &by.key, &target, contacts);
        }
    }
    assert!(region.stats().queries <= config.region_queries && !region.stats().truncated);
    assert_eq!(region.deadline(now), None);
    (region.found().map(Contact::key).collect(), region.stats().queries)
}

/// The nodes of `network` within `radius`.
fn within(network: &Network, local: Key, center: Key, radius: Distance) -> Vec<Key> {
    let all = network.closest(&center, &local, usize::MAX);
    all.into_iter().filter(|key| center.distance(key) <= radius).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn everyone_within_the_distance_is_found(seed: u64, count in 50..400usize, within_radius in 1..60usize) {
        let mut random = Random(seed);
        let network = Network::new(count, &mut random);
        let (local, center) = (network.keys()[0], random.key());
        let nearest = network.closest(&center, &local, within_radius);
        let radius = nearest.last().map_or(Distance::MAX, |last| center.distance(last));
        let found = found(&network, &BTreeSet::new(), local, center, radius).0;
        let expected = within(&network, local, center, radius);
        // Never fewer than the closest ones.
        let expected = network.closest(&center, &local, expected.len().max(K));
        prop_assert_eq!(found, expected);
    }
}

/// A network in which a crowd is closer to a key than any other node: who the others are, in the order of distance.
fn crowded(crowd: usize, center: Key, random: &mut Random) -> (Network, BTreeSet<Key>, Vec<Key>) {
    let honest: Vec<Node> = (0..400).map(|_| node(random.key())).collect();
    let crowd: Vec<Node> = (0..crowd).map(|_| close_to(&center, 20, random)).collect();
    let mut by_distance: Vec<Key> = honest.iter().map(Contact::key).collect();
    by_distance.sort_by_key(|key| center.distance(key));
    let liars = crowd.iter().map(Contact::key).collect();
    (Network::of([honest, crowd].concat(), K, random), liars, by_distance)
}

#[test]
fn a_crowd_at_the_center_hides_nobody_beside_it() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let center = random.key();
        let (network, _, others) = crowded(90, center, &mut random);
        let radius = center.distance(&others[K - 1]);
        let (found, queries) = found(&network, &BTreeSet::new(), others[399], center, radius);
        // Those in the midst of the crowd cannot be told from it.
        let beside = |key: &&Key| center.common_prefix_len(key) < radius.leading_zeros() + 4;
        let missed: Vec<_> = others[..K].iter().filter(beside).filter(|key| !found.contains(key)).collect();
        assert!(missed.is_empty(), "{missed:?} of {found:?}, {queries} questions");
    }
}

#[test]
fn a_crowd_that_lies_hides_few() {
    let mut plain = 0;
    for seed in 0..6 {
        let mut random = Random(seed);
        let center = random.key();
        let (network, liars, others) = crowded(60, center, &mut random);
        let radius = center.distance(&others[K - 1]);
        let (found, queries) = found(&network, &liars, others[399], center, radius);
        let known = others[..K].iter().filter(|key| found.contains(key)).count();
        assert!(known >= K / 2, "seed {seed}: {known} of {found:?}, {queries} questions");
        plain += network.closest(&center, &others[399], K).iter().filter(|key| !liars.contains(key)).count();
    }
    assert_eq!(plain, 0, "the closest are all of the crowd");
}

#[test]
fn a_quiet_region_costs_little() {
    let mut random = Random(12);
    let network = Network::new(400, &mut random);
    let (local, mut total) = (network.keys()[0], 0);
    for _ in 0..20 {
        let center = random.key();
        let radius = center.distance(network.closest(&center, &local, K - 1).last().unwrap());
        total += found(&network, &BTreeSet::new(), local, center, radius).1;
    }
    assert!(total / 20 < 100, "{} questions on average", total / 20);
}

#[test]
fn its_first_part_keeps_to_the_bound_of_the_whole() {
    let (mut random, now) = (Random(13), start());
    let network = Network::new(100, &mut random);
    let (local, center) = (network.keys()[0], random.key());
    let config = LookupConfig { region_queries: 12, ..LookupConfig::writing() };
    let seeds = network.answer(&local, &center, 2 * K);
    let mut region = RegionLookup::new(local, center, Distance::MAX, seeds, config, RttEstimator::default(), now);
    let mut asked = Vec::new();
    while !region.is_finished() {
        asked.extend(std::iter::from_fn(|| region.next(now)));
        for (by, target) in asked.drain(..) {
            region.on_answer(now, &by.key, &target, network.answer(&by.key, &target, K));
        }
    }
    assert_eq!((region.stats().queries, region.stats().truncated), (12, true));
}
