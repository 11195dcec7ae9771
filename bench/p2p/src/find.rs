//! Somebody is found through the DHT, on a long line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::line::NEAR;
use bench_common::{Measured, Times, Transport};
use p2p::{Config, Node};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::lines::Greet;
use crate::nodes::{Echo, client_config, config, node};

/// How long the network has had to settle.
const SETTLING: Duration = Duration::from_secs(5);

/// How many are looked for, each by a node that has just started.
const FOUND: usize = 5;

/// Who is not found by then has not been found.
const PATIENCE: Duration = Duration::from_secs(20);

/// A network of so many nodes settles for a moment; then a node starts and greets one of them, of which it knows the id: the median
/// of the time from its start to the echo, in ms, and how many fail.
pub async fn find(width: usize, transport: Transport) -> Measured {
    let mut nodes: Vec<Arc<Node>> = Vec::new();
    for _ in 0..width {
        // All at one address: who dials from another than it listens at is not known to be reachable there.
        let at = |transport| format!("{transport}://{NEAR}:0").parse().unwrap();
        let config = Config {
            listen_endpoints: vec![at(transport.name())],
            discovery_endpoints: vec![at("udp")],
            bootstrap_peers: nodes.first().map(|first| first.listen_endpoints()).unwrap_or_default(),
            ..config(transport)
        };
        let node = node(config);
        node.attach_protocol(Echo).unwrap();
        node.run().await.unwrap();
        nodes.push(node);
    }
    sleep(SETTLING).await;
    let (mut times, mut failed) = (Times::default(), 0);
    for n in 0..FOUND {
        let wanted = nodes[1 + n * (width - 1) / FOUND].peer_id();
        let (sender, mut echoed) = mpsc::unbounded_channel();
        let bootstrap_peers = nodes[0].listen_endpoints();
        let seeker = node(Config { bootstrap_peers, ..client_config(transport) });
        // Discovery connects to others as well.
        let greet = move |conn: p2p::protocol::PeerConn| {
            let echoed = if conn.peer_id() == wanted { sender.clone() } else { mpsc::unbounded_channel().0 };
            Greet { conn, echoed }
        };
        seeker.attach_protocol(greet).unwrap();
        let start = Instant::now();
        seeker.run().await.unwrap();
        let found = async {
            if seeker.connect_peer(&wanted).await.is_err() {
                return None;
            }
            echoed.recv().await
        };
        match timeout(PATIENCE, found).await {
            Ok(Some(at)) => times.push(at - start),
            _ => failed += 1,
        }
        seeker.shutdown().await;
    }
    if failed == FOUND {
        times.push(PATIENCE);
    }
    let slowest = times.slowest_ms();
    Measured::new(times.median_ms()).beside("failed", failed as f64).beside("slowest ms", slowest)
}
