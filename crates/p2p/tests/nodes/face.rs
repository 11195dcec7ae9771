//! Every name of the public face, as programs outside of this repository write it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use p2p::access_control::{AccessControl, Action, AllowAll, AllowList, DenyList, Direction, Subject};
use p2p::discovery::{DiscoveredPeer, Discovery, DiscoveryContext, PeerConnectionEvent, StaticDiscovery};
use p2p::endpoint::{Addr, Endpoint, PeerAddr, PeerRecord};
use p2p::keypair::{KeyPair, KeyPairType, PublicKey};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, ProtocolInfo, ProtocolKind, Version};
use p2p::util::{decode, encode};
use p2p::{
    Bloom, Broadcast, Bytes, Config, ConnectionEvent, ConnectionEventKind, ConnectionId, DisconnectReason,
    DiscoveryEvent, DiscoveryEventKind, Error, EventListener, Limits, NetError, Node, NodeBuilder, Offence, PeerEvent,
    PeerId, PeerInfo, PeerPool, PeerPoolEvent, PeerPoolEventKind, RecvError, Runtime, Stream, async_trait,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::common::{in_time, over_tcp};

struct Chat {
    conn: PeerConn,
    tell: tokio::sync::mpsc::UnboundedSender<PeerConn>,
}

#[async_trait]
impl Protocol for Chat {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let _ = self.tell.send(self.conn.clone());
        self.conn.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        "/chat/1".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.2.0, >=0.1.0".parse()
    }

    fn kind() -> ProtocolKind {
        ProtocolKind::Mandatory
    }
}

/// The least that a protocol needs.
struct Silent;

#[async_trait]
impl Protocol for Silent {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    fn id() -> ProtocolId {
        "/silent".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    text: String,
    n: u32,
}

/// A discovery with nothing but what it must have, and one with everything.
struct Found(tokio::sync::Mutex<Option<DiscoveredPeer>>, Mutex<Vec<PeerConnectionEvent>>);

#[async_trait]
impl Discovery for Found {
    fn init(&self, ctx: DiscoveryContext) {
        let _: (&Arc<dyn Runtime>, &Vec<Endpoint>, &Arc<dyn AccessControl>) =
            (&ctx.runtime, &ctx.listen_endpoints, &ctx.access_control);
        let _: Option<PeerRecord> = (ctx.record)();
        ctx.emit(DiscoveryEventKind::LookupStarted, None, None);
    }

