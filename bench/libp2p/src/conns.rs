//! Connections that are only held.

use std::time::{Duration, Instant};

use bench_common::{LIMIT, Measured, Transport, resident};

use crate::node::{BENCH, Node, stream};

/// A mesh: so many nodes, each connected to each other, that the pairs are about `count`. What the nodes themselves
/// take is not counted; what their connections take is, each with one idle stream.
pub async fn conns(count: usize, transport: Transport) -> Measured {
    let size = (1..).find(|n| n * (n - 1) / 2 >= count).unwrap();
    let mut nodes = Vec::new();
    for _ in 0..size {
        let node = Node::listening(transport).await;
        let incoming = node.accept(BENCH);
        nodes.push((node, incoming));
    }
    let pairs: Vec<(usize, usize)> = (0..size).flat_map(|n| (n + 1..size).map(move |m| (n, m))).collect();
    // One connection first, so that what is made once is not counted.
    let mut held = Vec::with_capacity(pairs.len());
    let connect = async |(n, m): (usize, usize)| nodes[n].0.dial(&nodes[m].0).await;
    connect(pairs[0]).await;
    let before = resident();
    let start = Instant::now();
    let mut opened = 1;
    for &pair in &pairs[1..] {
        connect(pair).await;
        opened += 1;
        if start.elapsed() > LIMIT {
            break;
        }
    }
    let opening = start.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let without_streams = resident();
    for &(n, m) in &pairs[..opened] {
        let peer_id = nodes[m].0.peer_id;
        let [(from, _), (_, incoming)] = nodes.get_disjoint_mut([n, m]).unwrap();
        held.push(stream(from, peer_id, incoming, BENCH).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let opened = (opened - 1) as f64;
    let each = |bytes: usize| (bytes - before) as f64 / 1024.0 / opened;
    Measured::new(each(resident()))
        .beside("without a stream KiB/pair", each(without_streams))
        .beside("opened per s", opened / opening.as_secs_f64())
        .beside("pairs", opened)
}
