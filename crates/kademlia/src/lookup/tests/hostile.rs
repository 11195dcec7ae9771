//! Whatever others answer, a lookup ends, within its bounds, and goes on without them.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::network::{Network, Node, Random, Reply, close_to, drive, node, start};
use crate::lookup::{Lookup, LookupConfig, RttEstimator};
use crate::{Contact, Key};

#[test]
fn answers_that_get_ever_closer_end_at_the_bound() {
    let mut random = Random(7);
    let (local, target) = (random.key(), random.key());
    for config in [LookupConfig::single_path(), LookupConfig::default()] {
        let seeds: Vec<Node> = (0..40).map(|_| node(random.key())).collect();
        let mut lookup = Lookup::new(local, target, seeds, config.clone(), RttEstimator::default(), start());
        let liars = RefCell::new((Random(8), 0));
        let reply = |_: &Key| {
            let (random, bits) = &mut *liars.borrow_mut();
            *bits += 1;
            Reply::Contacts((0..20).map(|_| close_to(&target, *bits.min(&mut 250), random)).collect())
        };
        let (asked, _) = drive(&mut lookup, &local, &config, &mut random, reply);
        assert_eq!(asked.len(), config.max_queries);
        assert!(lookup.stats().truncated);
    }
}

#[test]
fn an_answer_of_ten_thousand_is_cut() {
    let mut random = Random(3);
    let (local, target) = (random.key(), random.key());
    let config = LookupConfig { per_responder: 7, ..LookupConfig::single_path() };
    let liar = node(random.key());
    let mut lookup = Lookup::new(local, target, [liar], config.clone(), RttEstimator::default(), start());
    let mut many: Vec<Node> = (0..10_000).map(|_| node(random.key())).collect();
    many.extend(vec![node(local); 100]);
    many.extend(vec![node(target); 100]);
    many.push(liar);
    let mut best: Vec<Key> = many.iter().map(Contact::key).filter(|key| *key != local).collect();
    best.sort_by_key(|key| target.distance(key));
    best.dedup();
    let reply = |by: &Key| Reply::Contacts(if *by == liar.key { many.clone() } else { Vec::new() });
    let (asked, _) = drive(&mut lookup, &local, &config, &mut random, reply);
    assert_eq!(asked.len(), 1 + 7);
    assert!(best[..7].iter().all(|key| asked.contains(key)), "the closest of its contacts are the ones that count");
}

#[test]
fn unasked_candidates_are_bounded() {
    let mut random = Random(4);
    let (local, target) = (random.key(), random.key());
    let config = LookupConfig { max_candidates: 30, ..LookupConfig::single_path() };
    // Nobody who is named can be reached, so all that is kept is asked in the end.
    let seeds: Vec<Node> = (0..15).map(|_| node(random.key())).collect();
    let mut lookup = Lookup::new(local, target, seeds.clone(), config.clone(), RttEstimator::default(), start());
    let others = RefCell::new(Random(5));
    let reply = |by: &Key| match seeds.iter().any(|seed| seed.key == *by) {
        true => Reply::Contacts((0..20).map(|_| node(others.borrow_mut().key())).collect()),
        false => Reply::Silence,
    };
    let (asked, _) = drive(&mut lookup, &local, &config, &mut random, reply);
    // 300 are named. Some are asked before others, closer ones, push them out.
    assert!(asked.len() < 15 + 300 / 2, "{}", asked.len());
}

#[test]
fn one_subnet_is_asked_so_often_and_no_more() {
    let mut random = Random(5);
    let (local, target) = (random.key(), random.key());
    let ip = |host: u8| Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, host)));
    let crowd = |random: &mut Random| Node { ip: ip(random.next() as u8), ..close_to(&target, 40, random) };
    for (config, expected) in [
        (LookupConfig::default(), LookupConfig::default().per_prefix),
        (LookupConfig { per_prefix: usize::MAX, ..LookupConfig::default() }, 40),
    ] {
        let honest: Vec<Node> = (0..40).map(|_| node(random.key())).collect();
        let mut lookup = Lookup::new(local, target, honest.clone(), config.clone(), RttEstimator::default(), start());
        let crowds = RefCell::new(Random(9));
        let reply = |_: &Key| Reply::Contacts((0..20).map(|_| crowd(&mut crowds.borrow_mut())).collect());
        let (asked, _) = drive(&mut lookup, &local, &config, &mut random, reply);
        let crowded = asked.iter().filter(|key| honest.iter().all(|node| node.key != **key)).count();
        if expected == 40 {
            assert!(crowded >= expected, "{crowded}");
        } else {
            assert_eq!(crowded, expected);
            assert!(lookup.closest().filter(|node| node.ip.is_some()).count() <= expected);
        }
    }
}

