//! Peers that take a connection and do not keep it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, Node, PeerEvent, PeerId, PeerPoolEvent, PeerPoolEventKind};
use p2p_sim::{Host, Sim};

use crate::town::Outcome;

const MINUTE: Duration = Duration::from_secs(60);

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(62 * 60);

fn key(sim: &Sim, n: u8) -> KeyPair {
    let mut seed = [n; 32];
    seed[..8].copy_from_slice(&sim.seed().to_le_bytes());
    KeyPair::from_seed(seed)
}

fn listen(host: &Host, transport: Transport) -> Endpoint {
    Endpoint::new(transport, host.ipv4(), 4001)
}

/// A node that listens, and keeps a peer connected if there is one.
fn node(host: &Host, key: &KeyPair, transport: Transport, keeps: Option<Endpoint>) -> Arc<Node> {
    let config = Config {
        listen_endpoints: vec![listen(host, transport)],
        dial_peers: keeps.into_iter().collect(),
        ..Config::default()
    };
    Node::builder(key).config(config).runtime(host.runtime()).build().expect("the settings are valid")
}

type Said = (PeerPoolEventKind, Option<PeerId>);

/// When a node gets its peers, and what its pool says of keys and of peers that leave.
#[derive(Debug, Clone, Default)]
struct Seen {
    added: Arc<Mutex<Vec<Duration>>>,
    said: Arc<Mutex<Vec<Said>>>,
}

impl Seen {
    /// Watches a node, and starts it.
    fn watch(sim: &Sim, host: &Host, node: &Arc<Node>) -> Self {
        let seen = Self::default();
        let (mut peers, mut pool) = (node.register_peer_events(), node.monitor().register::<PeerPoolEvent>());
        let (added, said, clock) = (seen.added.clone(), seen.said.clone(), sim.clone());
        host.spawn(async move {
            while let Ok(event) = peers.recv().await {
                if let PeerEvent::Added { .. } = event {
                    added.lock().expect("nobody panics").push(clock.now());
                }
            }
        });
        host.spawn(async move {
            use PeerPoolEventKind::{KeyInUseElsewhere, PeerLeaves};
            while let Ok(event) = pool.recv().await {
                if let KeyInUseElsewhere | PeerLeaves { .. } = event.kind {
                    said.lock().expect("nobody panics").push((event.kind, event.peer_id));
                }
            }
        });
        let node = node.clone();
        host.spawn(async move { node.run().await.expect("it can listen") });
        seen
    }

    /// Connections in the first minute, and the most in any ten minutes after the second.
    fn counts(&self, began: Duration) -> (usize, usize) {
        let added: Vec<_> = self.added.lock().expect("nobody panics").iter().map(|at| *at - began).collect();
        let first = added.iter().filter(|at| **at <= MINUTE).count();
        let later: Vec<_> = added.iter().filter(|at| **at > 2 * MINUTE).collect();
        let within = |from: &&Duration| later.iter().filter(|at| **at >= *from && ***at < **from + 10 * MINUTE).count();
        (first, later.iter().map(within).max().unwrap_or(0))
    }

    fn said(&self, kind: fn(&PeerPoolEventKind) -> bool, peer_id: PeerId) -> bool {
        self.said.lock().expect("nobody panics").iter().any(|(said, of)| kind(said) && *of == Some(peer_id))
    }
}

async fn end(sim: &Sim, nodes: Vec<Arc<Node>>) -> Outcome {
    futures_util::future::join_all(nodes.iter().map(|node| node.shutdown())).await;
    let report = sim.report();
    assert_eq!(report.panics, 0, "tasks panicked");
    Outcome { hash: report.hash, events: report.events, packets: report.packets, messages: 0, simulated: report.time }
}

/// Two machines have one key, and keep the same peer connected.
pub(super) fn one_key(sim: Sim) -> Outcome {
    let transport = [Transport::Tcp, Transport::Tls, Transport::Quic][sim.seed() as usize % 3];
    sim.clone().block_on(async move {
        let hosts = ["hub", "one", "other"].map(|name| sim.host(name));
        let (hub_key, shared) = (key(&sim, 1), key(&sim, 2));
        let hub = node(&hosts[0], &hub_key, transport, None);
        let at_hub = Seen::watch(&sim, &hosts[0], &hub);
        sim.sleep(Duration::from_secs(1)).await;
        let began = sim.now();
        let there = listen(&hosts[0], transport).with_peer_id(hub_key.peer_id());
        let mut nodes = vec![hub];
        let mut seen = Vec::new();
        for host in &hosts[1..] {
            let one = node(host, &shared, transport, Some(there.clone()));
            seen.push(Seen::watch(&sim, host, &one));
            nodes.push(one);
            sim.sleep(Duration::from_millis(sim.runtime().random_u64() % 2000)).await;
        }
        sim.sleep(WATCHED).await;
        let (first, later) = at_hub.counts(began);
        // One connection is none that replaces another.
        assert!(first <= 1 + 5 && later <= 2, "{first} in the first minute, then up to {later} in ten minutes");
        let told = |kind: &PeerPoolEventKind| matches!(kind, PeerPoolEventKind::KeyInUseElsewhere);
        assert!(at_hub.said(told, shared.peer_id()), "the hub says that a peer's key is in use twice");
        assert!(seen.iter().all(|seen| seen.said(told, shared.peer_id())), "so do both who have it");
        end(&sim, nodes).await
    })
}

/// A peer takes each connection and ends it at once.
pub(super) fn leaver(sim: Sim) -> Outcome {
    let transport = [Transport::Tcp, Transport::Tls, Transport::Quic][sim.seed() as usize % 3];
    sim.clone().block_on(async move {
        let hosts = ["leaver", "keeper"].map(|name| sim.host(name));
        let (leaver_key, keeper_key) = (key(&sim, 1), key(&sim, 2));
        let leaver = node(&hosts[0], &leaver_key, transport, None);
        let at_leaver = Seen::watch(&sim, &hosts[0], &leaver);
        let (leaves, peer) = (leaver.clone(), keeper_key.peer_id());
        let mut events = leaver.register_peer_events();
        hosts[0].spawn(async move {
            while let Ok(event) = events.recv().await {
                if let PeerEvent::Added { .. } = event {
                    leaves.disconnect(&peer, 7, "go away").await;
                }
            }
        });
        sim.sleep(Duration::from_secs(1)).await;
        let began = sim.now();
        let there = listen(&hosts[0], transport).with_peer_id(leaver_key.peer_id());
        let keeper = node(&hosts[1], &keeper_key, transport, Some(there));
        let at_keeper = Seen::watch(&sim, &hosts[1], &keeper);
        sim.sleep(WATCHED).await;
        let (first, later) = at_leaver.counts(began);
        assert!(
            (2..=5).contains(&first) && later <= 1,
            "{first} in the first minute, then up to {later} in ten minutes"
        );
        let told = |kind: &PeerPoolEventKind| matches!(kind, PeerPoolEventKind::PeerLeaves { .. });
        assert!(at_keeper.said(told, leaver_key.peer_id()), "it is said why");
        end(&sim, vec![leaver, keeper]).await
    })
}
