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
            Scenario::Hol => hol(scenario.count(transport), transport).await,
            Scenario::Stalled => stalled(scenario.count(transport), transport).await,
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

/// The other protocol of [`hol`], which nobody reads.
struct Unread(PeerConn);

#[p2p::async_trait]
impl Protocol for Unread {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        "/unread/1".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }
}

/// Fills a protocol's queue until nothing more is taken.
async fn fill(conn: &PeerConn) {
    let message = Bytes::from(vec![7; 1024]);
    let mut refused = 0;
    while refused < 1_000 {
        refused = if conn.try_send(message.clone()).is_ok() { 0 } else { refused + 1 };
        tokio::task::yield_now().await;
    }
}

/// Messages per second of 1 KiB from one side to the other.
async fn flow(count: usize, sender: &PeerConn, receiver: &PeerConn) -> f64 {
    let message = Bytes::from(vec![7; 1024]);
    let start = Instant::now();
    let (sender, receiver) = (sender.clone(), receiver.clone());
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.send(message.clone()).await.unwrap();
        }
    });
    let receiving = tokio::spawn(async move {
        for _ in 0..count {
            receiver.recv().await.unwrap();
        }
    });
    sending.await.unwrap();
    receiving.await.unwrap();
    count as f64 / start.elapsed().as_secs_f64()
}

/// Two pairs of nodes, one of them with a protocol that nobody reads beside; in turns.
async fn hol(count: usize, transport: Transport) -> (f64, Option<Duration>) {
    let mut pairs = Vec::new();
    for stalled in [false, true] {
        let server = node(config(transport));
        let client = node(Config { listen_endpoints: Vec::new(), ..config(transport) });
        for node in [&server, &client] {
            node.attach_protocol(Manual).unwrap();
            node.attach_protocol(Unread).unwrap();
            node.run().await.unwrap();
        }
        let peer = client.connect(&server.listen_endpoints()[0]).await.unwrap();
        let receiver = loop {
            match server.conn(&client.peer_id(), &protocol_id()) {
                Some(conn) => break conn,
                None => tokio::task::yield_now().await,
            }
        };
        if stalled {
            fill(&client.conn(&peer, &Unread::id()).unwrap()).await;
        }
        pairs.push((client.conn(&peer, &protocol_id()).unwrap(), receiver, server, client));
    }
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let alone = flow(count / 20, &pairs[0].0, &pairs[0].1).await;
        let beside = flow(count / 20, &pairs[1].0, &pairs[1].1).await;
        ratios.push(beside / alone);
    }
    ratios.sort_by(f64::total_cmp);
    (ratios[ratios.len() / 2] * 100.0, None)
}

/// Two hubs with 50 peers each, one of them with a peer that does not read; in turns. Counts what the peers that
/// read have got.
async fn stalled(count: usize, transport: Transport) -> (f64, Option<Duration>) {
    const PEERS: usize = 50;
    let mut hubs = Vec::new();
    for stalled in [false, true] {
        let (hub, endpoint) = server(transport, Manual).await;
        let mut peers = Vec::new();
        for _ in 0..PEERS {
            let peer = client(transport).await;
            let id = peer.connect(&endpoint).await.unwrap();
            peers.push((peer.conn(&id, &protocol_id()).unwrap(), peer));
        }
        while hub.peers() < PEERS {
            tokio::task::yield_now().await;
        }
        if stalled {
            let (_, peer) = &peers[0];
            fill(&hub.conn(&peer.peer_id(), &protocol_id()).unwrap()).await;
        }
        hubs.push((hub, peers));
    }
    let message = Bytes::from(vec![7; 1024]);
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let mut rates = [0.0; 2];
        for ((hub, peers), rate) in hubs.iter().zip(&mut rates) {
            let rounds = count / 20;
            let start = Instant::now();
            // The first peer of the second hub is the one that does not read.
            let unread = usize::from(std::ptr::eq(hub, &hubs[1].0));
            let readers: Vec<_> = peers[unread..]
                .iter()
                .map(|(conn, _)| {
                    let conn = conn.clone();
                    tokio::spawn(async move {
                        for _ in 0..rounds {
                            conn.recv().await.unwrap();
                        }
                    })
                })
                .collect();
            for _ in 0..rounds {
                // Who reads gets each message: a broadcast that finds somebody busy waits for them a moment.
                let missed = hub.broadcast(&protocol_id(), message.clone()).busy;
                for peer in missed {
                    if unread == 0 || peer != peers[0].1.peer_id() {
                        hub.send_to(&peer, &protocol_id(), message.clone()).await.unwrap();
                    }
                }
            }
            for reader in readers {
                reader.await.unwrap();
            }
            *rate = (rounds * (PEERS - unread)) as f64 / start.elapsed().as_secs_f64();
        }
        ratios.push(rates[1] / rates[0]);
    }
    ratios.sort_by(f64::total_cmp);
    (ratios[ratios.len() / 2] * 100.0, None)
}
