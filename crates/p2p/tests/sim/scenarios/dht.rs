//! Towns that know one address and find each other through the DHT.

mod adversary;
mod carrier;
mod churn;
mod crash;
mod hostile;
mod moved;
mod named;
mod nat;
mod partition;

use std::sync::Arc;
use std::time::Duration;

use p2p::kademlia::{Dht, KademliaConfig, KademliaLimits, Key};
use p2p::layers::kademlia::LookupConfig;
use p2p::{Config, Node, PeerId};
use p2p_sim::Sim;

pub(super) use self::carrier::carrier;
pub(super) use self::churn::churn;
pub(super) use self::crash::crash;
pub(super) use self::hostile::hostile;
pub(super) use self::moved::moved;
pub(super) use self::named::named;
pub(super) use self::nat::nat;
pub(super) use self::partition::partition;

use super::tell;
use crate::components::components;
use crate::talk::Manner;
use crate::town::{Outcome, RECOVERY, Resident, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

/// How long the nodes may take to find each other and fill their slots.
const SETTLED: Duration = Duration::from_secs(60);

/// How often a contact is checked for liveness. One that is dead is asked twice more, half a minute after each failure, and so
/// is forgotten within two of these periods, as it is by default.
const LIVENESS: Duration = Duration::from_secs(120);

/// How often a node looks for its neighbors, about.
const SEEDING: Duration = Duration::from_secs(30);

/// Contacts of a bucket, and of an answer: less than there are nodes, so that finding one takes more than a look at a table.
const K: usize = 8;

/// Nodes with a DHT, a few slots and short periods, which say a word now and then.
fn style(outbound: usize) -> Style {
    let kademlia = KademliaConfig {
        refresh_interval: LIVENESS,
        lookup: LookupConfig { k: K, ..LookupConfig::default() },
        // Most of the work is in handshakes.
        limits: KademliaLimits { idle_timeout: LIVENESS, ..KademliaLimits::default() },
        ..KademliaConfig::default()
    };
    let config = Config {
        outbound_slots: outbound,
        inbound_slots: 16,
        seeding_interval: SEEDING,
        ping_interval: 10 * SECOND,
        ping_timeout: 10 * SECOND,
        kademlia,
        ..Config::default()
    };
    let manner = Manner { pause: 2 * SECOND..8 * SECOND, size: 16..1000 };
    Style { protocols: 1, manner, config, dht: true }
}

/// Starts one node after the other.
async fn move_in(town: &Town) {
    for resident in &town.residents {
        resident.move_in();
        town.sim.sleep(Duration::from_millis(20)).await;
    }
}

/// Starts all nodes, of which each can be reached, and waits until they are one network that knows itself.
async fn settle(town: &Town) {
    move_in(town).await;
    whole(town, &town.residents, &town.residents, SETTLED).await;
    recall(&town.residents, &town.residents).await;
}

/// Waits until `nodes` are one network and have taken every outbound slot for which there is a server that takes them.
async fn whole(town: &Town, nodes: &[Resident], servers: &[Resident], limit: Duration) {
    let peers = |it: &Resident| it.node().map(|node| node.peer_ids()).unwrap_or_default();
    let networks = || components(nodes.iter().map(|it| (it.peer_id(), peers(it))));
    let hungry = || nodes.iter().filter(|it| !left(it, servers).is_empty());
    let done = town.sim.eventually(limit, || hungry().count() == 0 && networks() == 1).await;
    town.model.check();
    let hungry: Vec<_> = hungry().map(|it| (it.index, left(it, servers))).collect();
    assert!(done, "{} networks after {limit:?}; who could connect to whom: {hungry:?}", networks());
}

/// The servers with a free slot to which a node that has one as well could connect; its own number if it does not run.
fn left(resident: &Resident, servers: &[Resident]) -> Vec<usize> {
    let Some(node) = resident.node() else { return vec![resident.index] };
    if node.outbound_peers().len() >= node.config().outbound_slots {
        return Vec::new();
    }
    let others = servers.iter().filter(|it| it.index != resident.index && it.node().is_none_or(|node| has_room(&node)));
    others.filter(|it| node.peer(&it.peer_id()).is_none()).map(|it| it.index).collect()
}

/// Whether it would take one more peer that dials it. The oldest of a town need not: all others found them first.
fn has_room(node: &Node) -> bool {
    node.inbound_peers().len() < node.config().inbound_slots
}

fn node(resident: &Resident) -> Arc<Node> {
    resident.node().unwrap_or_else(|| panic!("node {} does not run", resident.index))
}

fn dht(resident: &Resident) -> Dht {
    node(resident).dht().expect("it has a DHT").clone()
}

/// The nodes closest to a target, closest first, but for the one who asks.
fn closest(dht: &Dht, target: &Key, nodes: &[Resident]) -> Vec<PeerId> {
    let network = &dht.config().network;
    let mut all: Vec<PeerId> = nodes.iter().map(Resident::peer_id).filter(|id| *id != dht.peer_id()).collect();
    all.sort_by_key(|id| Key::of_peer(network, id).distance(target));
    all.truncate(dht.config().lookup.k);
    all
}

/// Lookups of each node find exactly the closest of all servers, and one of them by its name.
async fn recall(nodes: &[Resident], servers: &[Resident]) {
    for resident in nodes {
        let (dht, n) = (dht(resident), resident.index);
        let target = Key::of_value(&[n as u8]);
        let found = dht.closest(&target).await.expect("the DHT runs");
        let found: Vec<PeerId> = found.iter().map(|record| record.peer_id()).collect();
        let expected = closest(&dht, &target, servers);
        assert_eq!(found, expected, "node {n} finds other nodes than the closest");

        let other = &servers[(n + 1) % servers.len()];
        let found = dht.find_peer(&other.peer_id()).await.expect("the DHT runs");
        let found = found.map(|record| record.peer_id());
        assert_eq!(found, Some(other.peer_id()), "node {n} does not find node {}", other.index);
    }
}

/// Nobody has any of these in its table.
fn forgotten(nodes: &[Resident], gone: &[Resident]) {
    let all: Vec<_> = gone.iter().map(|it| it.index).collect();
    for resident in nodes {
        assert_eq!(strangers(resident, gone), all, "node {} has contacts that are gone", resident.index);
    }
}

/// Those of `others` that are not in its table.
fn strangers(resident: &Resident, others: &[Resident]) -> Vec<usize> {
    let known = dht(resident).contacts();
    let is_known = |it: &&Resident| known.iter().any(|record| record.peer_id() == it.peer_id());
    others.iter().filter(|it| !is_known(it)).map(|it| it.index).collect()
}
