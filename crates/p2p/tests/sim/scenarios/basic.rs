//! Towns to which nothing happens but what networks are like.

use std::time::Duration;

use p2p::Config;
use p2p_sim::{Latency, Link, Sim};

use super::tell;
use crate::talk::Manner;
use crate::town::{Outcome, RECOVERY, Style, Town};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn mesh(sim: Sim) -> Outcome {
    let town = Town::new(sim.clone(), 3 + (sim.seed() % 6) as usize, &Style::default());
    let loss = town.draw(21) as f64 / 100.0;
    sim.network().set_default_link(Link::WAN.loss(loss));
    if loss > 0.0 {
        // At 20 % in each direction a ping and all its repetitions may be lost.
        town.model.disturb();
    }
    town.acquaint(3);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.sim.sleep(20 * SECOND).await;
        if loss > 0.0 {
            town.sim.network().set_default_link(Link::WAN);
            town.connected(RECOVERY).await;
        }
        town.quiet().await;
        town.dissolve().await
    })
}

/// Dials and disconnects per world.
const ROUNDS: u64 = 25;

pub(super) fn crossing(sim: Sim) -> Outcome {
    // A slot that is not given back is missed soon.
    let config = Config { inbound_slots: 2, outbound_slots: 2, ..Style::default().config };
    let town = Town::new(sim.clone(), 2, &Style { protocols: 2, config, ..Style::default() });
    let latency = Latency::Uniform { base: Duration::from_millis(5), jitter: Duration::from_millis(10) };
    sim.network().set_default_link(Link::WAN.latency(latency));
    tell(town, |town| async move {
        town.move_in();
        let (one, other) = (&town.residents[0], &town.residents[1]);
        let up = || one.node().is_some() && other.node().is_some();
        assert!(town.sim.eventually(SECOND, up).await, "two nodes start");
        let (a, b) = (one.node().expect("it is up"), other.node().expect("it is up"));
        for round in 0..ROUNDS {
            let (to_b, to_a) = (other.endpoint(town.transport()), one.endpoint(town.transport()));
            let late = town.sim.sleep(Duration::from_micros(town.draw(30_000)));
            let dialing = async {
                late.await;
                b.connect(&to_a).await
            };
            let (at_a, at_b) = futures_util::future::join(a.connect(&to_b), dialing).await;
            assert!(at_a.is_ok() && at_b.is_ok(), "round {round}: {to_b} and {to_a}: {at_a:?}, {at_b:?}");
            let agreed = || match (a.peer(&b.peer_id()), b.peer(&a.peer_id())) {
                (Some(at_a), Some(at_b)) => {
                    at_a.direction != at_b.direction
                        && at_a.endpoint.transport() == at_b.endpoint.transport()
                        && (a.peers(), b.peers()) == (1, 1)
                }
                _ => false,
            };
            assert!(
                town.sim.eventually(10 * SECOND, agreed).await,
                "round {round}: one connection, and both know which"
            );
            town.sim.sleep(Duration::from_millis(town.draw(300))).await;
            a.disconnect(&b.peer_id(), 0, "next round").await;
            let alone = || a.peers() == 0 && b.peers() == 0;
            assert!(town.sim.eventually(10 * SECOND, alone).await, "round {round}: disconnected on both sides");
            town.model.check();
        }
        town.dissolve().await
    })
}

pub(super) fn slow_link(sim: Sim) -> Outcome {
    // More than the link takes, always: ping is all that shows whether the other side lives.
    let manner = Manner { pause: Duration::ZERO..Duration::from_millis(1), size: 1_000..60_000 };
    let town = Town::new(sim.clone(), 2, &Style { manner, ..Style::default() });
    sim.network().set_default_link(Link::WAN.bandwidth(1_000_000));
    town.acquaint(1);
    tell(town, |town| async move {
        town.move_in();
        town.connected(60 * SECOND).await;
        town.sim.sleep(90 * SECOND).await;
        town.model.check();
        town.connected(Duration::ZERO).await;
        town.sim.network().set_default_link(Link::WAN);
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn crowd(sim: Sim) -> Outcome {
    let town = Town::new(sim, 50, &Style { protocols: 2, ..Style::default() });
    town.acquaint(4);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.sim.sleep(5 * SECOND).await;
        town.quiet().await;
        town.dissolve().await
    })
}

pub(super) fn idle(sim: Sim) -> Outcome {
    let town = Town::new(sim, 10, &Style::default());
    town.acquaint(3);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.quiet().await;
        let weight = |town: &Town| {
            let tasks: usize = town.residents.iter().map(|resident| resident.host.live_tasks()).sum();
            (tasks, town.sim.network().sockets())
        };
        let before = weight(&town);
        let timers = town.sim.scheduled();
        town.sim.sleep(3600 * SECOND).await;
        assert_eq!(weight(&town), before, "an hour of silence changes nothing");
        assert!(town.sim.scheduled() <= 2 * timers, "{timers} timers became {}", town.sim.scheduled());
        town.connected(Duration::ZERO).await;
        town.dissolve().await
    })
}
