//! Two streams on one connection, of which one is not read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::Measured;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::STOPPED;
use crate::node::{Codec, connection, endpoint, stream};

/// Sends until nothing more is taken.
pub async fn fill(stream: &mut Codec) {
    let message = Bytes::from(vec![7; 1_024]);
    while timeout(Duration::from_millis(500), stream.feed(message.clone())).await.is_ok() {}
}

/// Messages per second of 1 KiB from one side to the other; none if they stop coming.
async fn flow(count: usize, sender: &Arc<Mutex<Codec>>, receiver: &Arc<Mutex<Codec>>) -> f64 {
    let message = Bytes::from(vec![7; 1_024]);
    let start = Instant::now();
    let (sender, receiver) = (sender.clone(), receiver.clone());
    let sending = tokio::spawn(async move {
        let mut sender = sender.lock().await;
        for _ in 0..count {
            sender.feed(message.clone()).await.unwrap();
        }
        SinkExt::<Bytes>::flush(&mut *sender).await.unwrap();
    });
    let receiving = tokio::spawn(async move {
        let mut receiver = receiver.lock().await;
        for _ in 0..count {
            match timeout(STOPPED, receiver.next()).await {
                Ok(message) => message.unwrap().unwrap(),
                Err(_) => return false,
            };
        }
        true
    });
    let all = receiving.await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    if !all {
        sending.abort();
        return 0.0;
    }
    sending.await.unwrap();
    count as f64 / seconds
}

/// Two pairs of endpoints, one of them with a stream that nobody reads beside; in turns.
pub async fn hol(count: usize) -> Measured {
    let (mut pairs, mut held) = (Vec::new(), Vec::new());
    for stalled in [false, true] {
        let (client, server) = (endpoint().await, endpoint().await);
        let connections = connection(&client, &server).await;
        let (near, far) = stream(&connections).await;
        let (mut unread, end) = stream(&connections).await;
        if stalled {
            fill(&mut unread).await;
        }
        pairs.push((Arc::new(Mutex::new(near)), Arc::new(Mutex::new(far))));
        held.push((unread, end, connections, client, server));
    }
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let alone = flow(count, &pairs[0].0, &pairs[0].1).await;
        let beside = flow(count, &pairs[1].0, &pairs[1].1).await;
        if beside == 0.0 {
            return Measured::new(0.0);
        }
        ratios.push(beside / alone);
    }
    ratios.sort_by(f64::total_cmp);
    Measured::new(ratios[ratios.len() / 2] * 100.0)
}
