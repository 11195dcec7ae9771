//! The same scenarios through `p2p`: whole nodes, a protocol, `PeerConn::send` and `recv`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{Scenario, Transport, median_us, rate, resident};
use bytes::Bytes;
use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node};

fn main() {
    bench_common::run(|scenario, transport| async move {
        match scenario {
            Scenario::Rtt => rtt(scenario.count(transport), transport).await,
            Scenario::Small => one_way(scenario.count(transport), 64, transport, 1.0).await,
            Scenario::Bulk => one_way(scenario.count(transport), 64 << 10, transport, 1.0 / 16.0).await,
            Scenario::Connect => connect(scenario.count(transport), 1, transport).await,
            Scenario::Connect64 => connect(scenario.count(transport), 64, transport).await,
            Scenario::Conns => conns(scenario.count(transport), transport).await,
        }
    });
}

fn protocol_id() -> ProtocolId {
    "/bench/1".parse().unwrap()
}

/// Sends back what it gets.
struct Echo(PeerConn);

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
struct Manual(PeerConn);

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

fn config(transport: Transport) -> Config {
    let listen = format!("{}://127.0.0.1:0", transport.name()).parse().unwrap();
    Config { listen_endpoints: vec![listen], inbound_slots: 100_000, outbound_slots: 100_000, ..Config::default() }
}

fn node(config: Config) -> Arc<Node> {
    let key = KeyPair::generate(&KeyPairType::Ed25519);
    Node::new(&key, config).unwrap()
}

async fn server<P: Protocol>(transport: Transport, protocol: fn(PeerConn) -> P) -> (Arc<Node>, Endpoint) {
    let node = node(config(transport));
    node.attach_protocol(protocol).unwrap();
    node.run().await.unwrap();
    let endpoint = node.listen_endpoints()[0].clone();
    (node, endpoint)
}

async fn client(transport: Transport) -> Arc<Node> {
    let node = node(Config { listen_endpoints: Vec::new(), ..config(transport) });
    node.attach_protocol(Manual).unwrap();
    node.run().await.unwrap();
    node
}

async fn rtt(count: usize, transport: Transport) -> (f64, Option<Duration>) {
    let (_server, endpoint) = server(transport, Echo).await;
    let client = client(transport).await;
    let peer = client.connect(&endpoint).await.unwrap();
    let conn = client.conn(&peer, &protocol_id()).unwrap();
    let message = Bytes::from(vec![7; 64]);
    let task = tokio::spawn(async move {
        median_us(count, || {
            let (conn, message) = (conn.clone(), message.clone());
            async move {
                conn.send(message).await.unwrap();
                conn.recv().await.unwrap();
            }
        })
        .await
    });
    (task.await.unwrap(), None)
}

async fn one_way(count: usize, len: usize, transport: Transport, unit: f64) -> (f64, Option<Duration>) {
    let (server, endpoint) = server(transport, Manual).await;
    let client = client(transport).await;
    let peer = client.connect(&endpoint).await.unwrap();
    let sender = client.conn(&peer, &protocol_id()).unwrap();
    sender.send(Bytes::from_static(b"x")).await.unwrap();
    let receiver = loop {
        match server.conn(&client.peer_id(), &protocol_id()) {
            Some(conn) => break conn,
            None => tokio::task::yield_now().await,
        }
    };
    receiver.recv().await.unwrap();
    let message = Bytes::from(vec![7; len]);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.send(message.clone()).await.unwrap();
        }
        sender.flush().await.unwrap();
    });
    let receiving = tokio::spawn(async move {
        for _ in 0..count {
            receiver.recv().await.unwrap();
        }
    });
    receiving.await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    sending.await.unwrap();
    (count as f64 * unit / seconds, None)
}

/// Each operation dials, sends a message, awaits its echo and closes; `in_flight` nodes do so at the same time, since
/// a pair of nodes has one connection at most.
async fn connect(count: usize, in_flight: usize, transport: Transport) -> (f64, Option<Duration>) {
    let (_server, endpoint) = server(transport, Echo).await;
    let (back, clients) = tokio::sync::mpsc::channel(in_flight);
    for _ in 0..in_flight {
        back.send(client(transport).await).await.unwrap();
    }
    let clients = Arc::new(tokio::sync::Mutex::new(clients));
    rate(count, in_flight, move || {
        let (clients, back, endpoint) = (clients.clone(), back.clone(), endpoint.clone());
        async move {
            let client = clients.lock().await.recv().await.unwrap();
            let peer = client.connect(&endpoint).await.unwrap();
            let conn = client.conn(&peer, &protocol_id()).unwrap();
            conn.send(Bytes::from(vec![7; 64])).await.unwrap();
            conn.recv().await.unwrap();
            client.disconnect(&peer, 0, "done").await;
            back.send(client).await.unwrap();
        }
    })
    .await
}

/// A mesh: so many nodes, each connected to each other, that the pairs are about `count`. What the nodes themselves
/// take is not counted; what their connections take is.
async fn conns(count: usize, transport: Transport) -> (f64, Option<Duration>) {
    let size = (1..).find(|n| n * (n - 1) / 2 >= count).unwrap();
    let mut nodes = Vec::new();
    for _ in 0..size {
        nodes.push(server(transport, Manual).await);
    }
    // One connection first, so that what is made once is not counted.
    nodes[0].0.connect(&nodes[1].1).await.unwrap();
    let before = resident();
    for (n, (node, _)) in nodes.iter().enumerate() {
        for (_, endpoint) in &nodes[n + 1..] {
            node.connect(endpoint).await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pairs = nodes.iter().map(|(node, _)| node.peers()).sum::<usize>() / 2;
    assert_eq!(pairs, size * (size - 1) / 2);
    ((resident() - before) as f64 / 1024.0 / (pairs - 1) as f64, None)
}
