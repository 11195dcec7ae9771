//! What an attacker gets, with the defence and without.

use std::net::IpAddr;
use std::time::Instant;

use p2p_identity::Prefix;
use p2p_kademlia::{Insert, Key, Table, TableConfig};

use crate::support::{Node, Random, alive, elsewhere, key_with, secs, shuffle, start};

const HONEST: usize = 100_000;
const IDS: usize = 10_000;

/// When the attacker's ids come, compared with the honest nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    First,
    Mixed,
    Last,
}

/// What the attacker has in the end.
#[derive(Debug)]
struct Share {
    of_table: f64,
    /// The most it has of the k places of a bucket.
    of_bucket: f64,
    /// The most it has of the contacts of a bucket that is full.
    of_full_bucket: f64,
}

fn share(table: &Table<Node>, hostile: impl Fn(&Node) -> bool) -> Share {
    let k = table.config().k;
    let mut all = [0; 256];
    let mut theirs = [0; 256];
    for node in table.iter() {
        let bucket = table.local().common_prefix_len(&node.key);
        all[bucket] += 1;
        theirs[bucket] += usize::from(hostile(node));
    }
    let most = |buckets: &mut dyn Iterator<Item = usize>| buckets.max().unwrap_or(0) as f64 / k as f64;
    Share {
        of_table: theirs.iter().sum::<usize>() as f64 / table.len() as f64,
        of_bucket: most(&mut theirs.into_iter()),
        of_full_bucket: most(&mut (0..256).filter(|n| all[*n] == k).map(|n| theirs[n])),
    }
}

fn is_of_the_two_hosts(ip: Option<IpAddr>) -> bool {
    matches!(ip.map(Prefix::of), Some(Prefix::V4([198, 51, 100] | [203, 0, 113])))
}

/// 10,000 ids of two hosts in two /24s, in a network of 100,000 that all meet one node.
fn two_hosts(seed: u64, order: Order, config: TableConfig) -> Share {
    let now = start();
    let mut random = Random(seed);
    let mut nodes: Vec<Node> = (0..HONEST).map(|n| Node::new(random.key(), elsewhere(n))).collect();
    let ids = (0..IDS).map(|n| {
        let ip: IpAddr = if n % 2 == 0 { [198, 51, 100, 7].into() } else { [203, 0, 113, 9].into() };
        Node::new(random.key(), Some(ip))
    });
    let ids: Vec<Node> = ids.collect();
    match order {
        Order::First => nodes.splice(..0, ids).for_each(drop),
        Order::Last => nodes.extend(ids),
        Order::Mixed => {
            nodes.extend(ids);
            shuffle(&mut random, &mut nodes);
        }
    }
    let mut table = Table::new(random.key(), config);
    nodes.into_iter().for_each(|node| _ = alive(&mut table, now, node));
    share(&table, |node| is_of_the_two_hosts(node.ip))
}

#[test]
fn ids_of_two_hosts_get_few_places() {
    for order in [Order::First, Order::Mixed, Order::Last] {
        for seed in 0..1 {
            let share = two_hosts(seed, order, TableConfig::default());
            assert!(share.of_table <= 0.08, "{order:?} {share:?}");
            assert!(share.of_bucket <= 0.20 && share.of_full_bucket <= 0.20, "{order:?} {share:?}");
        }
    }
}

#[test]
fn without_limits_they_get_what_comes_first() {
    let off = || TableConfig { caps: false, ..TableConfig::default() };
    let first = two_hosts(0, Order::First, TableConfig { balance: false, ..off() });
    assert!(first.of_table > 0.5 && first.of_full_bucket == 1.0, "{first:?}");
    // Balance alone does not replace the limits: their ids are spread evenly.
    let balanced = two_hosts(0, Order::First, off());
    assert!(balanced.of_table > 0.5 && balanced.of_full_bucket > 0.5, "{balanced:?}");
    let mixed = two_hosts(0, Order::Mixed, off());
    assert!(mixed.of_table > 0.08, "{mixed:?}");
}

/// Contacts that others name, that speak first, or whose records arrive: everything but an answer to a question of ours.
#[test]
fn unsolicited_contacts_do_not_get_in() {
    let now = start();
    let mut random = Random(1);
    let mut table: Table<Node> = Table::new(random.key(), TableConfig::default());
    (0..50).for_each(|n| _ = alive(&mut table, now, Node::new(random.key(), elsewhere(n))));
    let before: Vec<Node> = table.iter().chain(table.replacements()).copied().collect();
    let info = allocation_counter::measure(|| {
        for n in 0..100_000 {
            let node = Node { seq: u64::MAX, ..Node::new(random.key(), elsewhere(n)) };
            assert!(!table.update(node));
            assert_eq!(table.on_failed(now, &node.key), None);
            table.on_lookup(now, &node.key);
            assert!(table.remove(&node.key).is_none() && table.get(&node.key).is_none());
            assert!(table.closest(&node.key, 20).all(|known| known.key != node.key));
        }
    });
    assert!(table.iter().chain(table.replacements()).copied().eq(before), "0 inserted");
    assert_eq!(info.bytes_current, 0);
}

