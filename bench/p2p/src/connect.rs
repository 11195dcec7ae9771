//! Connections that are opened, used once and closed.

use std::sync::Arc;

use bench_common::{Measured, Transport, rate};
use bytes::Bytes;

use crate::messages::ask;
use crate::nodes::{Echo, client, protocol_id, server};

/// Each operation dials, sends a message, awaits its echo and closes. A pair of nodes has one connection at most: so many
/// nodes dial as are in flight, and as many more as close, which the next operation does not wait for, as it does not
/// wait for a socket that is dropped.
pub async fn connect(count: usize, in_flight: usize, transport: Transport) -> Measured {
    let (_server, endpoint) = server(transport, Echo).await;
    let (back, clients) = tokio::sync::mpsc::channel(2 * in_flight);
    for _ in 0..2 * in_flight {
        back.send(client(transport).await).await.unwrap();
    }
    let clients = Arc::new(tokio::sync::Mutex::new(clients));
    rate(count, in_flight, move || {
        let (clients, back, endpoint) = (clients.clone(), back.clone(), endpoint.clone());
        async move {
            let client = clients.lock().await.recv().await.unwrap();
            let peer = client.connect(&endpoint).await.unwrap();
            ask(client.conn(&peer, &protocol_id()).unwrap(), Bytes::from(vec![7; 64])).await;
            tokio::spawn(async move {
                client.disconnect(&peer, 0, "done").await;
                // Nobody takes it any more once all is done.
                let _ = back.send(client).await;
            });
        }
    })
    .await
}
