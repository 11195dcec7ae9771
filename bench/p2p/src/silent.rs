//! What those who connect and say nothing cost those who mean it.

use std::time::Instant;

use bench_common::silent::Silent;
use bench_common::{Measured, Times, Transport};
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

/// The median of what a connect takes; what closing takes is not in it.
async fn connect_us(endpoint: &Endpoint, count: usize, transport: Transport) -> f64 {
    let client = client(transport).await;
    let mut times = Times::default();
    for _ in 0..count {
        let start = Instant::now();
        let peer = client.connect(endpoint).await.unwrap();
        times.add(start);
        client.disconnect(&peer, 0, "done").await;
    }
    times.median_us()
}