/// Answers as one who got in by being asked: `on_alive` is the way, so it must be the only one that this test leaves out.
#[test]
fn the_same_contacts_get_in_once_they_answer() {
    let mut table = Table::new(Random(2).key(), TableConfig::default());
    let mut random = Random(3);
    let added =
        (0..1000).filter(|n| alive(&mut table, start(), Node::new(random.key(), elsewhere(*n))) == Insert::Added);
    assert!(added.count() > 100);
}

/// The attacker ground ids that share 12 bits with a target, each at a host of its own, and was there first.
fn cluster(seed: u64, config: TableConfig, honest_at: impl Fn(Instant) -> Instant) -> (usize, usize) {
    let now = start();
    let mut random = Random(seed);
    let local = key_with(&[0], 0);
    let target = random.key_near(&key_with(&[0x80], 0), 1);
    let mut table = Table::new(local, config);
    for n in 0..200 {
        alive(&mut table, now, Node::new(random.key_near(&target, 12), elsewhere(n)));
    }
    let crowd: Vec<Key> = table.iter().map(|node| node.key).collect();
    assert_eq!(crowd.len(), 20);
    // Of the honest nodes, those who differ from us in the first bit. They meet us, and meet us again.
    let honest: Vec<Node> =
        (0..200).map(|n| Node::new(random.key_near(&key_with(&[0x80], 0), 1), elsewhere(1000 + n))).collect();
    let mut at = honest_at(now);
    for _ in 0..30 {
        honest.iter().for_each(|node| _ = alive(&mut table, at, *node));
        crowd.iter().for_each(|key| {
            // All of the crowd stays alive; some wait by now.
            if let Some(node) = table.get(key).copied() {
                alive(&mut table, at, node);
            }
        });
        while let Some(node) = table.due_check(at) {
            alive(&mut table, at, node);
        }
        at += secs(60);
    }
    let theirs = table.iter().filter(|node| crowd.contains(&node.key)).count();
    (theirs, table.len())
}

#[test]
fn a_cluster_of_ground_ids_gets_few_places() {
    for seed in 0..6 {
        // Whether it has been there for a moment or for a year.
        for age in [0, 365 * 24 * 3600] {
            let (theirs, all) = cluster(seed, TableConfig::default(), |now| now + secs(age));
            assert!(theirs <= 3 && all == 20, "{theirs} of {all} after {age} s");
        }
        let off = TableConfig { balance: false, ..TableConfig::default() };
        assert_eq!(cluster(seed, off, |now| now), (20, 20));
    }
}

/// The other way round: balance is no tool for pushing out those who have been there for long.
#[test]
fn balance_pushes_out_few_whatever_the_attacker_has() {
    const SEEDS: u64 = 40;
    let (mut lost, mut worst) = (0, 0);
    for seed in 0..SEEDS {
        let now = start();
        let mut random = Random(seed);
        let mut table = Table::new(key_with(&[0], 0), TableConfig { caps: false, ..TableConfig::default() });
        let mut honest = Vec::new();
        for n in 0..20 {
            let node = Node::new(random.key_near(&key_with(&[0x80], 0), 1), elsewhere(n));
            assert_eq!(alive(&mut table, now, node), Insert::Added);
            honest.push(node);
        }
        // Ids everywhere in the bucket, from wherever it likes, that all stay for an hour and answer again and again.
        let ids: Vec<Node> =
            (0..200).map(|n| Node::new(random.key_near(&key_with(&[0x80], 0), 1), elsewhere(1000 + n))).collect();
        for minute in 10..70 {
            let at = now + secs(minute * 60);
            ids.iter().for_each(|node| _ = alive(&mut table, at, *node));
            while let Some(node) = table.due_check(at) {
                alive(&mut table, at, node);
            }
        }
        let left = honest.iter().filter(|node| table.get(&node.key).is_none()).count();
        lost += left;
        worst = worst.max(left);
    }
    let mean = lost as f64 / SEEDS as f64;
    assert!(mean > 0.5, "the attack does something: {mean}");
    assert!(mean <= 4.0 && worst <= 8, "mean {mean}, worst {worst}");
    println!("of 20 honest contacts, balance cost {mean:.1} on average and {worst} at worst");
}

/// As many as it likes, who are not alive for long: nothing at all.
#[test]
fn newcomers_who_do_not_stay_push_out_nobody() {
    let now = start();
    let mut random = Random(9);
    let mut table = Table::new(key_with(&[0], 0), TableConfig { caps: false, ..TableConfig::default() });
    let honest: Vec<Node> =
        (0..20).map(|n| Node::new(random.key_near(&key_with(&[0x80], 0), 1), elsewhere(n))).collect();
    honest.iter().for_each(|node| assert_eq!(alive(&mut table, now, *node), Insert::Added));
    for n in 0..5_000 {
        let at = now + secs(300 + n / 3);
        let insert =
            alive(&mut table, at, Node::new(random.key_near(&key_with(&[0x80], 0), 1), elsewhere(100 + n as usize)));
        assert!(matches!(insert, Insert::Waiting | Insert::Full));
    }
    assert!(table.iter().copied().eq(honest));
}
