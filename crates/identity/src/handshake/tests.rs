//! Two machines against each other, and one against a liar.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use p2p_core::PeerId;
use proptest::prelude::*;

use super::*;
use crate::{Error, KeyPair, PeerRecord, ProtocolId, ProtocolKind, Version};

pub(super) fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

pub(super) fn params(n: u8, protocols: &[(&str, &str, ProtocolKind)]) -> HandshakeParams {
    let mut params = HandshakeParams::new(key(n), u64::from(n) << 40);
    params.record = Some(PeerRecord::builder().sign(&key(n), 1).unwrap());
    for (id, version, kind) in protocols {
        let offer = Offer { version: version.parse().unwrap(), kind: *kind };
        params.protocols.insert(id.parse().unwrap(), offer);
    }
    params
}

type Verdict = Result<RemotePeer, HandshakeError>;

/// Both sides of a connection, in memory.
struct Pair {
    dialler: Handshake,
    listener: Handshake,
}

impl Pair {
    fn new(a: HandshakeParams, b: HandshakeParams, certified: bool) -> Self {
        Self::expecting(a, b, certified, None, Purpose::Peer)
    }

    fn expecting(
        a: HandshakeParams,
        b: HandshakeParams,
        certified: bool,
        expected: Option<PeerId>,
        purpose: Purpose,
    ) -> Self {
        let channel = |params: &HandshakeParams| match certified {
            true => Channel::Certified(params.key_pair.peer_id()),
            false => Channel::Plain,
        };
        let (to_b, to_a) = (channel(&b), channel(&a));
        Self {
            dialler: Handshake::dial(a.into(), to_b, expected, purpose, [1; 32], b"query").unwrap(),
            listener: Handshake::listen(b.into(), to_a, [2; 32]).unwrap(),
        }
    }

    /// Runs it to its end, passing each message through `change` (message index, bytes). Gives both verdicts and how
    /// many one-way trips it took.
    fn run_with(mut self, mut change: impl FnMut(usize, Bytes) -> Bytes) -> (Verdict, Verdict, usize) {
        let (mut a, mut b) = (None, None);
        let mut wire: Vec<Bytes> = vec![self.dialler.hello().unwrap()];
        let (mut to_listener, mut trips, mut count) = (true, 0, 0);
        while !wire.is_empty() {
            trips += 1;
            let mut answers = Vec::new();
            for message in std::mem::take(&mut wire) {
                let message = change(count, message);
                count += 1;
                let (machine, verdict) = match to_listener {
                    true => (&mut self.listener, &mut b),
                    false => (&mut self.dialler, &mut a),
                };
                if verdict.is_some() {
                    continue;
                }
                match machine.on_message(&message) {
                    Ok(Step::Decide) => answers.extend(machine.accept().unwrap()),
                    Ok(Step::Done(peer)) => *verdict = Some(Ok(*peer)),
                    Err(error) => {
                        if let HandshakeError::Refused(reason) = &error {
                            answers.push(reject_message(reason));
                        }
                        *verdict = Some(Err(error));
                    }
                }
            }
            wire = answers;
            to_listener = !to_listener;
        }
        (a.unwrap_or(Err(HandshakeError::Closed)), b.unwrap_or(Err(HandshakeError::Closed)), trips)
    }

    fn run(self) -> (Verdict, Verdict, usize) {
        self.run_with(|_, message| message)
    }

    /// Both refuse for the same reason; the listener's own view of it.
    fn refused(self) -> RejectReason {
        match self.run() {
            (Err(HandshakeError::Remote(a)), Err(HandshakeError::Refused(b)), _)
            | (Err(HandshakeError::Refused(a)), Err(HandshakeError::Remote(b)), _) => {
                assert_eq!(a.mirrored(), b);
                b
            }
            other => panic!("{other:?}"),
        }
    }
}

use ProtocolKind::{Hidden, Mandatory, Optional};

