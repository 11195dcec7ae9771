//! One sends to many.

use std::time::Instant;

use bench_common::{Measured, Transport, cpu_time};
use bytes::Bytes;

use crate::nodes::{Manual, client, protocol_id, server};

/// A hub broadcasts a message to all of its peers, each a node of its own, again and again: deliveries per second until
/// the last peer has its last. A peer that was too busy to take one is waited for and gets it too.
pub async fn fanout(count: usize, width: usize, transport: Transport) -> Measured {
    let rounds = count / width;
    let (hub, endpoint) = server(transport, Manual).await;
    let (mut peers, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..width {
        let peer = client(transport).await;
        let id = peer.connect(&endpoint).await.unwrap();
        let conn = peer.conn(&id, &protocol_id()).unwrap();
        peers.push(peer);
        readers.push(tokio::spawn(async move {
            for _ in 0..rounds {
                conn.recv().await.unwrap();
            }
        }));
    }
    while hub.peers() < width {
        tokio::task::yield_now().await;
    }
    let message = Bytes::from(vec![7; 1024]);
    let (start, cpu) = (Instant::now(), cpu_time());
    let sending = tokio::spawn(async move {
        let mut busy = 0;
        for _ in 0..rounds {
            let missed = hub.broadcast(&protocol_id(), message.clone()).unwrap().busy;
            busy += missed.len();
            for peer in missed {
                hub.send_to(&peer, &protocol_id(), message.clone()).await.unwrap();
            }
        }
        (hub, busy)
    });
    for reader in readers {
        reader.await.unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    let delivered = (rounds * width) as f64;
    let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / delivered;
    let (_hub, busy) = sending.await.unwrap();
    Measured::new(delivered / seconds).beside("CPU µs", cpu_us).beside("% waited for", busy as f64 * 100.0 / delivered)
}
