//! Reports in any order, about anyone, at any time.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::network::{Node, Random, node, start};
use crate::Contact;
use crate::lookup::{Lookup, LookupConfig, RttEstimator};

#[derive(Debug, Clone)]
enum Event {
    /// About one of those that were asked at some time.
    Answer(usize, usize),
    Failure(usize),
    Invalid(usize),
    Connected(usize),
    /// About somebody else.
    Unsolicited(u64),
    Later(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (any::<usize>(), 0..40usize).prop_map(|(who, count)| Event::Answer(who, count)),
        1 => any::<usize>().prop_map(Event::Failure),
        1 => any::<usize>().prop_map(Event::Invalid),
        2 => any::<usize>().prop_map(Event::Connected),
        1 => any::<u64>().prop_map(Event::Unsolicited),
        1 => (0..3_000u64).prop_map(Event::Later),
    ];
    prop::collection::vec(event, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_order_of_events_ends_within_the_bounds(
        seed: u64,
        events in events(),
        paths in 1..5usize,
        width in 0..10usize,
        k in 0..25usize,
        alpha in 0..5usize,
    ) {
        let mut random = Random(seed);
        let (local, target) = (random.key(), random.key());
        let config = LookupConfig { paths, width, k, alpha, max_queries: 60, ..LookupConfig::default() };
        let seeds: Vec<Node> = (0..random.below(30)).map(|_| node(random.key())).collect();
        let begin = start();
        let mut now = begin;
        let mut lookup = Lookup::new(local, target, seeds, config.clone(), RttEstimator::default(), now);
        let (mut asked, mut invalid, mut answered) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let mut results = Vec::new();
        for event in events {
            while let Some(contact) = lookup.next(now) {
                prop_assert_ne!(contact.key, local);
                prop_assert!(!asked.contains(&contact.key) || invalid.contains(&contact.key));
                asked.push(contact.key);
            }
            if lookup.is_finished() && results.is_empty() {
                results = lookup.closest().map(Contact::key).collect();
            }
            match event {
                Event::Answer(who, count) if !asked.is_empty() => {
                    let from = asked[who % asked.len()];
                    let contacts: Vec<Node> = (0..count).map(|_| node(random.key())).collect();
                    if lookup.on_answer(now, &from, contacts) {
                        prop_assert!(answered.insert(from), "answered twice");
                    }
                }
                Event::Failure(who) if !asked.is_empty() => lookup.on_failure(&asked[who % asked.len()]),
                Event::Invalid(who) if !asked.is_empty() => {
                    let who = asked[who % asked.len()];
                    lookup.on_invalid(&who);
                    invalid.insert(who);
                }
                Event::Connected(who) if !asked.is_empty() => lookup.on_connected(now, &asked[who % asked.len()]),
                Event::Unsolicited(seed) => {
                    let stranger = Random(seed).key();
                    prop_assert!(asked.contains(&stranger) || !lookup.on_answer(now, &stranger, [node(random.key())]));
                }
                Event::Later(millis) => now += Duration::from_millis(millis),
                _ => {}
            }
        }
        // From here on nobody says anything.
        let mut turns = 0;
        while !lookup.is_finished() {
            while lookup.next(now).is_some() {}
            now = lookup.deadline(now).map_or(now, |deadline| now.max(deadline));
            turns += 1;
            prop_assert!(turns < 1_000, "it does not end");
        }
        prop_assert!(lookup.stats().queries <= config.max_queries);
        prop_assert!(lookup.next(now).is_none());
        let closest: Vec<_> = lookup.closest().map(Contact::key).collect();
        prop_assert!(closest.iter().all(|key| answered.contains(key)), "only who answered is a result");
        prop_assert!(closest.is_sorted_by_key(|key| target.distance(key)));
        prop_assert!(results.is_empty() || results == closest, "nothing changes a result");
    }
}
