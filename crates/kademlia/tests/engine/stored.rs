//! Values and providers in a network of engines.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_kademlia::engine::{Command, Outcome};
use p2p_kademlia::{KademliaConfig, Key, StoredValue};

use crate::net::{Net, endpoint, joined, key_pair};

fn put(net: &mut Net, n: usize, value: StoredValue) -> usize {
    match net.outcome(n, Command::Put { value, expected_seq: None }) {
        Outcome::Put { stored, .. } => stored,
        other => panic!("{other:?}"),
    }
}

fn get(net: &mut Net, n: usize, key: Key) -> Option<StoredValue> {
    match net.outcome(n, Command::Get(key)) {
        Outcome::Get(value) => value,
        other => panic!("{other:?}"),
    }
}

/// Upkeep of its own keeps a simulated day busy: less of it.
fn times(config: &mut KademliaConfig) {
    config.refresh_interval = Duration::from_secs(1800);
    config.seeding_interval = Duration::from_secs(1800);
    config.bucket_refresh = Duration::from_secs(6 * 3600);
    config.store.value_ttl = Duration::from_secs(6 * 3600);
}

fn has(net: &Net, n: usize, key: &Key) -> bool {
    net.nodes[&n].engine.store().get(net.now, key).is_some()
}

fn holders(net: &Net, key: &Key) -> usize {
    net.nodes.values().filter(|node| node.engine.store().get(net.now, key).is_some()).count()
}

#[test]
fn a_value_outlives_those_who_kept_it() {
    let mut net = joined(40, 7, times);
    let value = StoredValue::immutable("hello").unwrap();
    let key = value.key();
    let stored = put(&mut net, 9, value.clone());
    assert!(stored >= 15 && holders(&net, &key) - usize::from(has(&net, 9, &key)) == stored, "{stored}");
    assert_eq!(get(&mut net, 33, key), Some(value.clone()));
    assert_eq!(get(&mut net, 33, Key::of_value(b"nothing")), None);

    // Most of them die within two hours. Before all are gone, the others have passed it on.
    for half in 0..2 {
        let of_them = net.closest(&key, 20, usize::MAX);
        for n in of_them.into_iter().skip(half).step_by(3).filter(|n| *n != 33 && *n != 0) {
            net.kill(n);
        }
        net.run(Duration::from_secs(2 * 3600));
        assert!(holders(&net, &key) >= 15, "{}", holders(&net, &key));
    }
    assert_eq!(get(&mut net, 33, key), Some(value));
    // Nobody put it again: after its time it is forgotten, republished or not.
    net.run(Duration::from_secs(6 * 3600));
    assert_eq!((holders(&net, &key), get(&mut net, 33, key)), (0, None));
}

#[test]
fn the_newest_of_a_mutable_value_wins() {
    let mut net = joined(30, 8, |_| ());
    let publisher = key_pair(9);
    let version = |seq| StoredValue::sign(&publisher, "status", seq, format!("version {seq}")).unwrap();
    for seq in [1, 2, 5] {
        put(&mut net, 9, version(seq));
        assert_eq!(get(&mut net, 20, version(1).key()), Some(version(seq)));
    }
    let Outcome::Put { stored, refused } = net.outcome(9, Command::Put { value: version(4), expected_seq: None })
    else {
        panic!()
    };
    assert_eq!(stored, 0);
    assert_eq!(refused, Some(p2p_kademlia::Refused::Older { current: 5 }));
    let Outcome::Put { stored, .. } = net.outcome(9, Command::Put { value: version(6), expected_seq: Some(4) }) else {
        panic!()
    };
    assert_eq!(stored, 0, "another value was expected");
    assert_eq!(get(&mut net, 20, version(1).key()), Some(version(5)));
}

fn providers(net: &mut Net, n: usize, key: Key) -> Vec<PeerId> {
    provider_records(net, n, key).into_keys().collect()
}

fn provider_records(net: &mut Net, n: usize, key: Key) -> BTreeMap<PeerId, PeerRecord> {
    let id = net.begin(n, Command::Providers(key));
    net.run(Duration::from_secs(60));
    let node = net.nodes.get_mut(&n).unwrap();
    let found = node.providers.remove(&id).unwrap_or_default();
    assert_eq!(node.outcomes.remove(&id), Some(Outcome::Providers(found.len())));
    found
}

