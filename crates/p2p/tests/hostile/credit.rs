//! Peers that grant no credit, or take nothing.

use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::{DisconnectReason, Error, HandshakeError, RejectReason};

use crate::common::attacker::{Attacker, LOCALHOST, Trap, identity, ordinary_transport, quic_client, rand_nonce};
use crate::common::wire::{Hello, pong};
use crate::common::{Companion, Honest, STREAMS, TRANSPORTS, Target, in_time, key, peer_id, together};

/// An honest peer is never silent for so long, and takes something, however busy the machine is.
const STALL: Duration = Duration::from_secs(4);

async fn target() -> Target {
    Target::new(|config| {
        config.handshake_timeout = Duration::from_secs(2);
        config.ping_interval = Duration::from_millis(300);
        (config.ping_timeout, config.stall_timeout) = (STALL, STALL);
    })
    .await
}

fn stingy(stream: u32, connection: u32) -> quinn::TransportConfig {
    let mut transport = ordinary_transport();
    transport.stream_receive_window(stream.into()).receive_window(connection.into());
    transport
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credit_during_the_handshake_is_a_time_out() {
    let _turn = together().await;
    let mut target = target().await;
    let companion = Companion::beside(&target, Transport::Quic).await;
    for (stream, connection) in [(0, 0), (0, 1 << 20), (1 << 20, 0), (1, 1 << 20), (60, 60)] {
        let config = quic_client(identity(&key(1)).client_config().clone(), stingy(stream, connection));
        let mut hostile = Attacker::dial_quic(LOCALHOST, target.addr(Transport::Quic), config).await.unwrap();
        let control = hostile.open().await;
        hostile.send(control, &Hello::new(key(1).id(), rand_nonce()).encode()).await;
        match target.failure().await.1 {
            Error::Handshake(HandshakeError::Refused(RejectReason::Timeout)) => {}
            other => panic!("{stream} {connection}: {other}"),
        }
        assert!(hostile.closed().await.is_some());
    }
    companion.shutdown().await;
    target.shutdown().await;
}

/// Over tcp and tls the multiplexer begins with credit; a remote that reads nothing takes it back in its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_reads_nothing_in_the_handshake_is_a_time_out() {
    let _turn = together().await;
    let mut target = target().await;
    for transport in STREAMS {
        let companion = Companion::beside(&target, transport).await;
        let mut hostile = Attacker::dial(transport, target.addr(transport), &key(1)).await;
        let control = hostile.open().await;
        hostile.send(control, &Hello::new(key(1).id(), rand_nonce()).encode()).await;
        match target.failure().await.1 {
            Error::Handshake(HandshakeError::Refused(RejectReason::Timeout)) => {}
            other => panic!("{transport}: {other}"),
        }
        companion.shutdown().await;
    }
    target.shutdown().await;
}

/// The peer's protocol gets no credit: it waits, the others and the pings go on, and so the peer stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credit_for_one_stream_stalls_that_stream_only() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = target().await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = match transport {
            Transport::Quic => {
                let config = quic_client(identity(&id).client_config().clone(), stingy(4096, 1 << 20));
                Attacker::dial_quic(LOCALHOST, target.addr(transport), config).await.unwrap()
            }
            _ => Attacker::dial(transport, target.addr(transport), &id).await,
        };
        let (control, echo) = hostile.join(&id).await.unwrap();
        target.added(peer_id(id.id())).await;
        hostile.send(echo, b"flood").await;
        // Answers pings for longer than a stalled connection would live.
        let answering = async {
            loop {
                let message = hostile.message(control).await.expect("the connection lives");
                if message[..2] == [1, 0] {
                    hostile.send(control, &[&[1, 1], &message[2..]].concat()).await;
                }
            }
        };
        tokio::select! {
            () = answering => unreachable!(),
            reason = target.removed(peer_id(id.id())) => panic!("{transport}: {reason}"),
            // Real time: what must not happen has at least this long.
            () = tokio::time::sleep(STALL + Duration::from_secs(1)) => {}
        }
        companion.goes_on().await;
        hostile.close(0, "").await;
        target.removed(peer_id(id.id())).await;
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// The peer's connection takes nothing: it ends, for that reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_takes_nothing_is_closed_as_stalled() {
    let _turn = together().await;
    for transport in TRANSPORTS {
        let mut target = target().await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = match transport {
            Transport::Quic => {
                let config = quic_client(identity(&id).client_config().clone(), stingy(1 << 20, 16 << 10));
                Attacker::dial_quic(LOCALHOST, target.addr(transport), config).await.unwrap()
            }
            _ => Attacker::dial(transport, target.addr(transport), &id).await,
        };
        let (_, echo) = hostile.join(&id).await.unwrap();
        target.added(peer_id(id.id())).await;
        hostile.send(echo, b"flood").await;
        let reason = target.removed(peer_id(id.id())).await;
        // Before the stream is full a ping may go out, whose answer does not come.
        assert!(matches!(reason, DisconnectReason::Stalled | DisconnectReason::PingTimeout), "{transport}: {reason}");
        companion.shutdown().await;
        drop(hostile);
        target.shutdown().await;
    }
}

