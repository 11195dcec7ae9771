//! Who gets a place, who keeps it, who loses it.

use std::net::IpAddr;

use p2p_kademlia::{Insert, Key, Table, TableConfig};

use crate::support::{Node, Random, alive, elsewhere, key_with, secs, start};

const LOCAL: Key = Key::from_bytes([0; 32]);

/// Settings under which only what a test is about matters.
fn plain() -> TableConfig {
    TableConfig { caps: false, balance: false, ..TableConfig::default() }
}

fn table(config: TableConfig) -> Table<Node> {
    Table::new(LOCAL, config)
}

/// The nth contact of the farthest bucket.
fn far(n: usize) -> Node {
    Node::new(key_with(&[0x80 | n as u8], 0), elsewhere(n))
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

#[test]
fn we_are_not_in_our_own_table() {
    let mut table = table(TableConfig::default());
    assert_eq!(alive(&mut table, start(), Node::new(LOCAL, None)), Insert::Own);
    assert!(table.is_empty() && !table.update(Node::new(LOCAL, None)) && table.remove(&LOCAL).is_none());
    assert_eq!(table.closest(&LOCAL, 20).count(), 0);
}

#[test]
fn a_full_bucket_keeps_whom_it_has() {
    let now = start();
    let mut table = table(plain());
    assert!((0..20).all(|n| alive(&mut table, now, far(n)) == Insert::Added));
    for n in 20..100 {
        assert_eq!(alive(&mut table, now + secs(n as u64 * 3600), far(n)), Insert::Waiting);
    }
    assert!(table.iter().copied().eq((0..20).map(far)));
    assert!(table.replacements().copied().eq((92..100).map(far)), "the last that answered wait");
    let info = table.buckets().next().unwrap();
    assert_eq!((info.index, info.len, info.replacements), (0, 20, 8));
}

#[test]
fn those_who_wait_are_not_flushed_out() {
    let now = start();
    let mut table = table(plain());
    (0..28).for_each(|n| _ = alive(&mut table, now, far(n)));
    let flood = |table: &mut Table<Node>, after| {
        let at = now + secs(after);
        (28..100).filter(|n| alive(table, at, far(*n)) == Insert::Waiting).count()
    };
    assert_eq!(flood(&mut table, 599), 0);
    assert!(table.replacements().copied().eq((20..28).map(far)));
    assert_eq!(flood(&mut table, 600), 8, "who was not heard for long makes room");
}

#[test]
fn without_replacements_a_full_bucket_refuses() {
    let mut table = table(TableConfig { replacements: 0, ..plain() });
    assert!((0..20).all(|n| alive(&mut table, start(), far(n)) == Insert::Added));
    assert_eq!(alive(&mut table, start(), far(20)), Insert::Full);
}

#[test]
fn the_dead_leave_after_three_failures_and_a_replacement_comes_in_once_it_answers() {
    let now = start();
    let mut table = table(plain());
    (0..22).for_each(|n| _ = alive(&mut table, now, far(n)));
    for wait in [0, 30] {
        assert_eq!(table.on_failed(now + secs(wait), &far(7).key), None);
        alive(&mut table, now + secs(wait), far(0));
    }
    assert_eq!(table.standing(&far(7).key).unwrap().failures, 2);
    let gone = now + secs(60);
    assert_eq!(table.on_failed(gone, &far(7).key), Some(far(7)));
    assert_eq!((table.len(), table.get(&far(7).key)), (19, None));
    // The one heard last is asked first, and is not in the table before it answered.
    assert_eq!(table.due_check(gone), Some(far(21)));
    assert_eq!((table.len(), table.due_check(gone)), (19, None));
    assert_eq!(table.on_failed(gone + secs(1), &far(21).key), None);
    assert_eq!(table.due_check(gone + secs(1)), Some(far(20)));
    assert_eq!(alive(&mut table, gone + secs(2), far(20)), Insert::Added);
    assert_eq!((table.len(), table.replacements().count()), (20, 0));
}

#[test]
fn failures_side_by_side_are_one() {
    let now = start();
    let mut table = table(plain());
    (0..2).for_each(|n| _ = alive(&mut table, now, far(n)));
    for n in 0..100 {
        assert_eq!(table.on_failed(now + secs(n) / 10, &far(0).key), None);
    }
    assert_eq!(table.standing(&far(0).key).unwrap().failures, 1);
}

#[test]
fn an_answer_makes_up_for_failures() {
    let now = start();
    let mut table = table(plain());
    alive(&mut table, now, far(0));
    for n in 0..20 {
        assert_eq!(table.on_failed(now + secs(n * 60), &far(0).key), None);
        alive(&mut table, now + secs(n * 60), far(1));
        if n % 2 == 1 {
            assert_eq!(alive(&mut table, now + secs(n * 60), far(0)), Insert::Known);
        }
    }
}

#[test]
fn who_is_cut_off_keeps_its_table() {
    let now = start();
    let mut table = table(plain());
    (0..20).for_each(|n| _ = alive(&mut table, now, far(n)));
    for minute in 0..600 {
        (0..20).for_each(|n| assert_eq!(table.on_failed(now + secs(minute * 60), &far(n).key), None));
    }
    assert_eq!(table.len(), 20);
    // Back again: those who answer stay, the others leave with their next failure.
    let back = now + secs(600 * 60);
    (0..10).for_each(|n| assert_eq!(alive(&mut table, back, far(n)), Insert::Known));
    (10..20).for_each(|n| assert_eq!(table.on_failed(back + secs(60), &far(n).key), Some(far(n))));
    assert_eq!(table.len(), 10);
}

#[test]
fn replacements_get_in_even_if_all_contacts_died_together() {
    let now = start();
    let mut table = table(plain());
    (0..21).for_each(|n| _ = alive(&mut table, now, far(n)));
    for minute in 0..3 {
        (0..20).for_each(|n| assert_eq!(table.on_failed(now + secs(minute * 60), &far(n).key), None));
    }
    let later = now + secs(180);
    let asked: Vec<Node> = std::iter::from_fn(|| table.due_check(later)).collect();
    assert!(asked.contains(&far(20)));
    assert_eq!(alive(&mut table, later, far(20)), Insert::Replaced(far(0).key));
    assert_eq!(table.on_failed(later + secs(60), &far(1).key), Some(far(1)));
}

#[test]
fn only_newer_records_are_taken() {
    let now = start();
    let mut table = table(plain());
    alive(&mut table, now, Node { seq: 5, ..far(0) });
    for (seq, taken) in [(4, false), (5, false), (6, true), (6, false)] {
        assert_eq!(table.update(Node { seq, ip: ip("198.51.100.1"), ..far(0) }), taken, "{seq}");
    }
    let newest = Node { seq: 6, ip: ip("198.51.100.1"), ..far(0) };
    alive(&mut table, now, far(0));
    assert_eq!(table.get(&far(0).key), Some(&newest), "an old record that answers is no newer");
    alive(&mut table, now, Node { seq: 7, ..far(0) });
    assert_eq!(table.get(&far(0).key).unwrap().seq, 7);
    // Those who wait are kept up to date too.
    (1..21).for_each(|n| _ = alive(&mut table, now, far(n)));
    assert!(table.update(Node { seq: 2, ..far(20) }));
    assert_eq!(table.replacements().next().unwrap().seq, 2);
}

#[test]
fn prefixes_have_their_limits() {
    let mut table = table(TableConfig { balance: false, ..TableConfig::default() });
    let of_prefix = |bucket: usize, n: u8| {
        let mut first = [0; 4];
        first[bucket / 8] = 0x80 >> (bucket % 8);
        Node::new(key_with(&first, n), Some([192, 0, 2, n].into()))
    };
    let insert: Vec<_> = (0..18).map(|n| alive(&mut table, start(), of_prefix(usize::from(n / 3), n))).collect();
    let added = insert.iter().filter(|insert| **insert == Insert::Added).count();
    assert_eq!((added, table.len(), table.replacements().count()), (10, 10, 0));
    assert!(insert.iter().enumerate().all(|(n, insert)| (*insert == Insert::Added) == (n % 3 < 2 && n < 15)));
    // One leaves, one comes.
    table.remove(&of_prefix(0, 0).key);
    assert_eq!(alive(&mut table, start(), of_prefix(5, 99)), Insert::Added);
}

#[test]
fn whoever_waits_counts_for_the_limit_of_the_bucket() {
    let mut table = table(TableConfig { balance: false, ..TableConfig::default() });
    (0..20).for_each(|n| assert_eq!(alive(&mut table, start(), far(n)), Insert::Added));
    let crowd = |n: usize| Node { ip: Some([192, 0, 2, n as u8].into()), ..far(n) };
    assert!((20..22).all(|n| alive(&mut table, start(), crowd(n)) == Insert::Waiting));
    assert!((22..50).all(|n| alive(&mut table, start(), crowd(n)) == Insert::PrefixFull));
    assert_eq!(table.replacements().count(), 2);
}

#[test]
fn one_address_has_one_form() {
    let mut table = table(TableConfig::default());
    let forms = ["192.0.2.1", "::ffff:192.0.2.2", "192.0.2.3", "::ffff:192.0.2.4"];
    let inserts: Vec<_> =
        (0..4).map(|n| alive(&mut table, start(), Node { ip: ip(forms[n]), ..far(n * 16) })).collect();
    assert_eq!(inserts, [Insert::Added, Insert::Added, Insert::PrefixFull, Insert::PrefixFull]);
    // The same address in another form is no move, so it need not fit again.
    let mapped = Node { ip: ip("::ffff:192.0.2.1"), seq: 2, ..far(0) };
    assert!(table.update(mapped));
    assert_eq!(alive(&mut table, start(), mapped), Insert::Known);
}

#[test]
fn local_addresses_are_exempt_unless_told_otherwise() {
    for address in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1", "::ffff:127.0.0.1"] {
        let all = |config| {
            let mut table = table(config);
            (0..10)
                .filter(|n| alive(&mut table, start(), Node { ip: ip(address), ..far(*n * 8) }) == Insert::Added)
                .count()
        };
        assert_eq!(all(TableConfig::default()), 10, "{address}");
        assert_eq!(all(TableConfig { limit_local: true, ..TableConfig::default() }), 2, "{address}");
    }
    let mut table = table(TableConfig::default());
    let v6 = |n: usize| Node { ip: ip(&format!("2001:db8:1:{n}::1")), ..far(n * 8) };
    assert_eq!((0..10).filter(|n| alive(&mut table, start(), v6(*n)) == Insert::Added).count(), 2);
}

