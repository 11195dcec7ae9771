//! How long it takes an idle node to go. Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "shared/idle.rs"]
mod idle;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::Protocol;
use p2p::{Config, Node};
use p2p_sim::{Host, Latency, Link, Sim};
use tokio::io::AsyncWriteExt;

use self::idle::Idle;

const RTT: Duration = Duration::from_millis(20);

fn sim() -> Sim {
    let sim = Sim::new(1);
    sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(RTT / 2)));
    sim
}

async fn node(host: &Host, seed: u8, transport: Transport, with_dht: bool, first: Option<&Endpoint>) -> Arc<Node> {
    let at = |transport, port| Endpoint::new(transport, host.ipv4(), port);
    let config = Config {
        listen_endpoints: vec![at(transport, 4001)],
        discovery_endpoints: with_dht.then(|| at(Transport::Udp, 4002)).into_iter().collect(),
        bootstrap_peers: first.into_iter().cloned().collect(),
        ..Config::default()
    };
    let node = Node::builder(&KeyPair::from_seed([seed; 32])).config(config).runtime(host.runtime()).build().unwrap();
    node.run().await.unwrap();
    node
}

async fn took(sim: &Sim, leaving: &Node) -> Duration {
    let began = sim.now();
    leaving.shutdown().await;
    assert_eq!(leaving.tasks(), 0);
    sim.now() - began
}

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// The good-bye and its answer are one round trip, the end of the transport's connection is another.
#[test]
fn an_idle_node_is_gone_after_two_round_trips() {
    for transport in TRANSPORTS {
        let sim = sim();
        sim.clone().block_on(async {
            let (a, b) = (sim.host("a"), sim.host("b"));
            let (a, b) = (node(&a, 1, transport, false, None).await, node(&b, 2, transport, false, None).await);
            a.connect(&b.listen_endpoints()[0]).await.unwrap();
            sim.sleep(Duration::from_secs(30)).await;
            let first = took(&sim, &a).await;
            assert!(first <= RTT * 5 / 2, "{transport}: the one who leaves takes {first:?}");
            sim.sleep(Duration::from_secs(1)).await;
            assert_eq!(b.peers(), 0);
            let second = took(&sim, &b).await;
            assert!(second <= RTT / 2, "{transport}: whoever has nobody takes {second:?}");
        });
    }
}

#[test]
fn an_idle_node_with_a_dht_is_gone_after_a_few_round_trips() {
    for transport in TRANSPORTS {
        let sim = sim();
        sim.clone().block_on(async {
            let host = sim.host("first");
            let first = node(&host, 1, transport, true, None).await;
            let bootstrap = first.listen_endpoints().remove(0);
            let mut others = Vec::new();
            for n in 0..4 {
                let host = sim.host(format!("node{n}"));
                others.push(node(&host, 2 + n, transport, true, Some(&bootstrap)).await);
            }
            sim.sleep(Duration::from_secs(10)).await;
            for leaving in others.iter().chain([&first]) {
                let took = took(&sim, leaving).await;
                assert!(took <= RTT * 5 / 2, "{transport}: {took:?}");
            }
        });
    }
}

/// What it was sent is never read there.
#[test]
fn a_peer_that_never_reads_delays_the_end_by_the_drain_timeout() {
    for transport in TRANSPORTS {
        let sim = sim();
        sim.clone().block_on(async {
            let (a, b) = (sim.host("a"), sim.host("b"));
            let (a, b) = (node(&a, 1, transport, false, None).await, node(&b, 2, transport, false, None).await);
            for node in [&a, &b] {
                node.attach_protocol(Idle).unwrap();
            }
            a.connect(&b.listen_endpoints()[0]).await.unwrap();
            let conn = a.conn(&b.peer_id(), &Idle::id()).unwrap();
            // Streams that are finished and not read, and messages until nothing more is taken.
            let mut unread = Vec::new();
            for _ in 0..5 {
                let mut stream = conn.open_stream().await.unwrap();
                stream.write_all(b"unread").await.unwrap();
                stream.shutdown().await.unwrap();
                unread.push(stream);
            }
            let mut refused = 0;
            while refused < 3 {
                refused = if conn.try_send(vec![1; 60_000]).is_ok() { 0 } else { refused + 1 };
                sim.sleep(Duration::from_secs(1)).await;
            }
            let told = join_all(unread.iter_mut().map(|stream| stream.finish()));
            let (took, told) = tokio::join!(biased; took(&sim, &a), told);
            let most = a.config().drain_timeout + Duration::from_secs(1);
            assert!(took <= most, "{transport}: {took:?}");
            // And whoever waits is told.
            assert!(told.iter().all(Result::is_err), "{transport}: {told:?}");
        });
    }
}

/// A remote that says nothing is told of the end for a moment, and no longer.
#[test]
fn a_remote_that_is_cut_off_delays_the_end_by_the_drain_timeout() {
    let sim = sim();
    sim.clone().block_on(async {
        let (a, host) = (sim.host("a"), sim.host("b"));
        let a = node(&a, 1, Transport::Quic, false, None).await;
        let b = node(&host, 2, Transport::Quic, false, None).await;
        a.connect(&b.listen_endpoints()[0]).await.unwrap();
        sim.sleep(Duration::from_secs(30)).await;
        sim.network().isolate(&host);
        let took = took(&sim, &a).await;
        let most = a.config().drain_timeout + Duration::from_secs(1);
        assert!(took >= a.config().drain_timeout && took <= most, "{took:?}");
    });
}