#[test]
fn two_peers_agree_in_one_round_trip() {
    for certified in [false, true] {
        let a = params(1, &[("/a", "1.0.0", Optional), ("/b", "1.2.0, >=1.0", Mandatory), ("/h", "1.0.0", Hidden)]);
        let b = params(2, &[("/b", "1.1.0", Optional), ("/c", "1.0.0", Optional), ("/h", "1.0.0", Hidden)]);
        let pair = Pair::expecting(a, b, certified, Some(key(2).peer_id()), Purpose::Peer);
        let (a, b, trips) = pair.run();
        let (a, b) = (a.unwrap(), b.unwrap());
        // Hello; Hello and Accept, which completes the dialler; Accept, which completes the listener.
        assert_eq!(trips, 3);
        assert_eq!((a.peer_id, b.peer_id), (key(2).peer_id(), key(1).peer_id()));
        assert!(a.proven && b.proven);
        assert_eq!((a.boot_nonce, b.boot_nonce), (2 << 40, 1 << 40));
        let ids: Vec<_> = a.protocols.keys().map(ProtocolId::as_str).collect();
        assert_eq!(ids, ["/b", "/h"]);
        assert_eq!(a.protocols["/b"].remote_version, "1.1.0".parse::<Version>().unwrap());
        assert_eq!((a.protocols["/b"].local_kind, a.protocols["/b"].remote_kind), (Mandatory, Optional));
        assert_eq!((b.protocols["/b"].local_kind, b.protocols["/b"].remote_kind), (Optional, Mandatory));
        assert_eq!(a.record.unwrap().peer_id(), a.peer_id);
        assert_eq!((&b.payload[..], &a.payload[..]), (&b"query"[..], &b""[..]));
    }
}

#[test]
fn a_candidate_over_tcp_is_not_proven() {
    for certified in [false, true] {
        let mut pair = Pair::new(params(1, &[]), params(2, &[]), certified);
        assert!(pair.listener.candidate().is_none());
        assert!(matches!(pair.listener.on_message(&pair.dialler.hello().unwrap()), Ok(Step::Decide)));
        assert_eq!(pair.listener.candidate().unwrap().proven, certified);
    }
}

#[test]
fn a_lookup_needs_the_same_network_and_no_more() {
    let asks = |mut b: HandshakeParams| {
        b.version = "9.0.0".parse().unwrap();
        Pair::expecting(params(1, &[("/a", "1.0.0", Mandatory)]), b, false, None, Purpose::Lookup)
    };
    let mut serving = params(2, &[("/b", "1.0.0", Mandatory)]);
    serving.serves.push(Purpose::Lookup);
    let (a, b, _) = asks(serving.clone()).run();
    assert!(a.unwrap().protocols.is_empty() && b.unwrap().protocols.is_empty());
    serving.network = "other".into();
    assert!(matches!(asks(serving).refused(), RejectReason::NetworkMismatch { .. }));
    assert_eq!(asks(params(2, &[])).refused(), RejectReason::PurposeUnsupported(Purpose::Lookup));
}

