//! Connections that are only held.

use std::time::{Duration, Instant};

use bench_common::{LIMIT, Measured, resident};

use crate::node::{connection, endpoint, stream};

/// A mesh: so many endpoints, each connected to each other, that the pairs are about `count`. What the endpoints
/// themselves take is not counted; what their connections take is, each with one idle stream.
pub async fn conns(count: usize) -> Measured {
    let size = (1..).find(|n| n * (n - 1) / 2 >= count).unwrap();
    let mut endpoints = Vec::new();
    for _ in 0..size {
        endpoints.push(endpoint().await);
    }
    let pairs: Vec<(usize, usize)> = (0..size).flat_map(|n| (n + 1..size).map(move |m| (n, m))).collect();
    let mut held = Vec::with_capacity(pairs.len());
    let connect = async |(n, m): (usize, usize)| {
        let connections = connection(&endpoints[n], &endpoints[m]).await;
        (stream(&connections).await, connections)
    };
    // One connection first, so that what is made once is not counted.
    held.push(connect(pairs[0]).await);
    let before = resident();
    let start = Instant::now();
    for &pair in &pairs[1..] {
        held.push(connect(pair).await);
        if start.elapsed() > LIMIT {
            break;
        }
    }
    let opening = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let opened = (held.len() - 1) as f64;
    Measured::new((resident() - before) as f64 / 1024.0 / opened)
        .beside("opened per s", opened / opening)
        .beside("pairs", opened)
}
