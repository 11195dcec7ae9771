//! Remotes that break the rules, next to honest ones.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::raw::{Raw, honest, node, reset_code};
use common::{Node, config, everywhere, in_time, in_virtual_time, info};
use p2p_core::{ByteBudget, Runtime};
use p2p_identity::handshake::{MAX_MESSAGE_LEN, NONCE_LEN};
use p2p_identity::{
    Channel, DisconnectReason, Error, Handshake, HandshakeError, HandshakeParams, ProtocolKind, Purpose, RejectReason,
    TlsIdentity, close_code, peer_id_from_certificates,
};
use p2p_net::{CloseReason, Endpoint, MessageReceiver, MessageSender, NetConfig, SendLimits, Transport, Transports};
use p2p_peer_pool::control::ControlMessage;
use p2p_peer_pool::header::{StreamKind, stream_code};
use p2p_peer_pool::{PeerEvent, PoolConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_for_nothing_are_reset_and_the_rest_goes_on() {
    everywhere(|runtime, transport| async move {
        let mut node = node(&runtime, transport, config()).await;
        let (raw, _recv, _send) = Raw::join(&runtime, &mut node, 2).await;
        for (protocol, kind, code) in [
            ("/unknown", StreamKind::Messages, stream_code::UNKNOWN_PROTOCOL),
            ("/unknown", StreamKind::Raw, stream_code::UNKNOWN_PROTOCOL),
            ("/x", StreamKind::Messages, stream_code::DUPLICATE),
        ] {
            let (recv, _send) = raw.open(protocol, kind).await;
            assert_eq!(reset_code(recv).await, code, "{protocol}");
        }
        let (recv, mut garbage) = raw.connection.open_stream().await.unwrap().into_split();
        garbage.write_all_bytes(Bytes::from_static(&[3, 9, 9, 9])).await.unwrap();
        assert_eq!(reset_code(recv).await, stream_code::BAD_HEADER);
        assert_eq!(node.pool.len(), 1);
        honest(&runtime, transport, &mut node).await;
        raw.transports.shutdown().await;
        node.pool.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_control_protocol_is_disconnected_with_a_reason() {
    everywhere(|runtime, transport| async move {
        let mut node = node(&runtime, transport, config()).await;
        type Act = fn(&Raw);
        let acts: [(&str, Act); 6] = [
            ("garbage", |raw| drop(raw.control.try_send(vec![1, 99]))),
            ("format", |raw| drop(raw.control.try_send(vec![9, 9]))),
            ("pongs", |raw| (0..300).for_each(|n| raw.say(&ControlMessage::Pong(n)))),
            ("pings", |raw| (0..1000).for_each(|n| raw.say(&ControlMessage::Ping(n)))),
            ("acknowledgement", |raw| raw.say(&ControlMessage::GoodbyeAck)),
            ("end of control", |raw| raw.control.finish()),
        ];
        for (n, (what, act)) in acts.into_iter().enumerate() {
            let (raw, _recv, _send) = Raw::join(&runtime, &mut node, 10 + n as u8).await;
            act(&raw);
            let reason = node.removed().await;
            assert!(matches!(reason, DisconnectReason::ProtocolViolation(_)), "{what}: {reason}");
            let told = raw.closed().await;
            assert!(matches!(told, CloseReason::Remote { code: close_code::PROTOCOL_VIOLATION, .. }), "{what}: {told}");
            raw.transports.shutdown().await;
        }
        honest(&runtime, transport, &mut node).await;
        node.pool.shutdown().await;
    })
    .await;
}

/// In virtual time: points are forgiven as time passes.
#[test]
fn who_breaks_the_rules_again_and_again_is_banned() {
    in_virtual_time(|runtime, transport| async move {
        let mut node = node(&runtime, transport, config()).await;
        for _ in 0..4 {
            let (raw, _recv, _send) = Raw::join(&runtime, &mut node, 2).await;
            raw.say(&ControlMessage::GoodbyeAck);
            assert!(matches!(node.removed().await, DisconnectReason::ProtocolViolation(_)));
            raw.transports.shutdown().await;
        }
        let error = Raw::connect(&runtime, &node.endpoint, 2).await.err().unwrap();
        assert!(matches!(error, Error::Handshake(HandshakeError::Remote(RejectReason::Banned))), "{error}");
        node.refused().await;
        honest(&runtime, transport, &mut node).await;
        node.pool.shutdown().await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_beyond_the_limit_ends_the_connection() {
    everywhere(|runtime, transport| async move {
        let mut node = Node::new(&runtime, transport, 1).await;
        let mut conns = node.hold("/x", ProtocolKind::Optional);
        let lengths = [vec![0xff; 8], (0x8000_0000u32 | ((1 << 20) + 1)).to_be_bytes().to_vec()];
        for (n, length) in lengths.into_iter().enumerate() {
            let (raw, _recv, mut send) = Raw::join(&runtime, &mut node, 2 + n as u8).await;
            let conn = conns.recv().await.unwrap();
            send.write_all_bytes(length.into()).await.unwrap();
            let error = in_time("recv", conn.recv()).await.unwrap_err();
            assert!(matches!(error, Error::Disconnected(DisconnectReason::ProtocolViolation(_))), "{error}");
            assert!(matches!(node.removed().await, DisconnectReason::ProtocolViolation(_)));
            raw.transports.shutdown().await;
        }
        node.pool.shutdown().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_dialers_are_in_nobodys_way() {
    everywhere(|runtime, transport| async move {
        let mut few = config();
        few.limits.handshakes = 8;
        let mut node = node(&runtime, transport, few).await;
        let transports = Transports::new(runtime.clone(), {
            let mut net = NetConfig::default();
            net.tls = Some(TlsIdentity::new(&common::key(7)).unwrap().configs());
            net
        });
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.extend(transports.dial(&node.endpoint).await.ok());
        }
        honest(&runtime, transport, &mut node).await;
        drop(silent);
        transports.shutdown().await;
        node.pool.shutdown().await;
        assert_eq!(node.pool.tasks(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claimed_identity_harms_nobody_who_has_it() {
    everywhere(|runtime, transport| async move {
        let mut node = node(&runtime, transport, config()).await;
        let mut owner = Node::new(&runtime, transport, 2).await;
        owner.pool.connect(&node.endpoint).await.unwrap();
        node.added().await;
        owner.added().await;
        // A hello with the owner's id, of another boot, and then nothing: over tcp only the proof is missing.
        let mut net = NetConfig::default();
        net.tls = Some(TlsIdentity::new(&common::key(66)).unwrap().configs());
        let transports = Transports::new(runtime.clone(), net);
        let connection = transports.dial(&node.endpoint).await.unwrap();
        let (recv, send) = connection.open_stream().await.unwrap().into_split();
        let budget = ByteBudget::new(1 << 20);
        let sender = MessageSender::new(send, SendLimits::default(), &budget);
        let receiver = MessageReceiver::new(recv, MAX_MESSAGE_LEN, &budget);
        let params = Arc::new(HandshakeParams::new(common::key(2), 12345));
        let channel = match connection.peer_certificates() {
            Some(certificates) => Channel::Certified(peer_id_from_certificates(certificates).unwrap()),
            None => Channel::Plain,
        };
        let thief = Handshake::dial(params, channel, None, Purpose::Peer, [7; NONCE_LEN], &[]).unwrap();
        sender.send(thief.hello().unwrap()).await.unwrap();
        in_time("answer", receiver.recv()).await.unwrap();
        drop((sender, receiver));
        connection.close(0, "");
        assert!(matches!(in_time("refusal", node.events.recv()).await, Ok(PeerEvent::HandshakeFailed { .. })));
        assert_eq!(node.pool.peer_ids(), [owner.id()]);
        let conn = owner.pool.conn(&node.id(), &common::id("/x"));
        assert!(conn.is_err(), "the owner speaks nothing");
        owner.pool.shutdown().await;
        assert_eq!(node.removed().await, DisconnectReason::RemoteShutdown);
        node.pool.shutdown().await;
        transports.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn protocols_know_nothing_of_each_other() {
    let duplicate = info("/x", ProtocolKind::Hidden);
    let runtime = common::runtimes().remove(0);
    let node = node(&runtime, Transport::Tcp, config()).await;
    assert!(matches!(
        node.pool.attach_dyn(duplicate, |_| unreachable!("nobody connects")),
        Err(Error::DuplicateProtocol(_))
    ));
    node.pool.shutdown().await;
}

/// A listener that always closes with `code`; counts those that it has done that to.
async fn closing(
    runtime: &Arc<dyn Runtime>,
    transport: Transport,
    code: u32,
) -> (Transports, Endpoint, Arc<AtomicUsize>) {
    let mut net = NetConfig::default();
    net.tls = Some(TlsIdentity::new(&common::key(2)).unwrap().configs());
    let transports = Transports::new(runtime.clone(), net);
    let listen = Endpoint::new(transport, std::net::IpAddr::from([127, 0, 0, 1]), 0);
    let listener = transports.listen(&listen).await.unwrap();
    let (endpoint, closed) = (listener.local_endpoint(), Arc::new(AtomicUsize::new(0)));
    let count = closed.clone();
    tokio::spawn(async move {
        while let Ok(incoming) = listener.accept().await {
            let connection = incoming.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            connection.close(code, "no");
        }
    });
    (transports, endpoint, closed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_that_has_decided_against_us_is_not_dialed_again_by_the_same_call() {
    use close_code as c;
    let decided = [c::SHUTDOWN, c::PROTOCOL_VIOLATION, c::PROTOCOL_FAILED, c::PROTOCOL_PANICKED, c::DENIED, c::BANNED];
    let tries = decided.map(|code| (code, 1)).into_iter().chain([(c::LOST, 2), (c::HANDSHAKE, 2)]);
    everywhere(|runtime, transport| {
        let tries = tries.clone();
        async move {
            let node = node(&runtime, transport, PoolConfig { max_connect_retries: 1, ..config() }).await;
            for (code, tries) in tries {
                let (transports, endpoint, closed) = closing(&runtime, transport, code).await;
                let error = node.pool.connect(&endpoint).await.unwrap_err();
                let told = matches!(&error, Error::Net(p2p_net::Error::Closed(CloseReason::Remote { code: c, .. })) if *c == code);
                assert!(told, "{code:#x}: {error:?}");
                assert_eq!(closed.load(Ordering::SeqCst), tries, "{code:#x}");
                transports.shutdown().await;
            }
            node.pool.shutdown().await;
        }
    })
    .await;
}