#[test]
fn each_reason_is_reached_and_told() {
    let pair = |a, b| Pair::new(a, b, false);
    let plain = |n| params(n, &[]);

    let mut other = plain(2);
    other.network = "other".into();
    let expected = RejectReason::NetworkMismatch { ours: "other".into(), theirs: "default".into() };
    assert_eq!(pair(plain(1), other).refused(), expected);

    let mut newer = plain(2);
    newer.version = "0.2.0".parse().unwrap();
    let expected = RejectReason::VersionIncompatible { ours: "0.2.0".into(), theirs: "0.1.0".into() };
    assert_eq!(pair(plain(1), newer).refused(), expected);

    let has = |n, version| params(n, &[("/m", version, Mandatory)]);
    let protocol: ProtocolId = "/m".parse().unwrap();
    let missing = |missing_at| RejectReason::MissingProtocol { protocol: protocol.clone(), missing_at };
    assert_eq!(pair(plain(1), has(2, "1.0.0")).refused(), missing(Party::Remote));
    assert_eq!(pair(has(1, "1.0.0"), plain(2)).refused(), missing(Party::Local));
    let expected = RejectReason::ProtocolVersion { protocol, ours: "2.0.0".into(), theirs: "1.0.0".into() };
    assert_eq!(pair(has(1, "1.0.0"), has(2, "2.0.0")).refused(), expected);
    let optional = pair(params(1, &[("/m", "1.0.0", Optional)]), params(2, &[("/m", "2.0.0", Hidden)]));
    assert!(optional.run().0.unwrap().protocols.is_empty(), "an optional one is left out instead");

    let (expected, actual) = (key(3).peer_id(), key(2).peer_id());
    for certified in [false, true] {
        let pair = Pair::expecting(plain(1), plain(2), certified, Some(expected), Purpose::Peer);
        assert_eq!(pair.refused(), RejectReason::IdentityMismatch { expected, actual });
        assert_eq!(Pair::new(plain(1), plain(1), certified).run().1, Err(RejectReason::SelfDial.into()));
    }

    let mut false_identity = pair(plain(1), plain(2));
    false_identity.listener =
        Handshake::listen(plain(2).into(), Channel::Certified(key(3).peer_id()), [2; 32]).unwrap();
    let expected = RejectReason::FalseIdentity { claimed: key(1).peer_id(), proven: key(3).peer_id() };
    assert_eq!(false_identity.refused(), expected);

    let stolen = Pair::new(plain(1), plain(2), false).run_with(|n, message| match n {
        // The listener's accept, signed by somebody else.
        2 => {
            let mut message = message.to_vec();
            message[40] ^= 1;
            message.into()
        }
        _ => message,
    });
    assert_eq!(stolen.0, Err(RejectReason::BadSignature.into()));

    let large = Pair::new(plain(1), plain(2), false).run_with(|n, message| match n {
        0 => vec![1; MAX_MESSAGE_LEN + 1].into(),
        _ => message,
    });
    let reason = RejectReason::TooLarge { len: MAX_MESSAGE_LEN as u64 + 1, max: MAX_MESSAGE_LEN as u64 };
    assert_eq!((large.0, large.1), (Err(HandshakeError::Remote(reason.clone())), Err(reason.into())));

    let future = Pair::new(plain(1), plain(2), false).run_with(|n, message| match n {
        0 => [&[2], &message[1..]].concat().into(),
        _ => message,
    });
    assert_eq!(future.1, Err(RejectReason::WireVersion { ours: 1, theirs: 2 }.into()));
    assert_eq!(future.0, Err(HandshakeError::Remote(RejectReason::WireVersion { ours: 2, theirs: 1 })));
    let future = Pair::new(plain(1), plain(2), false).run_with(|n, message| match n {
        0 => [&[1, 0, 2], &message[3..]].concat().into(),
        _ => message,
    });
    assert_eq!(future.1, Err(RejectReason::WireVersion { ours: 1, theirs: 2 }.into()));
}

#[test]
fn what_the_caller_decides_is_told_too() {
    use RejectReason as R;
    for reason in [R::Banned, R::Denied, R::SlotsFull, R::PrefixFull, R::AlreadyConnected, R::ShuttingDown, R::Timeout]
    {
        let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
        pair.listener.on_message(&pair.dialler.hello().unwrap()).unwrap();
        let told = pair.dialler.on_message(&reject_message(&reason)).unwrap_err();
        assert_eq!(told, HandshakeError::Remote(reason));
    }
}

#[test]
fn a_reason_of_the_future_is_still_a_refusal() {
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    let told = pair.dialler.on_message(&[9, 2, 99, 1, 2, 3]).unwrap_err();
    assert_eq!(told, HandshakeError::Remote(RejectReason::Other(99)));
}

