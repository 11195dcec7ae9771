//! What those who connect and say nothing cost those who mean it.

use bench_common::silent::Silent;
use bench_common::{Measured, Transport, median_us};
use p2p::endpoint::Endpoint;

use crate::nodes::{Echo, client, server};

/// What a connect takes with `silent` connections under way, against what it takes without.
pub async fn slow_handshake(count: usize, silent: usize, transport: Transport) -> Measured {
    let (_server, endpoint) = server(transport, Echo).await;
    // What is made once, and caches that are cold.
    connect_us(&endpoint, count / 10, transport).await;
    let without = connect_us(&endpoint, count, transport).await;
    let address = (endpoint.addr().ip().unwrap(), endpoint.port()).into();
    let _silent = Silent::begin(silent, address, transport, p2p::layers::identity::ALPN).await;
    let with = connect_us(&endpoint, count, transport).await;
    Measured::new(with / without).beside("µs without", without).beside("µs with", with)
}

async fn connect_us(endpoint: &Endpoint, count: usize, transport: Transport) -> f64 {
    let client = client(transport).await;
    median_us(count, || async {
        let peer = client.connect(endpoint).await.unwrap();
        client.disconnect(&peer, 0, "done").await;
    })
    .await
}
