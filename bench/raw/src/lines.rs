//! On long lines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::framed::framed;
use bench_common::{Measured, Scenario, lines};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::connect::serve;
use crate::stack::{Stack, pair};

/// Dials, sends a message and awaits its echo.
async fn connect<T: Stack>(stack: &T) -> Duration {
    let start = Instant::now();
    let (stream, guard) = stack.dial().await;
    let mut stream = framed(stream);
    stream.send(Bytes::from(vec![7; 64])).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(guard);
    start.elapsed()
}

pub async fn dial<T: Stack>(stack: T) -> Measured {
    let stack = Arc::new(stack);
    tokio::spawn(serve(stack.clone()));
    lines::dial(async || [connect(&*stack).await, connect(&*stack).await]).await
}

pub async fn fill<T: Stack>(stack: &T, scenario: Scenario) -> Measured {
    let mut idle = Vec::new();
    for _ in 1..scenario.width() {
        idle.push(pair(stack).await);
    }
    let ((near, far), _held) = pair(stack).await;
    lines::fill(near, far, scenario.mbit()).await
}

/// Over two connections: raw sockets have one stream.
pub async fn thin<T: Stack>(stack: &T) -> Measured {
    let ((full, end), _full) = pair(stack).await;
    let ((near, far), _near) = pair(stack).await;
    lines::thin(full, end, near, far).await
}

pub async fn lossy<T: Stack>(stack: T) -> Measured {
    let stack = Arc::new(stack);
    // Listened to by somebody else, whose connections are not taken for each other's.
    let serving = tokio::spawn(serve(stack.clone()));
    let connect = async || {
        connect(&*stack).await;
    };
    let pairs = async || {
        serving.abort();
        let ((near, far), held) = pair(&*stack).await;
        (near, far, held)
    };
    lines::lossy(connect, pairs).await
}

pub async fn uplink<T: Stack>(stack: &T, width: usize) -> Measured {
    let (mut peers, mut held) = (Vec::new(), Vec::new());
    for _ in 0..width {
        let ((near, far), guards) = pair(stack).await;
        peers.push((far, near));
        held.push(guards);
    }
    lines::uplink(peers).await
}

pub async fn outage<T: Stack>(stack: &T, width: usize) -> Measured {
    lines::outage(async || {
        let (mut pairs, mut held) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let (ends, guards) = pair(stack).await;
            pairs.push(ends);
            held.push(guards);
        }
        (pairs, held)
    })
    .await
}
