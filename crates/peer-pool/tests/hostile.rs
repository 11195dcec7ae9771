//! Remotes that break the rules, next to honest ones.

#![cfg(any(feature = "tokio", feature = "smol"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "what a test runs beside the pools is tokio's")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Node, config, everywhere, in_time, info};
use p2p_core::{ByteBudget, PeerId, Runtime};
use p2p_identity::access::AllowAll;
use p2p_identity::handshake::{MAX_MESSAGE_LEN, NONCE_LEN, run};
use p2p_identity::{
    Channel, DisconnectReason, Error, Handshake, HandshakeError, HandshakeParams, Offer, ProtocolKind, Purpose,
    RejectReason, TlsIdentity, close_code, peer_id_from_certificates,
};
use p2p_net::{
    CloseReason, Connection, Endpoint, MessageReceiver, MessageSender, NetConfig, SendLimits, SendStream, Stream,
    Transport, Transports,
};
use p2p_peer_pool::control::ControlMessage;
use p2p_peer_pool::header::{Header, StreamKind, stream_code};
use p2p_peer_pool::{PeerEvent, PoolConfig};
use tokio::io::AsyncReadExt;

/// A remote that speaks the wire format and does with it what the tests like.
struct Raw {
    id: PeerId,
    transports: Transports,
    connection: Connection,
    control: MessageSender,
    _inbox: MessageReceiver,
}

impl Raw {
    async fn connect(runtime: &Arc<dyn Runtime>, to: &Endpoint, n: u8) -> Result<Self, Error> {
        let key = common::key(n);
        let mut net = NetConfig::default();
        net.tls = Some(TlsIdentity::new(&key)?.configs());
        let transports = Transports::new(runtime.clone(), net);
        let connection = transports.dial(to).await?;
        let (recv, send) = connection.open_stream().await?.into_split();
        let budget = ByteBudget::new(1 << 30);
        let control =
            MessageSender::new(send, SendLimits { queue_messages: 100_000, ..SendLimits::default() }, &budget);
        let inbox = MessageReceiver::new(recv, MAX_MESSAGE_LEN, &budget);
        let mut params = HandshakeParams::new(key.clone(), u64::from(n));
        let offer = Offer { version: "0.1.0".parse()?, kind: ProtocolKind::Optional };
        params.protocols = BTreeMap::from([(common::id("/x"), offer)]);
        let channel = match connection.peer_certificates() {
            Some(certificates) => Channel::Certified(peer_id_from_certificates(certificates)?),
            None => Channel::Plain,
        };
        let mut nonce = [0; NONCE_LEN];
        runtime.fill_random(&mut nonce);
        let handshake = Handshake::dial(Arc::new(params), channel, None, Purpose::Peer, nonce, &[])?;
        let handshake = handshake.with_certificates(connection.peer_certificates())?;
        let deadline = runtime.now() + Duration::from_secs(10);
        run(handshake, &control, &inbox, &**runtime, deadline, &|| {}, |_| Ok(())).await?;
        Ok(Self { id: key.peer_id(), transports, connection, control, _inbox: inbox })
    }

    async fn open(&self, protocol: &str, kind: StreamKind) -> (p2p_net::RecvStream, SendStream) {
        let (recv, mut send) = self.connection.open_stream().await.unwrap().into_split();
        let header = Header { protocol: common::id(protocol), kind }.to_framed().unwrap();
        send.write_all_bytes(header).await.unwrap();
        (recv, send)
    }

    /// Up to the point where the node announces it.
    async fn join(runtime: &Arc<dyn Runtime>, node: &mut Node, n: u8) -> (Self, p2p_net::RecvStream, SendStream) {
        let raw = Self::connect(runtime, &node.endpoint, n).await.unwrap();
        let (recv, send) = raw.open("/x", StreamKind::Messages).await;
        assert_eq!(node.added().await.peer_id, raw.id);
        (raw, recv, send)
    }

    fn say(&self, message: &ControlMessage) {
        let _ = self.control.try_send(message.to_bytes().unwrap());
    }

    async fn closed(&self) -> CloseReason {
        in_time("close", self.connection.closed()).await
    }
}

async fn node(runtime: &Arc<dyn Runtime>, transport: Transport, config: PoolConfig) -> Node {
    let node = Node::with(runtime, transport, 1, config, Arc::new(AllowAll)).await;
    drop(node.hold("/x", ProtocolKind::Optional));
    node
}

