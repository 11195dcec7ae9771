//! Slots, slow contacts and time-outs.

use std::time::{Duration, Instant};

use super::network::{Node, Random, node, start};
use crate::Contact;
use crate::lookup::{Lookup, LookupConfig, RttEstimator};

const MS: Duration = Duration::from_millis(1);

/// A lookup with one path and ten seeds, those whom it asked at the beginning, and when that was.
fn begun(config: LookupConfig) -> (Lookup<Node>, Vec<Node>, Instant) {
    let mut random = Random(11);
    let (local, target, now) = (random.key(), random.key(), start());
    let seeds: Vec<Node> = (0..10).map(|_| node(random.key())).collect();
    let mut lookup = Lookup::new(local, target, seeds, config, RttEstimator::default(), now);
    let asked = ask(&mut lookup, now);
    (lookup, asked, now)
}

fn ask(lookup: &mut Lookup<Node>, now: Instant) -> Vec<Node> {
    std::iter::from_fn(|| lookup.next(now)).collect()
}

#[test]
fn so_many_are_in_flight_on_each_path() {
    assert_eq!(begun(LookupConfig::single_path()).1.len(), 3);
    assert_eq!(begun(LookupConfig { alpha: 5, ..LookupConfig::single_path() }).1.len(), 5);
    assert_eq!(begun(LookupConfig { paths: 3, width: 3, k: 1, ..LookupConfig::default() }).1.len(), 9);
}

#[test]
fn a_slow_contact_frees_its_slot_and_still_counts() {
    let config = LookupConfig::single_path();
    let (mut lookup, asked, now) = begun(config.clone());
    lookup.on_connected(now, &asked[0].key());
    assert_eq!(lookup.deadline(now), Some(now + config.slow_after));
    assert!(ask(&mut lookup, now + config.slow_after - MS).is_empty());
    assert_eq!(ask(&mut lookup, now + config.slow_after).len(), 1);
    assert!(lookup.on_answer(now + config.slow_after + MS, &asked[0].key(), []));
    assert_eq!(lookup.closest().count(), 1);
}

#[test]
fn who_takes_the_place_of_a_slow_contact_is_asked_before_that_one_fails() {
    let config = LookupConfig { k: 1, width: 1, ..LookupConfig::single_path() };
    let (mut lookup, asked, now) = begun(config.clone());
    assert_eq!(asked.len(), 1, "the closest is all that is wanted");
    lookup.on_connected(now, &asked[0].key());
    assert!(ask(&mut lookup, now + config.slow_after - MS).is_empty());
    let late = now + config.slow_after;
    let next = ask(&mut lookup, late);
    assert_eq!(next.len(), 1);
    lookup.on_connected(late, &next[0].key());
    // It is not over before the closer one has had its time.
    assert!(lookup.on_answer(late + MS, &next[0].key(), []));
    assert!(ask(&mut lookup, late + MS).is_empty() && !lookup.is_finished());
    ask(&mut lookup, now + config.max_timeout);
    assert!(lookup.is_finished());
    assert_eq!(lookup.closest().next(), next.first());
}

#[test]
fn a_cold_contact_has_the_share_of_the_connect_first() {
    let config = LookupConfig::single_path();
    let (mut lookup, asked, now) = begun(config.clone());
    assert_eq!(lookup.deadline(now), Some(now + config.connect_share));
    assert!(ask(&mut lookup, now + config.connect_share - MS).is_empty());
    // From when its connection is there it has as long as any other.
    let connected = now + config.connect_share - MS;
    lookup.on_connected(connected, &asked[1].key());
    assert_eq!(ask(&mut lookup, now + config.connect_share).len(), 2);
    assert_eq!(ask(&mut lookup, connected + config.slow_after).len(), 1);
}

#[test]
fn a_timeout_follows_the_round_trips() {
    let config = LookupConfig::single_path();
    let (mut lookup, asked, now) = begun(config.clone());
    for contact in &asked {
        lookup.on_connected(now, &contact.key());
    }
    // Before anything is measured.
    let late = now + RttEstimator::default().timeout();
    ask(&mut lookup, late - MS);
    assert_eq!(lookup.stats().failures, 0);
    assert!(lookup.on_answer(late - MS, &asked[0].key(), []));
    // A round trip of two seconds makes the time-out longer, and the other two are still waited for.
    ask(&mut lookup, late);
    assert_eq!(lookup.stats().failures, 0);
    let failed = now + config.max_timeout;
    ask(&mut lookup, failed);
    assert_eq!(lookup.stats().failures, 2);
    assert!(!lookup.on_answer(failed, &asked[1].key(), []), "too late");

    let (mut quick, asked, now) = begun(config.clone());
    for contact in &asked {
        quick.on_connected(now, &contact.key());
    }
    assert!(quick.on_answer(now + MS, &asked[0].key(), []));
    ask(&mut quick, now + config.min_timeout);
    assert_eq!(quick.stats().failures, 2, "fast ones make it shorter");
}

#[test]
fn nothing_outlasts_the_whole_lookup() {
    let config = LookupConfig { max_time: Duration::from_secs(3), ..LookupConfig::single_path() };
    let (mut lookup, asked, now) = begun(config.clone());
    assert!(lookup.on_answer(now + MS, &asked[0].key(), []));
    let end = now + config.max_time;
    assert!(ask(&mut lookup, end).is_empty());
    assert!(lookup.is_finished() && lookup.stats().truncated);
    assert!(!lookup.on_answer(end, &asked[1].key(), []));
    assert_eq!((lookup.closest().count(), lookup.deadline(end)), (1, None));
}
