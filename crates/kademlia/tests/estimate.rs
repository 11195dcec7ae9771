//! The estimate of the network's size: within its interval on evenly spread ids, and what ground ids do to it.

use p2p_kademlia::{Key, SizeEstimator};
use proptest::prelude::*;

use self::random::Random;

#[path = "support/random.rs"]
mod random;

const K: usize = 20;

/// All nodes of a network, sorted.
struct Network(Vec<Key>);

impl Network {
    fn new(random: &mut Random, nodes: usize) -> Self {
        let mut keys: Vec<Key> = (0..nodes).map(|_| random.key()).collect();
        keys.sort_unstable();
        Self(keys)
    }

    /// What a perfect lookup finds, with `more` nodes in the network.
    fn closest(&self, target: &Key, more: &[Key]) -> Vec<Key> {
        // Whole subtrees around the target, smaller ones first, until one has enough.
        let mut found: &[Key] = &[];
        for bits in (0..=28).rev().step_by(4) {
            let from = self.0.partition_point(|key| key < target && key.common_prefix_len(target) < bits);
            let to = self.0.partition_point(|key| key < target || key.common_prefix_len(target) >= bits);
            found = &self.0[from..to];
            if found.len() >= K {
                break;
            }
        }
        let mut found: Vec<Key> = found.iter().chain(more).copied().collect();
        found.sort_unstable_by_key(|key| key.distance(target));
        found.truncate(K);
        found
    }

    fn estimator(&self, random: &mut Random, lookups: usize) -> SizeEstimator {
        let mut estimator = SizeEstimator::new();
        for _ in 0..lookups {
            let target = random.key();
            estimator.add(&target, self.closest(&target, &[]));
        }
        estimator
    }
}

#[test]
fn the_number_is_within_the_interval_in_95_of_100_cases() {
    for (nodes, networks) in [(100, 50), (1_000, 25), (10_000, 5), (100_000, 1)] {
        for (lookups, cases) in [(1, 400), (8, 100), (64, 50)] {
            let tries = cases / networks;
            let mut random = Random(nodes as u64);
            let (mut within, mut sum, mut width) = (0u32, 0.0, 0.0);
            for _ in 0..networks {
                let network = Network::new(&mut random, nodes);
                for _ in 0..tries {
                    let estimate = network.estimator(&mut random, lookups).estimate().unwrap();
                    within += u32::from((estimate.low..=estimate.high).contains(&(nodes as f64)));
                    sum += estimate.nodes / nodes as f64;
                    width += (estimate.high - estimate.low) / nodes as f64;
                }
            }
            let all = (networks * tries) as f64;
            let (within, mean, width) = (f64::from(within) / all, sum / all, width / all);
            println!("{nodes} nodes, {lookups} lookups: {within:.3} within, mean {mean:.3}, width {width:.2}");
            assert!(within >= 0.92, "{nodes} nodes, {lookups} lookups: {within} of {all} within");
            assert!((0.95..1.05).contains(&mean), "{nodes} nodes, {lookups} lookups: mean {mean}");
            assert!(lookups < 64 || nodes < 10_000 || width < 0.15, "an interval that says something: {width}");
        }
    }
}

#[test]
fn looking_at_one_place_again_and_again_teaches_nothing() {
    let mut random = Random(1);
    let network = Network::new(&mut random, 5_000);
    let target = random.key();
    let mut estimator = SizeEstimator::new();
    estimator.add(&target, network.closest(&target, &[]));
    let once = estimator.estimate().unwrap();
    for _ in 0..100 {
        let near = random.key_near(&target, 22);
        estimator.add(&near, network.closest(&near, &[]));
    }
    let often = estimator.estimate().unwrap();
    assert!(often.high / often.low > 0.8 * once.high / once.low, "{once:?} {often:?}");
}

