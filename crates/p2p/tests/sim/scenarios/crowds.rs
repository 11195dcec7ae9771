//! An attacker that takes all inbound slots of a node, from a few networks, and peers from elsewhere that come and go.

use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, async_trait};
use p2p_sim::{Host, HostConfig, Sim};

use crate::town::Outcome;

/// How often one of the others leaves and comes back.
const ROUNDS: usize = 20;

/// How long it takes all attackers to be there.
const FILLED: Duration = Duration::from_secs(60);

/// How long the last message of a handshake may take.
const HEARD: Duration = Duration::from_secs(1);

/// How long an evicted peer may take to leave.
const GONE: Duration = Duration::from_secs(10);

/// Hears what others say.
struct Hears(PeerConn);

#[async_trait]
impl Protocol for Hears {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        while self.0.recv().await.is_ok() {}
        Ok(())
    }

    fn id() -> ProtocolId {
        // A fixed form.
        "/hears/1".parse().expect("a protocol id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

async fn start(host: &Host, n: u8, config: Config) -> Arc<Node> {
    let node = Node::builder(&KeyPair::from_seed([n; 32])).config(config).runtime(host.runtime()).build();
    let node = node.expect("the settings are valid");
    node.attach_protocol(Hears).expect("it is the first");
    node.run().await.expect("it can listen");
    node
}

async fn comes(node: &Node, hub: &Endpoint, what: &str) {
    let connected = node.connect(hub).await;
    let hub = connected.unwrap_or_else(|error| panic!("{what} does not get in: {error}"));
    node.send_to(&hub, &Hears::id(), "good day").await.unwrap_or_else(|error| panic!("{what} cannot speak: {error}"));
}

pub(super) fn crowds(sim: Sim) -> Outcome {
    sim.block_on(async {
        let random = |below: usize| (sim.runtime().random_u64() % below as u64) as usize;
        let (slots, networks) = (8 + random(13), [1, 2, 4][random(3)]);
        let transport = [Transport::Tcp, Transport::Tls, Transport::Quic][random(3)];
        let at = sim.host("hub");
        let listen_endpoints = vec![Endpoint::new(transport, at.ipv4(), 4001)];
        let config = Config { inbound_slots: slots, listen_endpoints, ..Config::default() };
        let hub = start(&at, 255, config).await;
        let endpoint = hub.listen_endpoints()[0].clone();
        let mut attackers = Vec::new();
        for n in 0..networks {
            let name = format!("hostile{n}");
            attackers.push(sim.add_host(HostConfig::new(name).addresses([[9, n as u8, 2, 1].into()])));
        }
        let mut hostile = Vec::new();
        for n in 0..slots + random(slots) {
            // It dials again whenever it is sent away.
            let config = Config { dial_peers: vec![endpoint.clone()], ..Config::default() };
            hostile.push(start(&attackers[n % networks], n as u8, config).await);
        }
        let filled = sim.eventually(FILLED, || hub.peers() >= slots).await;
        assert!(filled, "{} of {slots} slots are taken", hub.peers());
        // As many as find somebody whose network holds two slots.
        let mut honest = Vec::new();
        for n in 0..slots - networks {
            let name = format!("honest{n}");
            let host = sim.add_host(HostConfig::new(name).addresses([[60 + n as u8, 1, 1, 1].into()]));
            let node = start(&host, 100 + n as u8, Config::default()).await;
            comes(&node, &endpoint, &format!("peer {n} of {slots}, beside {networks} networks")).await;
            honest.push(node);
        }
        for round in 0..ROUNDS {
            let one = random(honest.len());
            honest[one].disconnect(&hub.peer_id(), 1, "until soon").await;
            sim.sleep(Duration::from_millis(random(40_000) as u64)).await;
            comes(&honest[one], &endpoint, &format!("round {round}: peer {one}")).await;
            // The hub announces it when it has heard that both agree. Whoever was evicted does not come back by itself.
            let present = || honest.iter().filter(|node| hub.peer(&node.peer_id()).is_some()).count();
            let all = sim.eventually(HEARD, || present() == honest.len()).await;
            assert!(all, "round {round}: {} of {} are there", present(), honest.len());
            let within = sim.eventually(GONE, || hub.inbound_peers().len() <= slots).await;
            assert!(within, "round {round}: {} peers in {slots} slots", hub.inbound_peers().len());
        }
        for node in honest.iter().chain(&hostile).chain([&hub]) {
            node.shutdown().await;
        }
    });
    let report = sim.report();
    assert_eq!(report.panics, 0, "tasks panicked");
    Outcome { hash: report.hash, events: report.events, packets: report.packets, messages: 0, simulated: report.time }
}
