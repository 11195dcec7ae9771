//! Towns with bad networks and hosts that come and go.

use std::time::Duration;

use p2p::Config;
use p2p_sim::{Bounds, Fault, Kinds, Link, Plan, Sim};

use super::tell;
use crate::town::{Outcome, RECOVERY, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

/// A town that lives through a random plan of these kinds and is well afterwards.
fn survive(sim: Sim, most: u64, kinds: Kinds, troubles: usize) -> Outcome {
    let size = 3 + (sim.seed() % most) as usize;
    // Room for everybody twice, since dials cross: a slot that is not given back is missed soon.
    let config = Config { inbound_slots: 2 * size, outbound_slots: 2 * size, ..Style::default().config };
    let town = Town::new(sim.clone(), size, &Style { config, ..Style::default() });
    town.acquaint(2);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        let hosts = town.residents.iter().map(|resident| resident.host.id());
        let bounds = Bounds { kinds, ..Bounds::new(hosts, 60 * SECOND, troubles) };
        town.endure(&Plan::random(town.sim.seed(), &bounds)).await;
        town.connected(RECOVERY).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn partition(sim: Sim) -> Outcome {
    survive(sim, 5, Kinds::NETWORK, 8)
}

pub(super) fn restarts(sim: Sim) -> Outcome {
    survive(sim, 5, Kinds { pauses: true, restarts: true, ..Kinds::NETWORK }, 10)
}

pub(super) fn handshake(sim: Sim) -> Outcome {
    let town = Town::new(sim, 2, &Style::default());
    town.acquaint(1);
    tell(town, |town| async move {
        town.residents[0].move_in();
        town.sim.sleep(SECOND).await;
        // A connection takes a few round trips of 40 ms: the trouble comes somewhere within, or just after.
        let when = Duration::from_micros(town.draw(300_000));
        let [one, other] = [town.residents[0].host.id(), town.residents[1].host.id()];
        let victim = if town.draw(2) == 0 { one } else { other };
        let (trouble, cure) = match town.draw(4) {
            0 => (Fault::Crash(victim), Fault::Restart(victim)),
            1 => (Fault::Kill(victim), Fault::Restart(victim)),
            2 => (Fault::Pause(victim), Fault::Resume(victim)),
            _ => (Fault::Partition(vec![vec![one], vec![other]]), Fault::Heal),
        };
        let lasts = Duration::from_millis(town.draw(15_000));
        let plan = Plan::new().at(when, trouble).at(when + lasts, cure);
        town.residents[1].move_in();
        town.endure(&plan).await;
        town.connected(RECOVERY).await;
        town.sim.sleep(5 * SECOND).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn churn(sim: Sim) -> Outcome {
    let town = Town::new(sim.clone(), 4 + (sim.seed() % 3) as usize, &Style::default());
    sim.network().set_default_link(Link::WAN.loss(town.draw(4) as f64 / 100.0));
    town.acquaint(3);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.model.disturb();
        for _ in 0..10 {
            let resident = town.pick();
            let other = town.pick();
            match (town.draw(3), resident.node()) {
                (0, Some(node)) => node.disconnect(&other.peer_id(), 7, "churn").await,
                (1, Some(_)) => {
                    resident.move_out().await;
                    town.sim.sleep(Duration::from_millis(town.draw(3_000))).await;
                    resident.host.restart();
                }
                _ => town.sim.sleep(Duration::from_millis(town.draw(2_000))).await,
            }
            town.model.check();
        }
        town.connected(RECOVERY).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn garbled(sim: Sim) -> Outcome {
    let town = Town::new(sim.clone(), 3, &Style::default());
    let share = |town: &Town| town.draw(10) as f64 / 100.0;
    let link = Link { corrupt: share(&town), duplicate: share(&town), reorder: share(&town), ..Link::WAN };
    sim.network().set_default_link(link);
    town.model.disturb();
    town.acquaint(2);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.sim.sleep(20 * SECOND).await;
        town.sim.network().set_default_link(Link::WAN);
        town.connected(RECOVERY).await;
        town.quiet().await;
        town.dissolve().await
    })
}
