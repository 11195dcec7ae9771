use std::net::IpAddr;

use p2p_net::Transport;
use proptest::prelude::*;

use super::*;
use crate::{DecodeError, Error};

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn invalid<T: fmt::Debug>(result: Result<T>) -> InvalidRecord {
    match result {
        Err(Error::Record(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A record of any body, signed as it should be.
fn forge(key_pair: &KeyPair, body: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = vec![1];
    bytes.extend_from_slice(&crate::encode(body).unwrap());
    let signature = key_pair.sign_for(DOMAIN, &[&bytes]);
    bytes.extend_from_slice(&signature);
    bytes
}

type ForgedBody = (PeerId, u64, Vec<(u8, Vec<u8>)>, Vec<(u8, Vec<u8>)>, [u8; 16]);

fn body(addrs: Vec<(u8, Vec<u8>)>, discovery_addrs: Vec<(u8, Vec<u8>)>) -> ForgedBody {
    (key(1).peer_id(), 7, addrs, discovery_addrs, [0; 16])
}

const GOOD_ADDR: [u8; 9] = [2, 0, 5, 0x23, 0x28, 192, 0, 2, 1];

#[test]
fn the_wire_format_is_as_written_down() {
    let record = PeerRecord::builder()
        .addr(PeerAddr { endpoint: endpoint("quic://192.0.2.1:9000"), priority: 5 })
        .discovery_addr(endpoint("udp://[2001:db8::1]:9001"))
        .sign(&key(1), 7)
        .unwrap();
    let v6 = [&[3, 0, 0, 0x23, 0x29, 0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[1]].concat();
    assert_eq!(record.as_bytes(), &forge(&key(1), &body(vec![(1, GOOD_ADDR.to_vec())], vec![(1, v6)])));
}

#[test]
fn unknown_kinds_and_transports_are_kept_and_not_shown() {
    let mut unknown_transport = GOOD_ADDR.to_vec();
    unknown_transport[0] = 9;
    let addrs = vec![(200, b"relay of the future".to_vec()), (1, unknown_transport), (1, GOOD_ADDR.to_vec())];
    let bytes = forge(&key(1), &body(addrs, vec![(0, vec![])]));
    let record = PeerRecord::decode(&bytes).unwrap();
    record.verify().unwrap();
    assert_eq!((record.addrs().len(), record.discovery_addrs().len()), (1, 0));
    assert_eq!(record.as_bytes(), &bytes);
    let passed_on: PeerRecord = crate::decode(&crate::encode(&record).unwrap()).unwrap();
    assert_eq!(passed_on, record);
}

#[test]
fn addresses_nobody_can_reach_are_refused_when_signing_and_when_reading() {
    for (bad, why) in [
        ("tcp://example.org:1", "IP addresses only"),
        ("tcp://0.0.0.0:1", "unspecified"),
        ("tcp://0.1.2.3:1", "unspecified"),
        ("tcp://[::]:1", "unspecified"),
        ("tcp://169.254.1.1:1", "link-local"),
        ("tcp://[fe80::1]:1", "link-local"),
        ("tcp://224.0.0.1:1", "one host"),
        ("tcp://255.255.255.255:1", "one host"),
        ("tcp://[ff02::1]:1", "one host"),
        ("tcp://192.0.2.1:0", "port"),
        ("udp://192.0.2.1:1", "udp"),
    ] {
        let bad = endpoint(bad);
        let error = invalid(PeerRecord::builder().addr(bad.clone()).sign(&key(1), 1));
        assert!(error.to_string().contains(why), "{error}");
        if let Some(ip) = bad.addr().ip() {
            let transport = if bad.transport() == Transport::Udp { 3 } else { 0 };
            let mut value = vec![transport, 0, 0];
            value.extend(bad.port().to_be_bytes());
            match ip {
                IpAddr::V4(ip) => value.extend(ip.octets()),
                IpAddr::V6(ip) => value.extend(ip.octets()),
            }
            assert_eq!(invalid(PeerRecord::decode(&forge(&key(1), &body(vec![(1, value)], vec![])))).to_string(), {
                let with_id = bad.clone().with_peer_id(key(1).peer_id());
                error.to_string().replace(&bad.to_string(), &with_id.to_string())
            });
        }
    }
    for good in ["tcp://127.0.0.1:1", "tcp://10.0.0.1:65535", "tls://[::1]:1"] {
        assert!(RecordBuilder::accepts(&endpoint(good)), "{good}");
    }
    let other = endpoint("tcp://192.0.2.1:1").with_peer_id(key(2).peer_id());
    assert!(matches!(invalid(PeerRecord::builder().addr(other).sign(&key(1), 1)), InvalidRecord::Address { .. }));
}

#[test]
fn bounds_hold() {
    let many = |n| (0..n).map(|_| (1, GOOD_ADDR.to_vec())).collect::<Vec<_>>();
    assert!(PeerRecord::decode(&forge(&key(1), &body(many(8), many(8)))).is_ok());
    for (a, d) in [(9, 0), (0, 9)] {
        let error = invalid(PeerRecord::decode(&forge(&key(1), &body(many(a), many(d)))));
        assert_eq!(error, InvalidRecord::TooManyAddresses { len: 9, max: 8 });
    }
    let builder = (0..9).fold(PeerRecord::builder(), |b, _| b.addr(endpoint("tcp://192.0.2.1:1")));
    assert_eq!(invalid(builder.sign(&key(1), 1)), InvalidRecord::TooManyAddresses { len: 9, max: 8 });
    let large = forge(&key(1), &body(vec![(9, vec![0; MAX_RECORD_LEN])], vec![]));
    assert!(matches!(invalid(PeerRecord::decode(&large)), InvalidRecord::TooLarge { .. }));
    assert!(PeerRecord::decode(&forge(&key(1), &body(many(10_000), vec![]))).is_err());
}

#[test]
fn odd_forms_are_refused() {
    let mapped = [&GOOD_ADDR[..5], &[0; 10], &[0xff, 0xff, 192, 0, 2, 1]].concat();
    for value in [mapped, GOOD_ADDR[..8].to_vec(), [&GOOD_ADDR[..], &[0]].concat(), vec![]] {
        let error = invalid(PeerRecord::decode(&forge(&key(1), &body(vec![(1, value)], vec![]))));
        assert!(matches!(error, InvalidRecord::Malformed(_)), "{error}");
    }
    let mut future = forge(&key(1), &body(vec![], vec![]));
    future[0] = 2;
    assert_eq!(invalid(PeerRecord::decode(&future)), InvalidRecord::Format(2));
    let longer = forge(&key(1), &(body(vec![], vec![]), 0u8));
    assert!(invalid(PeerRecord::decode(&longer)).to_string().contains(&DecodeError::TrailingBytes(1).to_string()));
    let mut nobody = forge(&key(1), &body(vec![], vec![]));
    nobody[1..33].fill(0);
    assert!(PeerRecord::decode(&nobody).is_err(), "a small-order key");
}

#[test]
fn only_the_peer_can_sign_it() {
    let record = PeerRecord::decode(&forge(&key(2), &body(vec![], vec![]))).unwrap();
    for _ in 0..2 {
        assert_eq!(invalid(record.verify()), InvalidRecord::Signature);
    }
    let mut application = forge(&key(1), &body(vec![], vec![]));
    let at = application.len() - SIGNATURE_LEN;
    let signature = key(1).sign(&application[..at]);
    application[at..].copy_from_slice(&signature);
    assert!(PeerRecord::decode(&application).unwrap().verify().is_err(), "an application's signature is no record's");
}

#[test]
fn the_higher_number_counts() {
    let sign = |n, seq| PeerRecord::builder().sign(&key(n), seq).unwrap();
    assert!(sign(1, 2).is_newer_than(&sign(1, 1)));
    assert!(!sign(1, 1).is_newer_than(&sign(1, 1)));
    assert!(!sign(2, 2).is_newer_than(&sign(1, 1)));
}

fn any_addr() -> impl Strategy<Value = PeerAddr> {
    (0usize..3, any::<IpAddr>(), 1u16.., any::<u16>())
        .prop_map(|(transport, ip, port, priority)| PeerAddr {
            endpoint: Endpoint::new(Transport::ALL[transport], ip, port),
            priority,
        })
        .prop_filter("reachable", |addr| RecordBuilder::accepts(&addr.endpoint))
}

proptest! {
    #[test]
    fn records_round_trip_and_no_bit_can_change(
        addrs in prop::collection::vec(any_addr(), 0..=8),
        discovery_addrs in prop::collection::vec(any_addr(), 0..=8),
        seq in any::<u64>(),
        items in any::<[u8; 16]>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let mut builder = PeerRecord::builder().items(Bloom::from_bytes(items));
        for addr in &addrs { builder = builder.addr(addr.clone()) }
        for addr in &discovery_addrs { builder = builder.discovery_addr(addr.clone()) }
        let signed = builder.sign(&key(1), seq).unwrap();
        prop_assert!(signed.as_bytes().len() <= MAX_RECORD_LEN);
        let read = PeerRecord::decode(signed.as_bytes()).unwrap();
        read.verify().unwrap();
        prop_assert_eq!((read.peer_id(), read.seq(), read.items()), (key(1).peer_id(), seq, Bloom::from_bytes(items)));
        prop_assert_eq!(read.addrs(), signed.addrs());
        prop_assert_eq!(read.discovery_addrs(), signed.discovery_addrs());
        for (shown, given) in read.addrs().iter().zip(&addrs) {
            prop_assert_eq!(shown.priority, given.priority);
            prop_assert_eq!(&shown.endpoint, &given.endpoint.clone().with_peer_id(key(1).peer_id()));
        }
        let mut changed = signed.as_bytes().to_vec();
        let bit = flip.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(PeerRecord::decode(&changed).and_then(|record| record.verify()).is_err());
        prop_assert!(PeerRecord::decode(&signed.as_bytes()[..bit / 8]).and_then(|record| record.verify()).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(first) = bytes.first_mut() { *first = 1 }
        if let Ok(record) = PeerRecord::decode(&bytes) {
            prop_assert!(record.verify().is_err());
        }
    }
}
