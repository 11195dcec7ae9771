//! What two honest sides agree on, or why they part.

use ProtocolKind::{Hidden, Mandatory, Optional};

use super::*;

#[test]
fn two_peers_agree_in_one_round_trip() {
    for certified in [false, true] {
        let a = params(1, &[("/a", "1.0.0", Optional), ("/b", "1.2.0, >=1.0", Mandatory), ("/h", "1.0.0", Hidden)]);
        let b = params(2, &[("/b", "1.1.0", Optional), ("/c", "1.0.0", Optional), ("/h", "1.0.0", Hidden)]);
        let mut pair = Pair::expecting(a, b, certified, Some(key(2).peer_id()), Purpose::Peer);
        let serial = |number| Serial { number, ended_below: number / 2 };
        pair.dialer.set_serial(serial(10)).unwrap();
        pair.listener.set_serial(serial(1 << 60)).unwrap();
        let (a, b, trips) = pair.run();
        let (a, b) = (a.unwrap(), b.unwrap());
        // Hello; Hello and Accept, which completes the dialer; Accept, which completes the listener.
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
        assert_eq!((b.serial, a.serial), (Some(serial(10)), Some(serial(1 << 60))));
    }
}

#[test]
fn a_candidate_over_tcp_is_not_proven() {
    for certified in [false, true] {
        let mut pair = Pair::new(params(1, &[]), params(2, &[]), certified);
        assert!(pair.listener.candidate().is_none());
        assert!(matches!(pair.listener.on_message(&pair.dialer.hello().unwrap()), Ok(Step::Decide)));
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
        // Whatever else it says.
        0 => [&[7], &message[1..9]].concat().into(),
        _ => message,
    });
    let (ours, theirs) = (crate::WIRE_VERSION.into(), 7);
    assert_eq!(future.1, Err(RejectReason::WireVersion { ours, theirs }.into()));
    let mirrored = RejectReason::WireVersion { ours: theirs, theirs: ours };
    assert_eq!(future.0, Err(HandshakeError::Remote(mirrored)));
}

#[test]
fn what_the_caller_decides_is_told_too() {
    use RejectReason as R;
    for reason in [R::Banned, R::Denied, R::SlotsFull, R::PrefixFull, R::AlreadyConnected, R::ShuttingDown, R::Timeout]
    {
        let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
        pair.listener.on_message(&pair.dialer.hello().unwrap()).unwrap();
        let told = pair.dialer.on_message(&reject_message(&reason)).unwrap_err();
        assert_eq!(told, HandshakeError::Remote(reason));
    }
}

#[test]
fn a_reason_of_the_future_is_still_a_refusal() {
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    let told = pair.dialer.on_message(&[9, 2, 99, 1, 2, 3]).unwrap_err();
    assert_eq!(told, HandshakeError::Remote(RejectReason::Other(99)));
}

#[test]
fn a_refusals_text_is_a_strangers() {
    let reason = RejectReason::NetworkMismatch { ours: "\x1b[2J".repeat(2000), theirs: "x".into() };
    let wire = [&[1, 2][..], &crate::encode(&reason).unwrap()].concat();
    let mut pair = Pair::new(params(1, &[]), params(2, &[]), false);
    match pair.dialer.on_message(&wire).unwrap_err() {
        HandshakeError::Remote(RejectReason::NetworkMismatch { ours, theirs }) => {
            assert_eq!(ours, "x");
            assert!(theirs.len() <= MAX_REASON_TEXT && !theirs.contains('\x1b'));
        }
        other => panic!("{other:?}"),
    }
}
