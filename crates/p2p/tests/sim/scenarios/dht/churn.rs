//! Nodes that crash and come back with their disks, again and again.

use p2p_sim::{Fault, Plan};

use super::*;

/// Half of them stay. An unoptimized build has time for few.
const NODES: usize = if cfg!(debug_assertions) { 8 } else { 12 };
const OUTBOUND: usize = 3;

/// Nodes that do not come back in the end.
const LOST: usize = 2;

const TROUBLE: Duration = Duration::from_secs(240);

pub(crate) fn churn(sim: Sim) -> Outcome {
    let mut style = style(OUTBOUND);
    style.config.state_dir = Some("/var/lib/p2p".into());
    let town = Town::new(sim, NODES, &style);
    town.acquaint_with_public(1);
    tell(town, |mut town| async move {
        settle(&town).await;

        town.sim.runtime().shuffle(&mut town.residents);
        let plan = town.residents[..NODES / 2]
            .iter()
            .enumerate()
            .fold(Plan::new(), |plan, (n, resident)| come_and_go(&town, plan, resident, n >= LOST));
        town.endure(&plan).await;
        let lost: Vec<Resident> = town.residents.drain(..LOST).collect();
        lost.iter().for_each(|it| town.model.gone(it.index));
        whole(&town, &town.residents, &town.residents, RECOVERY).await;
        town.sim.sleep(2 * LIVENESS).await;
        forgotten(&town.residents, &lost);
        recall(&town.residents, &town.residents).await;
        whole(&town, &town.residents, &town.residents, SETTLED).await;
        town.quiet().await;
        town.dissolve().await
    })
}

/// A node is up for up to a minute and down for up to half of one, in turn.
fn come_and_go(town: &Town, mut plan: Plan, resident: &Resident, comes_back: bool) -> Plan {
    let host = resident.host.id();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(1 + town.draw(60_000));
        // Without power nobody is told that it is gone; a process that is ended has its sockets closed.
        plan = plan.at(at, if town.draw(4) == 0 { Fault::Kill(host) } else { Fault::Crash(host) });
        let is_last = at > TROUBLE;
        if is_last && !comes_back {
            return plan;
        }
        at += Duration::from_millis(1 + town.draw(30_000));
        plan = plan.at(at, Fault::Restart(host));
        if is_last {
            return plan;
        }
    }
}
