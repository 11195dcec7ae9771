//! A hub and its peers: a connection and a stream each, and a task of the hub for each.

use std::time::{Duration, Instant};

use bench_common::Measured;
use bytes::Bytes;
use futures_util::SinkExt;
use iroh::Endpoint;
use iroh::endpoint::Connection;

use crate::LIMIT;
use crate::hol::fill;
use crate::message::receive;
use crate::node::{Codec, connection, endpoint, stream};

/// So many peers have an endpoint of their own; more share them, each with its own connection.
const ENDPOINTS: usize = 50;

struct Hub {
    /// The hub's ends of the streams, and the peers'.
    streams: Vec<(Codec, Codec)>,
    _connections: Vec<(Connection, Connection)>,
    _endpoints: Vec<Endpoint>,
}

impl Hub {
    async fn new(width: usize) -> Self {
        let hub = endpoint().await;
        let mut endpoints = Vec::new();
        for _ in 0..width.min(ENDPOINTS) {
            endpoints.push(endpoint().await);
        }
        let (mut streams, mut connections) = (Vec::new(), Vec::new());
        for n in 0..width {
            let ends = connection(&endpoints[n % endpoints.len()], &hub).await;
            let (near, far) = stream(&ends).await;
            streams.push((far, near));
            connections.push(ends);
        }
        endpoints.push(hub);
        Self { streams, _connections: connections, _endpoints: endpoints }
    }

    /// Sends `rounds` messages to each peer and gives how many arrived per second until the last one, and whether all
    /// did before it took too long. If not, the streams are of no use any more.
    async fn deliver(&mut self, rounds: usize, limit: Duration) -> (f64, bool) {
        let message = Bytes::from(vec![7; 1_024]);
        let start = Instant::now();
        let peers: Vec<_> = self
            .streams
            .drain(..)
            .map(|(mut hub, mut peer)| {
                let message = message.clone();
                let sending = tokio::spawn(async move {
                    for _ in 0..rounds {
                        hub.feed(message.clone()).await.unwrap();
                    }
                    SinkExt::<Bytes>::flush(&mut hub).await.unwrap();
                    hub
                });
                let receiving = tokio::spawn(async move { (receive(&mut peer, rounds, limit).await, peer) });
                (sending, receiving)
            })
            .collect();
        let (mut delivered, mut senders) = (0, Vec::new());
        for (sending, receiving) in peers {
            let (received, peer) = receiving.await.unwrap();
            delivered += received;
            senders.push((sending, peer));
        }
        let seconds = start.elapsed().as_secs_f64();
        let all = delivered == rounds * senders.len();
        for (sending, peer) in senders {
            if all {
                self.streams.push((sending.await.unwrap(), peer));
            } else {
                sending.abort();
            }
        }
        (delivered as f64 / seconds, all)
    }
}

pub async fn fanout(count: usize, width: usize) -> Measured {
    let mut hub = Hub::new(width).await;
    Measured::new(hub.deliver(count / width, LIMIT).await.0)
}

/// Delivery to peers of a stalled hub that takes longer has stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two hubs, one of them with a peer that does not read; in turns. Counts what the peers that read have got.
pub async fn stalled(rounds: usize, width: usize) -> Measured {
    let mut all = Hub::new(width).await;
    let mut others = Hub::new(width).await;
    let (mut unread, _peer) = others.streams.pop().unwrap();
    fill(&mut unread).await;
    // The hub's task for it goes on trying.
    tokio::spawn(async move { unread.send(Bytes::from(vec![7; 1_024])).await });
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let (before, _) = all.deliver(rounds, PATIENCE).await;
        let (rate, arrived) = others.deliver(rounds, PATIENCE).await;
        if !arrived {
            return Measured::new(0.0);
        }
        ratios.push(rate / before);
    }
    ratios.sort_by(f64::total_cmp);
    Measured::new(ratios[ratios.len() / 2] * 100.0)
}
