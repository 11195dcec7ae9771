//! Among honest nodes a lookup finds exactly the closest ones.

use proptest::prelude::*;

use super::network::{K, Network, Random, Reply, drive, start};
use crate::lookup::LookupConfig;
use crate::{Contact, Key};

/// Who a lookup with `config` finds.
fn found(network: &Network, local: Key, target: Key, config: &LookupConfig, random: &mut Random) -> Vec<Key> {
    let mut lookup = network.lookup(local, target, config.clone(), start());
    let reply = |by: &Key| Reply::Contacts(network.answer(by, &target, K));
    drive(&mut lookup, &local, config, random, reply);
    assert!(!lookup.stats().truncated);
    lookup.closest().map(Contact::key).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn plain_and_disjoint_lookups_equal_brute_force(seed: u64, count in 2..400usize) {
        let mut random = Random(seed);
        let network = Network::new(count, &mut random);
        let keys = network.keys();
        for _ in 0..4 {
            let local = keys[random.below(count)];
            // Anywhere, at a node, and at ourselves.
            let target = [random.key(), keys[random.below(count)], local][random.below(3)];
            let expected = network.closest(&target, &local, K);
            for config in [LookupConfig::single_path(), LookupConfig::default(), LookupConfig::writing()] {
                prop_assert_eq!(found(&network, local, target, &config, &mut random), expected.clone(), "{:?}", config);
            }
        }
    }

    #[test]
    fn the_dead_do_not_hide_the_living(seed: u64, dead_percent in 0..60usize) {
        let mut random = Random(seed);
        let network = Network::new(300, &mut random);
        let keys = network.keys();
        let (local, target) = (keys[0], random.key());
        let dead: Vec<Key> = keys[1..].iter().copied().filter(|_| random.below(100) < dead_percent).collect();
        let config = LookupConfig::default();
        let mut lookup = network.lookup(local, target, config.clone(), start());
        let reply = |by: &Key| match dead.contains(by) {
            true if by.as_bytes()[0].is_multiple_of(2) => Reply::Failure,
            true => Reply::Silence,
            false => Reply::Contacts(network.answer(by, &target, K)),
        };
        drive(&mut lookup, &local, &config, &mut random, reply);
        let found: Vec<Key> = lookup.closest().map(Contact::key).collect();
        prop_assert!(found.iter().all(|key| !dead.contains(key)));
        let expected = network.closest(&target, &local, 300).into_iter().find(|key| !dead.contains(key));
        prop_assert_eq!(found.first().copied(), expected);
    }
}

#[test]
fn without_seeds_nothing_is_found() {
    let mut random = Random(1);
    let (local, target) = (random.key(), random.key());
    let mut lookup = crate::lookup::Lookup::<super::network::Node>::new(
        local,
        target,
        [super::network::node(local)],
        LookupConfig::default(),
        Default::default(),
        start(),
    );
    assert!(lookup.next(start()).is_none() && lookup.is_finished());
    assert_eq!((lookup.closest().count(), lookup.stats().queries), (0, 0));
}
