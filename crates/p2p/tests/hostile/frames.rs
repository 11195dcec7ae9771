//! Lengths that no honest peer would claim: 2^62, as far as eight bytes go, and one more than allowed.

use p2p::endpoint::Transport;
use p2p::{DisconnectReason, Error, HandshakeError, RejectReason};

use crate::common::attacker::{Attacker, End};
use crate::common::wire::{self, VIOLATION, frame, frame_claiming, varint};
use crate::common::{Companion, ECHO, STREAMS, TRANSPORTS, Target, alone, key, peer_id, resident, together};

/// Memory that nothing here needs: an allocation of what is claimed would show.
const ROOM: u64 = 256 << 20;

const MAX_HANDSHAKE: u64 = 16 << 10;
const MAX_MESSAGE: u64 = 1 << 20;
const CLOSED_PROTOCOL_VIOLATION: u64 = 0x8000_0004;

fn lengths(max: u64) -> [u64; 4] {
    [max + 1, u64::from(u32::MAX), 1 << 61, (1 << 62) - 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_message_that_claims_too_much_is_refused() {
    let _turn = alone().await;
    let mut target = Target::new(|_| ()).await;
    let before = resident();
    for transport in TRANSPORTS {
        let companion = Companion::beside(&target, transport).await;
        for (n, len) in lengths(MAX_HANDSHAKE).into_iter().enumerate() {
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key(n as u32)).await;
            let control = hostile.open().await;
            hostile.write(control, &varint(len)).await;
            hostile.write(control, &[0; 100]).await;
            let reject = hostile.message(control).await.expect("told why");
            assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, 10], "{transport} {len}: too large");
            assert_eq!(reject[3..], [wire::leb128(len), wire::leb128(MAX_HANDSHAKE)].concat());
            match target.failure().await.1 {
                Error::Handshake(HandshakeError::Refused(RejectReason::TooLarge { len: told, max })) => {
                    assert_eq!((told, max), (len, MAX_HANDSHAKE));
                }
                other => panic!("{transport} {len}: {other}"),
            }
            assert!(hostile.closed().await.is_some(), "{transport} {len}: closed with a code");
        }
        // A length in more bytes than it takes.
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(10)).await;
        let control = hostile.open().await;
        hostile.write(control, &[0xc0, 0, 0, 0, 0, 0, 0, 1, 0]).await;
        let reject = hostile.message(control).await.expect("told why");
        assert_eq!(reject[..3], [wire::VERSION, wire::REJECT, 9], "{transport}: malformed");
        assert!(hostile.closed().await.is_some());
        let (_, error) = target.failure().await;
        assert!(error.to_string().contains("length"), "{transport}: {error}");
        companion.shutdown().await;
    }
    assert!(resident() < before + ROOM, "{} before, {} after", before, resident());
    target.shutdown().await;
}

