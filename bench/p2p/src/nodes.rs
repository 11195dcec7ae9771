//! Nodes to measure with, and what they speak.

use std::sync::Arc;
use std::time::Duration;

use bench_common::Transport;
use bench_common::line::listen_ip;
use bytes::Bytes;
use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, SmolRuntime};
use tokio::sync::mpsc::UnboundedSender;

/// The setting that is none of `Config`: `runtime=smol` lets the nodes run on smol, the scenario itself stays on tokio.
const RUNTIME: &str = "runtime";

pub fn protocol_id() -> ProtocolId {
    "/bench/1".parse().unwrap()
}

/// Sends back what it gets.
pub struct Echo(pub PeerConn);

#[p2p::async_trait]
impl Protocol for Echo {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            let message = self.0.recv().await?;
            self.0.send(message).await?;
        }
    }

    fn id() -> ProtocolId {
        protocol_id()
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }
}

/// Leaves sending and receiving to the scenario, which takes the connection from the node.
pub struct Manual(pub PeerConn);

#[p2p::async_trait]
impl Protocol for Manual {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        protocol_id()
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }
}

/// Says something as soon as it runs, and tells when its echo is there. Over tls and quic the message travels with the
/// dialer's hello.
pub struct Eager {
    pub conn: PeerConn,
    pub message: Bytes,
    pub echoed: UnboundedSender<()>,
}

#[p2p::async_trait]
impl Protocol for Eager {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.conn.send(self.message.clone()).await?;
        let echo = self.conn.recv().await?;
        assert_eq!(echo, self.message);
        // Nobody listens any more once all is measured.
        let _ = self.echoed.send(());
        self.conn.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        protocol_id()
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }
}

pub fn config(transport: Transport) -> Config {
    let listen = format!("{}://{}:0", transport.name(), listen_ip()).parse().unwrap();
    set(Config { listen_endpoints: vec![listen], inbound_slots: 100_000, outbound_slots: 100_000, ..Config::default() })
}

/// What the command line says after the scenario and the transport, such as `limits.stream_window=1048576`.
fn settings() -> impl Iterator<Item = (String, String)> {
    std::env::args().skip(3).map(|setting| {
        let (field, value) = setting.split_once('=').expect("FIELD=VALUE");
        (field.to_owned(), value.to_owned())
    })
}

fn set(config: Config) -> Config {
    let mut fields = serde_json::to_value(config).unwrap();
    for (path, value) in settings().filter(|(field, _)| field != RUNTIME) {
        let field = fields.pointer_mut(&format!("/{}", path.replace('.', "/")));
        *field.unwrap_or_else(|| panic!("Config has no field {path}")) = serde_json::from_str(&value).unwrap();
    }
    serde_json::from_value(fields).unwrap()
}

pub fn node(config: Config) -> Arc<Node> {
    node_of(&KeyPair::generate(&KeyPairType::Ed25519), config)
}

pub fn node_of(key: &KeyPair, config: Config) -> Arc<Node> {
    let node = Node::builder(key).config(config);
    let node = match settings().find(|(field, _)| field == RUNTIME) {
        None => node,
        Some((_, name)) if name == "smol" => node.runtime(Arc::new(SmolRuntime::new())),
        Some((_, name)) => panic!("there is no runtime {name}"),
    };
    node.build().unwrap()
}

pub async fn server<P: Protocol>(transport: Transport, protocol: fn(PeerConn) -> P) -> (Arc<Node>, Endpoint) {
    let node = node(config(transport));
    node.attach_protocol(protocol).unwrap();
    node.run().await.unwrap();
    let endpoint = node.listen_endpoints()[0].clone();
    (node, endpoint)
}

/// Of one that only dials.
pub fn client_config(transport: Transport) -> Config {
    Config { listen_endpoints: Vec::new(), ..config(transport) }
}

pub async fn client(transport: Transport) -> Arc<Node> {
    client_with(transport, Manual).await
}

pub async fn client_with<P: Protocol>(
    transport: Transport,
    protocol: impl Fn(PeerConn) -> P + Send + Sync + 'static,
) -> Arc<Node> {
    let node = node(client_config(transport));
    node.attach_protocol(protocol).unwrap();
    node.run().await.unwrap();
    node
}

/// The other end of a client's connection, once the server has it.
pub async fn accepted(server: &Node, client: &Node) -> PeerConn {
    loop {
        match server.conn(&client.peer_id(), &protocol_id()) {
            Some(conn) => return conn,
            // Beside a long line, waiting must not take its time.
            None => tokio::time::sleep(Duration::from_micros(200)).await,
        }
    }
}