/// Takes nothing, and sends answers to pings that it has not seen: only an answer to what was asked is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessed_answers_to_pings_do_not_keep_a_stalled_connection() {
    let _turn = together().await;
    for transport in STREAMS {
        let mut target = target().await;
        let companion = Companion::beside(&target, transport).await;
        let id = key(1);
        let mut hostile = Attacker::dial(transport, target.addr(transport), &id).await;
        let (control, echo) = hostile.join(&id).await.unwrap();
        target.added(peer_id(id.id())).await;
        hostile.send(echo, b"flood").await;
        let guessing = async {
            loop {
                for number in 0..20 {
                    hostile.send(control, &pong(number)).await;
                }
                // Real time: it guesses until the end, however often that is.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        // Every guess costs one of the useless messages that are borne, were it not a good one.
        let reason = tokio::select! {
            reason = target.removed(peer_id(id.id())) => reason,
            () = guessing => unreachable!(),
        };
        println!("{transport}: {reason}");
        companion.shutdown().await;
        target.shutdown().await;
    }
}

/// Listens, and allows the dialer no stream, or no stream but the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_allows_no_streams_is_an_error_in_bounded_time() {
    let _turn = together().await;
    let mut target = target().await;
    let companion = Companion::beside(&target, Transport::Quic).await;
    for streams in [0u32, 1] {
        let mut allow = ordinary_transport();
        allow.max_concurrent_bidi_streams(streams.into());
        let (trap, addr) = Trap::new(Transport::Quic, &key(1), allow).await;
        let endpoint = format!("quic://{addr}").parse().unwrap();
        let caught = tokio::spawn(async move {
            let mut caught = trap.catch().await;
            if streams > 0 {
                // The remote's offer is ours too, so that it wants a second stream.
                caught.welcome(&key(1)).await;
            }
            caught
        });
        let error = in_time("the dial", target.node.connect(&endpoint)).await.unwrap_err();
        println!("{streams} streams: {error}");
        drop(caught);
    }
    target.failure().await;
    companion.shutdown().await;
    target.shutdown().await;
}

/// Listens and says nothing, or stops in the middle: the dial ends with a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_says_nothing_is_an_error_in_bounded_time() {
    let _turn = together().await;
    let mut target = target().await;
    for transport in TRANSPORTS {
        let (trap, addr) = Trap::new(transport, &key(1), ordinary_transport()).await;
        let endpoint = format!("{transport}://{addr}").parse().unwrap();
        let caught = tokio::spawn(async move { trap.catch().await });
        match in_time("the dial", target.node.connect(&endpoint)).await.unwrap_err() {
            Error::Handshake(HandshakeError::Refused(RejectReason::Timeout)) => {}
            other => panic!("{transport}: {other}"),
        }
        target.failure().await;
        drop(caught);
    }
    let honest = Honest::connect(&target, Transport::Tcp).await;
    honest.shutdown().await;
    // A dial that fails before there is a connection has no handshake that failed.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tls://{}", silent.local_addr().unwrap()).parse().unwrap();
    let node = Target::new(|config| config.dial_timeout = Duration::from_secs(1)).await;
    in_time("the dial", node.node.connect(&endpoint)).await.unwrap_err();
    node.shutdown().await;
    target.shutdown().await;
}
