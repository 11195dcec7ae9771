//! The routing table against plain lists, in any order of calls: who gets in, who waits, who leaves, and who is closest.

mod model;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_kademlia::{Key, Table, TableConfig};

use self::model::{LOCAL, Model, Node, bucket_of};
use crate::input::{Input, ip, start};

/// Times are this far behind the start at least, so that the clock can go back.
const HEAD_START: Duration = Duration::from_secs(100_000);

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let [k, caps, flags] = input.any::<[u8; 3]>();
    let config = TableConfig {
        k: [20, 1, 2, 4, 5, 8, 16, 32][usize::from(k & 7)],
        replacements: usize::from(k >> 3 & 7),
        per_bucket_prefix: usize::from(caps & 7),
        per_table_prefix: usize::from(caps >> 3 & 15),
        caps: flags & 1 == 0,
        limit_local: flags & 2 != 0,
        balance: flags & 4 == 0,
        max_failures: 1 + u32::from(flags >> 3 & 3),
        ..TableConfig::default()
    };
    let mut table = Table::new(LOCAL, config.clone());
    let mut model = Model::new(config.clone());
    let mut now = start() + HEAD_START;
    while !input.is_empty() {
        let what = input.byte();
        match what & 15 {
            0..=6 => {
                let node = node(&mut input);
                // Most answer where their record says that they are.
                let at = if what & 0xc0 == 0 { address(&mut input) } else { node.ip };
                assert_eq!(table.on_alive(now, node, at), model.alive(now, node, at));
            }
            7 | 8 => {
                let key = key(&mut input);
                assert_eq!(table.on_failed(now, &key), model.failed(now, &key));
            }
            9 => {
                let node = node(&mut input);
                assert_eq!(table.update(node), model.update(node));
            }
            10 => {
                let key = key(&mut input);
                assert_eq!(table.remove(&key), model.remove(&key));
            }
            11 => {
                let key = key(&mut input);
                table.on_lookup(now, &key);
                if let Some(refreshed) = model.refreshed.get_mut(bucket_of(&key)) {
                    *refreshed = Some(now);
                }
            }
            12 => check_due(&mut table, &mut model, now, what & 16 != 0, &config),
            13 => refresh(&mut table, &mut model, now, what, &config),
            14 if what & 0xf0 == 0 => now -= Duration::from_secs(u64::from(input.byte()) * 3),
            _ => now += Duration::from_secs(u64::from(input.byte()) * 3),
        }
        now = now.max(start());
        assert_eq!((table.len(), table.is_empty()), (model.members.len(), model.members.is_empty()));
        if what >= 0xe0 {
            let target = Key::from_bytes([what.wrapping_mul(37); 32]);
            check_closest(&table, &model, &target, usize::from(what & 15));
        }
    }
    check(&table, &model);
    check_closest(&table, &model, &LOCAL, 40);
    model.members.iter().take(3).for_each(|known| check_closest(&table, &model, &known.node.key, 40));
}

/// Takes the contact that is to be checked, and lets it answer or not.
fn check_due(table: &mut Table<Node>, model: &mut Model, now: Instant, answers: bool, config: &TableConfig) {
    let next = table.next_due(now);
    let earliest = model.members.iter().map(|known| model.due(known.check_at, now)).min();
    assert!(earliest.is_none() || next.is_some_and(|next| next <= earliest.unwrap_or(next)));
    let Some(node) = table.due_check(now) else {
        assert!(earliest.is_none_or(|at| at > now), "who is due is named");
        return;
    };
    assert!(next.is_some_and(|next| next <= now));
    let is_it = |known: &&model::Known| known.node == node;
    let due = match model.members.iter().find(is_it) {
        Some(known) => model.due(known.check_at, now),
        None => {
            let known = model.waiting.iter().find(is_it).expect("somebody that answered once");
            assert!(model.is_wanted(now, known), "there is no place for {known:?}");
            model.due(known.check_at, now)
        }
    };
    assert!(due <= now);
    let again = now + config.retry_interval;
    let known = model.members.iter_mut().chain(&mut model.waiting).filter(|known| known.node == node);
    known.for_each(|known| known.check_at = again);
    if answers {
        assert_eq!(table.on_alive(now, node, node.ip), model.alive(now, node, node.ip));
    } else {
        assert_eq!(table.on_failed(now, &node.key), model.failed(now, &node.key));
    }
}

