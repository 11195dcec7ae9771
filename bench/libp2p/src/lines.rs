//! On long lines.

use std::time::{Duration, Instant};

use bench_common::framed::framed;
use bench_common::{Measured, Scenario, Transport, lines};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};

use crate::connect::{connect_once, server};
use crate::node::{BENCH, Held, Node, pair, stream};

/// The time to the first echo on a stream, from a node that is new to the server, and from the same again.
pub async fn dial(transport: Transport) -> Measured {
    let server = server(transport).await;
    lines::dial(async || {
        let client = Node::dialing(transport);
        let mut times = [Duration::ZERO; 2];
        for time in &mut times {
            let start = Instant::now();
            connect_once(&client, &server).await;
            *time = start.elapsed();
            client.disconnect(server.peer_id).await;
        }
        times
    })
    .await
}

/// Bulk to a node that has so many idle connections already.
pub async fn fill(scenario: Scenario, transport: Transport) -> Measured {
    let server = Node::listening(transport).await;
    let mut incoming = server.accept(BENCH);
    let mut nodes = Vec::new();
    for _ in 0..scenario.width() {
        let client = Node::dialing(transport);
        client.dial(&server).await;
        nodes.push(client);
    }
    let client = nodes.last().unwrap();
    let (near, far) = stream(client, server.peer_id, &mut incoming, BENCH).await;
    lines::fill(near, far, scenario.mbit()).await
}

pub async fn lossy(transport: Transport) -> Measured {
    let server = server(transport).await;
    let connect = async || {
        let client = Node::dialing(transport);
        let once = async {
            client.try_dial(&server).await.ok()?;
            let mut stream = framed(client.try_open(server.peer_id, BENCH).await?);
            stream.send(Bytes::from(vec![7; 64])).await.ok()?;
            stream.next().await?.ok()
        };
        if once.await.is_none() {
            // It has failed, whatever time is left.
            std::future::pending::<()>().await;
        }
    };
    let bulk = async || {
        let (server, client) = (Node::listening(transport).await, Node::dialing(transport));
        let mut incoming = server.accept(BENCH);
        while client.try_dial(&server).await.is_err() {}
        let (near, far) = stream(&client, server.peer_id, &mut incoming, BENCH).await;
        (near, far, (vec![server, client], vec![incoming]))
    };
    lines::lossy(connect, bulk).await
}

pub async fn outage(width: usize, transport: Transport) -> Measured {
    lines::outage(async || {
        let (mut pairs, mut all): (_, Vec<Held>) = (Vec::new(), Vec::new());
        for _ in 0..width {
            let (ends, _, held) = pair(transport).await;
            pairs.push(ends);
            all.push(held);
        }
        (pairs, all)
    })
    .await
}
