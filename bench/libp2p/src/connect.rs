//! Connections made and closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench_common::silent::Silent;
use bench_common::{Measured, Transport, rate};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::LIMIT;
use crate::node::{BENCH, Node, framed};

/// A node that sends back what comes on a stream.
async fn echo(transport: Transport) -> Node {
    let server = Node::listening(transport).await;
    let mut incoming = server.accept(BENCH);
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            tokio::spawn(async move {
                let mut stream = framed(stream);
                while let Some(Ok(message)) = stream.next().await {
                    if stream.send(message.freeze()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    server
}

/// Dials, sends a message, awaits its echo and closes. Gives how many streams it took: the server's libp2p-stream
/// drops a stream that arrives while another waits to be accepted.
async fn connect_once(client: &Node, server: &Node) -> usize {
    client.dial(server).await;
    let mut streams = 0;
    loop {
        streams += 1;
        let mut stream = client.open(server.peer_id, BENCH).await;
        if stream.send(Bytes::from(vec![7; 64])).await.is_ok() && matches!(stream.next().await, Some(Ok(_))) {
            break;
        }
    }
    client.disconnect(server.peer_id).await;
    streams
}

/// `in_flight` nodes do so at the same time: a stream goes on any connection there is with a peer, so that a node can
/// not tell several connections with the same peer apart.
pub async fn connect(count: usize, in_flight: usize, transport: Transport) -> Measured {
    let server = Arc::new(echo(transport).await);
    let (back, clients) = mpsc::channel(in_flight);
    for _ in 0..in_flight {
        back.send(Node::dialing(transport)).await.ok().unwrap();
    }
    let clients = Arc::new(Mutex::new(clients));
    let (done, streams) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let start = Instant::now();
    let counted = (done.clone(), streams.clone());
    let measured = rate(count, in_flight, move || {
        let (clients, back, server, (done, streams)) = (clients.clone(), back.clone(), server.clone(), counted.clone());
        async move {
            if start.elapsed() < LIMIT {
                let client = clients.lock().await.recv().await.unwrap();
                streams.fetch_add(connect_once(&client, &server).await, Ordering::Relaxed);
                done.fetch_add(1, Ordering::Relaxed);
                back.send(client).await.ok().unwrap();
            }
        }
    })
    .await;
    let (done, streams) = (done.load(Ordering::Relaxed), streams.load(Ordering::Relaxed));
    let measured = if done < count / in_flight * in_flight {
        Measured::new(done as f64 / start.elapsed().as_secs_f64())
    } else {
        measured
    };
    measured.beside("streams dropped", (streams - done) as f64)
}

/// An honest connect that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The median time of `count` connects in µs; ends early with one that takes too long, which counts as what was waited.
async fn honest(count: usize, client: &Node, server: &Node) -> f64 {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        let done = timeout(PATIENCE, connect_once(client, server)).await;
        times.push(start.elapsed());
        if done.is_err() {
            break;
        }
    }
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

pub async fn slow_handshake(count: usize, width: usize, transport: Transport) -> Measured {
    let (server, client) = (echo(transport).await, Node::dialing(transport));
    let without = honest(count, &client, &server).await;
    let _silent = Silent::begin(width, server.socket_address(), transport, b"libp2p").await;
    let with = honest(count, &client, &server).await;
    Measured::new(with / without).beside("with µs", with).beside("without µs", without)
}
