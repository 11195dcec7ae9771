//! What a store keeps, for whom and for how long.
#![allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use p2p_identity::{KeyPair, PeerRecord};
use p2p_kademlia::store::{ITEM_OVERHEAD, MAX_SALT_LEN, MAX_VALUE_LEN, PROVIDER_TTL, REPUBLISH_INTERVAL, VALUE_TTL};
use p2p_kademlia::{InvalidValue, Key, Refused, Source, Store, StoreConfig, Stored, StoredValue};
use p2p_net::{Endpoint, PeerAddr};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn here() -> Key {
    Key::of_value(b"here")
}

fn store() -> Store {
    Store::new(here(), StoreConfig::default())
}

/// Made once: it costs more than what is tested.
fn key_pair(n: u8) -> KeyPair {
    static ALL: LazyLock<Vec<KeyPair>> = LazyLock::new(|| (0..=255).map(|n| KeyPair::from_seed([n; 32])).collect());
    ALL[usize::from(n)].clone()
}

/// Node `n`, in a prefix of its own.
fn node(n: u8) -> Source {
    Source { peer: key_pair(n).peer_id(), ip: IpAddr::from([8, 8, n, 1]) }
}

fn value(n: u32) -> StoredValue {
    StoredValue::immutable(n.to_be_bytes().to_vec()).unwrap()
}

fn mutable(seq: u64, text: &'static str) -> StoredValue {
    StoredValue::sign(&key_pair(9), "salt", seq, text).unwrap()
}

fn record(n: u8, seq: u64) -> PeerRecord {
    let endpoint: Endpoint = format!("quic://8.8.{n}.1:9000").parse().unwrap();
    PeerRecord::builder().addr(endpoint).sign(&key_pair(n), seq).unwrap()
}

fn providers(store: &Store, now: Instant, key: &Key) -> Vec<p2p_core::PeerId> {
    store.providers(now, key, usize::MAX).iter().map(PeerRecord::peer_id).collect()
}

#[test]
fn an_immutable_value_stays_for_a_day() {
    let (now, mut store) = (Instant::now(), store());
    let key = value(1).key();
    assert_eq!(store.put(now, value(1), Duration::MAX, None, node(1)), Ok(Stored::Added));
    assert_eq!(store.get(now + VALUE_TTL - Duration::from_nanos(1), &key), Some(&value(1)));
    assert_eq!(store.get(now + VALUE_TTL, &key), None, "also before anybody called expire");
    // Renewed for less than it has left: it stays for the longer time.
    assert_eq!(store.put(now + HOUR, value(1), HOUR, None, node(2)), Ok(Stored::Renewed));
    assert!(store.get(now + 23 * HOUR, &key).is_some());
    assert_eq!(store.put(now + 23 * HOUR, value(1), VALUE_TTL, None, node(2)), Ok(Stored::Renewed));
    assert!(store.get(now + 46 * HOUR, &key).is_some());
    assert_eq!((store.expire(now + 47 * HOUR), store.values_len(), store.bytes()), (1, 0, 0));
    assert_eq!(store.put(now, value(2), Duration::ZERO, None, node(1)), Err(Refused::Expired));
    assert_eq!(store.next_due(), None);
}

#[test]
fn a_mutable_value_is_replaced_by_a_newer_one_only() {
    let (now, mut store) = (Instant::now(), store());
    let mut put = |value, expected| store.put(now, value, VALUE_TTL, expected, node(1));
    assert_eq!(put(mutable(5, "five"), Some(4)), Ok(Stored::Added), "nothing is there to compare with");
    assert_eq!(put(mutable(4, "four"), None), Err(Refused::Older { current: 5 }), "an old one replayed");
    assert_eq!(put(mutable(5, "other"), None), Err(Refused::Conflict));
    assert_eq!(put(mutable(5, "five"), None), Ok(Stored::Renewed));
    for wrong in [4, 6] {
        assert_eq!(put(mutable(7, "seven"), Some(wrong)), Err(Refused::Unexpected { current: 5 }));
    }
    assert_eq!(put(mutable(7, "seven"), Some(5)), Ok(Stored::Replaced));
    assert_eq!(put(mutable(7, "seven"), Some(5)), Ok(Stored::Renewed), "the same again: the answer was lost");
    assert_eq!(put(mutable(8, "eight"), None), Ok(Stored::Replaced));
    let other_salt = StoredValue::sign(&key_pair(9), "", 1, "elsewhere").unwrap();
    assert_eq!(put(other_salt.clone(), None), Ok(Stored::Added));
    assert_eq!(store.get(now, &mutable(0, "").key()), Some(&mutable(8, "eight")));
    assert_eq!(store.get(now, &other_salt.key()), Some(&other_salt));
    let sizes = mutable(8, "eight").payload_len() + other_salt.payload_len();
    assert_eq!((store.values_len(), store.bytes()), (2, 2 * ITEM_OVERHEAD + sizes));
}

