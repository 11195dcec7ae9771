//! A hub and its peers, a node each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{DELIVERY, LIMIT, Measured, Transport, turns};
use karyon_p2p::protocol::PeerConn;

use crate::hol::fill;
use crate::message::receive;
use crate::node::Manual;

/// How the hub sends.
#[derive(Clone, Copy)]
enum How {
    /// With karyon's broadcast, which waits for one peer after another.
    Broadcast,
    /// With a task for each peer.
    Tasks,
}

struct Hub {
    /// The hub's ends of the connections, and the peers'.
    conns: Vec<(Arc<PeerConn>, Arc<PeerConn>)>,
    _nodes: Vec<Manual>,
}

impl Hub {
    async fn new(width: usize, transport: Transport) -> Self {
        let (mut hub, endpoint) = Manual::listening(transport).await;
        let (mut conns, mut nodes) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let (peer, near) = Manual::dialing(&endpoint).await;
            conns.push((hub.conn_with(&peer).await, near));
            nodes.push(peer);
        }
        nodes.push(hub);
        Self { conns, _nodes: nodes }
    }

    /// Sends `rounds` messages to each peer and gives how many arrived per second until the last one, and whether all
    /// did before it took too long.
    async fn deliver(&self, rounds: usize, how: How, limit: Duration) -> (f64, bool) {
        let start = Instant::now();
        let mut sending = Vec::new();
        match how {
            How::Broadcast => {
                let (any, _) = self.conns[0].clone();
                sending.push(tokio::spawn(async move {
                    for _ in 0..rounds {
                        any.broadcast(vec![7; 1_024]).await;
                    }
                }));
            }
            How::Tasks => {
                for (hub, _) in &self.conns {
                    let hub = hub.clone();
                    sending.push(tokio::spawn(async move {
                        for _ in 0..rounds {
                            hub.send(vec![7; 1_024]).await.unwrap();
                        }
                    }));
                }
            }
        }
        let receiving: Vec<_> = self
            .conns
            .iter()
            .map(|(_, peer)| {
                let peer = peer.clone();
                tokio::spawn(async move { receive(&peer, rounds, limit).await })
            })
            .collect();
        let mut delivered = 0;
        for peer in receiving {
            delivered += peer.await.unwrap();
        }
        let seconds = start.elapsed().as_secs_f64();
        for task in sending {
            task.abort();
        }
        (delivered as f64 / seconds, delivered == rounds * self.conns.len())
    }
}

pub async fn fanout(count: usize, width: usize, transport: Transport) -> Measured {
    let hub = Hub::new(width, transport).await;
    Measured::new(hub.deliver(count / width, How::Broadcast, LIMIT).await.0)
}

/// Two hubs, one of them with a peer that does not read; in turns. Counts what the peers that read have got.
pub async fn stalled(rounds: usize, width: usize, transport: Transport) -> Measured {
    let all = Hub::new(width, transport).await;
    let mut others = Hub::new(width, transport).await;
    let (unread, _peer) = others.conns.pop().unwrap();
    fill(&unread).await;
    let rate = async |hub: &Hub, how| match hub.deliver(rounds, how, DELIVERY).await {
        (rate, true) => rate,
        (_, false) => 0.0,
    };
    let ratio = async |how| turns(async || rate(&all, how).await, async || rate(&others, how).await).await;
    let tasks = ratio(How::Tasks).await.value();
    ratio(How::Broadcast).await.beside("with a task for each peer %", tasks)
}