/// Takes the position that is to be looked up.
fn refresh(table: &mut Table<Node>, model: &mut Model, now: Instant, random: u8, config: &TableConfig) {
    let farthest = model.members.iter().map(|known| known.bucket).max();
    let used = farthest.map_or(0, |farthest| farthest + 1);
    let every = config.bucket_refresh;
    // A lookup that is in the future was before the clock went back.
    let is_due = |at: &Option<Instant>| at.is_none_or(|at| at + every <= now || at > now);
    let due: Vec<usize> = (0..used).filter(|bucket| is_due(&model.refreshed[*bucket])).collect();
    let next = table.next_due(now);
    assert!(due.is_empty() || next.is_some_and(|next| next <= now));
    let mut random = u64::from(random).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = || {
        random = random.rotate_left(13) ^ 0x5555;
        random
    };
    match table.due_refresh(now, &mut random).map(|target| bucket_of(&target)) {
        Some(bucket) => {
            assert!(due.contains(&bucket), "{bucket} of {due:?}");
            model.refreshed[bucket] = Some(now);
        }
        None => assert_eq!(due, [] as [usize; 0]),
    }
}

/// Everything that the table says of itself. What went wrong on the way is seen at the end: each call depends on all of it.
fn check(table: &Table<Node>, model: &Model) {
    for known in &model.members {
        let standing = table.standing(&known.node.key).map(|it| (it.since, it.last, it.failures));
        assert_eq!(standing, Some((known.since, known.last, known.failures)));
        assert_eq!(table.get(&known.node.key), Some(&known.node));
    }
    let in_order = |list: &[model::Known]| {
        let mut list = list.to_vec();
        list.sort_by_key(|known| known.bucket);
        list.into_iter().map(|known| known.node).collect::<Vec<Node>>()
    };
    assert!(table.iter().eq(&in_order(&model.members)));
    assert!(table.replacements().eq(&in_order(&model.waiting)));
    let mut seen = 0;
    for info in table.buckets() {
        let waiting = model.waiting.iter().filter(|known| known.bucket == info.index).count();
        assert_eq!((info.len, info.replacements), (model.of_bucket(info.index).count(), waiting));
        assert_eq!(info.refreshed, model.refreshed[info.index]);
        assert!(info.len <= table.config().k && info.replacements <= table.config().replacements);
        seen += info.len + info.replacements;
    }
    assert_eq!(seen, model.members.len() + model.waiting.len());
    model.check_bounds();
}

fn check_closest(table: &Table<Node>, model: &Model, target: &Key, count: usize) {
    let mut all: Vec<Key> = model.members.iter().map(|known| known.node.key).collect();
    all.sort_by_cached_key(|key| key.distance(target));
    all.truncate(count);
    let closest = table.closest(target, count);
    assert_eq!(closest.len(), all.len());
    assert!(closest.map(|node| node.key).eq(all));
}

/// Few keys, so that calls meet: in all buckets from 0 to 7, some that differ in their last byte only, and our own.
fn key(input: &mut Input<'_>) -> Key {
    let [first, last] = input.any::<[u8; 2]>();
    let mut bytes = *LOCAL.as_bytes();
    (bytes[0], bytes[31]) = (first ^ bytes[0], bytes[31] ^ (last & 3));
    Key::from_bytes(bytes)
}

fn node(input: &mut Input<'_>) -> Node {
    let (key, seq) = (key(input), u64::from(input.byte() & 3));
    Node { key, ip: address(input), seq }
}

fn address(input: &mut Input<'_>) -> Option<IpAddr> {
    input.flag().then(|| ip(input))
}

pub fn seeds() -> Vec<Vec<u8>> {
    let alive = |first: u8, n: u8| vec![0xc0, first, n, 1, 1, n << 3, n];
    let crowd: Vec<u8> = (0..24).flat_map(|n| [0xc0, 0x80 | n, n & 3, 1, 0]).collect();
    let others: Vec<u8> = (0..6).flat_map(|n| [0xc0, 0x80 | n << 4, 0, 1, 0]).collect();
    let checks = [12, 28, 15, 120, 15, 120, 12, 12, 28, 13, 29, 15, 255].repeat(4);
    let failures = |first: u8| [7, first, 0, 15, 20].repeat(4);
    let apart: Vec<u8> = (0..4).flat_map(|n| [0xc0, 0, n, 2, 0, 11, 0, n]).collect();
    vec![
        (0..12).flat_map(|n| alive(n << 4, n)).collect(),
        [vec![3 | 8 << 1, 0, 0], crowd.clone(), others.clone(), checks.clone()].concat(),
        [vec![4 | 2 << 3, 0xff, 0], crowd.clone(), vec![15, 120, 15, 120], others, checks].concat(),
        [vec![2 | 2 << 3, 0xff, 2], alive(9, 1), alive(10, 2), alive(200, 3), failures(9), failures(10)].concat(),
        [vec![0, 0xff, 0], apart, vec![13, 13, 13, 14, 200, 13, 13]].concat(),
        [vec![1, 0xff, 4], crowd[..50].to_vec(), vec![9, 128, 0, 3, 1, 0, 1, 10, 128, 0, 10, 129, 1]].concat(),
    ]
}
