//! Remotes that are silent where something is expected of them, and until when that is borne. Time is virtual.

#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::raw::{Raw, honest, node, reset_code};
use common::{config, in_virtual_time};
use p2p_identity::{DisconnectReason, Error, HandshakeError, RejectReason, close_code};
use p2p_net::{CloseReason, Transport};
use p2p_peer_pool::PoolConfig;
use p2p_peer_pool::header::stream_code;

/// What messages take to travel, and a timer to be noticed.
const A_MOMENT: Duration = Duration::from_millis(50);

#[test]
fn a_stream_whose_header_does_not_come_is_reset_after_the_handshake_timeout() {
    in_virtual_time(|runtime, transport| async move {
        let short = PoolConfig { handshake_timeout: Duration::from_millis(500), ..config() };
        let limit = short.handshake_timeout;
        let mut node = node(&runtime, transport, short).await;
        let (raw, _recv, _send) = Raw::join(&runtime, &mut node, 2).await;
        let (recv, mut half) = raw.connection.open_stream().await.unwrap().into_split();
        let began = runtime.now();
        half.write_all_bytes(Bytes::from_static(&[3, 1])).await.unwrap();
        assert_eq!(reset_code(recv).await, stream_code::BAD_HEADER);
        let took = runtime.now() - began;
        assert!(took >= limit && took <= limit + A_MOMENT, "{transport}: {took:?}");
        assert_eq!(node.pool.len(), 1);
        honest(&runtime, transport, &mut node).await;
        raw.transports.shutdown().await;
        node.pool.shutdown().await;
    });
}

#[test]
fn who_never_opens_its_streams_gives_its_slot_back() {
    in_virtual_time(|runtime, transport| async move {
        let short = PoolConfig { handshake_timeout: Duration::from_millis(300), inbound_slots: 1, ..config() };
        let limit = short.handshake_timeout;
        let mut node = node(&runtime, transport, short).await;
        let began = runtime.now();
        let raw = Raw::connect(&runtime, &node.endpoint, 2).await.unwrap();
        let error = node.refused().await;
        assert!(matches!(error, Error::Handshake(HandshakeError::Refused(RejectReason::Timeout))), "{error}");
        let took = runtime.now() - began;
        assert!(took >= limit && took <= limit + A_MOMENT, "{transport}: {took:?}");
        assert!(matches!(raw.closed().await, CloseReason::Remote { code: close_code::HANDSHAKE, .. }));
        honest(&runtime, transport, &mut node).await;
        raw.transports.shutdown().await;
        node.pool.shutdown().await;
    });
}

#[test]
fn a_peer_that_answers_no_ping_is_disconnected() {
    in_virtual_time(|runtime, transport| async move {
        for chatty in [false, true] {
            let quick = PoolConfig {
                ping_interval: Duration::from_millis(50),
                ping_timeout: Duration::from_millis(200),
                stall_timeout: Duration::from_millis(600),
                ..config()
            };
            let (silence, stall) = (quick.ping_interval + quick.ping_timeout, quick.stall_timeout);
            let mut node = node(&runtime, transport, quick).await;
            let (raw, _recv, mut send) = Raw::join(&runtime, &mut node, 2).await;
            let began = runtime.now();
            let talk = async {
                while chatty && send.write_all_bytes(Bytes::from_static(&[1, 1])).await.is_ok() {
                    runtime.sleep(Duration::from_millis(20)).await;
                }
                std::future::pending::<()>().await
            };
            let reason = tokio::select! {
                biased;
                reason = node.removed() => reason,
                () = talk => unreachable!(),
            };
            let took = runtime.now() - began;
            // Over quic its system goes on to acknowledge: it lives, and takes nothing.
            let lives = chatty || transport == Transport::Quic;
            let (expected, limit) =
                if lives { (DisconnectReason::Stalled, stall) } else { (DisconnectReason::PingTimeout, silence) };
            assert_eq!(reason, expected, "{transport}, chatty: {chatty}");
            assert!(took <= 2 * limit, "{transport}, chatty {chatty}: {took:?}");
            raw.closed().await;
            raw.transports.shutdown().await;
            node.pool.shutdown().await;
        }
    });
}
