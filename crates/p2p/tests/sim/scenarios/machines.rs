//! Towns whose machines are what machines are: they have clocks, disks, descriptors, and routers.

use std::time::Duration;

use p2p::Config;
use p2p_sim::{DiskFault, Fault, NatConfig, Plan, Sim};

use super::tell;
use crate::town::{Outcome, RECOVERY, Style, Town};

const SECOND: Duration = Duration::from_secs(1);
const YEAR: i64 = 365 * 24 * 3600;

pub(super) fn offline(sim: Sim) -> Outcome {
    let town = Town::new(sim, 4, &Style::default());
    town.acquaint(3);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        let victim = town.pick().host.id();
        town.endure(&Plan::new().at(SECOND, Fault::Partition(vec![vec![victim]])).at(61 * SECOND, Fault::Heal)).await;
        town.connected(RECOVERY).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn machines(sim: Sim) -> Outcome {
    let config = Config { state_dir: Some("/var/lib/p2p".into()), ..Style::default().config };
    let town = Town::new(sim, 4, &Style { config, ..Style::default() });
    town.acquaint(3);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        let mut plan = Plan::new();
        for resident in &town.residents {
            let host = resident.host.id();
            let at = || Duration::from_millis(town.draw(30_000));
            let years = 1 + town.draw(20) as i64;
            let fault = if town.draw(2) == 0 { DiskFault::Full } else { DiskFault::Writes };
            plan = plan
                .at(at(), Fault::StepClock { host, seconds: years * YEAR })
                .at(at(), Fault::StepClock { host, seconds: -2 * years * YEAR })
                .at(at(), Fault::Disk { host, fault: Some(fault) })
                .at(at(), Fault::MaxSockets { host, most: 3 })
                .at(40 * SECOND, Fault::Disk { host, fault: None })
                .at(40 * SECOND, Fault::MaxSockets { host, most: 1024 });
        }
        // Somebody has to come back meanwhile, which needs descriptors at both ends.
        let back = town.pick().host.id();
        plan = plan.at(15 * SECOND, Fault::Kill(back)).at(20 * SECOND, Fault::Restart(back));
        town.endure(&plan).await;
        town.connected(RECOVERY).await;
        town.quiet().await;
        // Whatever was written in the meantime is whole: what is remembered is enough to find the others again.
        let last = town.residents.last().expect("there are four");
        last.keep(Vec::new());
        last.host.kill();
        town.sim.sleep(SECOND).await;
        last.host.restart();
        town.sim.sleep(SECOND).await;
        let found = || last.node().is_some_and(|node| node.peers() == 3);
        assert!(town.sim.eventually(RECOVERY, found).await, "remembered peers are connected again");
        town.model.check();
        town.dissolve().await
    })
}

pub(super) fn nat(sim: Sim) -> Outcome {
    let town = Town::behind(sim.clone(), 5, &Style::default(), |index, draw| {
        let kinds = [NatConfig::default(), NatConfig::symmetric(), NatConfig::open()];
        // The first two can be reached; the others are behind boxes and dial them.
        (index >= 2).then(|| sim.nat(kinds[draw as usize % kinds.len()].clone()))
    });
    town.acquaint_with_public(2);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.sim.sleep(10 * SECOND).await;
        town.quiet().await;
        // Longer than a mapping for datagrams lives without traffic.
        town.sim.sleep(300 * SECOND).await;
        town.model.check();
        town.connected(Duration::ZERO).await;
        town.dissolve().await
    })
}
