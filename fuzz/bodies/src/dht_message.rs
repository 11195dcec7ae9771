//! Questions and answers of the DHT: what is read is written as the same bytes, within the bounds of each part.

use p2p_identity::handshake::MAX_PAYLOAD_LEN;
use p2p_identity::record::MAX_RECORD_LEN;
use p2p_identity::{KeyPair, PeerRecord};
use p2p_kademlia::message::{
    Closer, DialBackOutcome, MAX_CONTACTS, MAX_NEAR, MAX_PROVIDERS, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, Padding,
    Request, Response,
};
use p2p_kademlia::store::{MAX_SALT_LEN, MAX_VALUE_LEN};
use p2p_kademlia::{Key, Refused, StoredValue};
use p2p_net::Endpoint;

use crate::input::Input;

/// What all messages begin with.
const FORMAT: u8 = 1;

/// The first reason for a refusal that has no name yet.
const UNNAMED: u8 = 13;

thread_local! {
    static RECORDS: Vec<PeerRecord> = vec![record(1, 0), record(2, 8), longest_record()];
    static SIGNED: Vec<StoredValue> = vec![signed("status", 3, 30), signed("", u64::MAX, 0)];
    static REQUESTS: Vec<Request> = requests();
}

pub fn run(data: &[u8]) {
    if data.first() != Some(&FORMAT) {
        assert!(Request::decode(data).is_err() && Response::decode(data).is_err());
        return of_any_size(Input::new(data.get(1..).unwrap_or_default()));
    }
    let sampled = data.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).is_multiple_of(64);
    if let Ok(request) = Request::decode(data) {
        assert_eq!(request.encode().as_deref().ok(), Some(data));
        check_request(&request, data.len(), sampled);
    }
    if let Ok(response) = Response::decode(data) {
        match (&response, data) {
            // What it says is not known, whatever it is.
            (Response::Refused(Refused::Other(reason)), [_, _, told, ..]) => {
                assert!(*reason == u32::from(*told) && *told >= UNNAMED);
            }
            _ => assert_eq!(response.encode().as_deref().ok(), Some(data)),
        }
        check_response(&response, data.len(), sampled);
    }
}

fn check_request(request: &Request, len: usize, sampled: bool) {
    assert!(len <= MAX_REQUEST_LEN);
    assert_eq!(Request::fits_hello(&vec![0; len]), len <= MAX_PAYLOAD_LEN);
    let about = match request {
        Request::FindNode { target: key } | Request::GetValue { key } | Request::GetProviders { key } => Some(*key),
        Request::PutValue { value, .. } => {
            check_value(value, sampled);
            Some(value.key())
        }
        Request::PutProvider { key, record, .. } => {
            assert!(record.as_bytes().len() <= MAX_RECORD_LEN);
            Some(*key)
        }
        Request::DialBack { record } | Request::TryElsewhere { record, .. } | Request::Near { record } => {
            assert!(record.as_bytes().len() <= MAX_RECORD_LEN);
            None
        }
        _ => None,
    };
    assert_eq!(request.target(), about);
}

fn check_response(response: &Response, len: usize, sampled: bool) {
    assert!(len <= MAX_RESPONSE_LEN);
    let (question, closer) = match response {
        Response::Contacts(closer) => (Some(0), Some(closer)),
        Response::Value { value, closer } => {
            value.iter().for_each(|value| check_value(value, sampled));
            (Some(1), Some(closer))
        }
        Response::Providers { providers, closer } => {
            assert!(providers.len() <= MAX_PROVIDERS);
            (Some(2), Some(closer))
        }
        Response::Record(record) => {
            assert!(record.as_bytes().len() <= MAX_RECORD_LEN);
            (Some(5), None)
        }
        Response::DialBack(_) => (Some(6), None),
        Response::Near(records) => {
            assert!(records.len() <= MAX_NEAR);
            (Some(8), None)
        }
        _ => (None, None),
    };
    assert_eq!(response.closer(), closer);
    if let Some(Closer { contacts, observed, .. }) = closer {
        assert!(contacts.len() <= MAX_CONTACTS);
        assert!(observed.is_none_or(|observed| observed.ip() == observed.ip().to_canonical()));
    }
    REQUESTS.with(|requests| {
        for (n, request) in requests.iter().enumerate() {
            let expected = match response {
                Response::Refused(_) => true,
                Response::Stored => n == 3 || n == 4,
                Response::DialBack(_) => n == 6 || n == 7,
                _ => Some(n) == question,
            };
            assert_eq!(response.answers(request), expected, "{response:?} to {request:?}");
        }
    });
}

/// Its lengths, and sometimes that nobody's signature is made up: checking one takes as long as reading a hundred.
fn check_value(value: &StoredValue, sampled: bool) {
    assert!(value.value().len() <= MAX_VALUE_LEN && value.payload_len() <= MAX_VALUE_LEN + MAX_SALT_LEN);
    match value {
        StoredValue::Immutable(bytes) => assert_eq!(value.verify_under(&Key::of_value(bytes)), Ok(())),
        StoredValue::Mutable { salt, .. } => {
            assert!(salt.len() <= MAX_SALT_LEN);
            let own = SIGNED.with(|signed| signed.contains(value));
            assert!(!sampled || value.verify().is_ok() == own, "nobody has signed this");
        }
    }
}

