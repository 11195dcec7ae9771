//! What one who does not read costs those who do.

use std::sync::Arc;
use std::time::Instant;

use bench_common::{Measured, Transport};
use bytes::Bytes;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error};

use crate::nodes::{Manual, accepted, client, config, node, protocol_id, server};

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
pub async fn hol(count: usize, transport: Transport) -> Measured {
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
        let receiver = accepted(&server, &client).await;
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
    Measured::new(median(ratios) * 100.0)
}

/// Two hubs with so many peers each, one of them with a peer that does not read; in turns. Counts what the peers that
/// read have got.
pub async fn stalled(count: usize, width: usize, transport: Transport) -> Measured {
    let mut hubs = Vec::new();
    for stalled in [false, true] {
        let (hub, endpoint) = server(transport, Manual).await;
        let mut peers = Vec::new();
        for _ in 0..width {
            let peer = client(transport).await;
            let id = peer.connect(&endpoint).await.unwrap();
            peers.push((peer.conn(&id, &protocol_id()).unwrap(), peer));
        }
        while hub.peers() < width {
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
            *rate = (rounds * (width - unread)) as f64 / start.elapsed().as_secs_f64();
        }
        ratios.push(rates[1] / rates[0]);
    }
    Measured::new(median(ratios) * 100.0)
}
