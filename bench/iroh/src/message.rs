//! Messages on one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{Measured, median_us};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::LIMIT;
use crate::node::{Codec, connection, endpoint, stream};

pub async fn rtt(count: usize) -> Measured {
    let (client, server) = (endpoint().await, endpoint().await);
    let connections = connection(&client, &server).await;
    let (near, mut far) = stream(&connections).await;
    tokio::spawn(async move {
        while let Some(Ok(message)) = far.next().await {
            far.send(message.freeze()).await.unwrap();
        }
    });
    let near = Arc::new(Mutex::new(near));
    let message = Bytes::from(vec![7; 64]);
    let task = tokio::spawn(async move {
        median_us(count, || {
            let (near, message) = (near.clone(), message.clone());
            async move {
                let mut near = near.lock().await;
                near.send(message).await.unwrap();
                near.next().await.unwrap().unwrap();
            }
        })
        .await
    });
    Measured::new(task.await.unwrap())
}

/// Takes `count` messages, or those that come before it takes too long.
pub async fn receive(stream: &mut Codec, count: usize, limit: Duration) -> usize {
    let mut received = 0;
    let all = async {
        while received < count {
            stream.next().await.unwrap().unwrap();
            received += 1;
        }
    };
    let _ = timeout(limit, all).await;
    received
}

/// `unit` is what one message is in the unit of the figure.
pub async fn one_way(count: usize, len: usize, unit: f64) -> Measured {
    let (client, server) = (endpoint().await, endpoint().await);
    let connections = connection(&client, &server).await;
    let (mut near, mut far) = stream(&connections).await;
    let message = Bytes::from(vec![7; len]);
    let start = Instant::now();
    tokio::spawn(async move {
        for _ in 0..count {
            near.feed(message.clone()).await.unwrap();
        }
        SinkExt::<Bytes>::flush(&mut near).await.unwrap();
        near
    });
    let receiving = tokio::spawn(async move { receive(&mut far, count, LIMIT).await });
    let received = receiving.await.unwrap();
    Measured::new(received as f64 * unit / start.elapsed().as_secs_f64())
}
