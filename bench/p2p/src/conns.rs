//! Connections that do nothing.

use std::time::{Duration, Instant};

use bench_common::{Measured, Transport, resident};

use crate::nodes::{Manual, server};

/// A mesh: so many nodes, each connected to each other, that the pairs are about `count`. What the nodes themselves
/// take is not counted; what their connections take is.
pub async fn conns(count: usize, transport: Transport) -> Measured {
    let size = (1..).find(|n| n * (n - 1) / 2 >= count).unwrap();
    let mut nodes = Vec::new();
    for _ in 0..size {
        nodes.push(server(transport, Manual).await);
    }
    // One connection first, so that what is made once is not counted.
    nodes[0].0.connect(&nodes[1].1).await.unwrap();
    let before = resident();
    let start = Instant::now();
    for (n, (node, _)) in nodes.iter().enumerate() {
        for (_, endpoint) in &nodes[n + 1..] {
            node.connect(endpoint).await.unwrap();
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pairs = nodes.iter().map(|(node, _)| node.peers()).sum::<usize>() / 2;
    assert_eq!(pairs, size * (size - 1) / 2);
    let opened = (pairs - 1) as f64;
    let kib = (resident() - before) as f64 / 1024.0 / opened;
    Measured::new(kib).beside("opened per s", opened / seconds)
}
