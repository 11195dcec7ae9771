//! Messages on one connection. What is sent is given away, so that each message is allocated, as it would be by who
//! uses karyon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{LIMIT, Measured, Times, Transport};
use karyon_p2p::protocol::PeerConn;
use tokio::time::timeout;

use crate::node::Manual;

/// Sends back what comes, until nothing does.
pub async fn echo(conn: Arc<PeerConn>) {
    while let Ok(message) = conn.recv().await {
        conn.send(message).await.unwrap();
    }
}

/// Sends a message and awaits its echo.
pub async fn ask(conn: Arc<PeerConn>) {
    conn.send(vec![7; 64]).await.unwrap();
    conn.recv().await.unwrap();
}

pub async fn rtt(count: usize, transport: Transport) -> Measured {
    let (mut server, endpoint) = Manual::listening(transport).await;
    let (client, near) = Manual::dialing(&endpoint).await;
    let far = server.conn_with(&client).await;
    tokio::spawn(echo(far));
    let asking = tokio::spawn(Times::of(count, move || ask(near.clone())));
    Measured::new(asking.await.unwrap().median_us())
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
