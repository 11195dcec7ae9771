//! On long lines.

use std::time::{Duration, Instant};

use bench_common::framed::framed;
use bench_common::{Measured, Scenario, lines};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::connect::{connect_once, echo};
use crate::node::{ALPN, Held, address, both, connection, endpoint, listening, pair, stream};

/// The time to the first echo on a stream, from an endpoint that is new to the server, and from the same again.
pub async fn dial() -> Measured {
    let server = echo().await;
    lines::dial(async || {
        let client = endpoint().await;
        let mut times = [Duration::ZERO; 2];
        for time in &mut times {
            let start = Instant::now();
            connect_once(&client, address(&server)).await;
            *time = start.elapsed();
        }
        client.close().await;
        times
    })
    .await
}

/// Bulk to an endpoint that has so many idle connections already.
pub async fn fill(scenario: Scenario) -> Measured {
    let server = listening().await;
    let mut held = Vec::new();
    for _ in 0..scenario.width() {
        let client = endpoint().await;
        held.push((connection(&client, &server).await, client));
    }
    let (near, far) = stream(&held.last().unwrap().0).await;
    lines::fill(near, far, scenario.mbit()).await
}

pub async fn lossy() -> Measured {
    let server = echo().await;
    let connect = async || {
        let client = endpoint().await;
        let once = async {
            let connection = client.connect(address(&server), ALPN).await.ok()?;
            let mut stream = framed(both(connection.open_bi().await.ok()?));
            stream.send(Bytes::from(vec![7; 64])).await.ok()?;
            stream.next().await?.ok()
        };
        if once.await.is_none() {
            // It has failed, whatever time is left.
            std::future::pending::<()>().await;
        }
    };
    let bulk = async || {
        let (ends, _, held) = pair().await;
        (ends.0, ends.1, held)
    };
    lines::lossy(connect, bulk).await
}

pub async fn outage(width: usize) -> Measured {
    lines::outage(async || {
        let (mut pairs, mut all): (_, Vec<Held>) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let (ends, _, held) = pair().await;
            pairs.push(ends);
            all.push(held);
        }
        (pairs, all)
    })
    .await
}
