//! What a node keeps for others, against one plain list: within its bounds, never an older value, and until its time is
//! over to the moment.

mod model;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::{KeyPair, PeerRecord, Prefix};
use p2p_kademlia::{Key, Source, Store, StoreConfig, StoredValue};
use p2p_net::Endpoint;

use self::model::{LOCAL, Model};
use crate::input::{Input, start};

/// Signatures of values that one input has checked, if any: each takes as long as a hundred other steps.
const MAX_CHECKED: usize = 2;

/// Peers that provide something.
const PEERS: usize = 6;

/// Everything that is ever stored, made once; and whether it is signed.
struct Made {
    values: Vec<(StoredValue, bool)>,
    keys: Vec<Key>,
    records: Vec<(PeerRecord, bool)>,
    peers: Vec<PeerId>,
}

thread_local! {
    static MADE: Made = made();
}

pub fn run(data: &[u8]) {
    MADE.with(|made| drive(made, Input::new(data)));
}

fn drive(made: &Made, mut input: Input<'_>) {
    let [bytes, of_key, flags] = input.any::<[u8; 3]>();
    let config = StoreConfig {
        max_bytes: usize::from(bytes & 15) * 1500,
        prefix_bytes: usize::from(bytes >> 4) * 1000,
        key_bytes: usize::from(of_key & 7) * 1300,
        key_prefix_providers: usize::from(of_key >> 3 & 3),
        value_ttl: Duration::from_secs(100),
        provider_ttl: Duration::from_secs(60),
        republish_interval: Duration::from_secs(16),
        limit_local: flags & 1 != 0,
        quotas: flags & 6 != 0,
    };
    let mut store = Store::new(LOCAL, config.clone());
    let mut model = Model::new(config.clone());
    let (mut now, mut checked) = (start(), 0);
    let max_checked = if flags & 8 != 0 { MAX_CHECKED } else { 0 };
    while !input.is_empty() {
        let [what, which, how] = input.any::<[u8; 3]>();
        let ttl = Duration::from_secs(u64::from(how >> 4) * 10);
        let ip = IpAddr::from([8, 8, how & 7, which]);
        let ip = if how & 8 == 0 { ip } else { crate::input::ip(&mut input) };
        let peer = made.peers[usize::from(which) % PEERS];
        let from = Source { peer, ip };
        match what % 8 {
            0..=2 => {
                let (value, is_signed) = made.values[usize::from(which) % made.values.len()].clone();
                let before = store.get(now, &value.key()).and_then(StoredValue::seq);
                let expected = (what >= 128).then_some(u64::from(what >> 5 & 3));
                checked += usize::from(model.is_checked(now, &value));
                if checked > max_checked {
                    break;
                }
                let stored = store.put(now, value.clone(), ttl, expected, from);
                assert_eq!(stored, model.put(now, value.clone(), ttl, expected, from, is_signed));
                let after = store.get(now, &value.key()).and_then(StoredValue::seq);
                assert!(before.is_none() || after >= before, "an older value than before");
            }
            3 | 4 => {
                let (record, is_signed) = made.records[usize::from(which) % made.records.len()].clone();
                // Nearly always its own.
                let from = if what < 240 { Source { peer: record.peer_id(), ip } } else { from };
                let (key, record) = (key(what >> 3), record.clone());
                let put = store.put_provider(now, key, record.clone(), ttl, from);
                assert_eq!(put, model.put_provider(now, key, record, ttl, from, is_signed));
            }
            5 => {
                while let Some(due) = store.due_republish(now) {
                    assert_eq!(Some(due), model.due_republish(now));
                }
                assert_eq!(model.due_republish(now), None);
            }
            6 => assert_eq!(store.expire(now), model.expire(now)),
            _ => {
                let next = store.next_due().filter(|next| *next > now && which & 1 != 0);
                now = next.unwrap_or(now + Duration::from_secs(u64::from(which >> 2)));
            }
        }
        assert_eq!((store.values_len(), store.providers_len(), store.bytes()), model.sizes());
        assert!(store.bytes() <= config.max_bytes && store.bytes_of(ip) <= config.prefix_bytes);
        assert_eq!(store.bytes_of(ip), model.bytes_of(Prefix::of(ip)));
        assert_eq!(store.next_due(), model.next_due());
    }
    check(made, &store, &model, &config, now, flags & 16 != 0);
}

