//! Messages of the handshake: what is read is written in one form, within its bounds; what is wrong is said politely.

use std::sync::Arc;

use bytes::Bytes;
use p2p_identity::fuzzing::{certified_hello, rewrite_certified, rewrite_message};
use p2p_identity::handshake::{MAX_MESSAGE_LEN, MAX_REASON_TEXT, reject_message};
use p2p_identity::{
    Channel, Handshake, HandshakeError, HandshakeParams, KeyPair, Offer, Party, PeerRecord, ProtocolKind, Purpose,
    RejectReason, WIRE_VERSION,
};

thread_local! {
    static PARAMS: Arc<HandshakeParams> = HandshakeParams::new(KeyPair::from_seed([1; 32]), 1).into();
}

pub fn run(data: &[u8]) {
    let written = rewrite_message(data);
    match &written {
        Ok(written) => {
            assert!(written.len() <= MAX_MESSAGE_LEN);
            assert_eq!(rewrite_message(written).as_ref(), Ok(written));
            if matches!(data, [WIRE_VERSION, 1, ..]) {
                assert_eq!(written, data);
            }
        }
        Err(reason) => check_told(reason),
    }
    // As the hello in a certificate, too.
    let of = crate::input::peer(1);
    if let Ok(written) = rewrite_certified(data, of) {
        assert_eq!(written, data);
    }
    let listener = PARAMS.with(|params| Handshake::listen(params.clone(), Channel::Plain, [7; 32]));
    match listener.expect("parameters within their bounds").on_message(data) {
        Ok(_) | Err(HandshakeError::Remote(_)) => assert!(written.is_ok()),
        Err(error) => check_told(error.reason().expect("a refusal has a reason")),
    }
}

/// A refusal can be told: its text is a stranger's.
fn check_told(reason: &RejectReason) {
    let told = reject_message(reason);
    assert!(told.len() <= 4 * MAX_REASON_TEXT, "{} bytes", told.len());
    assert_eq!(rewrite_message(&told).as_deref(), Ok(&told[..]));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let key_pair = KeyPair::from_seed([2; 32]);
    let plain = HandshakeParams::new(key_pair.clone(), 9);
    let mut rich = plain.clone();
    rich.record = PeerRecord::builder().sign(&key_pair, 1).ok();
    rich.network = "test".into();
    rich.protocols = [("/a", "1.0.0"), ("/b", "1.2.0, >=1.0")].map(offer).into();
    let hello = |params: &HandshakeParams, purpose, payload: &[u8]| {
        let handshake = Handshake::dial(params.clone().into(), Channel::Plain, None, purpose, [3; 32], payload);
        handshake.ok().and_then(|handshake| handshake.hello()).unwrap_or_default()
    };
    let text = || "text".to_owned();
    let reasons = [
        RejectReason::NetworkMismatch { ours: text(), theirs: text() },
        RejectReason::WireVersion { ours: 1, theirs: 2 },
        RejectReason::MissingProtocol { protocol: "/a".parse().expect("an id"), missing_at: Party::Local },
        RejectReason::IdentityMismatch { expected: crate::input::peer(1), actual: crate::input::peer(2) },
        RejectReason::Malformed("\u{1b}".repeat(200)),
        RejectReason::TooLarge { len: u64::MAX, max: 1 },
        RejectReason::PurposeUnsupported(Purpose::Lookup),
        RejectReason::Other(77),
    ];
    let mut seeds = vec![
        hello(&plain, Purpose::Peer, &[]),
        hello(&rich, Purpose::Peer, b"query"),
        hello(&rich, Purpose::Lookup, &[0; 100]),
        Bytes::from_static(&[WIRE_VERSION, 1, 0]),
        [&[WIRE_VERSION, 1, 1][..], &[9; 64]].concat().into(),
        certified_hello(&plain),
        Bytes::from_static(&[9, 2, 99, 1, 2]),
    ];
    seeds.extend(reasons.iter().map(reject_message));
    seeds.iter().map(|bytes| bytes.to_vec()).collect()
}

fn offer((id, version): (&str, &str)) -> (p2p_identity::ProtocolId, Offer) {
    let version = version.parse().expect("a version");
    (id.parse().expect("an id"), Offer { version, kind: ProtocolKind::Optional })
}
