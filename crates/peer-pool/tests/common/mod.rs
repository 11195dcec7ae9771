//! Two or more pools on loopback, and protocols whose connections the tests hold.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "the deadline of a test is tokio's, whatever runtime it tests")]

pub mod raw;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use p2p_core::{EventListener, PeerId, Runtime};
use p2p_identity::access::{AccessControl, AllowAll};
use p2p_identity::{DisconnectReason, Error, KeyPair, ProtocolId, ProtocolKind};
use p2p_net::{Endpoint, Transport};
use p2p_peer_pool::{PeerConn, PeerEvent, PeerInfo, PeerPool, PoolConfig, Protocol, ProtocolInfo};
use p2p_sim::Sim;
use tokio::sync::mpsc;

/// What no scenario on loopback takes, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// All transports of this build.
pub const TRANSPORTS: &[Transport] = &[
    Transport::Tcp,
    Transport::Tls,
    #[cfg(feature = "quic")]
    Transport::Quic,
];

/// All runtimes of this build.
pub fn runtimes() -> Vec<Arc<dyn Runtime>> {
    vec![
        #[cfg(feature = "tokio")]
        Arc::new(p2p_core::TokioRuntime::current().unwrap()),
        #[cfg(feature = "smol")]
        Arc::new(p2p_core::SmolRuntime::new()),
    ]
}

/// Runs a scenario over each transport on each runtime.
pub async fn everywhere<F: Future<Output = ()>>(scenario: impl Fn(Arc<dyn Runtime>, Transport) -> F) {
    for runtime in runtimes() {
        for &transport in TRANSPORTS {
            println!("{transport} on {runtime:?}");
            in_time(&format!("{transport} on {runtime:?}"), scenario(runtime.clone(), transport)).await;
        }
    }
}

/// Runs a scenario over each transport in the simulator: what a timer does shows exactly there, and without waiting.
pub fn in_virtual_time<F: Future<Output = ()>>(scenario: impl Fn(Arc<dyn Runtime>, Transport) -> F) {
    for &transport in TRANSPORTS {
        println!("{transport} in virtual time");
        let sim = Sim::new(1);
        sim.block_on(scenario(sim.host("all of them").runtime(), transport));
    }
}

/// What `future` gives, which must come. (A simulation says by itself that nothing more can.)
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    if tokio::runtime::Handle::try_current().is_err() {
        return future.await;
    }
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

pub fn key(n: u8) -> KeyPair {
    KeyPair::from_seed([n; 32])
}

/// No timer runs out while both sides live, however busy the machine is.
pub fn config() -> PoolConfig {
    PoolConfig {
        dial_timeout: PATIENCE,
        handshake_timeout: PATIENCE,
        ping_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        ..PoolConfig::default()
    }
}

pub fn id(name: &str) -> ProtocolId {
    name.parse().unwrap()
}

pub fn info(name: &str, kind: ProtocolKind) -> ProtocolInfo {
    ProtocolInfo { id: id(name), version: "0.1.0".parse().unwrap(), kind }
}

/// A pool and where it listens.
pub struct Node {
    pub pool: PeerPool,
    pub endpoint: Endpoint,
    pub events: EventListener<PeerEvent>,
}

impl Node {
    pub async fn new(runtime: &Arc<dyn Runtime>, transport: Transport, n: u8) -> Self {
        Self::with(runtime, transport, n, config(), Arc::new(AllowAll)).await
    }

    pub async fn with(
        runtime: &Arc<dyn Runtime>,
        transport: Transport,
        n: u8,
        config: PoolConfig,
        access: Arc<dyn AccessControl>,
    ) -> Self {
        let pool = PeerPool::new(runtime.clone(), &key(n), config, access).unwrap();
        let events = pool.register_peer_events();
        let listen = Endpoint::new(transport, std::net::IpAddr::from([127, 0, 0, 1]), 0);
        let endpoint = pool.listen(&listen).await.unwrap();
        Self { pool, endpoint, events }
    }

    pub fn id(&self) -> PeerId {
        self.pool.peer_id()
    }

    /// Attaches a protocol that hands its connections out and lives as long as the peer.
    pub fn hold(&self, name: &str, kind: ProtocolKind) -> mpsc::UnboundedReceiver<PeerConn> {
        let (tell, conns) = mpsc::unbounded_channel();
        self.pool.attach_dyn(info(name, kind), move |conn| Arc::new(Held { conn, tell: tell.clone() })).unwrap();
        conns
    }

    pub async fn added(&mut self) -> PeerInfo {
        match in_time("Added", self.events.recv()).await.unwrap() {
            PeerEvent::Added { peer } => peer,
            other => panic!("not added: {other:?}"),
        }
    }

    pub async fn removed(&mut self) -> DisconnectReason {
        match in_time("Removed", self.events.recv()).await.unwrap() {
            PeerEvent::Removed { reason, .. } => reason,
            other => panic!("not removed: {other:?}"),
        }
    }

    pub async fn refused(&mut self) -> Error {
        match in_time("HandshakeFailed", self.events.recv()).await.unwrap() {
            PeerEvent::HandshakeFailed { reason, .. } => reason,
            other => panic!("not refused: {other:?}"),
        }
    }
}

struct Held {
    conn: PeerConn,
    tell: mpsc::UnboundedSender<PeerConn>,
}

#[async_trait]
impl Protocol for Held {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let _ = self.tell.send(self.conn.clone());
        self.conn.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        id("/held")
    }

    fn version() -> Result<p2p_identity::Version, Error> {
        "0.1.0".parse()
    }
}

/// A protocol that is a function.
pub struct Run<F>(pub PeerConn, pub F);

#[async_trait]
impl<F, T> Protocol for Run<F>
where
    F: Fn(PeerConn) -> T + Send + Sync + 'static,
    T: Future<Output = Result<(), Error>> + Send + 'static,
{
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.1(self.0.clone()).await
    }

    fn id() -> ProtocolId {
        id("/run")
    }

    fn version() -> Result<p2p_identity::Version, Error> {
        "0.1.0".parse()
    }
}

/// Two nodes with one optional protocol, connected by the first.
pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub a_conn: PeerConn,
    pub b_conn: PeerConn,
}

impl Pair {
    pub async fn new(runtime: &Arc<dyn Runtime>, transport: Transport) -> Self {
        Self::with(runtime, transport, config(), config()).await
    }

    pub async fn with(runtime: &Arc<dyn Runtime>, transport: Transport, a: PoolConfig, b: PoolConfig) -> Self {
        let mut a = Node::with(runtime, transport, 1, a, Arc::new(AllowAll)).await;
        let mut b = Node::with(runtime, transport, 2, b, Arc::new(AllowAll)).await;
        let mut a_conns = a.hold("/x", ProtocolKind::Optional);
        let mut b_conns = b.hold("/x", ProtocolKind::Optional);
        assert_eq!(a.pool.connect(&b.endpoint).await.unwrap(), b.id());
        let (a_conn, b_conn) = (a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap());
        a.added().await;
        b.added().await;
        Self { a, b, a_conn, b_conn }
    }

    pub async fn shutdown(self) {
        self.a.pool.shutdown().await;
        self.b.pool.shutdown().await;
        assert_eq!((self.a.pool.tasks(), self.b.pool.tasks()), (0, 0));
    }
}

/// Polls a future once, for nobody who would be woken.
pub fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