#[test]
fn what_counts_is_where_it_answered() {
    let now = start();
    let mut table = table(TableConfig::default());
    let farm = |n: u8| ip(&format!("192.0.2.{n}"));
    // Records that name a prefix of their own each do not help.
    let inserts: Vec<_> = (0..4).map(|n| table.on_alive(now, far(n), farm(n as u8))).collect();
    assert_eq!(inserts[1..], [Insert::Added, Insert::PrefixFull, Insert::PrefixFull]);
    // Nor does having answered elsewhere before, or a new record.
    let mover = far(5);
    assert_eq!(alive(&mut table, now, mover), Insert::Added);
    let moved = Node { ip: farm(9), seq: 2, ..mover };
    assert!(!table.update(moved), "no room there");
    assert_eq!(table.get(&mover.key), Some(&mover));
    assert!(table.update(Node { ip: elsewhere(1000), seq: 2, ..far(0) }));
    assert_eq!(table.on_alive(now, far(6), farm(6)), Insert::PrefixFull, "a record alone makes no room where it left");
    assert_eq!(table.on_alive(now, mover, farm(5)), Insert::PrefixFull);
    assert_eq!(table.get(&mover.key), None);
    // It does once it answers there.
    assert_eq!(table.on_alive(now, far(0), elsewhere(1000)), Insert::Known);
    assert_eq!(table.on_alive(now, far(6), farm(6)), Insert::Added);
}

