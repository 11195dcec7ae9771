//! Connections made and closed.

use bench_common::silent::Silent;
use bench_common::{Measured, Times, Transport, framed, rate};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use iroh::{Endpoint, EndpointAddr};

use crate::node::{ALPN, address, both, endpoint, listening, socket_address};

/// An endpoint that sends back what comes on the first stream of a connection.
pub async fn echo() -> Endpoint {
    let server = listening().await;
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(async move {
                let connection = incoming.accept().ok()?.await.ok()?;
                framed::echo(framed::framed(both(connection.accept_bi().await.ok()?))).await;
                Some(())
            });
        }
    });
    server
}

/// Dials, sends a message, awaits its echo and closes.
pub async fn connect_once(client: &Endpoint, server: EndpointAddr) {
    let connection = client.connect(server, ALPN).await.unwrap();
    let mut stream = framed::framed(both(connection.open_bi().await.unwrap()));
    stream.send(Bytes::from(vec![7; 64])).await.unwrap();
    stream.next().await.unwrap().unwrap();
    connection.close(0_u8.into(), b"done");
}

/// One endpoint dials all of them: iroh has as many connections of a pair of endpoints as one wants.
pub async fn connect(count: usize, in_flight: usize) -> Measured {
    let (server, client) = (echo().await, endpoint().await);
    let to = address(&server);
    rate(count, in_flight, move || {
        let (client, to) = (client.clone(), to.clone());
        async move { connect_once(&client, to).await }
    })
    .await
}

pub async fn slow_handshake(count: usize, width: usize) -> Measured {
    let (server, client) = (echo().await, endpoint().await);
    let without = Times::honest(count, || connect_once(&client, address(&server))).await.median_us();
    let _silent = Silent::begin(width, socket_address(&server), Transport::Quic, ALPN).await;
    let with = Times::honest(count, || connect_once(&client, address(&server))).await.median_us();
    Measured::new(with / without).beside("with µs", with).beside("without µs", without)
}
