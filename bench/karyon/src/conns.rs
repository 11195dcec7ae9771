//! Connections that are only held.

use std::time::{Duration, Instant};

use bench_common::{LIMIT, Measured, STOPPED, Transport, resident};

use crate::node::Manual;

/// A mesh: so many nodes, each connected to each other, that the pairs are about `count`. A node dials when it starts,
/// so that what the nodes themselves take is measured with as many that do not dial, and taken off.
pub async fn conns(count: usize, transport: Transport) -> Measured {
    let size = (1..).find(|n| n * (n - 1) / 2 >= count).unwrap();
    // One connection first, so that what is made once is not counted.
    let (first, endpoint) = Manual::listening(transport).await;
    let second = Manual::dialing(&endpoint).await;
    let before = resident();
    let mut alone = Vec::new();
    for _ in 0..size {
        alone.push(Manual::listening(transport).await);
    }
    let own = (resident() - before) as f64 / size as f64;
    let before = resident();
    let start = Instant::now();
    let (mut nodes, mut endpoints) = (Vec::new(), Vec::new());
    for n in 0..size {
        let listen = crate::node::endpoint(transport, crate::node::free_address(transport));
        let node = Manual::start(vec![listen.clone()], endpoints.clone()).await;
        await_peers(&node, n).await;
        nodes.push(node);
        endpoints.push(listen);
        if start.elapsed() > LIMIT {
            break;
        }
    }
    for node in &nodes {
        await_peers(node, nodes.len() - 1).await;
    }
    let opening = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut ends = 0;
    for node in &nodes {
        ends += node.node.peers().await;
    }
    let pairs = ends as f64 / 2.0;
    let taken = (resident() - before) as f64 - own * nodes.len() as f64;
    drop((first, second, alone));
    Measured::new(taken / 1024.0 / pairs).beside("opened per s", pairs / opening).beside("pairs", pairs)
}

/// Waits until a node has so many peers, or gets no more: a connection that failed is not made again.
async fn await_peers(node: &Manual, count: usize) {
    let (mut peers, mut since) = (0, Instant::now());
    while peers < count && since.elapsed() < STOPPED {
        let now = node.node.peers().await;
        if now > peers {
            (peers, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
