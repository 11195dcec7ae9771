//! Connections that are opened, used once and closed.

use std::sync::Arc;

use bench_common::{Measured, Transport, rate};
use bytes::Bytes;

use crate::nodes::{Eager, Echo, client_with, server};

/// Each operation dials, sends a message, awaits its echo and closes. A pair of nodes has one connection at most: so many
/// nodes dial as are in flight, and as many more as close, which the next operation does not wait for, as it does not
/// wait for a socket that is dropped. The message is the protocol's first word, so it waits for no round trip that the
/// transport does not need.
pub async fn connect(count: usize, in_flight: usize, transport: Transport) -> Measured {
    let (_server, endpoint) = server(transport, Echo).await;
    let (back, clients) = tokio::sync::mpsc::channel(2 * in_flight);
    for _ in 0..2 * in_flight {
        let (echoed, echoes) = tokio::sync::mpsc::unbounded_channel();
        let message = Bytes::from(vec![7; 64]);
        let eager = move |conn| Eager { conn, message: message.clone(), echoed: echoed.clone() };
        back.send((client_with(transport, eager).await, echoes)).await.unwrap();
    }
    let clients = Arc::new(tokio::sync::Mutex::new(clients));
    rate(count, in_flight, move || {
        let (clients, back, endpoint) = (clients.clone(), back.clone(), endpoint.clone());
        async move {
            let (client, mut echoes) = clients.lock().await.recv().await.unwrap();
            let peer = client.connect(&endpoint).await.unwrap();
            echoes.recv().await.unwrap();
            tokio::spawn(async move {
                client.disconnect(&peer, 0, "done").await;
                // Nobody takes it any more once all is done.
                let _ = back.send((client, echoes)).await;
            });
        }
    })
    .await
}
