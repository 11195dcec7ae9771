//! Nodes come and go; a network falls apart and heals.

use std::time::Duration;

use super::Scale;
use crate::live::{Live, Upkeep};
use crate::report::{Section, count, mean, percent};
use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The median session, and how often the closest node must be found.
const REQUIRED: [(Duration, &str, f64); 3] =
    [(Duration::from_secs(7200), "2 h", 0.999), (HOUR, "1 h", 0.999), (Duration::from_secs(600), "10 min", 0.99)];

/// The recall that is required in the end.
const HEALED: f64 = 0.99;

const ALL: Upkeep = Upkeep { checks: true, searches: true };
const NONE: Upkeep = Upkeep { checks: false, searches: false };

pub(crate) fn churn(scale: &Scale) -> Vec<Section> {
    let nodes = scale.pick(1_000, 60);
    let mut section = Section::new(
        "Churn",
        "1 000 nodes, each of which stays for an exponentially distributed time, goes without a word, and is \
         followed by a new one with three bootstrap peers. Contacts are checked and buckets refreshed as the table \
         says, and about once a minute a node searches for its neighbors, beginning with eight contacts drawn from \
         its whole table; off: nothing of that. Measured for an hour, after a median session and at least an hour of \
         churn, in lookups that teach the network nothing. \"Closest\" is the closest node that had joined when the \
         lookup began and was still there when it ended.",
        &["median session", "lookups", "closest found", "required", "recall@20", "closest found (off)"],
    );
    let sessions = scale.pick(&REQUIRED[..], &REQUIRED[2..]);
    for (session, name, required) in sessions.iter().copied() {
        let seeded = scale.random(session.as_secs());
        let world = World::new(nodes, &seeded);
        let (warm, lookups) = (scale.pick(session.max(HOUR), 20 * MINUTE), scale.pick(10_000, 100));
        let measure = |upkeep| {
            scale.progress(&format!("churn, {name}, {upkeep:?}"));
            let mut live = Live::new(&world, Some(session), upkeep, &seeded);
            live.run_for(warm);
            let found = live.probe(scale.pick(HOUR, 5 * MINUTE), lookups);
            (found.closest as f64 / found.probes as f64, mean(&found.recall), found.probes)
        };
        let (on, recall, probes) = measure(ALL);
        let (off, ..) = measure(NONE);
        let required_text = format!("≥ {:.1} %", required * 100.0);
        section.line(
            on >= required,
            [name.into(), count(probes), percent(on), required_text, format!("{recall:.4}"), percent(off)],
        );
    }
    vec![section]
}

pub(crate) fn partition(scale: &Scale) -> Vec<Section> {
    let nodes = scale.pick(1_000, 44);
    let mut section = Section::new(
        "Partition",
        "1 000 nodes, of which neither half can reach the other for 10 minutes. Then whoever still remembers a node \
         of the other half forgets it (harder than what is asked), and one node gets to know one of the other half. \
         Recall over the whole network. Upkeep as above; off: no refreshes and no search for neighbors.",
        &["after the partition", "recall@20", "required", "recall@20 (off)"],
    );
    // Twice the bucket refresh interval in all; each time from the one before.
    let all = [(10, "10 min"), (50, "1 h"), (60, "2 h")];
    let times = scale.pick(&all[..], &all[..2]);
    let seeded = scale.random(8);
    let world = World::new(nodes, &seeded);
    let searches_off = Upkeep { searches: false, ..ALL };
    let [on, off] = [ALL, searches_off].map(|upkeep| {
        scale.progress(&format!("partition, {upkeep:?}"));
        let mut live = Live::new(&world, None, upkeep, &seeded);
        live.run_for(10 * MINUTE);
        live.split(true);
        live.run_for(10 * MINUTE);
        live.split(false);
        live.meet_once();
        let probes = scale.pick(1_000, 50);
        // Probing takes two minutes.
        let recall = |minutes: u32| {
            live.run_for((minutes - 2) * MINUTE);
            mean(&live.probe(MINUTE, probes).recall)
        };
        times.iter().map(|(minutes, _)| *minutes).map(recall).collect::<Vec<_>>()
    });
    for (at, (_, name)) in times.iter().enumerate() {
        let required = (at + 1 == times.len()).then_some(HEALED);
        section.line(
            required.map(|required| on[at] >= required),
            [
                (*name).to_owned(),
                format!("{:.4}", on[at]),
                required.map_or_else(String::new, |required| format!("≥ {required}")),
                format!("{:.4}", off[at]),
            ],
        );
        section.without(off[at] >= HEALED);
    }
    vec![section]
}
