//! On long lines: the scenarios that other stacks have too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::lines::{self, Deliveries, ROUNDS};
use bench_common::{Channel, Measured, Scenario, Times, Transport};
use bytes::Bytes;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Error, Node};
use tokio::sync::mpsc;

use crate::fairness::two_protocols;
use crate::messages::ask;
use crate::nodes::{Echo, Manual, accepted, client, client_config, node, protocol_id, server};

/// A protocol's connection.
pub struct Messages(pub PeerConn);

impl Channel for Messages {
    async fn feed(&mut self, message: Bytes) -> bool {
        self.0.send(message).await.is_ok()
    }

    async fn send(&mut self, message: Bytes) -> bool {
        self.0.send(message).await.is_ok()
    }

    async fn recv(&mut self) -> Option<Bytes> {
        self.0.recv().await.ok()
    }
}

/// What must live as long as a connection.
pub type Held = Vec<Arc<Node>>;

/// Both ends of a connection between two nodes, the dialer's first.
pub async fn pair(transport: Transport) -> (Messages, Messages, Held) {
    let (server, endpoint) = server(transport, Manual).await;
    let client = client(transport).await;
    let peer = client.connect(&endpoint).await.unwrap();
    let near = client.conn(&peer, &protocol_id()).unwrap();
    let far = accepted(&server, &client).await;
    (Messages(near), Messages(far), vec![server, client])
}

/// Sends a message as soon as there is a connection, and says when the echo has come.
pub struct Greet {
    pub conn: PeerConn,
    pub echoed: mpsc::UnboundedSender<Instant>,
}

#[p2p::async_trait]
impl Protocol for Greet {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.conn.send(Bytes::from(vec![7; 64])).await?;
        self.conn.recv().await?;
        let _ = self.echoed.send(Instant::now());
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

/// The time to the first echo of a protocol that begins to speak when it starts. Beside, with a call that connects and, once it has
/// returned, one that sends.
pub async fn dial(transport: Transport) -> Measured {
    let (_server, endpoint) = server(transport, Echo).await;
    let mut called = Times::default();
    let measured = lines::dial(async || {
        let (sender, mut echoed) = mpsc::unbounded_channel();
        let speaking = node(client_config(transport));
        speaking.attach_protocol(move |conn| Greet { conn, echoed: sender.clone() }).unwrap();
        speaking.run().await.unwrap();
        let mut times = [Duration::ZERO; 2];
        for time in &mut times {
            let start = Instant::now();
            let (peer, echoed) = tokio::join!(speaking.connect(&endpoint), echoed.recv());
            *time = echoed.unwrap() - start;
            speaking.disconnect(&peer.unwrap(), 0, "done").await;
        }
        speaking.shutdown().await;

        let calling = client(transport).await;
        let start = Instant::now();
        let peer = calling.connect(&endpoint).await.unwrap();
        ask(calling.conn(&peer, &protocol_id()).unwrap(), Bytes::from(vec![7; 64])).await;
        called.add(start);
        calling.shutdown().await;
        times
    })
    .await;
    measured.beside("connect, then send ms", called.median_ms())
}

/// Bulk to a node that has so many idle connections already.
pub async fn fill(scenario: Scenario, transport: Transport) -> Measured {
    let (server, endpoint) = server(transport, Manual).await;
    let mut idle = Vec::new();
    for _ in 1..scenario.width() {
        let client = client(transport).await;
        client.connect(&endpoint).await.unwrap();
        idle.push(client);
    }
    let client = client(transport).await;
    let peer = client.connect(&endpoint).await.unwrap();
    let near = client.conn(&peer, &protocol_id()).unwrap();
    let far = accepted(&server, &client).await;
    lines::fill(Messages(near), Messages(far), scenario.mbit()).await
}

/// Small messages of one protocol beside another one's bulk.
pub async fn thin(transport: Transport) -> Measured {
    let both = two_protocols(transport, Manual).await;
    let [full, end, near, far] = both.conns.clone().map(Messages);
    lines::thin(full, end, near, far).await
}

pub async fn lossy(transport: Transport) -> Measured {
    let (_server, endpoint) = server(transport, Echo).await;
    let connect = async || {
        let client = client(transport).await;
        // Whoever gives up does so within the time of the scenario, or is cut off by it.
        if let Ok(peer) = client.connect(&endpoint).await
            && let Some(conn) = client.conn(&peer, &protocol_id())
            && conn.send(Bytes::from(vec![7; 64])).await.is_ok()
            && conn.recv().await.is_ok()
        {
            return;
        }
        std::future::pending().await
    };
    lines::lossy(connect, async || pair_in_time(transport).await).await
}

/// As [`pair`], tried again until it works: packets are lost.
async fn pair_in_time(transport: Transport) -> (Messages, Messages, Held) {
    let (server, endpoint) = server(transport, Manual).await;
    let client = client(transport).await;
    loop {
        let Ok(peer) = client.connect(&endpoint).await else { continue };
        let Some(near) = client.conn(&peer, &protocol_id()) else { continue };
        let far = accepted(&server, &client).await;
        return (Messages(near), Messages(far), vec![server, client]);
    }
}

/// A hub's broadcasts; who was too busy for one is waited for and gets it too.
pub async fn uplink(width: usize, transport: Transport) -> Measured {
    let (hub, endpoint) = server(transport, Manual).await;
    let (mut deliveries, mut peers) = (Deliveries::default(), Vec::new());
    for _ in 0..width {
        let peer = client(transport).await;
        let id = peer.connect(&endpoint).await.unwrap();
        accepted(&hub, &peer).await;
        deliveries.read(Messages(peer.conn(&id, &protocol_id()).unwrap()));
        peers.push(peer);
    }
    let start = Instant::now();
    let sender = hub.clone();
    tokio::spawn(async move {
        let message = Bytes::from(vec![7; 1024]);
        for _ in 0..ROUNDS {
            for peer in sender.broadcast(&protocol_id(), message.clone()).unwrap().busy {
                // One that has been lost gets nothing any more.
                let _ = sender.send_to(&peer, &protocol_id(), message.clone()).await;
            }
        }
    });
    let measured = deliveries.measure(start).await;
    measured.beside("connected at the end", hub.peers() as f64)
}

pub async fn outage(width: usize, transport: Transport) -> Measured {
    lines::outage(async || {
        let (mut pairs, mut nodes) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let (near, far, held) = pair(transport).await;
            pairs.push((near, far));
            nodes.extend(held);
        }
        (pairs, nodes)
    })
    .await
}