/// Messages that may be too large, which no input would be long enough for: they are written and read if they are not.
fn of_any_size(mut input: Input<'_>) {
    let (contacts, providers) = (input.below(24), input.below(24));
    let (value, salt) = (MAX_VALUE_LEN - 8 + input.below(16), MAX_SALT_LEN - 8 + input.below(16));
    let which = input.below(3);
    let record = RECORDS.with(|records| records[which].clone());
    let too_long = value > MAX_VALUE_LEN || salt > MAX_SALT_LEN;
    match input.below(3) {
        0 => {
            let closer = Closer { contacts: vec![record.clone(); contacts], seq: input.any(), observed: None };
            let message = Response::Providers { providers: vec![record.clone(); providers], closer };
            let encoded = message.encode();
            let fits = contacts <= MAX_CONTACTS && providers <= MAX_PROVIDERS;
            assert_eq!(encoded.is_ok(), fits, "{contacts} contacts, {providers} providers");
            if let Ok(bytes) = encoded {
                check_response(&message, bytes.len(), false);
                assert_eq!(Response::decode(&bytes).ok(), Some(message));
            }
        }
        // What this version would not write is not read either.
        1 => {
            let one = p2p_identity::encode(&record).expect("a record has an encoding");
            let bytes = [&[FORMAT, 0, contacts as u8][..], &one.repeat(contacts), &[0, 0]].concat();
            assert_eq!(Response::decode(&bytes).is_ok(), contacts <= MAX_CONTACTS);
        }
        _ => {
            let publisher = KeyPair::from_seed([1; 32]).public();
            let signature = [7; 64];
            let (salt, value) = (vec![1; salt].into(), vec![2; value].into());
            let value = StoredValue::Mutable { publisher, salt, seq: input.any(), value, signature };
            let message = Request::PutValue { value, expected_seq: input.any(), ttl: input.any() };
            let encoded = message.encode();
            assert_eq!(encoded.is_err(), too_long);
            if let Ok(bytes) = encoded {
                assert_eq!(Request::decode(&bytes).ok(), Some(message));
            }
        }
    }
}

fn record(n: u8, addrs: u8) -> PeerRecord {
    let endpoint = |n: u8| -> Endpoint { format!("quic://198.51.100.{n}:9000").parse().expect("an endpoint") };
    let builder = (0..addrs).fold(PeerRecord::builder(), |builder, n| builder.addr(endpoint(n)));
    builder.sign(&KeyPair::from_seed([n; 32]), 300).expect("a record within its bounds")
}

/// A record as long as one may be, by an address of a kind that nobody knows yet. Nobody has signed it.
fn longest_record() -> PeerRecord {
    let bytes = |len: usize| {
        let addrs: Vec<(u8, Vec<u8>)> = vec![(200, vec![7; len])];
        let body = (crate::input::peer(1), u64::MAX, addrs, Vec::<(u8, Vec<u8>)>::new(), [0u8; 16]);
        [&[1], &p2p_identity::encode(&body).expect("plain fields")[..], &[0; 64]].concat()
    };
    let longest = (1700..MAX_RECORD_LEN).map(bytes).find(|bytes| bytes.len() == MAX_RECORD_LEN);
    PeerRecord::decode(&longest.expect("a length for each")).expect("a record, but for its signature")
}

fn signed(salt: &'static str, seq: u64, len: usize) -> StoredValue {
    StoredValue::sign(&KeyPair::from_seed([3; 32]), salt, seq, vec![2; len]).expect("a value within its bounds")
}

/// One of each kind, in their order.
fn requests() -> Vec<Request> {
    let key = Key::of_value(b"key");
    vec![
        Request::FindNode { target: key },
        Request::GetValue { key },
        Request::GetProviders { key },
        Request::PutValue { value: signed("status", 3, 30), expected_seq: Some(2), ttl: 86_400 },
        Request::PutProvider { key, record: record(1, 1), ttl: 7200 },
        Request::GetRecord,
        Request::DialBack { record: record(2, 2) },
        Request::TryElsewhere { record: record(2, 2), padding: Padding },
        Request::Near { record: record(2, 0) },
    ]
}

pub fn seeds() -> Vec<Vec<u8>> {
    let closer = |observed: &str| {
        let contacts = vec![record(1, 0), record(2, 1)];
        Closer { contacts, seq: 77, observed: observed.parse().ok() }
    };
    let responses = [
        Response::Contacts(Closer::default()),
        Response::Contacts(closer("198.51.100.7:1234")),
        Response::Value { value: None, closer: closer("[2001:db8::9]:1") },
        Response::Value { value: Some(signed("", u64::MAX, 0)), closer: Closer::default() },
        Response::Providers { providers: vec![record(1, 0)], closer: Closer::default() },
        Response::Stored,
        Response::Refused(Refused::Older { current: u64::MAX }),
        Response::Record(record(2, 1)),
        Response::DialBack(DialBackOutcome::Unreachable),
        Response::Near(vec![record(2, 0)]),
    ];
    let immutable = StoredValue::immutable("hello").expect("a short value");
    let mut seeds: Vec<_> = requests().iter().chain([&put(immutable)]).filter_map(|it| it.encode().ok()).collect();
    seeds.extend(responses.iter().filter_map(|response| response.encode().ok()));
    let mut seeds: Vec<Vec<u8>> = seeds.iter().map(|bytes| bytes.to_vec()).collect();
    seeds.extend([vec![FORMAT, 4, 99, 1, 2, 3], vec![FORMAT, 4, 12]]);
    seeds.extend([[20, 20, 8, 8, 2, 0], [21, 3, 8, 8, 0, 1], [0, 0, 8, 8, 0, 2], [0, 0, 9, 8, 0, 2]].map(made));
    seeds
}

fn put(value: StoredValue) -> Request {
    Request::PutValue { value, expected_seq: None, ttl: 1 }
}

fn made(choices: [u8; 6]) -> Vec<u8> {
    [&[0], &choices[..]].concat()
}