#[test]
fn providers_are_renewed_until_they_are_not() {
    let mut net = joined(30, 9, times);
    let key = Key::of_value(b"the song");
    let mut expected: Vec<PeerId> = [3, 4, 5].map(|n| net.engine(n).peer_id()).to_vec();
    expected.sort();
    let mut numbers = Vec::new();
    for n in [3, 4, 5] {
        numbers.push(net.with(n, |engine, now| engine.provide(now, key, true)).unwrap());
    }
    net.run(Duration::from_secs(60));
    assert_eq!(providers(&mut net, 20, key), expected);
    net.run(Duration::from_secs(5 * 3600));
    assert_eq!(providers(&mut net, 21, key), expected, "renewed");
    for (n, number) in [3, 4, 5].into_iter().zip(numbers) {
        net.with(n, |engine, _| engine.unprovide(&key, number));
    }
    net.run(Duration::from_secs(2 * 3600 + 60));
    assert!(providers(&mut net, 22, key).is_empty());
}

/// However far each offer had come when the address changed: what was on its way names the old one.
#[test]
fn what_is_being_offered_while_the_address_changes_is_offered_anew() {
    let mut net = joined(30, 9, times);
    let keys: Vec<Key> = (0..40u8).map(|n| Key::of_value(&[n])).collect();
    for key in &keys {
        net.with(3, |engine, now| engine.provide(now, *key, true)).unwrap();
        net.run(Duration::from_millis(25));
    }
    let (at, provider) = (endpoint(3), net.engine(3).peer_id());
    let port = at.port() + 1;
    net.with(3, |engine, now| engine.set_endpoints(now, vec![at.clone()], vec![at.with_port(port)])).unwrap();
    net.run(Duration::from_secs(60));
    for key in keys {
        let record = provider_records(&mut net, 20, key).remove(&provider).expect("it is provided");
        assert!(record.addrs().iter().any(|addr| addr.endpoint.port() == port), "{key:?}: {record:?}");
    }
}

/// While it slept its own clock may have stood still, and others have forgotten: here they all start anew.
#[test]
fn what_is_provided_is_offered_within_a_minute_after_the_machine_woke_up() {
    let mut net = joined(30, 9, times);
    let key = Key::of_value(b"the song");
    net.with(3, |engine, now| engine.provide(now, key, true)).unwrap();
    net.run(Duration::from_secs(60));
    let provider = net.engine(3).peer_id();
    assert_eq!(providers(&mut net, 20, key), [provider]);
    for n in (0..30).filter(|n| *n != 3) {
        net.kill(n);
        net.add(n, if n == 0 { &[] } else { &[0] }, times);
    }
    net.run(Duration::from_secs(180));
    assert!(providers(&mut net, 20, key).is_empty(), "all have forgotten");
    let present = [endpoint(3).addr().ip().unwrap()];
    net.with(3, |engine, now| engine.network_changed(now, Some(&present), &[]));
    net.run(Duration::from_secs(60));
    assert_eq!(providers(&mut net, 21, key), [provider]);
}

/// Twenty and more nodes whose keys were tried out until they were closer to a value's key than any honest node: a
/// reader and a writer who look for the closest see nobody else.
#[test]
fn a_crowd_around_a_key_does_not_hide_it() {
    let mut net = joined(60, 10, |_| ());
    let value = StoredValue::immutable("hidden?").unwrap();
    let key = value.key();
    let closest = net.closest(&key, 1, usize::MAX)[0];
    let closest = key.distance(&net.engine(closest).key());
    let closer = |n: &usize| key.distance(&Key::of_peer("default", &key_pair(*n).peer_id())) < closest;
    let sybils: Vec<usize> = (1000..100_000).filter(closer).take(30).collect();
    assert_eq!(sybils.len(), 30);
    for n in &sybils {
        net.add(*n, &[0], |_| ());
        net.run(Duration::from_secs(1));
    }
    net.run(Duration::from_secs(300));
    net.sybils.extend(&sybils);
    // The crowd is all that a plain lookup finds.
    let Outcome::Closest(found) = net.outcome(20, Command::Closest(key)) else { panic!() };
    let crowd = |peer_id: PeerId| sybils.iter().any(|n| key_pair(*n).peer_id() == peer_id);
    assert!(found.iter().filter(|peer| crowd(peer.peer_id())).count() >= 15, "the attack is none");

    put(&mut net, 9, value.clone());
    let kept =
        net.nodes.iter().filter(|(n, node)| !sybils.contains(n) && node.engine.store().get(net.now, &key).is_some());
    assert!(kept.count() >= 5, "honest nodes keep it too");
    for n in [3, 20, 40, 55] {
        assert_eq!(get(&mut net, n, key), Some(value.clone()));
    }
}
