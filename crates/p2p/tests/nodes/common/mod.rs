//! Nodes on loopback, and protocols whose connections the tests hold.

pub(crate) mod machine;

use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, ProtocolInfo, ProtocolKind, Version};
use p2p::{Config, DisconnectReason, Error, EventListener, Node, PeerEvent, PeerId, PeerInfo, Runtime, async_trait};
use tokio::sync::mpsc;

/// What no scenario on loopback takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// Measurements and counts of the process's sockets have the machine for themselves.
static MACHINE: RwLock<()> = RwLock::new(());

/// Where a scenario takes place.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) transport: Transport,
    pub(crate) is_tokio: bool,
}

/// Runs a scenario over each transport on each runtime.
pub(crate) fn everywhere<F: Future<Output = ()>>(scenario: impl Fn(World) -> F) {
    let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    TRANSPORTS.into_iter().for_each(|transport| on_each_runtime(transport, &scenario));
}

/// As [`everywhere`], with no other test beside it.
pub(crate) fn everywhere_alone<F: Future<Output = ()>>(scenario: impl Fn(World) -> F) {
    let _machine = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    TRANSPORTS.into_iter().for_each(|transport| on_each_runtime(transport, &scenario));
}

/// Runs a scenario that the transport does not matter for.
pub(crate) fn over_tcp<F: Future<Output = ()>>(scenario: impl Fn(World) -> F) {
    let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    on_each_runtime(Transport::Tcp, &scenario);
}

fn on_each_runtime<F: Future<Output = ()>>(transport: Transport, scenario: &impl Fn(World) -> F) {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let worlds: [(&str, bool); 2] = [("tokio", true), ("smol", false)];
    for (name, is_tokio) in worlds.into_iter().take(if cfg!(feature = "smol") { 2 } else { 1 }) {
        let started = std::time::Instant::now();
        tokio.block_on(async {
            let runtime: Arc<dyn Runtime> = match is_tokio {
                true => Arc::new(p2p::TokioRuntime::current().unwrap()),
                #[cfg(feature = "smol")]
                false => Arc::new(p2p::SmolRuntime::new()),
                #[cfg(not(feature = "smol"))]
                false => unreachable!(),
            };
            in_time(&format!("{transport} on {name}"), scenario(World { runtime, transport, is_tokio })).await;
            // Nothing that a scenario leaves may go on for ever.
            let metrics = tokio::runtime::Handle::current().metrics();
            eventually("all tasks have ended", || metrics.num_alive_tasks() == 0).await;
        });
        // Real time: for who looks at what is printed.
        println!("{transport} on {name}: {:?}", started.elapsed());
    }
}

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

/// Waits for a condition that nothing tells of.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE / 2;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        // Real time: it is only looked at again.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn new_key() -> KeyPair {
    KeyPair::generate(&KeyPairType::Ed25519)
}

pub(crate) fn id(name: &str) -> ProtocolId {
    name.parse().unwrap()
}

pub(crate) fn info(name: &str, kind: ProtocolKind) -> ProtocolInfo {
    ProtocolInfo { id: id(name), version: "0.1.0".parse().unwrap(), kind }
}

/// A message that carries a number, padded to `len` bytes.
pub(crate) fn numbered(n: u32, len: usize) -> Vec<u8> {
    let mut message = vec![0xa5; len.max(4)];
    message[..4].copy_from_slice(&n.to_le_bytes());
    message
}

pub(crate) fn number(message: &[u8]) -> u32 {
    u32::from_le_bytes(message[..4].try_into().unwrap())
}

impl World {
    /// Listens on a free port of this world's transport. No timer runs out while both sides live, however busy the machine
    /// is: what timers do is shown in virtual time.
    pub(crate) fn config(&self) -> Config {
        let listen = Endpoint::new(self.transport, std::net::IpAddr::from([127, 0, 0, 1]), 0);
        Config {
            listen_endpoints: vec![listen],
            dial_timeout: PATIENCE,
            handshake_timeout: PATIENCE,
            ping_timeout: PATIENCE,
            stall_timeout: PATIENCE,
            drain_timeout: PATIENCE,
            ..Config::loopback()
        }
    }

    pub(crate) fn build(&self, key: &KeyPair, config: Config) -> Host {
        let node = Node::builder(key).config(config).runtime(self.runtime.clone()).build().unwrap();
        let events = node.register_peer_events();
        Host { node, events }
    }

    /// A node that runs.
    pub(crate) async fn host(&self) -> Host {
        self.host_with(self.config()).await
    }

