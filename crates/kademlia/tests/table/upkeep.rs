//! Checks, refreshes, and clocks that jump.

use std::time::Instant;

use p2p_kademlia::{Key, Table, TableConfig};

use crate::support::{Node, Random, alive, elsewhere, secs, start};

const DAY: u64 = 24 * 3600;

fn network(random: &mut Random, now: Instant, nodes: usize) -> Table<Node> {
    let mut table = Table::new(random.key(), TableConfig::default());
    (0..nodes).for_each(|n| _ = alive(&mut table, now, Node::new(random.key(), elsewhere(n))));
    table
}

fn all_due(table: &mut Table<Node>, now: Instant) -> Vec<Node> {
    std::iter::from_fn(|| table.due_check(now)).collect()
}

#[test]
fn everybody_is_checked_every_five_minutes_and_nobody_twice() {
    let now = start();
    let mut table = network(&mut Random(1), now, 300);
    assert!(all_due(&mut table, now + secs(299)).is_empty());
    let mut due = all_due(&mut table, now + secs(300));
    let mut there: Vec<Node> = table.iter().copied().collect();
    // Whoever waits where there is no room is left alone.
    due.sort_by_key(|node| node.key);
    there.sort_by_key(|node| node.key);
    assert_eq!(due, there);
    // Half of them answer, by the check or otherwise; of the others nothing is heard.
    let (answer, silent) = due.split_at(due.len() / 2);
    answer.iter().for_each(|node| _ = alive(&mut table, now + secs(301), *node));
    assert!(all_due(&mut table, now + secs(329)).is_empty());
    let mut again = all_due(&mut table, now + secs(330));
    again.sort_by_key(|node| node.key);
    assert_eq!(again, silent);
    assert!(!all_due(&mut table, now + secs(601)).is_empty());
}

/// Asks whoever is due for as long as it takes; `dead` says who does not answer. Says when those had all left.
fn check_until_gone(table: &mut Table<Node>, began: Instant, dead: &dyn Fn(&Node) -> bool) -> Instant {
    let mut now = began;
    while table.iter().any(dead) {
        now = now.max(table.next_due(now).expect("somebody is there"));
        while let Some(node) = table.due_check(now) {
            if dead(&node) {
                table.on_failed(now, &node.key);
            } else {
                alive(table, now, node);
            }
        }
        while table.due_refresh(now, &mut || 1).is_some() {}
        assert!(now < began + secs(DAY), "{} dead contacts stay for a day", table.iter().filter(|it| dead(it)).count());
    }
    now
}

#[test]
fn the_dead_leave_after_three_checks_however_quiet_it_is() {
    // Everybody answered at the same moment, so nobody is due while the retries go on.
    let now = start();
    for seed in 0..200 {
        let mut random = Random(100 + seed);
        let mut table = network(&mut random, now, 8);
        let dead: Vec<Node> = table.iter().copied().filter(|_| random.below(3) == 0).collect();
        if dead.len() == table.len() {
            continue;
        }
        let gone = check_until_gone(&mut table, now, &|node| dead.contains(node));
        let (check, retry) = (table.config().check_interval, table.config().retry_interval);
        assert!(dead.is_empty() || gone == now + check + 2 * retry, "{seed}: {:?}", gone - now);
    }
}

#[test]
fn a_failure_is_held_against_a_quiet_contact_once_another_answers() {
    let now = start();
    let mut table = network(&mut Random(7), now, 4);
    let [dead, silent, witness, other] = table.iter().copied().collect::<Vec<_>>()[..] else { panic!("four contacts") };
    alive(&mut table, now + secs(1), witness);
    alive(&mut table, now + secs(2), other);
    // A failure in between asks another, whose failure asks the next, until one answers.
    assert_eq!((table.on_failed(now + secs(10), &dead.key), table.next_due(now)), (None, Some(now)));
    while table.due_refresh(now, &mut || 1).is_some() {}
    assert_eq!(table.due_check(now + secs(10)), Some(silent));
    assert_eq!(table.due_check(now + secs(10)), None);
    assert_eq!(table.on_failed(now + secs(11), &silent.key), None);
    assert_eq!(table.due_check(now + secs(11)), Some(witness));
    alive(&mut table, now + secs(12), witness);
    assert_eq!(table.due_check(now + secs(12)), None);
    // Cut off, with none left to ask, the retries go on and nobody leaves.
    for node in [witness, other, dead, silent].repeat(4) {
        assert_eq!(table.on_failed(now + secs(12), &node.key), None);
    }
    for round in 1..20 {
        for node in [dead, silent, witness, other] {
            let left = table.on_failed(now + secs(12 + 30 * round), &node.key);
            // Of the answer of the witness they knew nothing until then.
            assert_eq!(left, None, "{round}");
        }
    }
}

