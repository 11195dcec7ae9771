//! One sends to many.

use std::time::Instant;

use bench_common::{Measured, cpu_time};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::stack::{Stack, pair};

/// A hub gives each of its peers so many messages: deliveries per second until the last peer has its last.
///
/// The hub has a task for each peer, which feeds that peer's codec and flushes it when it is full, and at the end. Nothing
/// keeps the peers in step, and there is no queue: the most that can be had by hand. One task that goes from peer to peer
/// needs half as much CPU time again, and one with a queue for each peer three times as much.
pub async fn fanout<T: Stack>(stack: &T, count: usize, width: usize) -> Measured {
    let rounds = count / width;
    let (mut hub, mut guards, mut readers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..width {
        let ((sender, a), (mut receiver, b)) = pair(stack).await;
        hub.push(sender);
        guards.push((a, b));
        readers.push(tokio::spawn(async move {
            for _ in 0..rounds {
                receiver.next().await.unwrap().unwrap();
            }
            receiver
        }));
    }
    let message = Bytes::from(vec![7; 1024]);
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut writers = Vec::new();
    for mut peer in hub {
        let message = message.clone();
        writers.push(tokio::spawn(async move {
            for _ in 0..rounds {
                peer.feed(message.clone()).await.unwrap();
            }
            SinkExt::<Bytes>::flush(&mut peer).await.unwrap();
            peer
        }));
    }
    let mut held = Vec::new();
    for reader in readers {
        held.push(reader.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    let delivered = (rounds * width) as f64;
    let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / delivered;
    for writer in writers {
        writer.await.unwrap();
    }
    Measured::new(delivered / seconds).beside("CPU µs", cpu_us)
}