    async fn start(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    async fn shutdown(&self) {}

    async fn recv(&self) -> DiscoveredPeer {
        match self.0.lock().await.take() {
            Some(peer) => peer,
            None => std::future::pending().await,
        }
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        match &event {
            PeerConnectionEvent::Connected { .. }
            | PeerConnectionEvent::Disconnected { .. }
            | PeerConnectionEvent::ConnectFailed { .. }
            | PeerConnectionEvent::Banned { .. } => self.1.lock().unwrap().push(event),
            _ => {}
        }
    }

    fn find_peers_with(&self, _: &[u8]) -> Vec<DiscoveredPeer> {
        Vec::new()
    }

    fn advertise(&self, _: &[u8], _: ProtocolKind) {}
}

struct Nobody;

impl AccessControl for Nobody {
    fn allow(&self, subject: &Subject<'_>, action: Action) -> bool {
        let (Subject::Endpoint(_) | Subject::Peer(_)) = subject else { return false };
        match action {
            Action::Connect(direction) | Action::Lookup(direction) | Action::Probe(direction) => {
                matches!(direction, Direction::Inbound | Direction::Outbound)
            }
            _ => false,
        }
    }
}

fn is_text<T: std::fmt::Display + std::str::FromStr>() {}
fn is_serde<T: Serialize + DeserializeOwned>() {}
fn is_key<T: Copy + Eq + Ord + std::hash::Hash>() {}
fn is_stream<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>() {}
fn is_handle<T: Clone + Send + Sync + 'static>() {}
fn is_futures_stream<T: futures_util::Stream>(_: &T) {}

#[test]
fn keys_endpoints_and_values() {
    let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
    let public: PublicKey = key_pair.public();
    let checked: Result<(), Error> = public.verify(b"message", &key_pair.sign(b"message"));
    checked.unwrap();
    let pem = key_pair.to_pkcs8_pem();
    let again: KeyPair = KeyPair::from_pkcs8_pem(&pem).unwrap();
    assert_eq!(again.public(), public);
    let folder = tempfile::tempdir().unwrap();
    let _: KeyPair = KeyPair::load_or_generate(folder.path().join("key.pem")).unwrap();

    is_text::<PeerId>();
    is_serde::<PeerId>();
    is_key::<PeerId>();
    let peer_id: PeerId = public.peer_id();
    let text = peer_id.to_string();
    assert_eq!((text.len(), text.to_lowercase()), (52, text.clone()));
    assert_eq!(text.parse::<PeerId>().unwrap(), peer_id);
    assert!(text.to_uppercase().parse::<PeerId>().is_err(), "canonical only");

    is_text::<Endpoint>();
    is_serde::<Endpoint>();
    for rest in ["example.org:1", "192.0.2.1:1", "[2001:db8::1]:1"] {
        for scheme in ["tcp", "tls", "quic", "udp"] {
            for text in [format!("{scheme}://{rest}"), format!("{scheme}://{peer_id}@{rest}")] {
                assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
            }
        }
    }
    let endpoint: Endpoint = "quic://192.0.2.1:1".parse().unwrap();
    let _: &Addr = endpoint.addr();
    let addr = PeerAddr { endpoint: endpoint.clone(), priority: 1 };
    let peer = DiscoveredPeer { peer_id: Some(peer_id), addrs: vec![addr], discovery_addrs: vec![] };
    assert_ne!(peer, DiscoveredPeer::from(endpoint));

    let line = Line { text: "hello".into(), n: 7 };
    let bytes: Bytes = encode(&line).unwrap();
    assert_eq!(decode::<Line>(&bytes).unwrap(), line);

    let version: Version = "0.2.0, >=0.1.0".parse().unwrap();
    assert!(version.accepts("0.2.0".parse::<Version>().unwrap().own()));
    assert!(version.accepts("0.1.0".parse::<Version>().unwrap().own()));
    is_text::<Version>();
    is_handle::<PeerConn>();
    is_handle::<AllowList>();
    is_handle::<DenyList>();
    is_handle::<PeerPool>();
    is_stream::<Stream>();
    let _ = (Bloom::default(), AllowAll, Nobody, ProtocolKind::Optional, ProtocolKind::Hidden, Offence::Nuisance);
}

#[test]
fn settings() {
    let defaults = Config::default();
    let minute = Duration::from_secs(60);
    let Config {
        network,
        version,
        listen_endpoints,
        discovery_endpoints,
        bootstrap_peers,
        dial_peers,
        public_ip,
        state_dir,
        inbound_slots: 64,
        outbound_slots: 32,
        max_connect_retries: 3,
        handshake_timeout,
        dial_timeout,
        ping_interval,
        ping_timeout,
        stall_timeout,
        drain_timeout,
        seeding_interval,
        limits,
        access_control: _,
        enable_monitor: true,
        ..
    } = defaults
    else {
        panic!("other defaults")
    };
    assert_eq!((network.as_str(), version), ("default", "0.1.0".parse().unwrap()));
    assert!(listen_endpoints.is_empty() && discovery_endpoints.is_empty());
    assert!(bootstrap_peers.is_empty() && dial_peers.is_empty());
    assert_eq!((public_ip, state_dir), (None, None));
    assert_eq!((handshake_timeout, dial_timeout), (minute / 6, minute / 6));
    assert_eq!((ping_interval, ping_timeout), (minute / 3, minute / 2));
    assert_eq!((stall_timeout, drain_timeout, seeding_interval), (minute / 2, minute / 12, minute));
    assert_eq!((limits.message, limits.inbound_streams), (1 << 20, 128));
    assert_eq!((limits.queue_messages, limits.queue_bytes), (128, 4 << 20));
    assert_eq!((limits.stream_window, limits.connection_window, limits.memory), (64 << 10, 16 << 20, 512 << 20));
    assert_eq!((limits.handshakes, limits.handshakes_per_prefix), (256, 16));
    assert_eq!((limits.handshake_message, limits.protocols, limits.event_queue), (16 << 10, 64, 1024));
    assert_eq!(limits, Limits::default());
    let text = |config: Config| config.listen_endpoints.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let loopback = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0", "quic://127.0.0.1:0"].map(String::from);
    assert_eq!(text(Config::loopback()), BTreeSet::from(loopback));
    let server = ["quic://0.0.0.0:9000", "quic://[::]:9000", "tls://0.0.0.0:9000", "tls://[::]:9000"].map(String::from);
    assert_eq!(text(Config::server(9000)), BTreeSet::from(server));
}

#[test]
fn nodes_peers_and_events() {
    over_tcp(|world| async move {
        let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
        if world.is_tokio {
            let made: Result<Arc<Node>, Error> = Node::new(&key_pair, Config::loopback());
            assert_eq!(made.unwrap().peer_id(), key_pair.peer_id());
        }
        let other_key = KeyPair::generate(&KeyPairType::Ed25519);
        let other =
            Node::builder(&other_key).config(Config::loopback()).runtime(world.runtime.clone()).build().unwrap();
        let (tell, mut other_conns) = tokio::sync::mpsc::unbounded_channel();
        other.attach_protocol(move |conn| Arc::new(Chat { conn, tell: tell.clone() })).unwrap();
        other.run().await.unwrap();
        let found = Arc::new(Found(tokio::sync::Mutex::new(None), Mutex::default()));
        let builder: NodeBuilder = Node::builder(&key_pair);
        let node: Arc<Node> = builder
            .config(Config::loopback())
            .runtime(world.runtime.clone())
            .discovery(StaticDiscovery::new([]))
            .add_discovery(found.clone())
            .build()
            .unwrap();
        let (tell, mut conns) = tokio::sync::mpsc::unbounded_channel();
        node.attach_protocol(move |conn| Chat { conn, tell: tell.clone() }).unwrap();
        node.attach_protocol(|_| Silent).unwrap();
        assert!(matches!(node.attach_protocol(|_| Silent), Err(Error::DuplicateProtocol(_))));
        assert!(node.detach_protocol(&Silent::id()));
        let info =
            ProtocolInfo { id: "/dyn".parse().unwrap(), version: "1.0.0".parse().unwrap(), kind: ProtocolKind::Hidden };
        node.attach_dyn(info, |_| -> Arc<dyn Protocol> { Arc::new(Silent) }).unwrap();
        let seeds_form: fn(PeerConn) -> Arc<dyn Protocol> = |_| Arc::new(Silent);
        node.attach_protocol::<Silent>(seeds_form).unwrap();
        assert!(node.detach_protocol(&Silent::id()));
        let mut connections: EventListener<ConnectionEvent> = node.monitor().register::<ConnectionEvent>();
        let mut pool = node.monitor().register::<PeerPoolEvent>();
        let mut discovery = node.monitor().register::<DiscoveryEvent>();
        node.run().await.unwrap();

        let _: (&Config, &KeyPair, &Arc<dyn Runtime>) = (node.config(), node.key_pair(), node.runtime());
        let endpoints: Vec<Endpoint> = other.listen_endpoints();
        let dialable: Vec<Endpoint> = other.dialable_endpoints();
        assert_eq!(dialable, endpoints.iter().map(|at| at.clone().with_peer_id(other.peer_id())).collect::<Vec<_>>());
        let (present, mut watched): (Vec<PeerInfo>, EventListener<PeerEvent>) = node.watch_peers();
        assert!(present.is_empty());
        let mut events: EventListener<PeerEvent> = node.register_peer_events();
        let peer: PeerId = node.connect(&endpoints[0]).await.unwrap();
        node.connect_peer(&peer).await.unwrap();
        let chat = Chat::id();
        let Ok(PeerEvent::Added { peer: added }) = events.recv().await else { panic!("not added") };
        let PeerInfo { peer_id, connection_id, endpoint, direction, protocols, connected_at, rtt, .. } = added;
        let _: (ConnectionId, Direction, SystemTime, Option<Duration>) = (connection_id, direction, connected_at, rtt);
        assert_eq!((peer_id, endpoint, protocols), (peer, endpoints[0].clone(), BTreeSet::from([chat.clone()])));
        is_futures_stream(&watched);
        assert!(matches!(watched.next().await, Some(Ok(PeerEvent::Added { .. }))));
        assert_eq!(watched.lost(), 0);
        let peers: usize = node.peers();
        let ids: Vec<PeerId> = node.peer_ids();
        let who: Option<PeerInfo> = node.peer(&peer);
        let (inbound, outbound): (BTreeMap<PeerId, Endpoint>, BTreeMap<PeerId, Endpoint>) =
            (node.inbound_peers(), node.outbound_peers());
        assert_eq!((peers, ids.len(), inbound.len(), outbound.len()), (1, 1, 0, 1));
        let spoken: Option<BTreeSet<ProtocolId>> = node.peer_protocols(&peer);
        assert!(who.is_some() && spoken.is_some());

        let there: PeerConn = other_conns.recv().await.unwrap();
        let here: PeerConn = conns.recv().await.unwrap();
        messages(&node, &peer, &here, &there).await;
        streams(&node, &peer, &here, &there).await;

        node.advertise(chat.as_str(), ProtocolKind::Mandatory).unwrap();
        node.advertise("an item", ProtocolKind::Optional).unwrap();
        node.unadvertise("an item").unwrap();
        let _: Vec<DiscoveredPeer> = node.find_peers_with("an item");

        here.report(Offence::Nuisance);
        let spawned = here.spawn(async { 7 });
        drop(spawned);
        let runtime: &Arc<dyn Runtime> = here.runtime();
        // Real time: nothing depends on it.
        runtime.sleep(Duration::from_millis(1)).await;
        assert!(runtime.timeout(Duration::from_millis(1), std::future::pending::<()>()).await.is_err());
        runtime.interval(Duration::from_millis(1)).tick().await;

        let closed = there.clone();
        here.disconnect(7, "over").await;
        let reason: DisconnectReason = in_time("closed", closed.closed()).await;
        assert_eq!(reason, DisconnectReason::Remote { code: 7, reason: "over".into() });
        assert!(matches!(there.recv().await, Err(Error::PeerShutdown)));
        node.disconnect(&peer, 7, "over").await;
        node.ban(&peer, Duration::from_secs(60));
        assert!(node.unban(&peer));
        let Ok(PeerEvent::Removed { peer: gone, reason: _ }) = events.recv().await else { panic!("not removed") };
        assert_eq!(gone.peer_id, peer);

        let ConnectionEvent { at: _, kind: ConnectionEventKind::Listening, endpoint: Some(_), peer_id: None, .. } =
            connections.recv().await.unwrap()
        else {
            panic!("not listening")
        };
        let PeerPoolEvent { at: _, kind: PeerPoolEventKind::NewPeer, endpoint: Some(_), peer_id: Some(_), .. } =
            pool.recv().await.unwrap()
        else {
            panic!("no peer")
        };
        let DiscoveryEvent { at: _, kind, endpoint: None, peer_id: None, .. } = discovery.recv().await.unwrap() else {
            panic!("no discovery")
        };
        assert!(!kind.to_string().is_empty() && !ConnectionEventKind::Connected.to_string().is_empty());
        assert!(matches!(found.1.lock().unwrap()[0], PeerConnectionEvent::Connected { .. }));

        node.shutdown().await;
        other.shutdown().await;
        assert!(node.run().await.is_err());
        drop(node);
        loop {
            match connections.recv().await {
                Ok(_) => {}
                Err(RecvError::Lagged(n)) => panic!("{n} lost"),
                Err(error) => break assert_eq!(error, RecvError::Closed),
            }
        }
    });
}

async fn messages(node: &Node, peer: &PeerId, here: &PeerConn, there: &PeerConn) {
    let chat = Chat::id();
    let _: Option<PeerConn> = node.conn(peer, &chat);
    node.send_to(peer, &chat, "one").await.unwrap();
    node.send_msg_to(peer, &chat, &Line { text: "two".into(), n: 2 }).await.unwrap();
    let told: Result<Broadcast, Error> = node.broadcast(&chat, "three");
    let Broadcast { sent, busy } = told.unwrap();
    assert_eq!((sent, busy), (1, Vec::<PeerId>::new()));
    assert_eq!(node.broadcast_to(&chat, "four", &BTreeSet::from([*peer])).unwrap().sent, 1);
    let broadcast: Result<Broadcast, Error> = node.broadcast_msg(&chat, &5u32);
    assert_eq!(broadcast.unwrap().sent, 1);
    here.send(Bytes::from_static(b"six")).await.unwrap();
    here.try_send(vec![7]).unwrap();
    here.send_msg(&8u32).await.unwrap();
    assert_eq!(here.broadcast("nine").unwrap().sent, 1);
    assert_eq!(here.broadcast_except("nobody", &[*peer]).unwrap().sent, 0);
    here.flush().await.unwrap();
    let first: Result<Bytes, Error> = there.recv().await;
    assert_eq!(first.unwrap(), "one");
    assert_eq!(there.recv_msg::<Line>().await.unwrap().n, 2);
    assert_eq!(there.recv().await.unwrap(), "three");
    assert_eq!(there.recv().await.unwrap(), "four");
    assert_eq!(there.recv_msg::<u32>().await.unwrap(), 5);
    assert_eq!(there.recv().await.unwrap(), "six");
    assert_eq!(there.recv().await.unwrap(), vec![7]);
    assert_eq!(there.recv_msg::<u32>().await.unwrap(), 8);
    assert_eq!(there.recv().await.unwrap(), "nine");
    let _: (PeerId, ConnectionId, &Endpoint) = (here.peer_id(), here.connection_id(), here.remote_endpoint());
    let _: (Direction, Option<Duration>, &Version) = (here.direction(), here.rtt(), here.remote_version());
}

async fn streams(node: &Node, peer: &PeerId, here: &PeerConn, there: &PeerConn) {
    let opened: Result<Stream, Error> = node.open_stream(peer, &Chat::id()).await;
    let mut opened = opened.unwrap();
    opened.write_all(b"bytes").await.unwrap();
    let (mut reads, mut writes) = there.accept_stream().await.unwrap().into_split();
    let mut bytes = [0; 5];
    reads.read_exact(&mut bytes).await.unwrap();
    writes.write_all(&bytes).await.unwrap();
    writes.shutdown().await.unwrap();
    let mut back = Vec::new();
    Pin::new(&mut opened).read_to_end(&mut back).await.unwrap();
    assert_eq!(back, b"bytes");
    let mut stream: Stream = here.open_stream().await.unwrap();
    stream.send_msg(&(1_u8, "one")).await.unwrap();
    let mut accepted = there.accept_stream().await.unwrap();
    assert_eq!(accepted.recv_msg::<(u8, String)>().await.unwrap(), (1, "one".into()));
    stream.reset(7);
    assert!(matches!(accepted.recv_msg::<u8>().await, Err(Error::Net(NetError::Reset(7)))));
}

#[cfg(feature = "testing")]
#[test]
fn protocols_can_be_tried_in_memory() {
    over_tcp(|_| async {
        let (tell, _conns) = tokio::sync::mpsc::unbounded_channel();
        let constructor = move |conn| Chat { conn, tell: tell.clone() };
        let (left, right): (PeerConn, PeerConn) = p2p::testing::pair::<Chat>(constructor).await.unwrap();
        left.send("hello").await.unwrap();
        assert_eq!(right.recv().await.unwrap(), "hello");
    });
}