#[test]
fn what_nobody_signed_is_refused() {
    let (now, mut store) = (Instant::now(), store());
    let StoredValue::Mutable { publisher, salt, seq, value, signature } = mutable(5, "five") else { unreachable!() };
    let mut wrong_signature = signature;
    wrong_signature[0] ^= 1;
    let good = || (publisher, salt.clone(), seq, value.clone(), signature);
    for (what, (publisher, salt, seq, value, signature)) in [
        ("publisher", (key_pair(8).public(), salt.clone(), seq, value.clone(), signature)),
        ("salt", (publisher, "tlas".into(), seq, value.clone(), signature)),
        ("a byte of the salt in the value", (publisher, "sal".into(), seq, "tfive".into(), signature)),
        ("seq", (publisher, salt.clone(), seq + 1, value.clone(), signature)),
        ("value", (publisher, salt.clone(), seq, "four".into(), signature)),
        ("signature", (publisher, salt.clone(), seq, value.clone(), wrong_signature)),
    ] {
        assert_ne!((publisher, salt.clone(), seq, value.clone(), signature), good());
        let forged = StoredValue::Mutable { publisher, salt, seq, value, signature };
        assert_eq!(forged.verify(), Err(InvalidValue::Signature), "{what}");
        assert_eq!(store.put(now, forged, VALUE_TTL, None, node(1)), Err(Refused::InvalidValue), "{what}");
    }
    assert_eq!(store.values_len(), 0);
    mutable(5, "five").verify_under(&mutable(6, "six").key()).unwrap();
    assert_eq!(mutable(5, "five").verify_under(&here()), Err(InvalidValue::OtherKey));
}

#[test]
fn lengths_are_bounded() {
    let long = |len| vec![0; len];
    assert!(StoredValue::immutable(long(MAX_VALUE_LEN)).is_ok());
    assert_eq!(StoredValue::immutable(long(MAX_VALUE_LEN + 1)), Err(InvalidValue::TooLong(MAX_VALUE_LEN + 1)));
    let sign = |salt, value| StoredValue::sign(&key_pair(1), long(salt), 1, long(value)).map(|value| value.verify());
    assert_eq!(sign(MAX_SALT_LEN, MAX_VALUE_LEN), Ok(Ok(())));
    assert_eq!(sign(MAX_SALT_LEN + 1, 0), Err(InvalidValue::SaltTooLong(MAX_SALT_LEN + 1)));
    assert_eq!(sign(0, MAX_VALUE_LEN + 1), Err(InvalidValue::TooLong(MAX_VALUE_LEN + 1)));
    let (now, mut store) = (Instant::now(), store());
    let by_hand = StoredValue::Immutable(long(MAX_VALUE_LEN + 1).into());
    assert_eq!(store.put(now, by_hand, VALUE_TTL, None, node(1)), Err(Refused::InvalidValue));
}

#[test]
fn readers_choose_alike() {
    let (old, new, twin) = (mutable(1, "old"), mutable(2, "a"), mutable(2, "b"));
    assert!(new.supersedes(&old) && !old.supersedes(&new) && !old.supersedes(&old));
    assert!(twin.supersedes(&new) && !new.supersedes(&twin));
    assert!(!value(1).supersedes(&value(1)));
}

