//! How long it takes to find somebody by its peer id, and to find as many peers as there are slots, on lines of 50 ms each way.
//! Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "shared/components.rs"]
mod components;
#[path = "shared/idle.rs"]
mod idle;

use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, Node};
use p2p_sim::{Latency, Link, Sim};

use self::components::components;
use self::idle::Idle;

const RTT: Duration = Duration::from_millis(100);

/// Nodes of the network, and how long it has had to settle.
const NODES: usize = 30;
const SETTLING: Duration = Duration::from_secs(5);

/// How many are looked for, each by a node that has just started.
const FOUND: usize = 5;

/// A node that was told of `first`. One that listens is a server of the DHT.
async fn node(sim: &Sim, number: usize, listens: Option<Transport>, first: Option<&Endpoint>) -> Arc<Node> {
    let host = sim.host(format!("node{number}"));
    let at = |transport, port| Endpoint::new(transport, host.ipv4(), port);
    let config = Config {
        listen_endpoints: listens.map(|transport| at(transport, 4001)).into_iter().collect(),
        discovery_endpoints: listens.map(|_| at(Transport::Udp, 4002)).into_iter().collect(),
        bootstrap_peers: first.into_iter().cloned().collect(),
        ..Config::default()
    };
    let key = KeyPair::from_seed([number as u8 + 1; 32]);
    let node = Node::builder(&key).config(config).runtime(host.runtime()).build().unwrap();
    node.run().await.unwrap();
    node
}

/// From the start of a node until it is connected with one of which it knew the id, in round trips.
fn times(transport: Transport) -> Vec<f64> {
    let sim = Sim::new(1);
    sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(RTT / 2)));
    sim.clone().block_on(async {
        let first = node(&sim, 0, Some(transport), None).await;
        let bootstrap = first.listen_endpoints().remove(0);
        let mut nodes = vec![first];
        for number in 1..NODES {
            nodes.push(node(&sim, number, Some(transport), Some(&bootstrap)).await);
        }
        sim.sleep(SETTLING).await;
        let mut times = Vec::new();
        for n in 0..FOUND {
            let wanted = nodes[1 + n * (NODES - 1) / FOUND].peer_id();
            let began = sim.now();
            let seeker = node(&sim, NODES + n, None, Some(&bootstrap)).await;
            seeker.connect_peer(&wanted).await.unwrap_or_else(|error| panic!("{transport}: {error}"));
            assert!(seeker.peer(&wanted).is_some());
            times.push((sim.now() - began).as_secs_f64() / RTT.as_secs_f64());
            seeker.shutdown().await;
        }
        times
    })
}

const MANY: usize = 40;
const OUTBOUND: usize = 8;
const INBOUND: usize = 16;

/// How long they may take, once the last of them has started.
const FILLED: Duration = Duration::from_secs(60);

#[test]
fn forty_nodes_with_one_bootstrap_are_one_network_with_full_slots() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let sim = Sim::new(1);
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(RTT / 2)));
        sim.clone().block_on(async {
            let mut nodes: Vec<Arc<Node>> = Vec::new();
            for number in 0..MANY {
                let host = sim.host(format!("node{number}"));
                let at = |transport, port| Endpoint::new(transport, host.ipv4(), port);
                let config = Config {
                    listen_endpoints: vec![at(transport, 4001)],
                    discovery_endpoints: vec![at(Transport::Udp, 4002)],
                    bootstrap_peers: nodes
                        .first()
                        .map(|first| first.listen_endpoints().remove(0))
                        .into_iter()
                        .collect(),
                    inbound_slots: INBOUND,
                    outbound_slots: OUTBOUND,
                    seeding_interval: Duration::from_secs(5),
                    ..Config::default()
                };
                let key = KeyPair::from_seed([number as u8 + 1; 32]);
                let node = Node::builder(&key).config(config).runtime(host.runtime()).build().unwrap();
                node.attach_protocol(Idle).unwrap();
                node.run().await.unwrap();
                nodes.push(node);
                sim.sleep(Duration::from_millis(20)).await;
            }
            let began = sim.now();
            let full = || nodes.iter().filter(|node| node.outbound_peers().len() == OUTBOUND).count();
            let networks = || components(nodes.iter().map(|node| (node.peer_id(), node.peer_ids())));
            let done = sim.eventually(FILLED, || full() == MANY && networks() == 1).await;
            assert!(done, "{transport}: {} of {MANY} nodes have all their peers, {} networks", full(), networks());
            println!("{transport}: after {:?}", sim.now() - began);
            assert!(nodes.iter().all(|node| node.inbound_peers().len() <= INBOUND), "{transport}");
            for node in nodes {
                node.shutdown().await;
            }
        });
    }
}

/// The bootstrap peer is asked, which takes a dial; then who is told of, at the same time, and mostly one of those knows the peer; then
/// the peer is dialed.
#[test]
fn somebody_is_found_within_three_dials() {
    for (transport, dial) in [(Transport::Tcp, 3.0), (Transport::Tls, 3.0), (Transport::Quic, 2.0)] {
        let mut times = times(transport);
        times.sort_by(f64::total_cmp);
        assert!(times[FOUND / 2] < 1.05 * 3.0 * dial, "{transport}: {times:?} round trips");
        assert!(times[FOUND - 1] < 1.05 * 4.0 * dial, "{transport}: {times:?} round trips");
    }
}