#[test]
fn a_contact_that_moved_is_checked_soon() {
    let now = start();
    let mut table = table(TableConfig::default());
    alive(&mut table, now, far(0));
    table.on_lookup(now, &far(0).key);
    assert_eq!(table.next_due(now), Some(now + secs(300)));
    assert!(table.update(Node { seq: 2, ..far(0) }));
    assert_eq!(table.next_due(now), Some(now + secs(300)));
    assert!(table.update(Node { seq: 3, ip: elsewhere(9), ..far(0) }));
    assert_eq!(table.next_due(now), Some(now + secs(30)));
}

#[test]
fn a_crowd_makes_room_for_those_in_empty_sub_prefixes() {
    let now = start();
    let mut table = table(TableConfig { caps: false, ..TableConfig::default() });
    // Twenty in one sixteenth of the bucket...
    let crowd = |n: u8| Node::new(key_with(&[0x80, n], 0), None);
    (0..20).for_each(|n| assert_eq!(alive(&mut table, now, crowd(n)), Insert::Added));
    // ...and forty spread over all of it.
    (0..40).for_each(|n| _ = alive(&mut table, now, Node::new(key_with(&[0x80 | n << 4, 200 + n], 0), None)));
    let left: Vec<Node> = table.iter().filter(|node| (0..20).any(|n| **node == crowd(n))).copied().collect();
    assert_eq!(left, [crowd(0), crowd(1), crowd(2)], "the first to come stay");
    assert_eq!(table.len(), 20);
}

