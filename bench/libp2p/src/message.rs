//! Messages on one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{Measured, Transport, median_us};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::LIMIT;
use crate::node::{BENCH, Codec, Node, stream};

/// The ends of a stream between two nodes, which live as long as the nodes do.
async fn pair(transport: Transport) -> (Codec, Codec, [Node; 2]) {
    let (server, client) = (Node::listening(transport).await, Node::dialing(transport));
    let mut incoming = server.accept(BENCH);
    client.dial(&server).await;
    let (near, far) = stream(&client, server.peer_id, &mut incoming, BENCH).await;
    (near, far, [server, client])
}

pub async fn rtt(count: usize, transport: Transport) -> f64 {
    let (client, mut server, _nodes) = pair(transport).await;
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
    task.await.unwrap()
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
pub async fn one_way(count: usize, len: usize, transport: Transport, unit: f64) -> Measured {
    let (mut client, mut server, _nodes) = pair(transport).await;
    let message = Bytes::from(vec![7; len]);
    let start = Instant::now();
    tokio::spawn(async move {
        for _ in 0..count {
            client.feed(message.clone()).await.unwrap();
        }
        SinkExt::<Bytes>::flush(&mut client).await.unwrap();
        client
    });
    let receiving = tokio::spawn(async move { receive(&mut server, count, LIMIT).await });
    let received = receiving.await.unwrap();
    Measured::new(received as f64 * unit / start.elapsed().as_secs_f64())
}