#[test]
fn the_target_is_found_in_a_crowded_subnet() {
    let mut random = Random(6);
    let (local, target) = (random.key(), random.key());
    let ip = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let mut seeds: Vec<Node> = (0..30).map(|_| Node { ip, ..close_to(&target, 60, &mut random) }).collect();
    let config = LookupConfig::default();
    seeds.push(Node { ip, ..node(random.key()) });
    let mut lookup = Lookup::new(local, target, seeds, config.clone(), RttEstimator::default(), start());
    let mut named = false;
    drive(&mut lookup, &local, &config, &mut random, |_| {
        // Only who is asked last knows it.
        let contacts = if named { vec![Node { ip, ..node(target) }] } else { Vec::new() };
        named = true;
        Reply::Contacts(contacts)
    });
    assert_eq!(lookup.closest().next().map(Contact::key), Some(target));
}

#[test]
fn a_forged_description_does_not_hide_the_true_one() {
    let mut random = Random(10);
    let (local, target) = (random.key(), random.key());
    let (liar, honest) = (node(random.key()), node(random.key()));
    let forged = Node { seq: u64::MAX, ..node(target) };
    let config = LookupConfig { paths: 2, ..LookupConfig::default() };
    let now = start();
    let seeds = [liar, honest];
    let mut lookup = Lookup::new(local, target, seeds, config, RttEstimator::default(), now);
    while lookup.next(now).is_some() {}
    assert!(lookup.on_answer(now, &liar.key, [forged]));
    assert!(lookup.on_answer(now, &honest.key, [node(target)]));
    assert_eq!(lookup.next(now), Some(forged));
    lookup.on_invalid(&target);
    assert_eq!(lookup.next(now), Some(node(target)), "the word of the other path");
    assert!(lookup.on_answer(now, &target, []));
    assert!(lookup.next(now).is_none() && lookup.is_finished());
    assert_eq!(lookup.closest().next(), Some(&node(target)));
}

/// Whether the closest honest node is reached when liars all answer with the liars closest to the target.
fn reaches_the_closest_honest(network: &Network, config: &LookupConfig, random: &mut Random) -> bool {
    let keys = network.keys();
    let (local, target) = (keys[0], random.key());
    let mut liars: Vec<Key> = keys[1..].iter().copied().filter(|_| random.below(100) < 40).collect();
    liars.sort_by_key(|key| target.distance(key));
    let mut lookup = network.lookup(local, target, config.clone(), start());
    let reply = |by: &Key| match liars.contains(by) {
        true => Reply::Contacts(liars.iter().take(config.k).map(|key| node(*key)).collect()),
        false => Reply::Contacts(network.answer(by, &target, config.k)),
    };
    drive(&mut lookup, &local, config, random, reply);
    let best = network.closest(&target, &local, keys.len()).into_iter().find(|key| !liars.contains(key));
    lookup.answered().any(|node| Some(node.key) == best)
}

#[test]
fn disjoint_paths_get_past_colluding_nodes() {
    let mut random = Random(13);
    // Narrower than by default, so that few nodes are many.
    let network = Network::of((0..800).map(|_| node(random.key())).collect(), 4, &mut random);
    let disjoint = LookupConfig { k: 4, width: 2, ..LookupConfig::default() };
    let single = LookupConfig { k: 4, width: 4, ..LookupConfig::single_path() };
    let [disjoint, single] = [disjoint, single]
        .map(|config| (0..50).filter(|_| reaches_the_closest_honest(&network, &config, &mut random)).count());
    assert!(disjoint >= 45 && single <= 40, "of 50: disjoint {disjoint}, single {single}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_mixture_of_answers_ends(seed: u64, paths in 1..6usize, max_queries in 1..120usize) {
        let mut random = Random(seed);
        let (local, target) = (random.key(), random.key());
        let config = LookupConfig { paths, max_queries, ..LookupConfig::default() };
        let seeds: Vec<Node> = (0..random.below(60)).map(|_| node(random.key())).collect();
        let mut lookup = Lookup::new(local, target, seeds, config.clone(), RttEstimator::default(), start());
        let others = RefCell::new(Random(!seed));
        let reply = |by: &Key| {
            let random = &mut *others.borrow_mut();
            let mut contacts: Vec<Node> = Vec::new();
            for _ in 0..random.below(30) {
                let close = random.below(256);
                contacts.push([node(local), node(*by), close_to(&target, close, random)][random.below(3)]);
            }
            match random.below(4) {
                0 => Reply::Silence,
                1 => Reply::Failure,
                _ => Reply::Contacts(contacts),
            }
        };
        drive(&mut lookup, &local, &config, &mut random, reply);
        prop_assert!(lookup.closest().count() <= config.k);
    }
}
