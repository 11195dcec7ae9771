//! Connections that do nothing.

use std::time::{Duration, Instant};

use bench_common::{Measured, resident};

use crate::stack::{Stack, pair};

/// Memory for each pair of ends; what is made once is not counted.
pub async fn conns<T: Stack>(stack: &T, count: usize) -> Measured {
    let mut held = Vec::with_capacity(count + 1);
    held.push(pair(stack).await);
    let before = resident();
    let start = Instant::now();
    for _ in 0..count {
        held.push(pair(stack).await);
    }
    let opened = count as f64 / start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kib = (resident() - before) as f64 / 1024.0 / count as f64;
    Measured::new(kib).beside("opened per s", opened)
}
