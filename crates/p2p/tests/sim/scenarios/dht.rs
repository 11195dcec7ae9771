//! Towns that know one address and find each other through the DHT.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use p2p::kademlia::{KademliaConfig, Key};
use p2p::{Config, PeerId};
use p2p_sim::{Fault, Plan, Sim};

use super::tell;
use crate::town::{Outcome, Resident, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

/// An unoptimized build has time for few.
const NODES: usize = if cfg!(debug_assertions) { 14 } else { 40 };
const OUTBOUND: usize = if cfg!(debug_assertions) { 2 } else { 8 };
const INBOUND: usize = 2 * OUTBOUND;

/// How long the nodes may take to find each other and fill their slots.
const SETTLED: Duration = Duration::from_secs(60);

/// How often a contact is asked for a sign of life. By default this takes twice as long, of which nothing more is learnt.
const LIVENESS: Duration = Duration::from_secs(150);

pub(super) fn thirty_percent(sim: Sim) -> Outcome {
    let config = Config {
        outbound_slots: OUTBOUND,
        inbound_slots: INBOUND,
        kademlia: KademliaConfig { refresh_interval: LIVENESS, ..KademliaConfig::default() },
        ..Style::default().config
    };
    let town = Town::new(sim, NODES, &Style { protocols: 1, config, dht: true, ..Style::default() });
    for resident in &town.residents[1..] {
        resident.keep(vec![town.residents[0].endpoint(town.transport())]);
    }
    tell(town, |mut town| async move {
        town.silence();
        for resident in &town.residents {
            resident.move_in();
            town.sim.sleep(Duration::from_millis(20)).await;
        }
        whole(&town, &town.residents, SETTLED).await;
        recall(&town.residents).await;

        let gone = 3 * NODES / 10;
        // The oldest, with the bootstrap node among them, or some of those that came later.
        let first = if town.draw(2) == 0 { 0 } else { 1 + town.draw((NODES - gone) as u64) as usize };
        let dead: Vec<Resident> = town.residents.drain(first..first + gone).collect();
        let plan = dead.iter().fold(Plan::new(), |plan, resident| plan.at(SECOND, Fault::Crash(resident.host.id())));
        town.endure(&plan).await;
        whole(&town, &town.residents, SETTLED + LIVENESS).await;
        town.sim.sleep(2 * LIVENESS).await;
        town.model.check();
        let dead: BTreeSet<PeerId> = dead.iter().map(Resident::peer_id).collect();
        for resident in &town.residents {
            let dht = resident.node().and_then(|node| node.dht()).expect("it has a DHT");
            let known = dht.contacts();
            assert!(
                known.iter().all(|record| !dead.contains(&record.peer_id())),
                "node {} knows the dead",
                resident.index
            );
        }
        recall(&town.residents).await;
        whole(&town, &town.residents, SETTLED).await;
        town.dissolve().await
    })
}

/// Waits until all are one network and every outbound slot is taken.
async fn whole(town: &Town, residents: &[Resident], limit: Duration) {
    let full = || {
        residents.iter().all(|it| it.node().is_some_and(|node| node.outbound_peers().len() == OUTBOUND))
            && components(residents) == 1
    };
    let done = town.sim.eventually(limit, full).await;
    town.model.check();
    let slots: Vec<_> = residents.iter().filter_map(Resident::node).map(|node| node.outbound_peers().len()).collect();
    assert!(done, "{} networks; outbound slots taken: {slots:?}", components(residents));
}

fn components(residents: &[Resident]) -> usize {
    let peers = |it: &Resident| it.node().map(|node| node.peer_ids()).unwrap_or_default();
    let neighbours: BTreeMap<PeerId, Vec<PeerId>> = residents.iter().map(|it| (it.peer_id(), peers(it))).collect();
    let mut left: BTreeSet<PeerId> = neighbours.keys().copied().collect();
    let mut count = 0;
    while let Some(first) = left.pop_first() {
        count += 1;
        let mut open = vec![first];
        while let Some(next) = open.pop() {
            open.extend(neighbours.get(&next).into_iter().flatten().filter(|peer| left.remove(peer)));
        }
    }
    count
}

/// The lookups of a few nodes find exactly the closest of all.
async fn recall(residents: &[Resident]) {
    for (n, resident) in residents.iter().enumerate().step_by(7) {
        let dht = resident.node().and_then(|node| node.dht()).expect("it has a DHT");
        let target = Key::of_value(&[n as u8]);
        let found = dht.closest(&target).await.expect("the DHT runs");
        let network = &dht.config().network;
        let mut all: Vec<PeerId> = residents.iter().map(Resident::peer_id).filter(|id| *id != dht.peer_id()).collect();
        all.sort_by_key(|id| Key::of_peer(network, id).distance(&target));
        let found: BTreeSet<PeerId> = found.iter().map(|record| record.peer_id()).collect();
        let missed = all.iter().take(20).filter(|id| !found.contains(id)).count();
        assert_eq!(missed, 0, "node {} misses {missed} of the 20 closest nodes", resident.index);
    }
}
