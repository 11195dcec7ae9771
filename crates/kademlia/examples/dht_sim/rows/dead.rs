//! Tables full of nodes that are gone.

use p2p_kademlia::LookupConfig;

use super::Scale;
use crate::drive::{Links, Reply, drive, lookup};
use crate::report::{Section, count, mean, quantile};
use crate::world::{K, World};

/// The share of dead entries, and the recall@20 that is required.
const REQUIRED: [(f64, f64); 4] = [(0.1, 0.98), (0.2, 0.95), (0.3, 0.92), (0.5, 0.87)];

pub(crate) fn run(scale: &Scale) -> Vec<Section> {
    let nodes = scale.pick(100_000, 1_000);
    let mut section = Section::new(
        "Dead entries",
        "Of all nodes, and so of all table entries, some died a moment ago and nobody noticed. 100 000 nodes, one path unless \
         stated. Nobody answers for the dead, not even with a refusal.",
        &["dead", "closest found", "recall@20", "required", "RPCs", "converged p50"],
    );
    // What half of a small network still finds is no matter of its lookups.
    for (dead, required) in scale.pick(&REQUIRED[..], &REQUIRED[..3]).iter().copied() {
        for (setting, config) in [("", LookupConfig::single_path()), (", 4 paths", LookupConfig::default())] {
            scale.progress(&format!("dead, {dead}{setting}"));
            let seeded = scale.random((dead * 100.0) as u64);
            let world = World::new(nodes, &seeded);
            let mut random = seeded.fork(9);
            let is_dead: Vec<bool> = (0..nodes).map(|_| random.chance(dead)).collect();
            let lives = |key: &_| world.index(key).is_some_and(|index| !is_dead[index]);
            let (mut found, mut recalled, mut queries, mut ended) = (0, Vec::new(), Vec::new(), Vec::new());
            let lookups = scale.lookups(nodes);
            for _ in 0..lookups {
                let local =
                    std::iter::repeat_with(|| world.key(random.below(nodes))).find(lives).unwrap_or(world.key(0));
                let target = random.key();
                let expected = world.closest(&target, K, |key| lives(key) && *key != local);
                let mut lookup = lookup(&world, local, target, &config);
                let trace = drive(&mut lookup, Links::Warm, &mut random, |by, target| match lives(by) {
                    true => Reply::Contacts(world.answer(by, target)),
                    false => Reply::Nothing,
                });
                found += usize::from(trace.answered.contains_key(&expected[0]));
                let recall = lookup.closest().filter(|peer| expected.contains(&peer.key)).count();
                recalled.push(recall as f64 / K as f64);
                queries.push(lookup.stats().queries as f64);
                ended.push(trace.elapsed.as_secs_f64());
            }
            let recall = mean(&recalled);
            let required_text = match setting {
                "" => format!("all, {required}"),
                _ => String::new(),
            };
            let met = setting.is_empty().then_some(found == lookups && recall >= required);
            section.line(
                met,
                [
                    format!("{:.0} %{setting}", dead * 100.0),
                    format!("{} of {}", count(found), count(lookups)),
                    format!("{recall:.3}"),
                    required_text,
                    format!("{:.1}", mean(&queries)),
                    format!("{:.2} s", quantile(&mut ended, 0.5)),
                ],
            );
        }
    }
    vec![section]
}
