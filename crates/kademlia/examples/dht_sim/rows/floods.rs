//! Floods: of ids from two addresses, of contacts nobody asked for, of things to store.

use std::net::IpAddr;
use std::time::Duration;

use p2p_identity::KeyPair;
use p2p_kademlia::store::VALUE_TTL;
use p2p_kademlia::{Key, LookupConfig, Source, Store, StoreConfig, StoredValue, Table, TableConfig};

use super::Scale;
use crate::drive::{Links, Reply, drive, lookup};
use crate::random::Random;
use crate::report::{Section, count, percent};
use crate::world::{K, Peer, World, prefix, start};

pub(crate) fn run(scale: &Scale) -> Vec<Section> {
    vec![table(scale), unsolicited(scale), store(scale)]
}

/// In a test too: of a smaller table, two prefixes may have a larger share.
const NODES: usize = 100_000;
const IDS: usize = 10_000;
const HOSTS: usize = 2;

/// Of the fullest full bucket, of the table.
const MOST_OF_A_BUCKET: f64 = 0.2;
const MOST_OF_THE_TABLE: f64 = 0.08;

fn table(scale: &Scale) -> Section {
    let mut section = Section::new(
        "Two hosts with 10 000 ids",
        "One table in a network of 100 000 nodes, each at a prefix of its own, and two hosts in two /24s that answer for \
         10 000 ids, again and again, before, between and after the honest nodes. Off: without caps and balance.",
        &["order", "of the worst bucket", "of the table", "required", "worst bucket (off)", "table (off)"],
    );
    scale.progress("flood of ids");
    let orders = [("attackers first", true), ("honest nodes first", false)];
    for (name, attack_first) in scale.pick(&orders[..], &orders[..1]).iter().copied() {
        let on = shares(scale, attack_first, TableConfig::default());
        let off = shares(scale, attack_first, TableConfig { caps: false, balance: false, ..TableConfig::default() });
        section.line(
            on.0 <= MOST_OF_A_BUCKET && on.1 <= MOST_OF_THE_TABLE,
            [name.into(), percent(on.0), percent(on.1), "≤ 20 %, ≤ 8 %".into(), percent(off.0), percent(off.1)],
        );
        section.without(off.0 <= MOST_OF_A_BUCKET && off.1 <= MOST_OF_THE_TABLE);
    }
    section
}

/// The attackers' share of the bucket where it is largest, and of the whole table.
fn shares(scale: &Scale, attack_first: bool, config: TableConfig) -> (f64, f64) {
    let nodes = NODES;
    let mut random = scale.random(6);
    let world = World::new(nodes, &random);
    let local = world.key(0);
    let attacker = |ip: Option<std::net::Ipv4Addr>| ip.is_some_and(|ip| (0..HOSTS).any(|host| prefix(host) == ip));
    let ids: Vec<Peer> = (0..IDS).map(|n| Peer { key: random.key(), ip: Some(prefix(n % HOSTS)) }).collect();
    let honest: Vec<Peer> = (1..nodes).map(|n| Peer { key: world.key(n), ip: Some(prefix(HOSTS + n)) }).collect();
    let mut order: Vec<usize> = (0..honest.len()).collect();
    (1..order.len()).rev().for_each(|at| order.swap(at, random.below(at + 1)));
    let mut table = Table::new(local, config);
    let mut now = start();
    let mut answer = |table: &mut Table<Peer>, peer: Peer| {
        now += Duration::from_millis(10);
        table.on_alive(now, peer, peer.ip.map(IpAddr::V4));
    };
    if attack_first {
        ids.iter().for_each(|peer| answer(&mut table, *peer));
    }
    let mut again = ids.iter().cycle();
    for at in order {
        answer(&mut table, honest[at]);
        if let Some(peer) = again.next() {
            answer(&mut table, *peer);
        }
    }
    let share = |bucket: &mut dyn Iterator<Item = &Peer>| {
        let (mut all, mut theirs) = (0, 0);
        for peer in bucket {
            all += 1;
            theirs += usize::from(attacker(peer.ip));
        }
        (theirs as f64 / f64::from(all.max(1)), all)
    };
    let worst = (0..256).map(|index| {
        let (share, len) = share(&mut table.iter().filter(|peer| local.common_prefix_len(&peer.key) == index));
        // Nearer ranges have a handful of nodes at all, so one is a large share.
        if len as usize >= K { share } else { 0.0 }
    });
    (worst.fold(0.0, f64::max), share(&mut table.iter()).0)
}

