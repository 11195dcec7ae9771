//! Messages from one node to another.

use std::time::Instant;

use bench_common::{Measured, Times, Transport};
use bytes::Bytes;
use p2p::protocol::PeerConn;

use crate::nodes::{Echo, Manual, accepted, client, protocol_id, server};

/// Sends a message and awaits its echo.
pub async fn ask(conn: PeerConn, message: Bytes) {
    conn.send(message).await.unwrap();
    conn.recv().await.unwrap();
}

/// A message there and back, one in flight.
pub async fn rtt(count: usize, transport: Transport) -> Measured {
    let (_server, endpoint) = server(transport, Echo).await;
    let client = client(transport).await;
    let peer = client.connect(&endpoint).await.unwrap();
    let conn = client.conn(&peer, &protocol_id()).unwrap();
    let message = Bytes::from(vec![7; 64]);
    let asking = tokio::spawn(Times::of(count, move || ask(conn.clone(), message.clone())));
    Measured::new(asking.await.unwrap().median_us())
}

/// Messages of `len` bytes one way; `unit` of them per message.
pub async fn one_way(count: usize, len: usize, transport: Transport, unit: f64) -> Measured {
    let (server, endpoint) = server(transport, Manual).await;
    let client = client(transport).await;
    let peer = client.connect(&endpoint).await.unwrap();
    let sender = client.conn(&peer, &protocol_id()).unwrap();
    sender.send(Bytes::from_static(b"x")).await.unwrap();
    let receiver = accepted(&server, &client).await;
    receiver.recv().await.unwrap();
    let message = Bytes::from(vec![7; len]);
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        for _ in 0..count {
            sender.send(message.clone()).await.unwrap();
        }
        sender.flush().await.unwrap();
    });
    let receiving = tokio::spawn(async move {
        for _ in 0..count {
            receiver.recv().await.unwrap();
        }
    });
    receiving.await.unwrap();
    let seconds = start.elapsed().as_secs_f64();
    sending.await.unwrap();
    Measured::new(count as f64 * unit / seconds)
}
