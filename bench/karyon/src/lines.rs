//! On long lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::lines::{self, Deliveries, ROUNDS};
use bench_common::{Channel, Measured, Scenario, Transport};
use bytes::Bytes;
use karyon_p2p::protocol::PeerConn;
use tokio::time::timeout;

use crate::connect::{client, echo};
use crate::node::{Manual, Pair, endpoint, pair};

/// A pair of nodes that is not connected by then will not be: it dials once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A protocol's connection.
struct Messages(Arc<PeerConn>);

impl Channel for Messages {
    async fn feed(&mut self, message: Bytes) -> bool {
        self.0.send(message.to_vec()).await.is_ok()
    }

    async fn send(&mut self, message: Bytes) -> bool {
        self.0.send(message.to_vec()).await.is_ok()
    }

    async fn recv(&mut self) -> Option<Bytes> {
        Some(self.0.recv().await.ok()?.into())
    }
}

/// The time to the first echo, from when a node starts that is to dial. It remembers nobody: the second is as the first.
pub async fn dial(transport: Transport) -> Measured {
    let (_server, address) = echo(transport).await;
    let to = endpoint(transport, address);
    lines::dial(async || {
        let mut times = [Duration::ZERO; 2];
        for time in &mut times {
            let start = Instant::now();
            let (_node, mut done) = client(&to, 1, Arc::default()).await;
            done.recv().await.unwrap();
            *time = start.elapsed();
        }
        times
    })
    .await
}

/// Bulk to a node that has so many idle connections already.
pub async fn fill(scenario: Scenario, transport: Transport) -> Measured {
    let (mut server, to) = Manual::listening(transport).await;
    let mut held = Vec::new();
    for _ in 0..scenario.width() {
        let (client, near) = Manual::dialing(&to).await;
        held.push((server.conn_with(&client).await, near, client));
    }
    let (far, near, _) = held.last().unwrap();
    lines::fill(Messages(near.clone()), Messages(far.clone()), scenario.mbit()).await
}

/// Two nodes that are connected, sooner or later.
async fn pair_in_time(transport: Transport) -> Pair {
    loop {
        if let Ok(pair) = timeout(PATIENCE, pair(transport)).await {
            return pair;
        }
    }
}

pub async fn thin(transport: Transport) -> Measured {
    let pair = pair_in_time(transport).await;
    let ([full, end], [near, far]) = (pair.other.clone().map(Messages), pair.bench.clone().map(Messages));
    lines::thin(full, end, near, far).await
}

pub async fn lossy(transport: Transport) -> Measured {
    let (_server, address) = echo(transport).await;
    let to = endpoint(transport, address);
    let connect = async || {
        let (_node, mut done) = client(&to, 1, Arc::default()).await;
        if done.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    };
    let bulk = async || {
        let pair = pair_in_time(transport).await;
        let [near, far] = pair.bench.clone().map(Messages);
        (near, far, pair)
    };
    lines::lossy(connect, bulk).await
}

/// With karyon's broadcast, which waits for one peer after another.
pub async fn uplink(width: usize, transport: Transport) -> Measured {
    let (mut hub, to) = Manual::listening(transport).await;
    let (mut deliveries, mut held, mut any) = (Deliveries::default(), Vec::new(), None);
    for _ in 0..width {
        let (peer, near) = Manual::dialing(&to).await;
        any = Some(hub.conn_with(&peer).await);
        deliveries.read(Messages(near));
        held.push(peer);
    }
    let (any, start) = (any.unwrap(), Instant::now());
    tokio::spawn(async move {
        for _ in 0..ROUNDS {
            any.broadcast(vec![7; 1_024]).await;
        }
    });
    deliveries.measure(start).await
}

pub async fn outage(width: usize, transport: Transport) -> Measured {
    lines::outage(async || {
        let (mut pairs, mut held) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let pair = pair_in_time(transport).await;
            let [near, far] = pair.bench.clone().map(Messages);
            pairs.push((near, far));
            held.push(pair);
        }
        (pairs, held)
    })
    .await
}
