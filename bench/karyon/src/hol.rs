//! Two protocols on one connection, of which one is not read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{Measured, STOPPED, Times, Transport, turns};
use karyon_p2p::protocol::PeerConn;
use tokio::time::timeout;

use crate::message::{ask, echo};
use crate::node::pair;

/// Sends until nothing more is taken.
pub async fn fill(conn: &PeerConn) {
    while timeout(Duration::from_millis(500), conn.send(vec![7; 1_024])).await.is_ok() {}
}

/// Messages per second of 1 KiB from one side to the other; none if they stop coming.
async fn flow(count: usize, [sender, receiver]: &[Arc<PeerConn>; 2]) -> f64 {
    let start = Instant::now();
    let (sender, receiver) = (sender.clone(), receiver.clone());
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.send(vec![7; 1_024]).await.unwrap();
        }
    });
    let receiving = tokio::spawn(async move {
        for _ in 0..count {
            match timeout(STOPPED, receiver.recv()).await {
                Ok(message) => message.unwrap(),
                Err(_) => return false,
            };
        }
        true
    });
    let all = receiving.await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    sending.abort();
    if all { count as f64 / seconds } else { 0.0 }
}

/// Two pairs of nodes, one of them with a protocol that nobody reads beside; in turns.
pub async fn hol(count: usize, transport: Transport) -> Measured {
    let (alone, beside) = (pair(transport).await, pair(transport).await);
    fill(&beside.other[0]).await;
    turns(async || flow(count, &alone.bench).await, async || flow(count, &beside.bench).await).await
}

/// A message there and back of one protocol while the other fills the same connection.
pub async fn busy(count: usize, transport: Transport) -> Measured {
    let pair = pair(transport).await;
    let [full, end] = pair.other.clone();
    tokio::spawn(async move { while full.send(vec![7; 64 << 10]).await.is_ok() {} });
    tokio::spawn(async move { while end.recv().await.is_ok() {} });
    let [near, far] = pair.bench.clone();
    tokio::spawn(echo(far));
    let asking = tokio::spawn(Times::within_limit(count, move || ask(near.clone())));
    asking.await.unwrap().late_ms()
}
