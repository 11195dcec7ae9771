//! Messages on one connection. What is sent is given away, so that each message is allocated, as it would be by who
//! uses karyon.

use std::time::{Duration, Instant};

use bench_common::{LIMIT, Measured, Transport, median_us};
use karyon_p2p::protocol::PeerConn;
use tokio::time::timeout;

use crate::node::Manual;

pub async fn rtt(count: usize, transport: Transport) -> Measured {
    let (mut server, endpoint) = Manual::listening(transport).await;
    let (client, near) = Manual::dialing(&endpoint).await;
    let far = server.conn_with(&client).await;
    tokio::spawn(async move {
        loop {
            let message = far.recv().await.unwrap();
            far.send(message).await.unwrap();
        }
    });
    let task = tokio::spawn(async move {
        median_us(count, || {
            let near = near.clone();
            async move {
                near.send(vec![7; 64]).await.unwrap();
                near.recv().await.unwrap();
            }
        })
        .await
    });
    Measured::new(task.await.unwrap())
}

/// Takes `count` messages, or those that come before it takes too long.
pub async fn receive(conn: &PeerConn, count: usize, limit: Duration) -> usize {
    let mut received = 0;
    let all = async {
        while received < count {
            conn.recv().await.unwrap();
            received += 1;
        }
    };
    let _ = timeout(limit, all).await;
    received
}

/// `unit` is what one message is in the unit of the figure.
pub async fn one_way(count: usize, len: usize, transport: Transport, unit: f64) -> Measured {
    let (mut server, endpoint) = Manual::listening(transport).await;
    let (client, near) = Manual::dialing(&endpoint).await;
    let far = server.conn_with(&client).await;
    let start = Instant::now();
    tokio::spawn(async move {
        for _ in 0..count {
            near.send(vec![7; len]).await.unwrap();
        }
    });
    let receiving = tokio::spawn(async move { receive(&far, count, LIMIT).await });
    let received = receiving.await.unwrap();
    Measured::new(received as f64 * unit / start.elapsed().as_secs_f64())
}
