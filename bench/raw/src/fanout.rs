//! One sends to many.

use std::time::Instant;

use bench_common::{Measured, cpu_time};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::stack::{Stack, pair};

/// A hub gives each of its peers a message, again and again: deliveries per second until the last peer has its last.
///
/// The hub is one task that feeds each peer's codec in turn. A codec is flushed when it has 8 KiB, and all of them at the
/// end: as few system calls as can be had by hand, no queue and no task for each peer.
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
    let sending = tokio::spawn(async move {
        for _ in 0..rounds {
            for peer in &mut hub {
                peer.feed(message.clone()).await.unwrap();
            }
        }
        for peer in &mut hub {
            SinkExt::<Bytes>::flush(peer).await.unwrap();
        }
        hub
    });
    let mut held = Vec::new();
    for reader in readers {
        held.push(reader.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    let delivered = (rounds * width) as f64;
    let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / delivered;
    sending.await.unwrap();
    Measured::new(delivered / seconds).beside("CPU µs", cpu_us)
}
