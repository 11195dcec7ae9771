//! A node under attack, honest peers beside the hostile ones, and the hostile ones' tools.
#![allow(dead_code, unreachable_pub, reason = "each scenario uses a part of it")]

pub mod attacker;
pub mod attacks;
pub mod silent;
pub mod udp;
pub mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{Protocol, ProtocolId, Version};
use p2p::{Config, ConnectionId, DisconnectReason, Error, EventListener, Node, PeerConn, PeerEvent, PeerId};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub const NETWORK: &str = "hostile";
pub const ECHO: &str = "/echo/1";

pub const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// Those over which our own multiplexer runs.
pub const STREAMS: [Transport; 2] = [Transport::Tcp, Transport::Tls];

/// What nothing here takes, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(300);

static TURN: RwLock<()> = RwLock::const_new(());

/// For tests that do not mind others beside them.
pub async fn together() -> RwLockReadGuard<'static, ()> {
    TURN.read().await
}

/// For tests that need most of the process's descriptors, or look at its memory.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().await
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// Waits for what no event tells of.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    in_time(what, async {
        while !condition() {
            // Real time: it is only looked at again.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A cheap peer.
pub fn key(n: u32) -> wire::Key {
    wire::Key::nth(200, n)
}

pub fn peer_id(bytes: [u8; 32]) -> PeerId {
    PeerId::from_bytes(bytes).unwrap()
}

/// Echoes each message. To `flood` it answers with messages without end.
struct Echo(PeerConn);

#[p2p::async_trait]
impl Protocol for Echo {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            let message = self.0.recv().await?;
            if &message[..] == b"flood" {
                let block = p2p::Bytes::from(vec![0; 16 << 10]);
                loop {
                    self.0.send(block.clone()).await?;
                }
            }
            self.0.send(message).await?;
        }
    }

    fn id() -> ProtocolId {
        ECHO.parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// Leaves the messages to the test.
struct Held(PeerConn);

#[p2p::async_trait]
impl Protocol for Held {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        ECHO.parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// Settings of a node that gives nobody up while both live, however busy the machine is.
pub fn patient() -> Config {
    Config {
        dial_timeout: PATIENCE,
        handshake_timeout: PATIENCE,
        ping_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        ..Config::loopback()
    }
}

/// The node under attack.
pub struct Target {
    pub node: Arc<Node>,
    events: EventListener<PeerEvent>,
}

impl Target {
    pub async fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_key(&KeyPair::generate(&KeyPairType::Ed25519), change).await
    }

    /// No timer runs out for who is honest, however busy the machine is. What a timer does to a hostile peer is shown with one
    /// that is short, and long enough for an honest one.
    pub async fn with_key(key: &KeyPair, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_config(key, patient(), change).await
    }

    pub async fn with_config(key: &KeyPair, config: Config, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { network: NETWORK.into(), max_connect_retries: 0, ..config };
        // Hostile peers have nothing to deliver.
        config.drain_timeout = Duration::from_millis(500);
        change(&mut config);
        let node = Node::new(key, config).unwrap();
        node.attach_protocol(Echo).unwrap();
        let events = node.register_peer_events();
        node.run().await.unwrap();
        Self { node, events }
    }

    pub fn endpoint(&self, transport: Transport) -> Endpoint {
        self.node.listen_endpoints().into_iter().find(|endpoint| endpoint.transport() == transport).unwrap()
    }

    pub fn addr(&self, transport: Transport) -> SocketAddr {
        self.endpoint(transport).socket_addr().unwrap()
    }

    /// The next event that `pick` wants; others are passed over.
    pub async fn event<T>(&mut self, what: &str, pick: impl Fn(&PeerEvent) -> Option<T>) -> T {
        in_time(what, async {
            loop {
                // Who lost events because there were many goes on with the next.
                let Ok(event) = self.events.recv().await else { continue };
                if let Some(picked) = pick(&event) {
                    return picked;
                }
            }
        })
        .await
    }

    pub async fn failure(&mut self) -> (Option<PeerId>, Error) {
        self.event("HandshakeFailed", |event| match event {
            PeerEvent::HandshakeFailed { peer_id, reason, .. } => Some((*peer_id, reason.clone())),
            _ => None,
        })
        .await
    }

    pub async fn added(&mut self, id: PeerId) {
        self.event("Added", |event| matches!(event, PeerEvent::Added { peer } if peer.peer_id == id).then_some(()))
            .await;
    }

    pub async fn removed(&mut self, id: PeerId) -> DisconnectReason {
        self.event("Removed", |event| match event {
            PeerEvent::Removed { peer, reason } if peer.peer_id == id => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// All the events that there are now.
    pub async fn events_so_far(&mut self) -> Vec<PeerEvent> {
        let mut events = Vec::new();
        while let Ok(Ok(event)) = tokio::time::timeout(Duration::ZERO, self.events.recv()).await {
            events.push(event);
        }
        events
    }

    pub async fn shutdown(self) {
        in_time("shutdown", self.node.shutdown()).await;
        assert_eq!(self.node.tasks(), 0);
    }
}

/// A peer that keeps to the rules: one of ours.
pub struct Honest {
    pub node: Arc<Node>,
    pub conn: PeerConn,
}

impl Honest {
    pub async fn node() -> Arc<Node> {
        Self::node_of(&KeyPair::generate(&KeyPairType::Ed25519)).await
    }

    pub async fn node_of(key: &KeyPair) -> Arc<Node> {
        let config =
            Config { network: NETWORK.into(), listen_endpoints: Vec::new(), max_connect_retries: 0, ..patient() };
        let node = Node::new(key, config).unwrap();
        node.attach_protocol(Held).unwrap();
        node.run().await.unwrap();
        node
    }

    pub async fn connect(target: &Target, transport: Transport) -> Self {
        Self::connect_as(Self::node().await, target, transport).await
    }

    /// A target that gives little time may have to be dialed more than once, on a busy machine.
    pub async fn connect_as(node: Arc<Node>, target: &Target, transport: Transport) -> Self {
        let endpoint = target.endpoint(transport);
        let peer = in_time("an honest connect", async {
            loop {
                match node.connect(&endpoint).await {
                    Ok(peer) => return peer,
                    Err(error) if target.node.config().handshake_timeout < PATIENCE => println!("once more: {error}"),
                    Err(error) => panic!("{transport}: {error}"),
                }
            }
        });
        let peer = peer.await;
        let conn = node.conn(&peer, &ECHO.parse().unwrap()).unwrap();
        Self { node, conn }
    }

    pub async fn exchange(&self, messages: u32) {
        for n in 0..messages {
            in_time("an exchange", async {
                self.conn.send(n.to_be_bytes().to_vec()).await.unwrap();
                assert_eq!(self.conn.recv().await.unwrap()[..], n.to_be_bytes());
            })
            .await;
        }
    }

    pub async fn shutdown(self) {
        in_time("shutdown", self.node.shutdown()).await;
    }
}

/// An honest peer that exchanges messages all the time.
pub struct Companion {
    honest: Arc<Honest>,
    id: ConnectionId,
    count: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Companion {
    pub async fn beside(target: &Target, transport: Transport) -> Self {
        let honest = Arc::new(Honest::connect(target, transport).await);
        let count = Arc::new(AtomicU64::new(0));
        let (theirs, counter) = (honest.clone(), count.clone());
        let task = tokio::spawn(async move {
            loop {
                theirs.exchange(1).await;
                counter.fetch_add(1, Ordering::Relaxed);
                // Real time: an ordinary peer, not a benchmark.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { id: honest.conn.connection_id(), honest, count, task }
    }

    /// It goes on, over the same connection.
    pub async fn goes_on(&self) {
        let before = self.count.load(Ordering::Relaxed);
        until("the honest peer's exchange", || {
            assert!(!self.task.is_finished(), "the honest peer was disturbed");
            self.count.load(Ordering::Relaxed) >= before + 20
        })
        .await;
        let peer = self.honest.node.peers();
        assert_eq!((peer, self.honest.conn.connection_id()), (1, self.id));
    }

    pub async fn shutdown(self) {
        self.goes_on().await;
        self.task.abort();
        in_time("shutdown", self.honest.node.shutdown()).await;
    }
}

/// New honest peers connect one after the other and are heard. How long that takes is shown in virtual time: `tests/silent.rs`,
/// `tests/crowds.rs`.
pub async fn others_get_in(target: &Target, transport: Transport, count: usize) {
    let mut connected = Vec::new();
    for _ in 0..count {
        let honest = Honest::connect(target, transport).await;
        honest.exchange(2).await;
        connected.push(honest);
    }
    let ids: Vec<_> = connected.iter().map(|honest| honest.node.peer_id()).collect();
    futures_util::future::join_all(connected.into_iter().map(Honest::shutdown)).await;
    until("their end", || ids.iter().all(|id| target.node.peer(id).is_none())).await;
}

/// Bytes of memory in use, where the system tells.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// File descriptors in use, where the system tells.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// As many connections as one process can hold both ends of, at most `wanted`.
pub fn affordable(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    wanted.min(soft.unwrap_or(1024).saturating_sub(300) / 3)
}
