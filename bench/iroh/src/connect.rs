//! Connections made and closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench_common::silent::Silent;
use bench_common::{Measured, Transport, rate};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use iroh::{Endpoint, EndpointAddr};
use tokio::time::timeout;

use crate::LIMIT;
use crate::node::{ALPN, address, endpoint, framed, socket_address};

/// An endpoint that sends back what comes on the first stream of a connection.
async fn echo() -> Endpoint {
    let server = endpoint().await;
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let connection = incoming.accept().ok()?.await.ok()?;
                let mut stream = framed(connection.accept_bi().await.ok()?);
                while let Some(Ok(message)) = stream.next().await {
                    stream.send(message.freeze()).await.ok()?;
                }
                Some(())
            });
        }
    });
    server
}

/// Dials, sends a message, awaits its echo and closes.
async fn connect_once(client: &Endpoint, server: EndpointAddr) {
    let connection = client.connect(server, ALPN).await.unwrap();
    let mut stream = framed(connection.open_bi().await.unwrap());
    stream.send(Bytes::from(vec![7; 64])).await.unwrap();
    stream.next().await.unwrap().unwrap();
    connection.close(0_u8.into(), b"done");
}

/// One endpoint dials all of them: iroh has as many connections of a pair of endpoints as one wants.
pub async fn connect(count: usize, in_flight: usize) -> Measured {
    let (server, client) = (echo().await, endpoint().await);
    let to = address(&server);
    let done = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let counted = done.clone();
    let measured = rate(count, in_flight, move || {
        let (client, to, done) = (client.clone(), to.clone(), counted.clone());
        async move {
            if start.elapsed() < LIMIT {
                connect_once(&client, to).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let done = done.load(Ordering::Relaxed);
    if done < count / in_flight * in_flight {
        return Measured::new(done as f64 / start.elapsed().as_secs_f64());
    }
    measured
}

/// An honest connect that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The median time of `count` connects in µs; ends early with one that takes too long, which counts as what was waited.
async fn honest(count: usize, client: &Endpoint, server: &Endpoint) -> f64 {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let done = timeout(PATIENCE, connect_once(client, address(server))).await;
        times.push(start.elapsed());
        if done.is_err() {
            break;
        }
    }
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

pub async fn slow_handshake(count: usize, width: usize) -> Measured {
    let (server, client) = (echo().await, endpoint().await);
    let without = honest(count, &client, &server).await;
    let _silent = Silent::begin(width, socket_address(&server), Transport::Quic, ALPN).await;
    let with = honest(count, &client, &server).await;
    Measured::new(with / without).beside("with µs", with).beside("without µs", without)
}
