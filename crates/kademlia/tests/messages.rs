//! Requests and responses: their bytes, their bounds, and what is not one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use p2p_identity::record::MAX_RECORD_LEN;
use p2p_identity::{Error, KeyPair, PeerRecord};
use p2p_kademlia::message::{
    Closer, DialBackOutcome, MAX_CONTACTS, MAX_NEAR, MAX_PROVIDERS, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, PADDING_LEN,
    Padding, Request, Response,
};
use p2p_kademlia::store::{MAX_SALT_LEN, MAX_VALUE_LEN};
use p2p_kademlia::{Key, Refused, StoredValue};
use p2p_net::Endpoint;
use proptest::prelude::*;

fn key_pair(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

fn record(n: u8) -> PeerRecord {
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
    PeerRecord::builder()
        .addr(endpoint("quic://198.51.100.1:9000"))
        .addr(endpoint("tls://[2001:db8::1]:9000"))
        .discovery_addr(endpoint("udp://198.51.100.1:9001"))
        .sign(&key_pair(n), 300)
        .unwrap()
}

/// A record of exactly as many bytes as one may have, by an address of a kind that nobody knows yet. Nobody has signed it.
fn longest_record() -> PeerRecord {
    let body = |len: usize| {
        let addrs: Vec<(u8, Vec<u8>)> = vec![(200, vec![7; len])];
        let body = (key_pair(1).peer_id(), u64::MAX, addrs, Vec::<(u8, Vec<u8>)>::new(), [0u8; 16]);
        [&[1], &p2p_identity::encode(&body).unwrap()[..], &[0; 64]].concat()
    };
    let bytes = (0..MAX_RECORD_LEN).map(body).find(|bytes| bytes.len() == MAX_RECORD_LEN).unwrap();
    PeerRecord::decode(&bytes).unwrap()
}

fn mutable(salt: usize, value: usize) -> StoredValue {
    StoredValue::sign(&key_pair(3), vec![1; salt], 5, vec![2; value]).unwrap()
}

fn requests() -> Vec<Request> {
    let key = Key::of_value(b"key");
    vec![
        Request::FindNode { target: key },
        Request::GetValue { key },
        Request::GetProviders { key },
        Request::PutValue { value: StoredValue::immutable("value").unwrap(), expected_seq: None, ttl: 86_400 },
        Request::PutValue { value: mutable(3, 30), expected_seq: Some(4), ttl: 1 },
        Request::PutProvider { key, record: record(1), ttl: 7200 },
        Request::GetRecord,
        Request::DialBack { record: record(2) },
        Request::TryElsewhere { record: record(2), padding: Padding },
        Request::Near { record: record(3) },
    ]
}

fn closer(observed: &str) -> Closer {
    Closer { contacts: vec![record(4), record(5)], seq: 77, observed: Some(observed.parse().unwrap()) }
}

fn responses() -> Vec<Response> {
    vec![
        Response::Contacts(Closer::default()),
        Response::Contacts(closer("198.51.100.7:1234")),
        Response::Value { value: None, closer: closer("[2001:db8::9]:65535") },
        Response::Value { value: Some(mutable(0, 0)), closer: Closer::default() },
        Response::Providers { providers: vec![record(6)], closer: closer("127.0.0.1:0") },
        Response::Stored,
        Response::Refused(Refused::Busy),
        Response::Refused(Refused::Older { current: u64::MAX }),
        Response::Refused(Refused::NoRecord),
        Response::Record(record(7)),
        Response::DialBack(DialBackOutcome::Reached),
        Response::DialBack(DialBackOutcome::Unreachable),
        Response::Near(vec![]),
        Response::Near(vec![record(8); MAX_NEAR]),
    ]
}

#[test]
fn what_is_written_is_read() {
    for request in requests() {
        let bytes = request.encode().unwrap();
        assert_eq!(Request::decode(&bytes).unwrap(), request);
        let is_long = matches!(request, Request::TryElsewhere { .. });
        assert_eq!(Request::fits_hello(&bytes), !is_long, "{request:?} has {} bytes", bytes.len());
    }
    for response in responses() {
        assert_eq!(Response::decode(&response.encode().unwrap()).unwrap(), response);
    }
}

/// The bytes of the chapter on the wire format.
#[test]
fn the_bytes_are_those_written_down() {
    let target = Key::from_bytes([0xab; 32]);
    let request = |request: Request| request.encode().unwrap().to_vec();
    assert_eq!(request(Request::FindNode { target }), [&[1, 0][..], &[0xab; 32]].concat());
    assert_eq!(request(Request::GetRecord), [1, 5]);
    let put = Request::PutValue { value: StoredValue::immutable("hi").unwrap(), expected_seq: Some(1), ttl: 86_400 };
    assert_eq!(request(put), [1, 3, 0, 2, b'h', b'i', 1, 1, 0x80, 0xa3, 0x05]);
    let value = mutable(1, 2);
    let StoredValue::Mutable { publisher, signature, .. } = &value else { unreachable!("it is mutable") };
    let expected = [&[1, 3, 1][..], publisher.as_bytes(), &[1, 1], &[5], &[2, 2, 2], signature, &[0], &[0]].concat();
    assert_eq!(request(Request::PutValue { value, expected_seq: None, ttl: 0 }), expected);

    let response = |response: Response| response.encode().unwrap().to_vec();
    let observed = Some("192.0.2.1:300".parse().unwrap());
    let closer = Closer { contacts: vec![], seq: 9, observed };
    assert_eq!(response(Response::Contacts(closer)), [1, 0, 0, 9, 1, 0, 192, 0, 2, 1, 0xac, 2]);
    assert_eq!(response(Response::Stored), [1, 3]);
    assert_eq!(response(Response::Refused(Refused::Older { current: 300 })), [1, 4, 5, 0xac, 2]);
    assert_eq!(response(Response::DialBack(DialBackOutcome::Unreachable)), [1, 6, 1]);
}

/// What the signature of a mutable value covers, as the chapter on the wire format says.
#[test]
fn a_mutable_value_is_signed_as_written_down() {
    let value = mutable(2, 3);
    let StoredValue::Mutable { publisher, signature, .. } = &value else { unreachable!("it is mutable") };
    let domain = p2p_identity::Domain::new("p2p/1 dht mutable value");
    publisher.verify_for(domain, &[&[2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 2, 2, 2]], signature).unwrap();
}

#[test]
fn everything_at_its_bound_may_be_sent() {
    let (salt, value) = (MAX_SALT_LEN, MAX_VALUE_LEN);
    let put = Request::PutValue { value: mutable(salt, value), expected_seq: Some(u64::MAX), ttl: u32::MAX };
    let provide = Request::PutProvider { key: Key::of_value(b""), record: longest_record(), ttl: u32::MAX };
    let elsewhere = Request::TryElsewhere { record: longest_record(), padding: Padding };
    for request in [put, provide, elsewhere] {
        let bytes = request.encode().unwrap();
        assert!(bytes.len() <= MAX_REQUEST_LEN && !Request::fits_hello(&bytes), "{}", bytes.len());
        assert_eq!(Request::decode(&bytes).unwrap(), request);
    }
    let closer = Closer {
        contacts: vec![longest_record(); MAX_CONTACTS],
        seq: u64::MAX,
        observed: Some("[2001:db8::1]:65535".parse().unwrap()),
    };
    let fullest = [
        Response::Value { value: Some(mutable(salt, value)), closer: closer.clone() },
        Response::Providers { providers: vec![longest_record(); MAX_PROVIDERS], closer },
        Response::Near(vec![longest_record(); MAX_NEAR]),
    ];
    for response in fullest {
        let bytes = response.encode().unwrap();
        assert!(bytes.len() <= MAX_RESPONSE_LEN, "{}", bytes.len());
        assert_eq!(Response::decode(&bytes).unwrap(), response);
    }
}

#[test]
fn beyond_its_bound_nothing_is_written_or_read() {
    let crowd = |len| Closer { contacts: vec![record(1); len], ..Closer::default() };
    assert!(matches!(Response::Contacts(crowd(MAX_CONTACTS + 1)).encode(), Err(Error::Encode(_))));
    let providers = Response::Providers { providers: vec![record(1); MAX_PROVIDERS + 1], closer: crowd(0) };
    assert!(matches!(providers.encode(), Err(Error::Encode(_))));
    assert!(matches!(Response::Near(vec![record(1); MAX_NEAR + 1]).encode(), Err(Error::Encode(_))));
    let near = |len: usize| [&[1, 7], &p2p_identity::encode(&vec![record(1); len]).unwrap()[..]].concat();
    assert!(Response::decode(&near(MAX_NEAR)).is_ok() && Response::decode(&near(MAX_NEAR + 1)).is_err());
    let too_long = StoredValue::Immutable(vec![0; MAX_VALUE_LEN + 1].into());
    let put = Request::PutValue { value: too_long, expected_seq: None, ttl: 1 };
    assert!(matches!(put.encode(), Err(Error::Encode(_))));

    // The same, written by somebody who does not care.
    let contacts = |len: usize| {
        let list = p2p_identity::encode(&vec![record(1); len]).unwrap();
        [&[1, 0], &list[..], &[0, 0]].concat()
    };
    assert!(Response::decode(&contacts(MAX_CONTACTS)).is_ok());
    assert!(matches!(Response::decode(&contacts(MAX_CONTACTS + 1)), Err(Error::Decode(_))));
    let claims_10_000 = [&[1, 0, 0x90, 0x4e][..], &[0; 20_000]].concat();
    assert!(matches!(Response::decode(&claims_10_000), Err(Error::Decode(_))));
    for (len, fits) in [(MAX_VALUE_LEN, true), (MAX_VALUE_LEN + 1, false)] {
        let value = p2p_identity::encode(&vec![0u8; len]).unwrap();
        let put = [&[1, 3, 0], &value[..], &[0, 1]].concat();
        assert_eq!(Request::decode(&put).is_ok(), fits);
    }
    for (len, decode) in [
        (MAX_REQUEST_LEN, (|bytes| Request::decode(bytes).err()) as fn(&[u8]) -> Option<Error>),
        (MAX_RESPONSE_LEN, |bytes| Response::decode(bytes).err()),
    ] {
        assert!(matches!(decode(&vec![1; len + 1]), Some(Error::MessageTooLarge { max, .. }) if max == len));
        assert!(matches!(decode(&vec![1; len]), Some(Error::Decode(_))));
    }
}

#[test]
fn each_message_has_one_form() {
    let good = Request::PutProvider { key: Key::of_value(b""), record: record(1), ttl: 3 }.encode().unwrap();
    assert!(Request::decode(&[&good[..], &[0]].concat()).is_err(), "a byte too many");
    assert!(Request::decode(&good[..good.len() - 1]).is_err(), "a byte too few");
    assert!(Request::decode(&[&good[..good.len() - 1], &[0x83, 0]].concat()).is_err(), "an over-long number");
    assert!(Request::decode(&[&[2], &good[1..]].concat()).is_err(), "another format");
    assert!(Request::decode(&[]).is_err() && Response::decode(&[]).is_err(), "nothing");
    assert!(Request::decode(&[1, 9]).is_err() && Response::decode(&[1, 8]).is_err(), "an unknown message");
    let elsewhere = Request::TryElsewhere { record: record(1), padding: Padding }.encode().unwrap();
    assert!(elsewhere.ends_with(&[0; PADDING_LEN]));
    let (head, padding) = elsewhere.split_at(elsewhere.len() - PADDING_LEN - 2);
    assert_eq!(padding[..2], [0xb8, 0x17], "its length");
    for padding in [[&[0xb7, 0x17], &padding[3..]].concat(), [&padding[..PADDING_LEN + 1], &[1]].concat(), vec![0]] {
        assert!(Request::decode(&[head, &padding[..]].concat()).is_err(), "the padding is shorter, or says something");
    }
    let mapped = [&[1, 0, 0, 9, 1, 1][..], &[0; 10], &[0xff, 0xff, 192, 0, 2, 1], &[0]].concat();
    assert!(Response::decode(&mapped).is_err(), "an IPv4 address in IPv6 form");
    let observed: SocketAddr = "[::ffff:192.0.2.1]:5".parse().unwrap();
    let written = Response::Contacts(Closer { observed: Some(observed), ..Closer::default() }).encode().unwrap();
    let Ok(Response::Contacts(read)) = Response::decode(&written) else { panic!("it was written just now") };
    assert_eq!(read.observed, Some("192.0.2.1:5".parse().unwrap()));
}

#[test]
fn an_unknown_reason_is_still_a_refusal() {
    let last = Response::Refused(Refused::NoRecord).encode().unwrap();
    assert_eq!(last[..], [1, 4, 12], "the reasons known are those below 13");
    for bytes in [&[1, 4, 13][..], &[1, 4, 13, 1, 2, 3], &[1, 4, 0x7f]] {
        assert_eq!(Response::decode(bytes).unwrap(), Response::Refused(Refused::Other(bytes[2].into())));
    }
    assert!(Response::decode(&[1, 4, 12, 0]).is_err(), "one that is known has its one form");
    assert!(Response::decode(&[1, 4]).is_err());
}

#[test]
fn an_answer_is_one_to_its_question() {
    let kind = |response: &Response| std::mem::discriminant(response);
    for request in requests() {
        let answers: Vec<_> = responses().into_iter().filter(|response| response.answers(&request)).collect();
        let others = answers.iter().filter(|answer| !matches!(answer, Response::Refused(_)));
        let kinds: Vec<_> = others.map(kind).collect();
        assert!(kinds.windows(2).all(|pair| pair[0] == pair[1]) && !kinds.is_empty(), "{request:?}: {answers:?}");
        assert!(Response::from(Refused::Malformed).answers(&request));
    }
}

#[test]
fn seconds_never_grow() {
    assert_eq!(Request::seconds(Duration::from_millis(1999)), 1);
    assert_eq!(Request::seconds(Duration::MAX), u32::MAX);
}

/// Bytes of a message with a few of them changed, cut off or added.
fn nearly(messages: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (prop::sample::select(messages), changes, any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..3))
        .prop_map(|(mut bytes, changes, cut, more)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(4 * bytes.len()) + 1);
            bytes.extend(more);
            bytes
        })
}

fn one_form_of_request(bytes: &[u8]) {
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(request.encode().unwrap(), bytes, "{request:?} has one form");
    }
}

fn one_form_of_response(bytes: &[u8]) {
    match Response::decode(bytes) {
        Ok(Response::Refused(Refused::Other(_))) | Err(_) => {}
        Ok(response) => assert_eq!(response.encode().unwrap(), bytes, "{response:?} has one form"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        one_form_of_request(&bytes);
        one_form_of_response(&bytes);
        let with_format = [&[1], &bytes[..]].concat();
        one_form_of_request(&with_format);
        one_form_of_response(&with_format);
    }

    #[test]
    fn nearly_a_request_is_one_or_an_error(bytes in nearly(requests().iter().map(|r| r.encode().unwrap().to_vec()).collect())) {
        one_form_of_request(&bytes);
    }

    #[test]
    fn nearly_a_response_is_one_or_an_error(bytes in nearly(responses().iter().map(|r| r.encode().unwrap().to_vec()).collect())) {
        one_form_of_response(&bytes);
    }
}
