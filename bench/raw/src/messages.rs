//! Messages from one end to the other.

use std::sync::Arc;
use std::time::Instant;

use bench_common::{Measured, median_us};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Mutex;

use crate::stack::{Stack, pair};

/// A message there and back, one in flight: each is flushed.
pub async fn rtt<T: Stack>(stack: &T, count: usize) -> Measured {
    let ((client, _a), (mut server, _b)) = pair(stack).await;
    tokio::spawn(async move {
        while let Some(Ok(message)) = server.next().await {
            server.send(message.freeze()).await.unwrap();
        }
    });
    let client = Arc::new(Mutex::new(client));
    let message = Bytes::from(vec![7; 64]);
    let task = tokio::spawn(async move {
        median_us(count, || {
            let (client, message) = (client.clone(), message.clone());
            async move {
                let mut client = client.lock().await;
                client.send(message).await.unwrap();
                client.next().await.unwrap().unwrap();
            }
        })
        .await
    });
    Measured::new(task.await.unwrap())
}

/// Messages of `len` bytes one way, coalesced by hand; `unit` of them per message.
pub async fn one_way<T: Stack>(stack: &T, count: usize, len: usize, unit: f64) -> Measured {
    let ((mut client, _a), (mut server, _b)) = pair(stack).await;
    let message = Bytes::from(vec![7; len]);
    let start = Instant::now();
    let sender = tokio::spawn(async move {
        for _ in 0..count {
            client.feed(message.clone()).await.unwrap();
        }
        SinkExt::<Bytes>::flush(&mut client).await.unwrap();
        client
    });
    let receiver = tokio::spawn(async move {
        for _ in 0..count {
            server.next().await.unwrap().unwrap();
        }
    });
    receiver.await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    drop(sender.await.unwrap());
    Measured::new(count as f64 * unit / seconds)
}