#[test]
fn ids_ground_for_some_spots_mislead_nobody() {
    let mut random = Random(2);
    for nodes in [1_000, 10_000] {
        let network = Network::new(&mut random, nodes);
        let (mut estimator, mut plain, mut lookups) = (SizeEstimator::new(), 0.0, 0.0);
        for n in 0..60 {
            let target = random.key();
            // A third of the lookups end at a spot with ids closer than anybody honest.
            let ground: Vec<Key> = (0..K).map(|_| random.key_near(&target, 22)).collect();
            let found = network.closest(&target, if n % 3 == 0 { &ground } else { &[] });
            plain += K as f64 / found.iter().map(|key| target.distance(key).fraction()).fold(0.0, f64::max);
            lookups += 1.0;
            estimator.add(&target, found);
        }
        let estimate = estimator.estimate().unwrap();
        let error = (estimate.nodes / nodes as f64 - 1.0).abs();
        assert!(error < 0.15, "{nodes}: {estimate:?}");
        assert!(plain / lookups > 5.0 * nodes as f64, "without the defence they would: {}", plain / lookups);
    }
}

#[test]
fn density_tells_ground_ids_from_chance() {
    let mut random = Random(3);
    let network = Network::new(&mut random, 5_000);
    let estimator = network.estimator(&mut random, 64);
    let mut alarms = 0;
    for _ in 0..1_000 {
        let target = random.key();
        alarms += usize::from(estimator.is_too_dense(&target, network.closest(&target, &[])));
    }
    assert!(alarms <= 1, "{alarms} false alarms in 1,000 lookups");
    for sybils in [10, 20, 40, 100] {
        let found = (0..50).filter(|_| {
            let target = random.key();
            let first = network.closest(&target, &[])[0].distance(&target);
            let ground = std::iter::repeat_with(|| random.key_near(&target, 22));
            let ground: Vec<Key> = ground.filter(|key| key.distance(&target) < first).take(sybils).collect();
            estimator.is_too_dense(&target, network.closest(&target, &ground))
        });
        assert_eq!(found.count(), 50, "{sybils} ground closer than any honest node");
    }
}

#[test]
fn the_kth_distance_holds_k_nodes_on_average() {
    let mut random = Random(4);
    let network = Network::new(&mut random, 10_000);
    let estimator = network.estimator(&mut random, 64);
    for k in [1, 20, 100] {
        let distance = estimator.kth_distance(k).unwrap();
        let mut within = 0;
        for _ in 0..50 {
            let target = random.key();
            within += network.0.iter().filter(|key| key.distance(&target) <= distance).count();
        }
        let mean = within as f64 / 50.0;
        assert!((0.8..1.2).contains(&(mean / k as f64)), "k = {k}: {mean}");
    }
    assert_eq!(estimator.kth_distance(20_000), Some(p2p_kademlia::Distance::MAX));
}

#[test]
fn nothing_is_known_before_somebody_is_found() {
    let mut estimator = SizeEstimator::new();
    let target = Random(5).key();
    // A node at the very place that was looked for has been put there by the question.
    for found in [vec![], vec![target]] {
        estimator.add(&target, found.clone());
        assert_eq!((estimator.estimate(), estimator.kth_distance(20)), (None, None));
        assert!(!estimator.is_too_dense(&target, found));
    }
}

#[test]
fn a_network_of_few_is_seen_whole() {
    for nodes in [1usize, 2, 5, 15] {
        let mut random = Random(6);
        let mut within = 0;
        for _ in 0..100 {
            let network = Network::new(&mut random, nodes);
            let estimate = network.estimator(&mut random, 5).estimate().unwrap();
            within += usize::from((estimate.low..=estimate.high).contains(&(nodes as f64)));
        }
        assert!(within >= 90, "{nodes}: {within}");
    }
}

proptest! {
    #[test]
    fn whatever_is_found_the_estimate_is_a_number(
        lookups in prop::collection::vec((any::<[u8; 32]>(), prop::collection::vec((any::<[u8; 32]>(), 0usize..33), 0..25)), 0..80),
    ) {
        let mut estimator = SizeEstimator::new();
        for (target, found) in lookups {
            let keys: Vec<Key> = found.into_iter().map(|(mut key, same)| {
                key[..same].copy_from_slice(&target[..same]);
                Key::from_bytes(key)
            }).collect();
            let target = Key::from_bytes(target);
            estimator.is_too_dense(&target, keys.iter().copied());
            estimator.add(&target, keys);
            if let Some(estimate) = estimator.estimate() {
                prop_assert!(estimate.low <= estimate.nodes && estimate.nodes <= estimate.high, "{estimate:?}");
                prop_assert!(estimate.high.is_finite() && estimate.low >= 0.0);
                prop_assert!(estimator.kth_distance(20).is_some());
            }
        }
    }
}
