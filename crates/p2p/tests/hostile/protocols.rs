//! Streams and control messages that nobody asked for, by the hundred and thousand.

use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::layers::net::Error as NetError;
use p2p::{DisconnectReason, Offence};
use tokio::io::AsyncWriteExt;

use crate::common::attacker::{Attacker, Carrier, End};
use crate::common::wire::{self, header, leb128, pong};
use crate::common::{Companion, ECHO, Honest, STREAMS, TRANSPORTS, Target, in_time, key, peer_id, together};

const BAD_HEADER: u32 = 0x8000_0000;
const UNKNOWN_PROTOCOL: u32 = 0x8000_0001;
const DUPLICATE: u32 = 0x8000_0002;
const BUSY: u32 = 0x8000_0003;

/// Two slots: one for the companion, one that hostile peers occupy and have to give back.
async fn target() -> Target {
    Target::new(|config| {
        config.inbound_slots = 2;
        config.limits.waiting_streams = 16;
    })
    .await
}

/// The hostile peer's slot has come back: somebody else gets it.
async fn slot_is_back(target: &Target, transport: Transport) {
    let honest = Honest::connect(target, transport).await;
    honest.exchange(3).await;
    honest.shutdown().await;
    crate::common::until("the honest peer's end", || target.node.peers() <= 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_for_unknown_protocols_are_reset_and_lead_to_a_ban() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = target().await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        let (_, echo) = hostile.join(&id).await.unwrap();
        target.added(peer_id(id.id())).await;
        for (head, code) in [
            (header("/unknown/1", false), UNKNOWN_PROTOCOL),
            (header("/unknown/1", true), UNKNOWN_PROTOCOL),
            (header(ECHO, false), DUPLICATE),
            (b"garbage".to_vec(), BAD_HEADER),
            (Vec::new(), BAD_HEADER),
        ] {
            let stream = hostile.open().await;
            hostile.send(stream, &head).await;
            hostile.send(stream, b"for nobody").await;
            assert_eq!(hostile.ended(stream).await, End::Reset(code), "{transport} {head:x?}");
        }
        hostile.send(echo, b"on").await;
        assert_eq!(hostile.message(echo).await.unwrap(), b"on", "the connection lives");
        let bearable = 100 / Offence::StrayStream.points();
        for _ in 0..=bearable {
            let stream = hostile.open().await;
            hostile.send(stream, &header("/unknown/1", false)).await;
            hostile.ended(stream).await;
        }
        assert_eq!(target.removed(peer_id(id.id())).await, DisconnectReason::Banned, "{transport}");
        assert!(hostile.closed().await.is_some());
        let mut again = Attacker::dial(transport, target.addr(transport), &id).await;
        assert_eq!(again.join(&id).await.unwrap_err()[..3], [wire::VERSION, wire::REJECT, 11], "{transport}");
        slot_is_back(&target, transport).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// Raw streams that the protocol does not accept wait, up to a bound; those without a header do not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_by_the_thousand_are_refused_and_slots_come_back() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = target().await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        let (_, echo) = hostile.join(&id).await.unwrap();
        target.added(peer_id(id.id())).await;
        // Of a protocol that is negotiated, but that accepts none: 16 wait, and no more.
        let mut raw = Vec::new();
        for _ in 0..20 {
            let stream = hostile.open().await;
            hostile.send(stream, &header(ECHO, true)).await;
            raw.push(stream);
        }
        for stream in &raw[16..] {
            assert_eq!(hostile.ended(*stream).await, End::Reset(BUSY), "{transport}");
            // Over with on both sides.
            hostile.reset(*stream, 0).await;
        }
        if transport == Transport::Quic {
            // The remote says how many more it takes: none that it would have to refuse.
            let Carrier::Quic(quic) = &mut hostile.carrier else { unreachable!() };
            let mut opened = Vec::new();
            while let Ok(Ok((mut send, recv))) =
                tokio::time::timeout(Duration::from_millis(300), quic.connection.open_bi()).await
            {
                send.write_all(&[5]).await.unwrap();
                opened.push((send, recv));
                assert!(opened.len() <= 1000, "streams without end");
            }
            println!("{} streams without a header", opened.len());
        } else {
            let mut refused = 0;
            let mut last = 0;
            for _ in 0..1000 {
                last = hostile.open().await;
                hostile.mux().write(&wire::frame(wire::DATA, last, &[5])).await;
            }
            if hostile.ended(last).await == End::Refused {
                refused += 1;
            }
            assert_eq!(refused, 1, "{transport}: the thousandth");
        }
        hostile.send(echo, b"on").await;
        assert_eq!(hostile.message(echo).await.unwrap(), b"on", "{transport}: other streams go on");
        companion.goes_on().await;
        hostile.close(0, "").await;
        target.removed(peer_id(id.id())).await;
        slot_is_back(&target, transport).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// Streams that are over are forgotten on both sides, and count no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_got_no_header_in_time_makes_room() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        // A header has as long as a handshake.
        let target = Target::new(|config| config.handshake_timeout = Duration::from_secs(4)).await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        let (_, echo) = hostile.join(&id).await.unwrap();
        // As many as headers are awaited at the same time.
        let mut silent = Vec::new();
        for _ in 0..32 {
            let stream = hostile.open().await;
            hostile.write(stream, &[40]).await;
            silent.push(stream);
        }
        for stream in silent {
            assert_eq!(hostile.ended(stream).await, End::Reset(BAD_HEADER), "{transport}");
            hostile.reset(stream, 0).await;
        }
        let stream = hostile.open().await;
        hostile.send(stream, &header("/unknown/1", true)).await;
        assert_eq!(hostile.ended(stream).await, End::Reset(UNKNOWN_PROTOCOL), "{transport}: headers are read again");
        hostile.send(echo, b"on").await;
        assert_eq!(hostile.message(echo).await.unwrap(), b"on");
        hostile.close(0, "").await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// What the rules of the control stream forbid, and what is said of it.
fn offences() -> Vec<(&'static str, Vec<u8>)> {
    let pings = (0..1000).flat_map(|n| wire::message(&wire::ping(n))).collect();
    let pongs = (0..1000).flat_map(|n| wire::message(&pong(1 << 40 | n))).collect();
    let one = |bytes: &[u8]| wire::message(bytes);
    vec![
        ("too many pings", pings),
        ("too many pongs", pongs),
        ("nobody said", one(&[1, 3])),
        ("control message", one(&[1, 6])),
        ("control message", one(&[1, 0, 5, 5])),
        ("control message", one(&[1, 0, 0x85, 0])),
        ("format", one(&[2, 0, 5])),
        ("empty", one(&[])),
        ("not negotiated", one(&[&[1, 5][..], &wire::text("/unknown/1")].concat())),
        ("control message", one(&[&[1, 5][..], &leb128(1 << 40), b"xx"].concat())),
        ("length", vec![0x40, 1, 0]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_stream_against_the_rules_ends_the_connection() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = target().await;
        let companion = Companion::beside(&target, transport).await;
        for (n, (what, bytes)) in offences().into_iter().enumerate() {
            let id = key(n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let (control, _) = hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            hostile.write(control, &bytes).await;
            match target.removed(peer_id(id.id())).await {
                DisconnectReason::ProtocolViolation(why) => assert!(why.contains(what), "{transport} {what}: {why}"),
                other => panic!("{transport} {what}: {other}"),
            }
            let (code, reason) = hostile.closed().await.expect("told why");
            assert_eq!(code, 0x8000_0004, "{transport} {what}: {reason}");
            assert!(reason.contains(what), "{transport} {what}: {reason}");
        }
        // The control stream's end, in both ways.
        for (n, reset) in [false, true].into_iter().enumerate() {
            let id = key(100 + n as u32);
            let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
            let (control, _) = hostile.join(&id).await.unwrap();
            target.added(peer_id(id.id())).await;
            if reset {
                hostile.reset(control, 5).await
            } else {
                hostile.finish(control).await
            }
            let removed = target.removed(peer_id(id.id())).await;
            assert!(matches!(removed, DisconnectReason::ProtocolViolation(_)), "{transport}: {removed}");
        }
        slot_is_back(&target, transport).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// Opens and gives up streams as fast as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_opened_and_reset_in_a_loop_disturb_nobody() {
    let _turn = together().await;
    for transport in STREAMS {
        let target = target().await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        let (_, echo) = hostile.join(&id).await.unwrap();
        for stream in (echo + 2..echo + 20_000).step_by(2) {
            let frames = [
                wire::frame(wire::OPEN, stream, &[]),
                wire::frame(wire::RESET, stream, &[0; 4]),
                wire::frame(5, stream, &[0; 4]),
            ];
            hostile.mux().write(&frames.concat()).await;
        }
        companion.goes_on().await;
        // Its answers were not read: that ends the connection, or they were few enough.
        hostile.send(echo, b"on").await;
        let answer = hostile.message(echo).await;
        println!("{transport}: {answer:?}");
        if answer.is_none() {
            assert!(hostile.closed().await.is_some());
        }
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// One that reads nothing and says so of nothing. How long that is waited for is shown in virtual time: `tests/leaving.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_does_not_wait_for_a_peer_that_gives_no_receipts() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = Target::new(|config| config.drain_timeout = Duration::from_secs(2)).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        hostile.join(&id).await.unwrap();
        let peer = peer_id(id.id());
        target.added(peer).await;
        let mut told = Vec::new();
        for n in 0..20 {
            let mut stream = target.node.open_stream(&peer, &ECHO.parse().unwrap()).await.unwrap();
            stream.write_all(b"unread").await.unwrap();
            stream.shutdown().await.unwrap();
            if n % 2 == 0 {
                told.push(tokio::spawn(async move { stream.finish().await }));
            }
        }
        in_time("the end", target.node.disconnect(&peer, 1, "enough")).await;
        // And whoever waits is told.
        for told in told {
            let told = told.await.unwrap();
            assert!(matches!(told, Err(NetError::Closed(_))), "{transport}: {told:?}");
        }
        target.shutdown().await;
    }
}
