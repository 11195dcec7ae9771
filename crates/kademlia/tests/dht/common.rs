//! Networks of whole nodes, and waiting for what they do.

use std::time::Duration;

use p2p_core::runtime;
use p2p_identity::KeyPair;
use p2p_kademlia::{Dht, KademliaConfig, Key};
use p2p_sim::Sim;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a scene in the simulator, where all nodes meet on the loopback of one host. No timer of the DHT runs out there because
/// the machine is busy.
pub(crate) fn simulated<F: Future<Output = ()>>(scene: impl FnOnce() -> F) {
    let sim = Sim::new(1);
    // Each connection has both its ends there.
    sim.test_host().set_max_sockets(10_000);
    sim.block_on(scene());
}

/// As [`config`], over tcp: its handshakes are the cheapest.
pub(crate) fn tcp(bootstrap: Option<&Dht>) -> KademliaConfig {
    let discovery_endpoints = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"].map(|text| text.parse().unwrap()).to_vec();
    KademliaConfig { discovery_endpoints, ..config(bootstrap) }
}

pub(crate) fn key_pair(n: u16) -> KeyPair {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    KeyPair::from_seed(seed)
}

pub(crate) fn config(bootstrap: Option<&Dht>) -> KademliaConfig {
    let bootstrap_peers = bootstrap.map(|dht| dht.endpoints()[0].clone()).into_iter().collect();
    KademliaConfig { bootstrap_peers, ..KademliaConfig::loopback() }
}

pub(crate) async fn node(n: u16, config: KademliaConfig) -> Dht {
    let dht = Dht::new(&key_pair(n), config).unwrap();
    dht.run().await.unwrap();
    dht
}

/// Settings for few nodes on real sockets: nobody is given up because the machine is busy.
pub(crate) fn patient(config: KademliaConfig) -> KademliaConfig {
    KademliaConfig { dial_timeout: PATIENCE, request_timeout: PATIENCE, ..config }
}

/// Nodes that all know the first of them, once each has contacts.
pub(crate) async fn network(count: u16) -> Vec<Dht> {
    network_of(count, tcp).await
}

pub(crate) async fn network_of(count: u16, config: impl Fn(Option<&Dht>) -> KademliaConfig) -> Vec<Dht> {
    let mut nodes: Vec<Dht> = Vec::new();
    for n in 0..count {
        nodes.push(node(n, config(nodes.first())).await);
    }
    let enough = usize::from(count - 1).min(15);
    for dht in &nodes {
        until("each has contacts", || dht.contacts().len() >= enough).await;
    }
    nodes
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let runtime = runtime::current().unwrap();
    let holds = async {
        while !condition() {
            runtime.sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(runtime.timeout(PATIENCE, holds).await.is_ok(), "in vain: {what}");
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let runtime = runtime::current().unwrap();
    runtime.timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// The nodes closest to a key, closest first, the asker left out.
pub(crate) fn closest_of(nodes: &[Dht], asker: &Dht, key: &Key, count: usize) -> Vec<Key> {
    let mut keys: Vec<Key> = nodes.iter().filter(|dht| dht.peer_id() != asker.peer_id()).map(Dht::key).collect();
    keys.sort_by_key(|one| key.distance(one));
    keys.truncate(count);
    keys
}

pub(crate) async fn shut_down(nodes: Vec<Dht>) {
    for dht in nodes {
        dht.shutdown().await;
        assert_eq!(dht.tasks(), 0, "a task is left");
    }
}