#[test]
fn only_a_provider_itself_provides() {
    let (now, mut store) = (Instant::now(), store());
    let mut put = |record, ttl, from| store.put_provider(now, here(), record, ttl, from);
    assert_eq!(put(record(1, 5), PROVIDER_TTL, node(2)), Err(Refused::NotYours));
    let mut forged = record(1, 5).as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = PeerRecord::decode(&forged).unwrap();
    assert_eq!(put(forged, PROVIDER_TTL, node(1)), Err(Refused::InvalidRecord));
    assert_eq!(put(record(1, 5), Duration::MAX, node(1)), Ok(()));
    assert_eq!(put(record(1, 4), PROVIDER_TTL, node(1)), Err(Refused::Older { current: 5 }));
    assert_eq!(put(record(1, 6), PROVIDER_TTL, node(1)), Ok(()));
    assert_eq!(put(record(2, 1), Duration::MAX, node(2)), Ok(()));
    assert_eq!(store.providers_len(), 2);
    assert_eq!(store.providers(now, &here(), 9), [record(2, 1), record(1, 6)], "the last one first");
    assert_eq!(store.providers(now, &here(), 1), [record(2, 1)]);
    assert_eq!(store.providers(now + PROVIDER_TTL, &here(), 9), []);
    assert_eq!(store.put_provider(now, here(), record(2, 1), Duration::ZERO, node(2)), Ok(()), "taken back");
    assert_eq!(store.providers(now, &here(), 9), [record(1, 6)]);
    assert_eq!((store.expire(now + PROVIDER_TTL), store.providers_len(), store.bytes()), (1, 0, 0));
}

#[test]
fn a_crowd_of_providers_is_in_nobodys_way() {
    let (now, mut store) = (Instant::now(), store());
    let config = StoreConfig::default();
    let mut put = |n: u8, ip: [u8; 4]| {
        let from = Source { peer: key_pair(n).peer_id(), ip: ip.into() };
        store.put_provider(now, here(), record(n, 1), PROVIDER_TTL, from)
    };
    // First those of prefixes of their own, then 200 from ten prefixes.
    (1..=20).for_each(|n| put(n, [9, 9, n, 1]).unwrap());
    (0..200).for_each(|n| put(50 + n, [6, 6, n / 20, n]).unwrap());
    let ids = providers(&store, now, &here());
    let honest: BTreeSet<_> = (1..=20).map(|n| key_pair(n).peer_id()).collect();
    assert_eq!(ids.iter().filter(|id| honest.contains(id)).count(), 20);
    assert!(store.bytes() <= config.key_bytes, "{} bytes for one key", store.bytes());
    let per_prefix = config.key_prefix_providers;
    assert!((20..=20 + 10 * per_prefix).contains(&ids.len()), "{}", ids.len());
    // An answer has room for 20: each prefix has its turn before any has a second one.
    let first_turn: Vec<_> = ids.iter().take(30).collect();
    assert!(honest.iter().all(|id| first_turn.contains(&id)), "30 prefixes come first");

    // Without quotas the last ones there are all that is left.
    let mut store = Store::new(here(), StoreConfig { quotas: false, ..config });
    for (n, ip) in (1..=20).map(|n| (n, [9, 9, n, 1])).chain((0..200).map(|n| (50 + n, [6, 6, n / 20, n]))) {
        let from = Source { peer: key_pair(n).peer_id(), ip: ip.into() };
        store.put_provider(now, here(), record(n, 1), PROVIDER_TTL, from).unwrap();
    }
    assert!(providers(&store, now, &here()).iter().all(|id| !honest.contains(id)));
}

#[test]
fn a_value_is_republished_once_in_an_interval_by_who_has_not_just_received_it() {
    let start = Instant::now();
    let mut store = store();
    store.put(start, value(1), VALUE_TTL, None, node(1)).unwrap();
    assert_eq!(store.due_republish(start + REPUBLISH_INTERVAL * 3 / 4 - Duration::from_nanos(1)), None);
    let due = store.next_due().unwrap();
    assert!(due <= start + REPUBLISH_INTERVAL * 5 / 4);
    let again = store.due_republish(due).unwrap();
    assert_eq!((again.value, again.ttl), (value(1), VALUE_TTL - (due - start)), "it ages where it goes");
    assert_eq!(store.due_republish(due), None, "once");

    // Another holder was first.
    let next = store.next_due().unwrap();
    let heard = next - Duration::from_secs(60);
    store.put(heard, value(1), VALUE_TTL - (heard - start), None, node(2)).unwrap();
    assert_eq!(store.due_republish(next), None);
    // Who gives it a short life has not spread it.
    let next = store.next_due().unwrap();
    store.put(next - Duration::from_secs(60), value(1), Duration::from_secs(90), None, node(3)).unwrap();
    assert_eq!(store.due_republish(next).map(|again| again.value), Some(value(1)));
}

