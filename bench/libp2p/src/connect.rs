//! Connections made and closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench_common::framed::{echo, framed};
use bench_common::silent::Silent;
use bench_common::{Measured, Times, Transport, rate};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Mutex, mpsc};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::node::{BENCH, Node};

/// A node that sends back what comes on a stream.
pub async fn server(transport: Transport) -> Node {
    let server = Node::listening(transport).await;
    let mut incoming = server.accept(BENCH);
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            tokio::spawn(echo(framed(stream.compat())));
        }
    });
    server
}

/// Dials, sends a message and awaits its echo. Gives how many streams it took: the server's libp2p-stream drops a stream
/// that arrives while another waits to be accepted.
pub async fn connect_once(client: &Node, server: &Node) -> usize {
    client.dial(server).await;
    let mut streams = 0;
    loop {
        streams += 1;
        let mut stream = framed(client.open(server.peer_id, BENCH).await);
        if stream.send(Bytes::from(vec![7; 64])).await.is_ok() && matches!(stream.next().await, Some(Ok(_))) {
            break;
        }
    }
    streams
}

/// `in_flight` nodes do so at the same time: a stream goes on any connection there is with a peer, so that a node can
/// not tell several connections with the same peer apart. As many more close, which the next operation does not wait for,
/// as it does not wait for a socket that is dropped.
pub async fn connect(count: usize, in_flight: usize, transport: Transport) -> Measured {
    let server = Arc::new(server(transport).await);
    let (back, clients) = mpsc::channel(2 * in_flight);
    for _ in 0..2 * in_flight {
        back.send(Node::dialing(transport)).await.ok().unwrap();
    }
    let clients = Arc::new(Mutex::new(clients));
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = dropped.clone();
    let measured = rate(count, in_flight, move || {
        let (clients, back, server, dropped) = (clients.clone(), back.clone(), server.clone(), counted.clone());
        async move {
            let client = clients.lock().await.recv().await.unwrap();
            dropped.fetch_add(connect_once(&client, &server).await - 1, Ordering::Relaxed);
            tokio::spawn(async move {
                client.disconnect(server.peer_id).await;
                // Nobody takes it any more once all is done.
                let _ = back.send(client).await;
            });
        }
    })
    .await;
    measured.beside("streams dropped", dropped.load(Ordering::Relaxed) as f64)
}

pub async fn slow_handshake(count: usize, width: usize, transport: Transport) -> Measured {
    let (server, client) = (server(transport).await, Node::dialing(transport));
    let once = async |client: &Node, server: &Node| {
        connect_once(client, server).await;
        client.disconnect(server.peer_id).await;
    };
    let without = Times::honest(count, || once(&client, &server)).await.median_us();
    let _silent = Silent::begin(width, server.socket_address(), transport, b"libp2p").await;
    let with = Times::honest(count, || once(&client, &server)).await.median_us();
    Measured::new(with / without).beside("with µs", with).beside("without µs", without)
}
