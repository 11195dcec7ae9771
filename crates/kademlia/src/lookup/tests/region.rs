//! Everyone within a distance, whoever crowds around its center.

use proptest::prelude::*;

use super::network::{K, Network, Node, Random, close_to, node, start};
use crate::lookup::{LookupConfig, RegionLookup, RttEstimator};
use crate::{Contact, Distance, Key};

/// Who is found within the distance of the `expected`-th honest node, each answering at once.
fn found(network: &Network, local: Key, center: Key, radius: Distance) -> (Vec<Key>, usize) {
    let (now, config) = (start(), LookupConfig::writing());
    let seeds = network.answer(&local, &center, 2 * K);
    let mut region = RegionLookup::new(local, center, radius, seeds, config.clone(), RttEstimator::default(), now);
    let mut asked = Vec::new();
    while !region.is_finished() {
        asked.extend(std::iter::from_fn(|| region.next(now)));
        for (by, target) in asked.drain(..) {
            let contacts = network.answer(&by.key, &target, K);
            let other = Random(1).key();
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
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn everyone_within_the_distance_is_found(seed: u64, count in 50..400usize, within_radius in 1..60usize) {
        let mut random = Random(seed);
        let network = Network::new(count, &mut random);
        let (local, center) = (network.keys()[0], random.key());
        let nearest = network.closest(&center, &local, within_radius);
        let radius = nearest.last().map_or(Distance::MAX, |last| center.distance(last));
        let found = found(&network, local, center, radius).0;
        let expected = within(&network, local, center, radius);
        // Never fewer than the closest ones.
        let expected = network.closest(&center, &local, expected.len().max(K));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_crowd_at_the_center_hides_nobody(seed: u64, crowd in 20..100usize) {
        let mut random = Random(seed);
        let center = random.key();
        let honest: Vec<Node> = (0..400).map(|_| node(random.key())).collect();
        let mut all = honest.clone();
        all.extend((0..crowd).map(|_| close_to(&center, 20, &mut random)));
        let network = Network::of(all, K, &mut random);
        let local = honest[0].key;
        let mut by_distance: Vec<Key> = honest[1..].iter().map(Contact::key).collect();
        by_distance.sort_by_key(|key| center.distance(key));
        let radius = center.distance(&by_distance[K - 1]);
        let (found, queries) = found(&network, local, center, radius);
        // Those in the midst of the crowd cannot be told from it.
        let beside = |key: &&Key| center.common_prefix_len(key) < radius.leading_zeros() + 4;
        let missed: Vec<_> = by_distance[..K].iter().filter(beside).filter(|key| !found.contains(key)).collect();
        prop_assert!(missed.is_empty(), "{missed:?} of {found:?}, {queries} questions");
    }
}

#[test]
fn a_quiet_region_costs_little() {
    let mut random = Random(12);
    let network = Network::new(400, &mut random);
    let (local, mut total) = (network.keys()[0], 0);
    for _ in 0..20 {
        let center = random.key();
        let radius = center.distance(network.closest(&center, &local, K - 1).last().unwrap());
        total += found(&network, local, center, radius).1;
    }
    assert!(total / 20 < 100, "{} questions on average", total / 20);
}