#[test]
fn idle_buckets_are_refreshed_hourly() {
    let now = start();
    let mut random = Random(2);
    let mut table = network(&mut random, now, 10_000);
    let local = table.local();
    let deepest = table.buckets().filter(|info| info.len > 0).last().unwrap().index;
    let mut refresh = |table: &mut Table<Node>, now| -> Vec<usize> {
        let due = std::iter::from_fn(|| table.due_refresh(now, &mut || random.next()));
        due.map(|target| local.common_prefix_len(&target)).collect()
    };
    // A new table is filled, each bucket by a lookup of its own.
    assert_eq!(refresh(&mut table, now), (0..=deepest).collect::<Vec<_>>());
    assert!(refresh(&mut table, now + secs(3599)).is_empty());
    // A lookup in its range spares a bucket the refresh.
    let mut looked_up = Random(3).key_near(&local, 3);
    while local.common_prefix_len(&looked_up) != 3 {
        looked_up = Random(looked_up.as_bytes()[0].into()).key_near(&local, 3);
    }
    table.on_lookup(now + secs(3600), &looked_up);
    let expected: Vec<usize> = (0..=deepest).filter(|index| *index != 3).collect();
    assert_eq!(refresh(&mut table, now + secs(3600)), expected);
    assert_eq!(refresh(&mut table, now + secs(7199)), []);
    // One that is deeper than anybody we know is no bucket.
    table.on_lookup(now, &local);
    assert_eq!(refresh(&mut Table::new(local, TableConfig::default()), now), []);
}

#[test]
fn targets_of_a_refresh_are_spread_over_the_bucket() {
    let now = start();
    let mut random = Random(4);
    let local = random.key();
    for index in [0, 1, 62, 63, 64, 100, 254, 255] {
        let mut table: Table<Node> = Table::new(local, TableConfig::default());
        let mut bytes = *local.as_bytes();
        bytes[index / 8] ^= 0x80 >> (index % 8);
        alive(&mut table, now, Node::new(Key::from_bytes(bytes), None));
        let mut seen = [0u32; 256];
        for round in 0..64 {
            let due = std::iter::from_fn(|| table.due_refresh(now + secs(round * 3600), &mut || random.next()));
            let target = due.last().expect("the deepest comes last");
            assert_eq!(local.common_prefix_len(&target), index);
            let set = |bit: &usize| target.as_bytes()[bit / 8] & (0x80 >> (bit % 8)) != 0;
            (0..256).filter(set).for_each(|bit| seen[bit] += 1);
        }
        assert!(seen[index + 1..].iter().all(|count| (8..56).contains(count)), "{index}: {seen:?}");
    }
}

#[test]
fn next_due_is_when_something_is_due() {
    let mut now = start();
    let mut random = Random(5);
    let mut table = network(&mut random, now, 2000);
    assert_eq!(Table::<Node>::new(random.key(), TableConfig::default()).next_due(now), None);
    for _ in 0..300 {
        let due = table.next_due(now).unwrap();
        if due > now {
            assert_eq!((table.due_check(now), table.due_refresh(now, &mut || 0)), (None, None));
            now = due;
        }
        let before = table.len() + table.replacements().count();
        match table.due_check(now) {
            Some(node) if random.below(3) > 0 => _ = alive(&mut table, now, node),
            Some(node) => _ = table.on_failed(now, &node.key),
            None => assert!(table.due_refresh(now, &mut || random.next()).is_some()),
        }
        assert!(table.len() + table.replacements().count() <= before);
    }
}

#[test]
fn jumps_of_the_clock_make_things_due_and_nothing_worse() {
    let now = start();
    let mut table = network(&mut Random(6), now, 2000);
    let before: Vec<Node> = table.iter().copied().collect();
    let forth = now + secs(3650 * DAY);
    let back = now - secs(3650 * DAY);
    for at in [forth, back, now, back, forth] {
        let due = all_due(&mut table, at);
        assert!(due.len() >= table.len(), "at most {} of {}", due.len(), table.len());
        due.iter().for_each(|node| _ = alive(&mut table, at, *node));
        let refresh = std::iter::from_fn(|| table.due_refresh(at, &mut || 7)).count();
        assert!(refresh > 0);
        let next = table.next_due(at).unwrap();
        assert!(at < next && next <= at + secs(3600));
    }
    assert!(table.iter().copied().eq(before), "nobody lost a place");
    // Failures are told apart by time, so one from the future must not hide those of now.
    let victim = *table.iter().next().unwrap();
    let other = *table.iter().nth(1).unwrap();
    let mut left = None;
    for at in [forth, back, forth] {
        alive(&mut table, at, other);
        left = table.on_failed(at, &victim.key);
    }
    assert_eq!(left, Some(victim));
}