/// An honest peer comes, says something and goes.
async fn honest(runtime: &Arc<dyn Runtime>, transport: Transport, node: &mut Node) {
    let peer = Node::new(runtime, transport, 200).await;
    peer.pool.connect(&node.endpoint).await.unwrap();
    assert_eq!(node.added().await.peer_id, peer.id());
    peer.pool.shutdown().await;
    assert_eq!(node.removed().await, DisconnectReason::RemoteShutdown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_for_nothing_are_reset_and_the_rest_goes_on() {
    everywhere(|runtime, transport| async move {
        let short = PoolConfig { handshake_timeout: Duration::from_millis(500), ..config() };
        let mut node = node(&runtime, transport, short).await;
        let (raw, _recv, _send) = Raw::join(&runtime, &mut node, 2).await;
        let reset = async |(recv, send): (p2p_net::RecvStream, SendStream)| {
            let mut stream = Stream::from_split(recv, send);
            let error = in_time("reset", stream.read(&mut [0; 1])).await.unwrap_err();
            match error.get_ref().and_then(|error| error.downcast_ref::<p2p_net::Error>()) {
                Some(p2p_net::Error::Reset(code)) => *code,
                _ => panic!("{error:?}"),
            }
        };
        assert_eq!(reset(raw.open("/unknown", StreamKind::Messages).await).await, stream_code::UNKNOWN_PROTOCOL);
        assert_eq!(reset(raw.open("/unknown", StreamKind::Raw).await).await, stream_code::UNKNOWN_PROTOCOL);
        assert_eq!(reset(raw.open("/x", StreamKind::Messages).await).await, stream_code::DUPLICATE);
        let (recv, mut garbage) = raw.connection.open_stream().await.unwrap().into_split();
        garbage.write_all_bytes(Bytes::from_static(&[3, 9, 9, 9])).await.unwrap();
        assert_eq!(reset((recv, garbage)).await, stream_code::BAD_HEADER);
        let (recv, mut half) = raw.connection.open_stream().await.unwrap().into_split();
        half.write_all_bytes(Bytes::from_static(&[3, 1])).await.unwrap();
        assert_eq!(reset((recv, half)).await, stream_code::BAD_HEADER);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_rules_again_and_again_is_banned() {
    everywhere(|runtime, transport| async move {
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
    })
    .await;
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
async fn who_never_opens_its_streams_gives_its_slot_back() {
    everywhere(|runtime, transport| async move {
        let short = PoolConfig { handshake_timeout: Duration::from_millis(300), inbound_slots: 1, ..config() };
        let mut node = node(&runtime, transport, short).await;
        let raw = Raw::connect(&runtime, &node.endpoint, 2).await.unwrap();
        let error = node.refused().await;
        assert!(matches!(error, Error::Handshake(HandshakeError::Refused(RejectReason::Timeout))), "{error}");
        assert!(matches!(raw.closed().await, CloseReason::Remote { code: close_code::HANDSHAKE, .. }));
        honest(&runtime, transport, &mut node).await;
        raw.transports.shutdown().await;
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
async fn a_peer_that_answers_no_ping_is_disconnected() {
    everywhere(|runtime, transport| async move {
        for chatty in [false, true] {
            let quick = PoolConfig {
                ping_interval: Duration::from_millis(50),
                ping_timeout: Duration::from_millis(200),
                stall_timeout: Duration::from_millis(600),
                ..config()
            };
            let mut node = node(&runtime, transport, quick).await;
            let (raw, _recv, mut send) = Raw::join(&runtime, &mut node, 2).await;
            let talk = async {
                while chatty && send.write_all_bytes(Bytes::from_static(&[1, 1])).await.is_ok() {
                    runtime.sleep(Duration::from_millis(20)).await;
                }
                std::future::pending::<()>().await
            };
            let reason = tokio::select! {
                reason = node.removed() => reason,
                () = talk => unreachable!(),
            };
            // Over quic its system goes on to acknowledge: it lives, and takes nothing.
            let lives = chatty || transport == Transport::Quic;
            let expected = if lives { DisconnectReason::Stalled } else { DisconnectReason::PingTimeout };
            assert_eq!(reason, expected, "chatty: {chatty}");
            raw.closed().await;
            raw.transports.shutdown().await;
            node.pool.shutdown().await;
        }
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