#[test]
fn holders_do_not_republish_all_at_once() {
    let start = Instant::now();
    let due = (0..20).map(|n| {
        let mut store = Store::new(Key::of_value(&[n]), StoreConfig::default());
        store.put(start, value(1), VALUE_TTL, None, node(1)).unwrap();
        store.next_due().unwrap() - start
    });
    let due: BTreeSet<_> = due.collect();
    assert!(due.len() >= 17, "{} different waits of 20", due.len());
    assert!(*due.last().unwrap() - *due.first().unwrap() > REPUBLISH_INTERVAL / 4, "spread over the interval");
}

/// Whoever is the first to pass a value on, or its next version, cannot take it down with himself.
#[test]
fn a_value_stays_for_who_stored_it_whoever_else_did() {
    let now = Instant::now();
    let attacker = node(66);
    let small = StoreConfig { prefix_bytes: 20 * ITEM_OVERHEAD, ..StoreConfig::default() };
    let mut store = Store::new(here(), small);
    // Of values that are as far as any, one that the attacker had first, and one whose next version it passed on first.
    let far = (0..).map(value).find(|value| value.key().common_prefix_len(&here()) == 0).unwrap();
    let own = (0..).map(|n| StoredValue::sign(&key_pair(9), vec![n], 1, "first").unwrap());
    let own = own.into_iter().find(|value| value.key().common_prefix_len(&here()) == 0).unwrap();
    let StoredValue::Mutable { salt, .. } = &own else { unreachable!("it is mutable") };
    let next = StoredValue::sign(&key_pair(9), salt.clone(), 2, "second").unwrap();
    store.put(now, far.clone(), VALUE_TTL, None, attacker).unwrap();
    store.put(now, far.clone(), VALUE_TTL, None, node(1)).unwrap();
    store.put(now, own, VALUE_TTL, None, node(1)).unwrap();
    store.put(now, next.clone(), VALUE_TTL, None, attacker).unwrap();
    let alone = (1_000_000..).map(value).find(|value| value.key().common_prefix_len(&here()) == 0).unwrap();
    store.put(now, alone.clone(), VALUE_TTL, None, attacker).unwrap();
    for n in 0..10_000 {
        let _ = store.put(now + Duration::from_secs(1), value(2_000_000 + n), VALUE_TTL, None, attacker);
    }
    assert!(store.get(now, &alone.key()).is_none(), "the flood pushed out what only the attacker stored");
    assert_eq!(store.get(now, &far.key()), Some(&far));
    assert_eq!(store.get(now, &next.key()), Some(&next));
}

#[test]
fn local_addresses_have_no_share_unless_told() {
    let now = Instant::now();
    let local = Source { ip: IpAddr::from([127, 0, 0, 1]), ..node(1) };
    let config = StoreConfig { prefix_bytes: 10 * ITEM_OVERHEAD, ..StoreConfig::default() };
    let stored = |config| {
        let mut store = Store::new(here(), config);
        (0..100).for_each(|n| _ = store.put(now, value(n), VALUE_TTL, None, local));
        store.values_len()
    };
    assert_eq!(stored(config.clone()), 100);
    assert!(stored(StoreConfig { limit_local: true, ..config }) < 10);
}

