//! Questions of the DHT.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench_common::{Measured, Transport, cpu_time, rate};
use p2p::kademlia::{Dht, KademliaConfig, KademliaLimits, Key};
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::layers::kademlia::Request;
use tokio::sync::{Mutex, mpsc};

use crate::asker::Asker;

/// Nodes of the network.
const NODES: usize = 50;

/// Whole lookups, for what one of them costs.
const LOOKUPS: usize = 200;

/// Connections that questions come over, one at a time over each.
const ASKERS: usize = 32;

/// Longer than any of this takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which nodes are closest to a position, asked of one node with a full table over connections that are there: answers
/// per second. Both ends are in this process, so asking is included. Beside it, what a whole lookup costs all nodes of a
/// network together.
pub async fn lookup(count: usize, transport: Transport) -> Measured {
    let nodes = network(transport).await;
    let (back, askers) = mpsc::channel(ASKERS);
    for _ in 0..ASKERS {
        let asker = Asker::connect(&nodes[0].endpoints()[0]).await;
        let answer = asker.ask(&find(0)).await;
        assert_eq!(answer.closer().unwrap().contacts.len(), 20, "the table fills an answer");
        back.send(asker).await.unwrap();
    }
    let askers = Arc::new(Mutex::new(askers));
    let next = Arc::new(AtomicUsize::new(0));
    let cpu = cpu_time();
    let answers = rate(count, ASKERS, move || {
        let (askers, back, next) = (askers.clone(), back.clone(), next.clone());
        async move {
            let asker = askers.lock().await.recv().await.unwrap();
            let answer = asker.ask_raw(&find(next.fetch_add(1, Ordering::Relaxed))).await;
            assert!(answer.len() > 1_000, "twenty contacts are longer");
            back.send(asker).await.unwrap();
        }
    })
    .await;
    let answer_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / count as f64;

    // Connections between the nodes are opened by the first lookups, as in a network that has been there for a while.
    lookups(&nodes, 0).await;
    let cpu = cpu_time();
    lookups(&nodes, LOOKUPS).await;
    let lookup_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / LOOKUPS as f64;
    answers.beside("CPU µs", answer_us).beside("CPU µs per converged lookup", lookup_us)
}

fn find(n: usize) -> Request {
    Request::FindNode { target: Key::of_value(&n.to_le_bytes()) }
}

/// Lookups from one node after the other for positions that nobody has looked for, counted from `first`.
async fn lookups(nodes: &[Dht], first: usize) {
    for n in first..first + LOOKUPS {
        let key = Key::of_value(format!("position {n}").as_bytes());
        let found = nodes[n % nodes.len()].closest(&key).await.unwrap();
        assert!(found.len() >= 19, "{} of 20 were found", found.len());
    }
}

/// Nodes that all began with the first of them, once each has contacts.
async fn network(transport: Transport) -> Vec<Dht> {
    let mut nodes: Vec<Dht> = Vec::new();
    for _ in 0..NODES {
        let config = KademliaConfig {
            discovery_endpoints: [transport.name(), "udp"]
                .map(|t| format!("{t}://127.0.0.1:0").parse().unwrap())
                .into(),
            bootstrap_peers: nodes.first().map(|first| first.endpoints()[0].clone()).into_iter().collect(),
            // Not measured: how much one peer is given at most.
            limits: KademliaLimits { requests_per_second: 1 << 20, ..KademliaLimits::default() },
            // Nothing but what is measured goes on.
            refresh_interval: Duration::from_secs(3600),
            seeding_interval: Duration::from_secs(5),
            ..KademliaConfig::loopback()
        };
        let node = Dht::new(&KeyPair::generate(&KeyPairType::Ed25519), config).unwrap();
        node.run().await.unwrap();
        nodes.push(node);
    }
    let deadline = Instant::now() + PATIENCE;
    // Half of the others are in one bucket, which has twenty places.
    while nodes.iter().any(|node| node.contacts().len() < 25) || nodes[0].contacts().len() < 35 {
        assert!(Instant::now() < deadline, "the nodes do not find each other");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    nodes
}
