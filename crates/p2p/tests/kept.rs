//! Peers that are kept connected, however often they leave and however long they are away. Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use p2p::discovery::StaticDiscovery;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, DisconnectReason, EventListener, Node, PeerEvent, PeerInfo};
use p2p_sim::{Host, Sim};

const MINUTE: Duration = Duration::from_secs(60);

/// How late a peer that was away is dialed at most: the longest wait, and a dial that has begun before it came back.
const LATE: Duration = Duration::from_secs(40);

/// A node and what it says of its peers.
struct Running {
    sim: Sim,
    node: Arc<Node>,
    events: EventListener<PeerEvent>,
}

impl Running {
    async fn new(sim: &Sim, host: &Host, key: &KeyPair, transport: Transport, dial_peers: Vec<Endpoint>) -> Self {
        let listen_endpoints = vec![Endpoint::new(transport, host.ipv4(), 4001)];
        let config = Config { listen_endpoints, dial_peers, ..Config::default() };
        let node = Node::builder(key).config(config).runtime(host.runtime()).build().unwrap();
        let events = node.register_peer_events();
        node.run().await.unwrap();
        Self { sim: sim.clone(), node, events }
    }

    async fn event(&mut self, limit: Duration) -> PeerEvent {
        let event = self.sim.runtime().timeout(limit, self.events.recv()).await;
        event.unwrap_or_else(|_| panic!("nothing happens within {limit:?}")).unwrap()
    }

    async fn added(&mut self, limit: Duration) -> PeerInfo {
        match self.event(limit).await {
            PeerEvent::Added { peer } => peer,
            other => panic!("not added: {other:?}"),
        }
    }

    async fn removed(&mut self) -> DisconnectReason {
        match self.event(MINUTE).await {
            PeerEvent::Removed { reason, .. } => reason,
            other => panic!("not removed: {other:?}"),
        }
    }

    async fn shutdown(self) {
        self.node.shutdown().await;
        assert_eq!((self.node.tasks(), self.node.peers()), (0, 0));
    }
}

#[test]
fn a_dial_peer_is_kept_connected() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Quic] {
        let sim = Sim::new(1);
        let hosts = ["keeps", "is kept"].map(|name| sim.host(name));
        let keys = [1, 2].map(|n| KeyPair::from_seed([n; 32]));
        sim.block_on(async {
            let start = async || Running::new(&sim, &hosts[1], &keys[1], transport, Vec::new()).await;
            let mut kept = start().await;
            let dial_peers = kept.node.listen_endpoints();
            let keeper = Running::new(&sim, &hosts[0], &keys[0], transport, dial_peers).await;
            let id = keeper.node.peer_id();
            let began = sim.now();
            for _ in 0..3 {
                assert_eq!(kept.added(MINUTE).await.peer_id, id);
                kept.node.disconnect(&id, 7, "come back").await;
                assert_eq!(kept.removed().await, DisconnectReason::Local { code: 7, reason: "come back".into() });
            }
            kept.added(MINUTE).await;
            assert!(sim.now() - began < MINUTE, "{transport}: {:?}", sim.now() - began);
            // It restarts; then it is away for a while, which dials find out that fail.
            for away in [Duration::ZERO, 10 * MINUTE] {
                kept.shutdown().await;
                sim.sleep(away).await;
                assert!(away.is_zero() || keeper.node.peers() == 0, "{transport}");
                kept = start().await;
                assert_eq!(kept.added(LATE).await.peer_id, id, "{transport} after {away:?}");
                assert!(sim.eventually(MINUTE, || keeper.node.peers() == 1).await, "{transport} after {away:?}");
            }
            keeper.shutdown().await;
            assert_eq!(kept.removed().await, DisconnectReason::RemoteShutdown);
            kept.shutdown().await;
        });
    }
}

/// How late everybody is back after a network that was away.
const BACK: Duration = Duration::from_secs(30);

#[test]
fn peers_of_all_kinds_are_back_soon_after_hours_without_network() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Quic] {
        for (seed, minutes) in [(1, 30), (2, 30), (3, 120), (4, 120)] {
            let sim = Sim::new(seed);
            // One that is kept, one on a list, and one on the list that has never been there.
            let hosts = ["keeps", "is kept", "is listed", "is new"].map(|name| sim.host(name));
            let keys = [1, 2, 3, 4].map(|n| KeyPair::from_seed([n; 32]));
            sim.block_on(async {
                let start = async |n: usize| Running::new(&sim, &hosts[n], &keys[n], transport, Vec::new()).await;
                let at = |n: usize| Endpoint::new(transport, hosts[n].ipv4(), 4001);
                let list = StaticDiscovery::new([at(2), at(3)]);
                let config = Config { dial_peers: vec![at(1)], ..Config::default() };
                let node = Node::builder(&keys[0]).config(config).runtime(hosts[0].runtime());
                let node = node.discovery(list).build().unwrap();
                let (kept, listed) = (start(1).await, start(2).await);
                node.run().await.unwrap();
                assert!(sim.eventually(MINUTE, || node.peers() == 2).await, "{transport}");
                sim.network().isolate(&hosts[0]);
                let new = start(3).await;
                sim.sleep(minutes * MINUTE).await;
                assert_eq!(node.peers(), 0, "{transport}");
                sim.network().heal();
                let back = sim.now();
                assert!(sim.eventually(MINUTE * 10, || node.peers() == 3).await, "{transport}");
                let late = sim.now() - back;
                assert!(late <= BACK, "{transport}: {late:?} after {minutes} minutes");
                node.shutdown().await;
                for node in [kept, listed, new] {
                    node.shutdown().await;
                }
            });
        }
    }
}