fn unsolicited(scale: &Scale) -> Section {
    let wanted = scale.pick(100_000, 2_000);
    scale.progress("unsolicited contacts");
    let world = World::new(1_000, &scale.random(7));
    let mut random = scale.random(7).fork(9);
    let local = world.key(0);
    let mut table = world.table(&local);
    let mut naive = world.table(&local);
    let now = start();
    let liars: Vec<bool> = (0..world.len()).map(|_| random.chance(0.3)).collect();
    let (mut named, mut lookups) = (0, 0);
    while named < wanted {
        let target = random.key();
        let config = LookupConfig::default();
        let mut lookup = lookup(&world, local, target, &config);
        let mut invented = random.fork(lookups);
        let mut heard = Vec::new();
        let trace = drive(&mut lookup, Links::Warm, &mut random, |by, target| match world.index(by) {
            Some(liar) if liars[liar] => {
                named += K;
                let contacts: Vec<Peer> = (0..K).map(|n| invent(target, n, &mut invented)).collect();
                heard.extend(contacts.iter().copied());
                Reply::Contacts(contacts)
            }
            Some(_) => Reply::Contacts(world.answer(by, target)),
            None => Reply::Nothing,
        });
        for key in trace.answered.keys() {
            table.on_alive(now, Peer { key: *key, ip: None }, None);
        }
        for peer in heard {
            naive.on_alive(now, peer, None);
        }
        lookups += 1;
    }
    let invented = |table: &Table<Peer>| {
        table.iter().chain(table.replacements()).filter(|peer| world.index(&peer.key).is_none()).count()
    };
    let mut section = Section::new(
        "Contacts nobody asked for",
        "30 % of a network answer every question with invented contacts. Off: whoever is named gets in.",
        &["invented contacts", "lookups", "in the table", "required", "in the table (off)"],
    );
    let (on, off) = (invented(&table), invented(&naive));
    section.line(on == 0, [count(named), lookups.to_string(), on.to_string(), "0".into(), off.to_string()]);
    section.without(off == 0);
    section
}

/// Somebody who does not exist, at any depth.
fn invent(target: &Key, n: usize, random: &mut Random) -> Peer {
    Peer { key: random.key_near(target, n), ip: None }
}

const ATTACKERS: usize = 10;
const KEPT: f64 = 0.99;

fn store(scale: &Scale) -> Section {
    let (stores, honest) = scale.pick((1_000_000, 12_000), (12_000, 240));
    // Smaller by as much.
    let bounds = StoreConfig::default();
    let shrunk = StoreConfig { max_bytes: bounds.max_bytes >> 4, prefix_bytes: bounds.prefix_bytes >> 4, ..bounds };
    let config = scale.pick(StoreConfig::default(), shrunk);
    let mut section = Section::new(
        "A flood of stores",
        "Stores of 64 bytes from ten addresses, while 12 000 honest values of 1 000 bytes are there and 12 000 come, from 240 \
         prefixes. Off: nothing is counted by prefix.",
        &["stores", "most bytes held", "allowed", "honest values kept", "required", "kept (off)"],
    );
    scale.progress("flood of stores");
    let most = config.max_bytes;
    let bounded = flood(stores, honest, config.clone());
    let off = flood(stores, honest, StoreConfig { quotas: false, ..config });
    section.line(
        bounded.0 <= most && bounded.1 >= KEPT,
        [
            count(stores),
            format!("{:.1} MiB", bounded.0 as f64 / f64::from(1 << 20)),
            format!("{} MiB", most >> 20),
            percent(bounded.1),
            "≥ 99 %".into(),
            percent(off.1),
        ],
    );
    section.without(off.0 <= most && off.1 >= KEPT);
    section
}

/// The most bytes that the store counted, and the share of honest values that it kept.
fn flood(stores: usize, honest: usize, config: StoreConfig) -> (usize, f64) {
    let begin = start();
    let mut store = Store::new(Key::of_value(b"here"), config);
    let peer = KeyPair::from_seed([1; 32]).peer_id();
    let value = |of: &str, n: usize, len: usize| {
        let mut bytes = format!("{of} {n} ").into_bytes();
        bytes.resize(len, 0);
        StoredValue::immutable(bytes).ok()
    };
    let put = |store: &mut Store, at: usize, value: Option<StoredValue>, ip: usize| {
        let now = begin + Duration::from_millis(10) * at as u32;
        // Some are refused: that is the point.
        _ = value.map(|value| store.put(now, value, VALUE_TTL, None, Source { peer, ip: prefix(ip).into() }));
        store.bytes()
    };
    let honest_value = |n: usize| value("honest", n, 1_000);
    let mut most = 0;
    for n in 0..honest {
        put(&mut store, 0, honest_value(n), ATTACKERS + n % 240);
    }
    for n in 0..stores {
        most = most.max(put(&mut store, n, value("flood", n, 64), n % ATTACKERS));
        let every = stores / honest;
        if n % every == 0 && n / every < honest {
            put(&mut store, n, honest_value(honest + n / every), ATTACKERS + n % 240);
        }
    }
    let now = begin + Duration::from_millis(10) * stores as u32;
    let kept = (0..2 * honest).filter_map(honest_value).filter(|value| store.get(now, &value.key()).is_some()).count();
    (most, kept as f64 / (2 * honest) as f64)
}