#[test]
fn a_refusals_text_is_a_strangers() {
    let reason = RejectReason::NetworkMismatch { ours: "\x1b[2J".repeat(2000), theirs: "x".into() };
    let wire = [&[1, 2][..], &crate::encode(&reason).unwrap()].concat();
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    match pair.dialler.on_message(&wire).unwrap_err() {
        HandshakeError::Remote(RejectReason::NetworkMismatch { ours, theirs }) => {
            assert_eq!(ours, "x");
            assert!(theirs.len() <= MAX_REASON_TEXT && !theirs.contains('\x1b'));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_largest_hello_fits() {
    let mut a = params(1, &[]);
    let full = (0..8).fold(PeerRecord::builder(), |builder, n| {
        let endpoint = p2p_net::Endpoint::new(p2p_net::Transport::Quic, std::net::IpAddr::from([n + 1; 16]), 1);
        builder.addr(endpoint.clone()).discovery_addr(endpoint)
    });
    a.record = Some(full.sign(&key(1), u64::MAX).unwrap());
    a.network = "n".repeat(MAX_NETWORK_LEN);
    a.boot_nonce = u64::MAX;
    let long = |pad: usize| format!("1.0.0-{}", "a".repeat(pad));
    a.version = long(Version::MAX_LEN - 6).parse().unwrap();
    for n in 0..MAX_PROTOCOLS {
        let id = format!("{n:0>64}").parse().unwrap();
        a.protocols.insert(id, Offer { version: long(Version::MAX_LEN - 6).parse().unwrap(), kind: Optional });
    }
    let hello = Handshake::dial(a.clone().into(), Channel::Plain, None, Purpose::Peer, [1; 32], &[0; MAX_PAYLOAD_LEN]);
    let hello = hello.unwrap().hello().unwrap();
    let record_len = a.record.as_ref().unwrap().as_bytes().len();
    let largest = hello.len() - record_len + crate::record::MAX_RECORD_LEN;
    assert!(largest < MAX_MESSAGE_LEN, "{largest}");
    let mut b = a.clone();
    b.key_pair = key(2);
    b.record = None;
    let mut listener = Handshake::listen(b.into(), Channel::Plain, [2; 32]).unwrap();
    assert!(matches!(listener.on_message(&hello), Ok(Step::Decide)));

    a.protocols.insert("/one-more".parse().unwrap(), Offer { version: "1.0.0".parse().unwrap(), kind: Optional });
    let over = Handshake::listen(Arc::new(a.clone()), Channel::Plain, [2; 32]);
    assert!(matches!(over, Err(Error::Config { field: "protocols", .. })));
    a.protocols.clear();
    a.network.push('x');
    assert!(matches!(a.validate(), Err(Error::Config { field: "network", .. })));
    a.network.clear();
    a.record = params(2, &[]).record;
    assert!(matches!(a.validate(), Err(Error::Config { field: "record", .. })));
}

#[test]
fn a_hello_beyond_its_bounds_is_refused_whoever_wrote_it() {
    let refused = |params: &HandshakeParams, payload: &[u8], why: &str| {
        let hello = wire::hello(params, Purpose::Peer, [1; 32], payload).unwrap();
        assert!(hello.len() <= MAX_MESSAGE_LEN, "another bound would hide this one");
        let mut listener = Handshake::listen(self::params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        let error = listener.on_message(&hello).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(&params(1, &[]), &[0; MAX_PAYLOAD_LEN + 1], "payload");
    let mut long = params(1, &[]);
    long.network = "n".repeat(MAX_NETWORK_LEN + 1);
    refused(&long, &[], "name");
    let mut many = params(1, &[]);
    for n in 0..=MAX_PROTOCOLS {
        many.protocols
            .insert(format!("/{n}").parse().unwrap(), Offer { version: "1.0.0".parse().unwrap(), kind: Optional });
    }
    refused(&many, &[], "too many protocols");
    let payload = [0; MAX_PAYLOAD_LEN + 1];
    let own = Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [1; 32], &payload);
    assert!(matches!(own, Err(Error::MessageTooLarge { .. })));
}

#[test]
fn a_recorded_handshake_is_worth_nothing_later() {
    let mut recorded = Vec::new();
    let (a, b, _) = Pair::new(params(1, &[]), params(2, &[]), false).run_with(|_, message| {
        recorded.push(message.clone());
        message
    });
    assert!(a.is_ok() && b.is_ok());
    // hello, hello, accept, accept: the dialler's are 0 and 3.
    let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [7; 32]).unwrap();
    listener.on_message(&recorded[0]).unwrap();
    listener.accept().unwrap();
    assert_eq!(listener.on_message(&recorded[3]).unwrap_err(), RejectReason::BadSignature.into());
    // The listener's are 1 and 2.
    let mut dialler =
        Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [8; 32], b"query").unwrap();
    dialler.on_message(&recorded[1]).unwrap();
    dialler.accept().unwrap();
    assert_eq!(dialler.on_message(&recorded[2]).unwrap_err(), RejectReason::BadSignature.into());
}

#[test]
fn a_mirror_is_not_a_peer() {
    // Our own hello comes back: our own name.
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    let hello = pair.dialler.hello().unwrap();
    assert_eq!(pair.dialler.on_message(&hello).unwrap_err(), RejectReason::SelfDial.into());
    // Somebody takes our nonce for their own.
    let mut dialler =
        Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [2; 32], &[]).unwrap();
    let theirs = Handshake::dial(params(2, &[]).into(), Channel::Plain, None, Purpose::Peer, [2; 32], &[]).unwrap();
    assert!(matches!(
        dialler.on_message(&theirs.hello().unwrap()).unwrap_err(),
        HandshakeError::Refused(RejectReason::Malformed(_))
    ));
    // A listener's signature sent back to it as the dialler's.
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    pair.listener.on_message(&pair.dialler.hello().unwrap()).unwrap();
    let answers = pair.listener.accept().unwrap();
    assert_eq!(pair.listener.on_message(&answers[1]).unwrap_err(), RejectReason::BadSignature.into());
}

/// An attacker who claims the name of another and gets its answers from an application of that other, which signs
/// whatever it is sent.
#[test]
fn an_application_is_no_oracle() {
    let victim = key(1);
    let attacker = Handshake::dial(params(1, &[]).into(), Channel::Plain, None, Purpose::Peer, [3; 32], &[]).unwrap();
    let hello = attacker.hello().unwrap();
    let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
    listener.on_message(&hello).unwrap();
    let answers = listener.accept().unwrap();
    let mut transcript = ring::digest::Context::new(&ring::digest::SHA256);
    transcript.update(&(hello.len() as u64).to_be_bytes());
    transcript.update(&hello);
    transcript.update(&answers[0]);
    let hash = transcript.finish();
    let honest = [b"p2p/1 handshake\0\0", hash.as_ref()].concat();
    for signed in [victim.sign(&honest), victim.sign(hash.as_ref()), victim.sign(&honest[16..])] {
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        listener.on_message(&hello).unwrap();
        listener.accept().unwrap();
        assert_eq!(listener.on_message(&wire::accept(Some(signed))).unwrap_err(), RejectReason::BadSignature.into());
    }
    // Nor is the victim's own signature in the other role.
    let as_listener = [b"p2p/1 handshake\0\x01", hash.as_ref()].concat();
    let mut again = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
    again.on_message(&hello).unwrap();
    again.accept().unwrap();
    let wrong_role = wire::accept(Some(victim.sign_raw(&as_listener)));
    assert_eq!(again.on_message(&wrong_role).unwrap_err(), RejectReason::BadSignature.into());
    // With the domain's own signature it would have worked: the test signs the right bytes.
    listener.on_message(&wire::accept(Some(victim.sign_raw(&honest)))).unwrap();
}

#[test]
fn proof_and_channel_must_fit() {
    for certified in [false, true] {
        let wrong = wire::accept(certified.then_some([0; 64]));
        let (a, ..) = Pair::new(params(1, &[]), params(2, &[]), certified).run_with(|n, message| match n {
            2 => wrong.clone(),
            _ => message,
        });
        assert_eq!(a, Err(RejectReason::BadSignature.into()));
    }
}

#[test]
fn nobodys_keys_and_others_records_are_refused() {
    let hello = Pair::new(params(1, &[]), params(2, &[]), false).dialler.hello().unwrap();
    let at = hello.windows(32).position(|window| window == key(1).public().as_bytes()).unwrap();
    for (nobody, why) in [
        ([0; 32], "small order"),
        ([0xff; 32], "canonical"),
        (
            {
                let mut one = [0; 32];
                one[0] = 1;
                one
            },
            "small order",
        ),
    ] {
        let mut forged = hello.to_vec();
        forged[at..at + 32].copy_from_slice(&nobody);
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        match listener.on_message(&forged).unwrap_err() {
            HandshakeError::Refused(RejectReason::Malformed(what)) => assert!(what.contains(why), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    let mut forged = hello.to_vec();
    forged[at..at + 32].copy_from_slice(key(3).public().as_bytes());
    let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
    let error = listener.on_message(&forged).unwrap_err();
    assert!(error.to_string().contains("another peer's"), "{error}");
}

#[test]
fn strict_forms() {
    let refused = |message: &[u8]| {
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        match listener.on_message(message) {
            Err(HandshakeError::Refused(_)) => {}
            other => panic!("{other:?} for {message:?}"),
        }
    };
    let hello = Pair::new(params(1, &[("/a", "1.0.0", Optional), ("/b", "1.0.0", Optional)]), params(2, &[]), false)
        .dialler
        .hello()
        .unwrap();
    for len in 0..hello.len() {
        refused(&hello[..len]);
    }
    refused(&[&hello[..], &[0]].concat());
    // The wire version 1 in two bytes.
    refused(&[&hello[..2], &[0x81, 0x00], &hello[3..]].concat());
    let at = hello.windows(2).position(|window| window == b"/a").unwrap();
    for id in [b"/c", b"/b"] {
        let mut disordered = hello.to_vec();
        disordered[at..at + 2].copy_from_slice(id);
        refused(&disordered);
    }
    for message in [
        &[][..],
        &[1],
        &[1, 0],
        &[1, 1],
        &[1, 1, 2],
        &[1, 3],
        &[1, 2],
        &wire::accept(None),
        &wire::accept(Some([1; 64])),
    ] {
        refused(message);
    }
}

#[test]
fn out_of_turn_is_the_end() {
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), true);
    let hello = pair.dialler.hello().unwrap();
    pair.listener.on_message(&hello).unwrap();
    assert!(pair.listener.on_message(&hello).is_err(), "before the decision");
    assert!(pair.listener.accept().is_err() && pair.listener.on_message(&wire::accept(None)).is_err(), "it is over");
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), true);
    pair.listener.on_message(&hello).unwrap();
    pair.listener.accept().unwrap();
    assert!(pair.listener.on_message(&hello).is_err(), "a second hello");
}