#[test]
fn whoever_has_been_there_for_long_makes_room_only_for_who_stays() {
    let now = start();
    let mut table = table(TableConfig { caps: false, ..TableConfig::default() });
    let crowd = |n: u8| Node::new(key_with(&[0x80, n], 0), None);
    (0..20).for_each(|n| assert_eq!(alive(&mut table, now, crowd(n)), Insert::Added));
    let settled = now + secs(300);
    (0..20).for_each(|n| assert_eq!(alive(&mut table, settled, crowd(n)), Insert::Known));
    let newcomer = Node::new(key_with(&[0xf0], 0), None);
    assert_eq!(alive(&mut table, settled, newcomer), Insert::Waiting);
    assert_eq!(alive(&mut table, settled + secs(299), newcomer), Insert::Waiting);
    let proven = settled + secs(300);
    assert_eq!(alive(&mut table, proven, newcomer), Insert::Replaced(crowd(19).key));
    assert!(table.replacements().any(|node| *node == crowd(19)), "it waits");
    // Upkeep asks the newcomer by itself when the time has come.
    let second = Node::new(key_with(&[0xc0], 0), None);
    assert_eq!(alive(&mut table, proven, second), Insert::Waiting);
    (0..19).for_each(|n| assert_eq!(alive(&mut table, proven + secs(10), crowd(n)), Insert::Known));
    assert_eq!(alive(&mut table, proven + secs(10), newcomer), Insert::Known);
    assert_eq!(table.due_check(proven + secs(299)), None);
    assert_eq!(table.due_check(proven + secs(300)), Some(second));
    assert_eq!(alive(&mut table, proven + secs(300), second), Insert::Replaced(crowd(18).key));
}

#[test]
fn settings_out_of_range_are_put_right() {
    let zero = secs(0);
    let config = TableConfig {
        k: 1000,
        replacements: usize::MAX,
        max_failures: 0,
        check_interval: zero,
        retry_interval: std::time::Duration::MAX,
        bucket_refresh: std::time::Duration::MAX,
        ..plain()
    };
    let mut table = table(config);
    assert_eq!(table.config().k, p2p_kademlia::table::MAX_K);
    assert_eq!((table.config().max_failures, table.config().check_interval), (1, secs(1)));
    let mut random = Random(3);
    (0..1000).for_each(|_| _ = alive(&mut table, start(), Node::new(random.key(), None)));
    let info = table.buckets().next().unwrap();
    assert_eq!((info.len, info.replacements), (p2p_kademlia::table::MAX_K, p2p_kademlia::table::MAX_K));
    assert!(table.next_due(start()).is_some());
}
