//! A day in a small town: what grows slowly shows here.

use std::time::Duration;

use p2p::Config;
use p2p_sim::Sim;

use super::tell;
use crate::memory;
use crate::talk::Manner;
use crate::town::{Outcome, RECOVERY, Style, Town};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// An unoptimized build has no time for more.
const HOURS: usize = if cfg!(debug_assertions) { 2 } else { 24 };

/// By then every table and buffer has the size that it needs.
const GROWN: usize = 6;

/// Some talk, one clean restart and one power failure an hour.
pub(super) fn day(sim: Sim) -> Outcome {
    let manner = Manner { pause: 20 * SECOND..90 * SECOND, size: 16..10_000 };
    let config = Config { ping_interval: 30 * SECOND, seeding_interval: 300 * SECOND, ..Style::default().config };
    let town = Town::new(sim, 5, &Style { protocols: 1, manner, config, dht: true });
    town.acquaint_with_public(1);
    tell(town, |town| async move {
        town.move_in();
        town.connected(RECOVERY).await;
        town.model.disturb();
        let mut hours: Vec<(usize, usize, usize)> = Vec::new();
        let mut memory: Vec<u64> = Vec::new();
        for hour in 1..=HOURS {
            town.sim.sleep(HOUR / 3).await;
            let leaving = town.pick();
            leaving.move_out().await;
            leaving.host.restart();
            town.sim.sleep(HOUR / 3).await;
            let failing = &town.pick().host;
            failing.crash();
            town.sim.sleep(SECOND).await;
            failing.restart();
            town.sim.sleep(HOUR / 3).await;
            town.connected(HOUR / 6).await;
            let tasks = town.residents.iter().map(|resident| resident.host.live_tasks()).sum();
            hours.push((tasks, town.sim.network().sockets(), town.sim.scheduled()));
            if let Some(kib) = memory::resident() {
                println!("{hour:>4} h {:>7.1} MiB", kib as f64 / 1024.0);
                memory.push(kib);
            }
        }
        let [early, late] = [&hours[..HOURS / 2], &hours[HOURS / 2..]].map(|half| {
            half.iter().fold((0, 0, 0), |most, hour| (most.0.max(hour.0), most.1.max(hour.1), most.2.max(hour.2)))
        });
        // Connections cross or do not, so an hour is not exactly like another.
        assert!(late.0 <= early.0 + early.0 / 4, "tasks: {hours:?}");
        assert!(late.1 <= early.1 + early.1 / 4, "sockets: {hours:?}");
        assert!(late.2 <= 2 * early.2, "timers: {hours:?}");
        if let [.., last] = memory[..] {
            let grown = memory[GROWN - 1];
            assert!(last <= grown + grown / 20, "memory in KiB, hour by hour: {memory:?}");
        }
        town.quiet().await;
        town.dissolve().await
    })
}