/// A few steps of a store's life.
#[derive(Debug, Clone)]
enum Op {
    Put { n: u32, len: usize, seq: u64, ttl: u64, from: u8 },
    Provide { key: u32, peer: u8, ttl: u64 },
    Republish,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u32..40, 0usize..1000, 0u64..3, 1u64..100_000, 0u8..6)
            .prop_map(|(n, len, seq, ttl, from)| Op::Put { n, len, seq, ttl, from }),
        6 => (0u32..4, 0u8..40, 0u64..8000).prop_map(|(key, peer, ttl)| Op::Provide { key, peer, ttl }),
        1 => Just(Op::Republish),
        1 => (0u64..20_000).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever happens, what can be read back costs exactly what the store says, within all bounds, and a put that was
    /// accepted can be read.
    #[test]
    fn sizes_are_exact_and_bounded(ops in prop::collection::vec(op(), 1..120)) {
        let config = StoreConfig {
            max_bytes: 40_000,
            prefix_bytes: 15_000,
            key_bytes: 8_000,
            key_prefix_providers: 2,
            ..StoreConfig::default()
        };
        let mut store = Store::new(here(), config.clone());
        let mut now = Instant::now();
        let mut keys = BTreeSet::new();
        // When each can be gone at the latest.
        let mut deadlines = BTreeMap::<Key, Instant>::new();
        for op in ops {
            match op {
                Op::Put { n, len, seq, ttl, from } => {
                    // Half of the values are mutable.
                    let value = if n % 2 == 0 {
                        StoredValue::immutable([&n.to_be_bytes()[..], &vec![0; len.min(996)]].concat()).unwrap()
                    } else {
                        StoredValue::sign(&key_pair(9), n.to_be_bytes().to_vec(), seq, vec![7; len]).unwrap()
                    };
                    keys.insert(value.key());
                    let ttl = Duration::from_secs(ttl).min(VALUE_TTL);
                    let before = store.get(now, &value.key()).cloned();
                    let bytes = store.bytes();
                    match store.put(now, value.clone(), ttl, None, node(from)) {
                        Ok(stored) => {
                            prop_assert_eq!(store.get(now, &value.key()), Some(&value));
                            prop_assert_eq!(stored == Stored::Added, before.is_none());
                            prop_assert_eq!(stored == Stored::Renewed, before == Some(value.clone()));
                            let deadline = deadlines.entry(value.key()).or_insert(now);
                            *deadline = if stored == Stored::Renewed { (now + ttl).max(*deadline) } else { now + ttl };
                        }
                        Err(_) => {
                            prop_assert_eq!(store.get(now, &value.key()), before.as_ref());
                            prop_assert!(store.bytes() <= bytes);
                        }
                    }
                }
                Op::Provide { key, peer, ttl } => {
                    let key = Key::of_value(&key.to_be_bytes());
                    keys.insert(key);
                    let from = Source { peer: key_pair(peer).peer_id(), ip: IpAddr::from([8, 9, peer % 7, peer]) };
                    let put = store.put_provider(now, key, record(peer, 1), Duration::from_secs(ttl), from);
                    let there = providers(&store, now, &key).contains(&from.peer);
                    prop_assert!(put.is_err() || there == (ttl > 0));
                }
                Op::Republish => {
                    let mut seen = BTreeSet::new();
                    while let Some(again) = store.due_republish(now) {
                        prop_assert!(seen.insert(again.value.key()), "each is due once");
                        prop_assert_eq!(store.get(now, &again.value.key()), Some(&again.value));
                        prop_assert!(again.ttl <= VALUE_TTL && !again.ttl.is_zero());
                    }
                }
                Op::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    store.expire(now);
                    prop_assert!(keys.iter().all(|key| store.get(now, key).is_none() || deadlines[key] > now));
                }
            }
            store.expire(now);
            let values: Vec<_> = keys.iter().filter_map(|key| store.get(now, key)).collect();
            let cost = |record: &PeerRecord| ITEM_OVERHEAD + record.as_bytes().len() + size_of::<PeerAddr>();
            let of_keys: Vec<Vec<_>> = keys.iter().map(|key| store.providers(now, key, usize::MAX)).collect();
            prop_assert_eq!(values.len(), store.values_len());
            prop_assert_eq!(of_keys.iter().map(Vec::len).sum::<usize>(), store.providers_len());
            let of_values: usize = values.iter().map(|value| ITEM_OVERHEAD + value.payload_len()).sum();
            let of_providers: usize = of_keys.iter().flatten().map(cost).sum();
            prop_assert_eq!(store.bytes(), of_values + of_providers);
            prop_assert!(store.bytes() <= config.max_bytes);
            for records in &of_keys {
                prop_assert!(records.iter().map(cost).sum::<usize>() <= config.key_bytes);
                for prefix in 0..7 {
                    let of_prefix = records.iter().filter(|record| (0..40u8).any(|n| n % 7 == prefix && key_pair(n).peer_id() == record.peer_id()));
                    prop_assert!(of_prefix.count() <= config.key_prefix_providers);
                }
            }
            for n in 0..7 {
                prop_assert!(store.bytes_of(IpAddr::from([8, 8, n, 1])) <= config.prefix_bytes);
                prop_assert!(store.bytes_of(IpAddr::from([8, 9, n, 1])) <= config.prefix_bytes);
            }
        }
        store.expire(now + VALUE_TTL);
        prop_assert_eq!((store.bytes(), store.values_len(), store.providers_len(), store.next_due()), (0, 0, 0, None));
    }
}
