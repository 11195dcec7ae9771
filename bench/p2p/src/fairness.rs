//! What one who does not read costs those who do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bench_common::{Measured, Times, Transport, turns};
use bytes::Bytes;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Error, Node, PeerId};

use crate::messages::ask;
use crate::nodes::{Echo, Manual, accepted, client, client_config, config, node, protocol_id, server};

/// The other protocol: one that nobody reads in [`hol`], and one that fills the connection in [`busy`].
struct Other(PeerConn);

#[p2p::async_trait]
impl Protocol for Other {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        "/other/1".parse().unwrap()
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
pub async fn hol(count: usize, transport: Transport) -> Measured {
    let mut pairs = Vec::new();
    for stalled in [false, true] {
        let server = node(config(transport));
        let client = node(client_config(transport));
        for node in [&server, &client] {
            node.attach_protocol(Manual).unwrap();
            node.attach_protocol(Other).unwrap();
            node.run().await.unwrap();
        }
        let peer = client.connect(&server.listen_endpoints()[0]).await.unwrap();
        let receiver = accepted(&server, &client).await;
        if stalled {
            fill(&client.conn(&peer, &Other::id()).unwrap()).await;
        }
        pairs.push((client.conn(&peer, &protocol_id()).unwrap(), receiver, server, client));
    }
    let rate = async |(sender, receiver, ..): &(PeerConn, PeerConn, _, _)| flow(count / 20, sender, receiver).await;
    turns(async || rate(&pairs[0]).await, async || rate(&pairs[1]).await).await
}

/// Two protocols on one connection.
pub struct TwoProtocols {
    /// The dialer's and the listener's end of the other protocol, and of the one that is measured.
    pub conns: [PeerConn; 4],
    _nodes: [Arc<Node>; 2],
}

/// Two nodes that speak both; the listener speaks `protocol` as what is measured.
pub async fn two_protocols<P: Protocol>(transport: Transport, protocol: fn(PeerConn) -> P) -> TwoProtocols {
    let server = node(config(transport));
    server.attach_protocol(protocol).unwrap();
    let client = node(client_config(transport));
    client.attach_protocol(Manual).unwrap();
    for node in [&server, &client] {
        node.attach_protocol(Other).unwrap();
        node.run().await.unwrap();
    }
    let peer = client.connect(&server.listen_endpoints()[0]).await.unwrap();
    let far = accepted(&server, &client).await;
    let full = client.conn(&peer, &Other::id()).unwrap();
    let end = server.conn(&client.peer_id(), &Other::id()).unwrap();
    let near = client.conn(&peer, &protocol_id()).unwrap();
    TwoProtocols { conns: [full, end, near, far], _nodes: [server, client] }
}

/// A message there and back of one protocol while another one fills the same connection.
pub async fn busy(count: usize, transport: Transport) -> Measured {
    let both = two_protocols(transport, Echo).await;
    let [full, end, near, _] = both.conns.clone();
    let message = Bytes::from(vec![7; 64 << 10]);
    tokio::spawn(async move { while full.send(message.clone()).await.is_ok() {} });
    tokio::spawn(async move { while end.recv().await.is_ok() {} });
    let message = Bytes::from(vec![7; 64]);
    let asking = tokio::spawn(Times::within_limit(count, move || ask(near.clone(), message.clone())));
    asking.await.unwrap().late_ms()
}

/// Two hubs with so many peers each, one of them with a peer that does not read; in turns. Counts what the peers that
/// read have got.
pub async fn stalled(count: usize, width: usize, transport: Transport) -> Measured {
    let (all, mut others) = (Hub::new(width, transport).await, Hub::new(width, transport).await);
    let (_, unread) = others.peers.pop().unwrap();
    fill(&others.node.conn(&unread.peer_id(), &protocol_id()).unwrap()).await;
    let rounds = count / 20;
    turns(async || all.deliver(rounds).await, async || others.deliver(rounds).await).await
}

/// A hub and the peers that read.
struct Hub {
    node: Arc<Node>,
    peers: Vec<(PeerConn, Arc<Node>)>,
}

impl Hub {
    async fn new(width: usize, transport: Transport) -> Self {
        let (node, endpoint) = server(transport, Manual).await;
        let mut peers = Vec::new();
        for _ in 0..width {
            let peer = client(transport).await;
            let id = peer.connect(&endpoint).await.unwrap();
            peers.push((peer.conn(&id, &protocol_id()).unwrap(), peer));
        }
        while node.peers() < width {
            tokio::task::yield_now().await;
        }
        Self { node, peers }
    }

    /// Broadcasts `rounds` messages and gives how many were read per second.
    async fn deliver(&self, rounds: usize) -> f64 {
        let message = Bytes::from(vec![7; 1024]);
        let reading: HashSet<PeerId> = self.peers.iter().map(|(_, peer)| peer.peer_id()).collect();
        let start = Instant::now();
        let readers: Vec<_> = self
            .peers
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
            let missed = self.node.broadcast(&protocol_id(), message.clone()).unwrap().busy;
            for peer in missed.iter().filter(|peer| reading.contains(peer)) {
                self.node.send_to(peer, &protocol_id(), message.clone()).await.unwrap();
            }
        }
        for reader in readers {
            reader.await.unwrap();
        }
        (rounds * self.peers.len()) as f64 / start.elapsed().as_secs_f64()
    }
}
