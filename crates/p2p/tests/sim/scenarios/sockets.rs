//! Towns in which processes die and sockets fail.

use std::time::Duration;

use p2p_sim::{Fault, Plan, Sim, SocketFault};

use super::tell;
use crate::talk::Manner;
use crate::town::{Outcome, RECOVERY, Resident, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

/// How long a kept peer may be away after it has started again on the same port, while the other side sends.
const BACK: Duration = SECOND;

/// The longest wait before a socket is bound anew, and a little.
const LONGEST_WAIT: Duration = Duration::from_secs(31);

pub(super) fn killed(sim: Sim) -> Outcome {
    let pause = Duration::from_millis(5)..Duration::from_millis(50);
    let town = Town::new(sim, 2, &Style { manner: Manner { pause, size: 16..400 }, ..Style::default() });
    town.acquaint(1);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.model.disturb();
        // The keeper dials the other.
        let (other, keeper) = (&town.residents[0], &town.residents[1]);
        // Of two that say nothing, the keeper dials as it starts, and asks after the other once in an interval of pings.
        let asked = keeper.ping_interval() + BACK;
        for (victim, limit, speak) in [
            (other, BACK, true),
            (keeper, BACK, true),
            (other, BACK, true),
            (keeper, BACK, false),
            (other, asked, false),
        ] {
            if !speak {
                town.quiet().await;
            }
            town.sim.sleep(Duration::from_millis(500 + town.draw(2000))).await;
            victim.host.kill();
            // Shorter than the wait before the first redial, which would find nobody.
            town.sim.sleep(Duration::from_millis(20 + town.draw(180))).await;
            let life = victim.life();
            victim.host.restart();
            // Until its program begins, what is left of the life before looks connected.
            assert!(town.sim.eventually(SECOND, || victim.life() > life).await, "the host starts again");
            town.connected(limit).await;
        }
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn sockets(sim: Sim) -> Outcome {
    let town = Town::new(sim, 4, &Style::default());
    town.acquaint(3);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        let mut plan = Plan::new();
        for resident in &town.residents {
            let host = resident.host.id();
            let at = || Duration::from_millis(town.draw(30_000));
            plan = plan
                .at(at(), Fault::Sockets { host, fault: Some(SocketFault::Once) })
                .at(at(), Fault::Sockets { host, fault: Some(SocketFault::Broken) })
                .at(at(), Fault::Sockets { host, fault: Some(SocketFault::Lasting) })
                .at(40 * SECOND, Fault::Sockets { host, fault: None });
        }
        // Somebody has to come back meanwhile, past the listeners that have failed.
        let back = town.pick().host.id();
        plan = plan.at(15 * SECOND, Fault::Kill(back)).at(20 * SECOND, Fault::Restart(back));
        town.endure(&plan).await;
        town.connected(RECOVERY).await;
        town.quiet().await;
        let all = || {
            let listening = |it: &Resident| it.node().map_or(0, |node| node.listen_endpoints().len());
            town.residents.iter().all(|resident| listening(resident) == 3)
        };
        assert!(town.sim.eventually(LONGEST_WAIT, all).await, "all listen on all transports again");
        town.dissolve().await
    })
}