    pub(crate) async fn host_with(&self, config: Config) -> Host {
        let host = self.build(&new_key(), config);
        host.run().await.unwrap();
        host
    }

    /// Two nodes with the protocol `/x`, connected by the first.
    pub(crate) async fn pair(&self) -> Pair {
        self.pair_with(self.config(), self.config()).await
    }

    pub(crate) async fn pair_with(&self, a: Config, b: Config) -> Pair {
        let (mut a, mut b) = (self.host_with(a).await, self.host_with(b).await);
        let (mut a_conns, mut b_conns) = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
        assert_eq!(a.connect(&b.endpoint()).await.unwrap(), b.peer_id());
        a.added().await;
        b.added().await;
        let (a_conn, b_conn) = (a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap());
        Pair { a, b, a_conn, b_conn }
    }
}

/// A node and what it tells of its peers.
pub(crate) struct Host {
    pub(crate) node: Arc<Node>,
    pub(crate) events: EventListener<PeerEvent>,
}

impl Deref for Host {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        &self.node
    }
}

impl Host {
    /// Where it listens first.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.listen_endpoints()[0].clone()
    }

    /// Attaches a protocol that hands its connections out and lives as long as the peer.
    pub(crate) fn hold(&self, name: &str, kind: ProtocolKind) -> mpsc::UnboundedReceiver<PeerConn> {
        let (tell, conns) = mpsc::unbounded_channel();
        self.speak(name, kind, move |conn| {
            let _ = tell.send(conn.clone());
            async move {
                conn.closed().await;
                Ok(())
            }
        });
        conns
    }

    /// Attaches a protocol that is a function.
    pub(crate) fn speak<F, T>(&self, name: &str, kind: ProtocolKind, run: F)
    where
        F: Fn(PeerConn) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let constructor = move |conn| Arc::new(Run(conn, run.clone())) as Arc<dyn Protocol>;
        self.attach_dyn(info(name, kind), constructor).unwrap();
    }

    pub(crate) async fn added(&mut self) -> PeerInfo {
        match in_time("Added", self.events.recv()).await.unwrap() {
            PeerEvent::Added { peer } => peer,
            other => panic!("not added: {other:?}"),
        }
    }

    pub(crate) async fn removed(&mut self) -> DisconnectReason {
        match in_time("Removed", self.events.recv()).await.unwrap() {
            PeerEvent::Removed { reason, .. } => reason,
            other => panic!("not removed: {other:?}"),
        }
    }

    pub(crate) async fn refused(&mut self) -> Error {
        match in_time("HandshakeFailed", self.events.recv()).await.unwrap() {
            PeerEvent::HandshakeFailed { reason, .. } => reason,
            other => panic!("not refused: {other:?}"),
        }
    }
}

/// A protocol that is a function.
pub(crate) struct Run<F>(pub(crate) PeerConn, pub(crate) F);

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

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// Two nodes with one optional protocol, `/x`, connected by the first.
pub(crate) struct Pair {
    pub(crate) a: Host,
    pub(crate) b: Host,
    pub(crate) a_conn: PeerConn,
    pub(crate) b_conn: PeerConn,
}

impl Pair {
    pub(crate) async fn shutdown(self) {
        shutdown([self.a, self.b]).await;
    }
}

/// Shuts nodes down together; nothing of them may be left.
pub(crate) async fn shutdown(hosts: impl IntoIterator<Item = Host>) {
    let hosts: Vec<_> = hosts.into_iter().collect();
    futures_util::future::join_all(hosts.iter().map(|host| host.shutdown())).await;
    for host in &hosts {
        assert_eq!(host.tasks(), 0);
        assert_eq!(host.peers(), 0);
    }
}

/// A message goes each way.
pub(crate) async fn exchange(a: &PeerConn, b: &PeerConn) {
    for (from, to) in [(a, b), (b, a)] {
        from.send("ping").await.unwrap();
        assert_eq!(in_time("a message", to.recv()).await.unwrap(), "ping");
    }
}

/// The conn of `/x` from one host to another, once it is there.
pub(crate) async fn conn(from: &Node, to: &PeerId) -> PeerConn {
    let x = id("/x");
    eventually("connected", || from.conn(to, &x).is_some()).await;
    from.conn(to, &x).unwrap()
}

/// Open sockets of this process.
#[cfg(target_os = "linux")]
pub(crate) fn sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let is_socket =
        |path: std::path::PathBuf| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
    files.filter(|file| file.as_ref().is_ok_and(|file| is_socket(file.path()))).count()
}

/// Where that cannot be seen.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sockets() -> usize {
    0
}