fn any_protocols() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    prop::collection::vec((0u8..6, 0u8..3, 0u8..12), 0..6)
}

fn offers(n: u8, protocols: &[(u8, u8, u8)]) -> HandshakeParams {
    let mut params = params(n, &[]);
    for (id, version, kind) in protocols {
        let version = ["1.0.0", "1.1.0, >=1", "2.0.0"][usize::from(*version)].parse().unwrap();
        let kind = [Mandatory, Hidden, Optional][usize::from(*kind).min(2)];
        params.protocols.insert(format!("/{id}").parse().unwrap(), Offer { version, kind });
    }
    params
}

proptest! {
    #[test]
    fn both_sides_compute_the_same(ours in any_protocols(), theirs in any_protocols(), certified in any::<bool>()) {
        let (a, b) = (offers(1, &ours), offers(2, &theirs));
        let by_hand: BTreeSet<_> = a.protocols.iter()
            .filter(|(id, offer)| b.protocols.get(*id).is_some_and(|other| other.version.is_compatible_with(&offer.version)))
            .map(|(id, _)| id.clone())
            .collect();
        let lacking = a.protocols.iter().chain(&b.protocols)
            .any(|(id, offer)| offer.kind == Mandatory && !by_hand.contains(id));
        let alone = |ours: &HandshakeParams, theirs: &HandshakeParams| negotiate::negotiate(&ours.protocols, &theirs.protocols);
        match (alone(&a, &b), alone(&b, &a)) {
            (Ok(at_a), Ok(at_b)) => prop_assert!(at_a.keys().eq(at_b.keys())),
            (Err(at_a), Err(at_b)) => prop_assert_eq!(at_a.mirrored(), at_b, "both find the same fault first"),
            other => prop_assert!(false, "{:?}", other),
        }
        let (a, b, _) = Pair::new(a, b, certified).run();
        match (a, b) {
            (Ok(a), Ok(b)) => {
                prop_assert!(!lacking);
                prop_assert!(a.protocols.keys().eq(&by_hand) && b.protocols.keys().eq(&by_hand));
                for (id, at_a) in &a.protocols {
                    let at_b = &b.protocols[id];
                    prop_assert_eq!((at_a.local_kind, at_a.remote_kind), (at_b.remote_kind, at_b.local_kind));
                }
            }
            (Err(HandshakeError::Remote(a)), Err(HandshakeError::Refused(b))) => {
                prop_assert!(lacking);
                prop_assert_eq!(a.mirrored(), b);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Whatever one bit is changed on the way: over tcp no side believes what was not said.
    #[test]
    fn a_changed_message_is_refused(which in 0usize..4, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let pair = Pair::new(offers(1, &[(0, 0, 2), (1, 1, 2)]), offers(2, &[(0, 0, 2), (1, 1, 2)]), false);
        let (a, b, _) = pair.run_with(|n, message| {
            if n != which {
                return message;
            }
            let mut message = message.to_vec();
            let at = at.index(message.len());
            message[at] ^= 1 << bit;
            message.into()
        });
        // Hello, hello; then each side's accept, which can fail only at the other side, whose proof had arrived.
        prop_assert_eq!(a.is_ok(), which == 3, "{:?}", a);
        prop_assert_eq!(b.is_ok(), which == 2, "{:?}", b);
    }

    #[test]
    fn arbitrary_messages_are_no_panic(message in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..4) {
        let message = [&[1, kind], &message[..]].concat();
        let mut listener = Handshake::listen(params(2, &[]).into(), Channel::Plain, [2; 32]).unwrap();
        prop_assert!(listener.on_message(&message).is_err());
    }
}