/// Frames of the multiplexer that no side sends, and what is said of them.
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    let zeros = [0; 8];
    vec![
        ("length", frame_claiming(wire::DATA, 1, 65_545, &zeros)),
        ("length", frame_claiming(wire::DATA_FIN, 1, 0xff_ffff, &zeros)),
        ("length", frame_claiming(wire::OPEN, 1, 1, &zeros)),
        ("length", frame_claiming(3, 1, 0xff_ffff, &zeros)),
        ("length", frame_claiming(wire::CLOSE, 0, 261, &zeros)),
        ("length", frame_claiming(wire::CLOSE, 0, 3, &zeros)),
        ("kind", frame_claiming(8, 1, 0, &[])),
        ("kind", vec![0xff; 64]),
        ("cannot exist", frame_claiming(wire::DATA, 0, 4, &zeros)),
        ("cannot exist", frame_claiming(wire::CLOSE, 1, 4, &zeros)),
        ("not opened", frame_claiming(wire::DATA, 99, 4, &zeros)),
        ("not opened", frame_claiming(3, 2, 4, &zeros)),
        ("out of order", frame_claiming(wire::OPEN, 2, 0, &[])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_against_the_rules_ends_the_connection_before_and_after_the_handshake() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    let before = resident();
    for transport in STREAMS {
        let companion = Companion::beside(&target, transport).await;
        for (n, (what, frame)) in violations().into_iter().enumerate() {
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key(100)).await;
            hostile.open().await;
            hostile.mux().write(&frame).await;
            let (code, reason) = hostile.closed().await.expect("closed with a reason");
            assert_eq!(code, u64::from(VIOLATION), "{transport} {frame:x?}");
            assert!(reason.contains(what), "{transport} {frame:x?}: {reason}");
            let (_, error) = target.failure().await;
            assert!(error.to_string().contains(what), "{transport} {frame:x?}: {error}");

            let key = key(1000 + n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &key).await;
            hostile.join(&key).await.unwrap();
            target.added(peer_id(key.id())).await;
            hostile.mux().write(&frame).await;
            let (code, reason) = hostile.closed().await.expect("closed with a reason");
            assert_eq!(code, u64::from(VIOLATION), "{transport} {frame:x?}");
            assert!(reason.contains(what), "{transport} {frame:x?}: {reason}");
            match target.removed(peer_id(key.id())).await {
                DisconnectReason::ProtocolViolation(why) => assert!(why.contains(what), "{why}"),
                other => panic!("{transport} {frame:x?}: {other}"),
            }
        }
        companion.shutdown().await;
    }
    assert!(resident() < before + ROOM);
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_data_than_was_granted_ends_the_connection() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    for transport in STREAMS {
        let companion = Companion::beside(&target, transport).await;
        // Nobody takes the stream, so what is behind its header is not read: neither what comes after the header nor what is
        // there already when that is read.
        let header = wire::message(&wire::header(ECHO, true));
        let rest = vec![0; 65_536 - header.len()];
        let frames = |parts: &[&[u8]]| parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>();
        let ways = [frames(&[&header, &rest]), frames(&[&[&header[..], &rest].concat()])];
        for (n, granted) in ways.into_iter().enumerate() {
            let id = key(1 + n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            let unread = hostile.open().await;
            for bytes in &granted {
                hostile.mux().write(&frame(wire::DATA, unread, bytes)).await;
            }
            assert!(hostile.mux().ping().await, "{transport} {n}: that much was granted");
            // What reads the header has had every chance to grant more.
            companion.goes_on().await;
            hostile.mux().write(&frame(wire::DATA, unread, &[0])).await;
            let (code, reason) = hostile.closed().await.expect("closed with a reason");
            assert_eq!(
                (code, reason.as_str()),
                (u64::from(VIOLATION), "more data than was granted"),
                "{transport} {n}"
            );
            match target.removed(peer_id(id.id())).await {
                DisconnectReason::ProtocolViolation(why) => assert!(why.contains("granted"), "{transport} {n}: {why}"),
                other => panic!("{transport} {n}: {other}"),
            }
        }
        companion.shutdown().await;
    }
    target.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_claims_too_much_ends_the_connection() {
    let _turn = alone().await;
    let mut target = Target::new(|_| ()).await;
    let before = resident();
    for transport in TRANSPORTS {
        let companion = Companion::beside(&target, transport).await;
        for (n, len) in lengths(MAX_MESSAGE).into_iter().enumerate() {
            let id = key(n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let (_, echo) = hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            hostile.write(echo, &[varint(len), vec![0; 100]].concat()).await;
            let (code, reason) = hostile.closed().await.expect("closed with a reason");
            assert_eq!(code, CLOSED_PROTOCOL_VIOLATION, "{transport} {len}: {reason}");
            assert!(reason.contains(&len.to_string()), "{transport}: {reason}");
            let removed = target.removed(peer_id(id.id())).await;
            assert!(matches!(removed, DisconnectReason::ProtocolViolation(_)), "{transport} {len}: {removed}");
        }
        companion.shutdown().await;
    }
    assert!(resident() < before + ROOM);
    target.shutdown().await;
}

/// A control message has 1,024 bytes at most, whatever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_message_that_claims_too_much_ends_the_connection() {
    let _turn = together().await;
    let mut target = Target::new(|_| ()).await;
    for transport in TRANSPORTS {
        let companion = Companion::beside(&target, transport).await;
        let long = wire::message(&wire::goodbye(7, &"x".repeat(4000)));
        let claims = lengths(1024).map(|len| [varint(len), vec![0; 8]].concat());
        for (n, bytes) in claims.into_iter().chain([long]).enumerate() {
            let id = key(n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let (control, _) = hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            hostile.write(control, &bytes).await;
            let removed = target.removed(peer_id(id.id())).await;
            assert!(matches!(removed, DisconnectReason::ProtocolViolation(_)), "{transport} {n}: {removed}");
            let (code, reason) = hostile.closed().await.expect("closed with a reason");
            assert_eq!(code, CLOSED_PROTOCOL_VIOLATION, "{transport} {n}: {reason}");
        }
        companion.shutdown().await;
    }
    target.shutdown().await;
}

/// The first message of a stream says what it is for. One that is too long costs the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_header_that_claims_too_much_costs_the_stream() {
    let _turn = together().await;
    let target = Target::new(|_| ()).await;
    for transport in [Transport::Tcp, Transport::Tls, Transport::Quic] {
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        let (_, echo) = hostile.join(&id).await.unwrap();
        for len in lengths(67) {
            let stream = hostile.open().await;
            hostile.write(stream, &[varint(len), vec![0; 8]].concat()).await;
            assert_eq!(hostile.ended(stream).await, End::Reset(0x8000_0000), "{transport} {len}");
        }
        // The rest of the connection works.
        hostile.send(echo, b"still there").await;
        assert_eq!(hostile.message(echo).await.unwrap(), b"still there");
        hostile.close(0, "").await;
        companion.shutdown().await;
    }
    target.shutdown().await;
}
