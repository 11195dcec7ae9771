//! Nodes, and a protocol that leaves sending and receiving to the scenario.

use std::future::pending;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, OnceLock};

use bench_common::line::listen_ip;
use bench_common::{STOPPED, Transport};
use karyon_core::async_runtime::Executor;
use karyon_p2p::endpoint::Endpoint;
use karyon_p2p::keypair::{KeyPair, KeyPairType};
use karyon_p2p::protocol::{PeerConn, Protocol, ProtocolID};
use karyon_p2p::{Config, Error, Node, Version};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The runtime of all nodes, as large as the one of the other programs.
pub fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
    })
}

pub fn new_node(config: Config) -> Arc<Node> {
    Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config, Executor::from(runtime().clone()))
}

/// As it comes, but for the number of connections.
pub fn config() -> Config {
    Config { inbound_slots: 100_000, outbound_slots: 100_000, ..Config::default() }
}

/// A port that is free: a node does not tell which one it chose.
pub fn free_address(transport: Transport) -> SocketAddr {
    match transport {
        Transport::Tcp | Transport::Tls => TcpListener::bind((listen_ip(), 0)).unwrap().local_addr().unwrap(),
        Transport::Quic => UdpSocket::bind((listen_ip(), 0)).unwrap().local_addr().unwrap(),
    }
}

pub fn endpoint(transport: Transport, address: SocketAddr) -> Endpoint {
    format!("{}://{address}", transport.name()).parse().unwrap()
}

/// The protocol of the scenarios.
struct Held;

#[async_trait::async_trait]
impl Protocol for Held {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        pending().await
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }

    fn id() -> ProtocolID {
        "BENCH".to_owned()
    }
}

/// The other protocol of a scenario.
struct Other;

#[async_trait::async_trait]
impl Protocol for Other {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        pending().await
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }

    fn id() -> ProtocolID {
        "OTHER".to_owned()
    }
}

/// A running node whose protocol's connections the scenario gets.
pub struct Manual {
    pub node: Arc<Node>,
    conns: mpsc::UnboundedReceiver<Arc<PeerConn>>,
}

impl Manual {
    /// A node that listens.
    pub async fn listening(transport: Transport) -> (Self, Endpoint) {
        let endpoint = endpoint(transport, free_address(transport));
        (Self::start(vec![endpoint.clone()], Vec::new()).await, endpoint)
    }

    /// A node that is connected with another. One whose only dial failed would stay alone: another takes its place.
    pub async fn dialing(endpoint: &Endpoint) -> (Self, Arc<PeerConn>) {
        loop {
            let mut node = Self::start(Vec::new(), vec![endpoint.clone()]).await;
            if let Ok(conn) = timeout(STOPPED, node.conn()).await {
                return (node, conn);
            }
        }
    }

    pub async fn start(listen_endpoints: Vec<Endpoint>, dial_peers: Vec<Endpoint>) -> Self {
        let node = new_node(Config { listen_endpoints, dial_peers, ..config() });
        let (sender, conns) = mpsc::unbounded_channel();
        let held = move |conn| {
            let _ = sender.send(Arc::new(conn));
            Held
        };
        node.attach_protocol(held).await.unwrap();
        node.run().await.unwrap();
        Self { node, conns }
    }

    /// The protocol's next new connection.
    pub async fn conn(&mut self) -> Arc<PeerConn> {
        self.conns.recv().await.unwrap()
    }

    /// The protocol's connection with a peer that has just connected.
    pub async fn conn_with(&mut self, peer: &Manual) -> Arc<PeerConn> {
        loop {
            let conn = self.conn().await;
            if conn.inner().id() == peer.node.peer_id() {
                return conn;
            }
        }
    }
}

/// The two ends of a connection, for each of two protocols.
pub struct Pair {
    pub bench: [Arc<PeerConn>; 2],
    pub other: [Arc<PeerConn>; 2],
    _nodes: [Arc<Node>; 2],
}

/// Two nodes with both protocols, connected.
pub async fn pair(transport: Transport) -> Pair {
    let endpoint = endpoint(transport, free_address(transport));
    let configs = [
        Config { listen_endpoints: vec![endpoint.clone()], ..config() },
        Config { dial_peers: vec![endpoint], ..config() },
    ];
    let (mut nodes, mut bench, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for config in configs {
        let node = new_node(config);
        let (sender, conns) = mpsc::unbounded_channel();
        let held = move |conn| {
            let _ = sender.send(Arc::new(conn));
            Held
        };
        node.attach_protocol(held).await.unwrap();
        bench.push(conns);
        let (sender, conns) = mpsc::unbounded_channel();
        let beside = move |conn| {
            let _ = sender.send(Arc::new(conn));
            Other
        };
        node.attach_protocol(beside).await.unwrap();
        other.push(conns);
        node.run().await.unwrap();
        nodes.push(node);
    }
    // The client's end first.
    Pair {
        bench: [bench[1].recv().await.unwrap(), bench[0].recv().await.unwrap()],
        other: [other[1].recv().await.unwrap(), other[0].recv().await.unwrap()],
        _nodes: nodes.try_into().ok().unwrap(),
    }
}