/// Everything that can be read.
fn check(made: &Made, store: &Store, model: &Model, config: &StoreConfig, now: Instant, all: bool) {
    for key in &made.keys {
        assert_eq!(store.get(now, key), model.get(now, key));
    }
    for key in (0..4).map(key) {
        let max = if all { usize::MAX } else { 2 };
        assert_eq!(store.providers(now, &key, max), model.providers(now, &key, max));
        let (bytes, of_prefix) = model.of_key(&key);
        assert!(bytes <= config.key_bytes && of_prefix <= config.key_prefix_providers);
    }
}

/// One of four positions: far from us and near to us.
fn key(n: u8) -> Key {
    let mut bytes = [n & 3; 32];
    bytes[0] = [0x80, 0x20, 0x04, 0x00][usize::from(n & 3)];
    Key::from_bytes(bytes)
}

fn made() -> Made {
    let immutable = (0u8..8).map(|n| vec![n; [0, 10, 500, 1000][usize::from(n) % 4]]);
    let mut values: Vec<(StoredValue, bool)> =
        immutable.map(|value| (StoredValue::immutable(value).expect("a value within its bounds"), true)).collect();
    let publisher = KeyPair::from_seed([1; 32]);
    for (salt, seq, text) in (0..2).flat_map(|salt| (0..4).map(move |seq| (salt, seq, seq % 3 * 100))) {
        let sign = |text: u64| StoredValue::sign(&publisher, vec![salt], seq, vec![7; text as usize]);
        values.extend([text, text + 1].map(|text| (sign(text).expect("a value within its bounds"), true)));
    }
    if let Some((StoredValue::Mutable { publisher, salt, value, signature, .. }, _)) = values.last().cloned() {
        values.push((StoredValue::Mutable { publisher, salt, seq: 9, value, signature }, false));
    }
    let mut records = Vec::new();
    for n in 0..PEERS as u8 {
        let key_pair = KeyPair::from_seed([n; 32]);
        let endpoint = |port: u64| -> Endpoint { format!("quic://8.8.{n}.1:{port}").parse().expect("an endpoint") };
        let sign =
            |seq: u64| (1..=seq).fold(PeerRecord::builder(), |it, port| it.addr(endpoint(port))).sign(&key_pair, seq);
        let signed = [1, 4].map(|seq| sign(seq).expect("a record within its bounds"));
        let mut forged = signed[1].as_bytes().to_vec();
        forged.last_mut().into_iter().for_each(|byte| *byte ^= 1);
        records.extend(signed.map(|record| (record, true)));
        records.push((PeerRecord::decode(&forged).expect("a record, but for its signature"), false));
    }
    let peers = (0..PEERS as u8).map(|n| KeyPair::from_seed([n; 32]).peer_id()).collect();
    let mut keys: Vec<Key> = values.iter().map(|(value, _)| value.key()).collect();
    keys.dedup();
    Made { values, keys, records, peers }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let put = |n: u8, how: u8| vec![0, n, how];
    let provide = |n: u8, key: u8, how: u8| vec![3 | key << 3, n, how];
    let values: Vec<u8> = (0..8).flat_map(|n| put(n, 0x50 | n & 3)).collect();
    let renewed: Vec<u8> = (0..8).flat_map(|n| [put(n, 0x90 | n), vec![7, 13, 0, 5, 0, 0]].concat()).collect();
    let providers: Vec<u8> = (0..18).flat_map(|n| provide(n, n / 9, 0x40 | n & 1)).collect();
    let mutable = [put(8, 0x50), put(10, 0x51), put(8, 0x50), put(9, 0x50), vec![128, 12, 0x52], put(24, 0x50)];
    let times = [7, 1, 0, 5, 0, 0].repeat(6);
    vec![
        [vec![0x44, 0x1f, 7], values.clone(), renewed.clone(), times.clone()].concat(),
        [vec![0xff, 0x1f, 7], values.clone(), renewed, times.clone()].concat(),
        [vec![0xcf, 0x15, 7], providers.clone(), times.clone(), providers.clone()].concat(),
        [vec![0x25, 0x0a, 7], providers.clone(), values].concat(),
        [vec![0x8f, 0x1f, 8], mutable.concat(), times].concat(),
        [vec![0xff, 0x1f, 7], providers, vec![3, 0, 0, 3, 1, 0, 11, 3, 0, 7, 200, 0]].concat(),
    ]
}
