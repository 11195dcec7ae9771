//! Nodes of which three in ten are gone at once.

use p2p_sim::{Fault, Plan};

use super::*;

/// An unoptimized build has time for few.
const NODES: usize = if cfg!(debug_assertions) { 14 } else { 40 };
const OUTBOUND: usize = if cfg!(debug_assertions) { 2 } else { 8 };

pub(crate) fn crash(sim: Sim) -> Outcome {
    let mut style = style(OUTBOUND);
    style.config.kademlia.lookup = LookupConfig::default();
    style.config.seeding_interval = 2 * SEEDING;
    let town = Town::new(sim, NODES, &style);
    town.acquaint_with_public(1);
    tell(town, |mut town| async move {
        town.silence();
        settle(&town).await;

        let gone = 3 * NODES / 10;
        // The oldest, with the bootstrap node among them, or some of those that came later.
        let first = if town.draw(2) == 0 { 0 } else { 1 + town.draw((NODES - gone) as u64) as usize };
        let dead: Vec<Resident> = town.residents.drain(first..first + gone).collect();
        let plan = dead.iter().fold(Plan::new(), |plan, resident| plan.at(SECOND, Fault::Crash(resident.host.id())));
        town.endure(&plan).await;
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        town.sim.sleep(2 * LIVENESS).await;
        town.model.check();
        forgotten(&town.residents, &dead);
        recall(&town.residents, &town.residents).await;
        whole(&town, &town.residents, &town.residents, SETTLED).await;
        town.dissolve().await
    })
}
