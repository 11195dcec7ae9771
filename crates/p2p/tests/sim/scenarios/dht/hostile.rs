//! Nodes of which a quarter are hostile.

use std::collections::BTreeSet;

use p2p::kademlia::Mode;
use p2p_sim::{Fault, Plan};

use super::adversary::{Adversary, Kind};
use super::*;

/// One of each kind, or of some kinds in an unoptimized build, which has time for few.
const HOSTILE: usize = if cfg!(debug_assertions) { 3 } else { Kind::ALL.len() };
const HONEST: usize = 3 * HOSTILE;
const OUTBOUND: usize = 3;

/// Lookups of each honest node.
const LOOKUPS: u8 = 3;

pub(crate) fn hostile(sim: Sim) -> Outcome {
    let town = Town::new(sim.clone(), HONEST, &style(OUTBOUND));
    town.acquaint_with_public(1);
    let kinds = Kind::ALL.into_iter().cycle().skip(sim.seed() as usize % Kind::ALL.len());
    let gang: Vec<Adversary> = kinds.take(HOSTILE).map(|kind| Adversary::new(&sim, kind)).collect();
    tell(town, |town| async move {
        // They never let a dial of a peer come to its end, so connections break.
        town.model.disturb();
        gang.iter().for_each(|it| it.move_in(&gang, &town.residents));
        move_in(&town).await;
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        town.sim.sleep(LIVENESS).await;
        let known = |it: &Resident| contacts(it, |id| gang.iter().any(|of| of.record.peer_id() == *id));
        let known: usize = town.residents.iter().map(known).sum();
        assert!(known >= HONEST, "they are hardly known, which tries nothing: {known} times");

        let vanishing = gang.iter().filter(|it| it.kind == Kind::Vanishing);
        town.endure(&vanishing.fold(Plan::new(), |plan, it| plan.at(SECOND, Fault::Crash(it.host.id())))).await;
        found(&town, &gang).await;
        town.sim.sleep(2 * LIVENESS).await;
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        found(&town, &gang).await;
        town.quiet().await;
        for resident in &town.residents {
            let (n, dht) = (resident.index, dht(resident));
            let real = |id: &PeerId| {
                let honest = town.residents.iter().any(|it| it.peer_id() == *id);
                honest || gang.iter().any(|it| it.kind != Kind::Vanishing && it.record.peer_id() == *id)
            };
            assert_eq!(contacts(resident, |id| !real(id)), 0, "node {n} knows nodes that do not exist");
            assert_eq!(dht.mode(), Mode::Server, "node {n} was told that it cannot be reached");
            let record = dht.record().expect("a server has one");
            let own = |addr: &p2p::endpoint::PeerAddr| addr.endpoint.addr().ip() == Some(resident.host.ipv4());
            assert!(record.addrs().iter().chain(record.discovery_addrs()).all(own), "node {n} is told to be elsewhere");
        }
        town.dissolve().await
    })
}

/// How many contacts are such ones.
fn contacts(resident: &Resident, such: impl Fn(&PeerId) -> bool) -> usize {
    dht(resident).contacts().iter().filter(|record| such(&record.peer_id())).count()
}

/// Every lookup reaches the closest honest node. Of the honest ones among the closest of all, the lookups together miss at most
/// one in a hundred.
pub(super) async fn found(town: &Town, gang: &[Adversary]) {
    let (mut all, mut missed, nodes) = (0, 0, town.residents.len());
    for resident in &town.residents {
        let (dht, n) = (dht(resident), resident.index);
        for at in 0..LOOKUPS {
            let target = Key::of_value(&[n as u8, at]);
            let found = dht.closest(&target).await.expect("the DHT runs");
            let found: BTreeSet<PeerId> = found.iter().map(|record| record.peer_id()).collect();
            let closest = closest(&dht, &target, &town.residents);
            assert!(found.contains(&closest[0]), "node {n} does not find the closest honest node");
            let distance = |id: &PeerId| Key::of_peer(&dht.config().network, id).distance(&target);
            // A hostile one that answers takes its place.
            let before = |id: &PeerId| gang.iter().filter(|it| distance(&it.record.peer_id()) < distance(id)).count();
            let due = closest.iter().enumerate().filter(|(n, id)| n + before(id) < K);
            for (_, id) in due {
                all += 1;
                missed += usize::from(!found.contains(id));
            }
        }
        let other = &town.residents[(n + 1) % nodes];
        let record = dht.find_peer(&other.peer_id()).await.expect("the DHT runs");
        assert!(record.is_some(), "node {n} does not find node {}", other.index);
    }
    assert!(100 * missed <= all, "lookups miss {missed} of {all} honest nodes");
}
