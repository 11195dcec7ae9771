//! Lookups between nodes that neither come nor go.

use p2p_kademlia::LookupConfig;

use super::Scale;
use crate::drive::{Links, Reply, drive, lookup};
use crate::random::Random;
use crate::report::{Section, count, mean, quantile};
use crate::world::{K, World};

/// The reference simulation: nodes, contacts per node, hops, questions, milliseconds until the closest answered (median
/// and 95th percentile), milliseconds until the end.
const REFERENCE: [(usize, [f64; 6]); 4] = [
    (1_000, [131.0, 1.93, 21.6, 134.0, 279.0, 730.0]),
    (10_000, [198.0, 2.51, 22.9, 177.0, 356.0, 777.0]),
    (100_000, [264.0, 3.04, 24.4, 221.0, 384.0, 819.0]),
    (1_000_000, [330.0, 3.65, 25.7, 266.0, 436.0, 868.0]),
];

/// What is 1.000 with three digits.
const EXACT: f64 = 0.9995;

/// How much worse than the reference is still met.
const MARGIN: f64 = 1.1;

struct Figures {
    /// As in [`REFERENCE`].
    columns: [f64; 6],
    recall: f64,
    converged_p95: f64,
}

fn measure(world: &World, config: &LookupConfig, links: Links, lookups: usize, random: &mut Random) -> Figures {
    let mut columns: [Vec<f64>; 6] = Default::default();
    let (mut recalled, mut reached, mut ended) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..lookups {
        let local = world.key(random.below(world.len()));
        let target = random.key();
        let expected = world.closest(&target, K, |key| *key != local);
        let mut lookup = lookup(world, local, target, config);
        let trace = drive(&mut lookup, links, random, |by, target| Reply::Contacts(world.answer(by, target)));
        columns[0].push(world.at_table(&local, |table| table.len()) as f64);
        columns[1].push(f64::from(lookup.stats().hops));
        columns[2].push(lookup.stats().queries as f64);
        // Never is later than everything else.
        let first = trace.answered.get(&expected[0]);
        reached.push(first.map_or(f64::INFINITY, |after| after.as_secs_f64() * 1_000.0));
        ended.push(trace.elapsed.as_secs_f64() * 1_000.0);
        let found = lookup.closest().filter(|peer| expected.contains(&peer.key)).count();
        recalled.push(found as f64 / expected.len() as f64);
    }
    let reached = [quantile(&mut reached, 0.5), quantile(&mut reached, 0.95)];
    Figures {
        columns: [
            mean(&columns[0]),
            mean(&columns[1]),
            mean(&columns[2]),
            reached[0],
            reached[1],
            quantile(&mut ended, 0.5),
        ],
        recall: mean(&recalled),
        converged_p95: quantile(&mut ended, 0.95),
    }
}

const COLUMNS: [&str; 8] =
    ["N", "contacts/node", "hops", "RPCs", "reach closest p50", "p95", "converged p50", "recall@20"];

fn cells(name: String, figures: &[f64; 6], recall: String) -> Vec<String> {
    let [contacts, hops, rpcs, reach, reach_late, converged] = figures;
    let ms = |value: &f64| format!("{value:.0} ms");
    let numbers = [format!("{contacts:.0}"), format!("{hops:.2}"), format!("{rpcs:.1}")];
    let times = [ms(reach), ms(reach_late), ms(converged)];
    [name].into_iter().chain(numbers).chain(times).chain([recall]).collect()
}

pub(crate) fn run(scale: &Scale) -> Vec<Section> {
    let mut plain = Section::new(
        "Static tables, one path",
        "α = 3, warm connections. The first line of each pair is the reference simulation's; every figure is to be within \
         1.1× of it, and with nobody coming or going the 20 nodes found must be the 20 closest.",
        &COLUMNS,
    );
    let mut others = Section::new(
        "Static tables, other settings",
        "The same networks with what a node does by default (four paths of width 5), with what it does to write (width 8), \
         and on one path with connections that have to be made first. Nothing is required of these lines but the recall.",
        &COLUMNS,
    );
    for nodes in scale.nodes.iter().copied() {
        let world = World::new(nodes, &scale.random(nodes as u64));
        let mut random = scale.random(nodes as u64).fork(9);
        let lookups = scale.lookups(nodes);
        scale.progress(&format!("static, {nodes} nodes, {lookups} lookups"));
        let figures = measure(&world, &LookupConfig::single_path(), Links::Warm, lookups, &mut random);
        let name = count(nodes);
        let reference = REFERENCE.iter().find(|(reference, _)| *reference == nodes);
        if let Some((_, reference)) = reference {
            plain.line(None, cells(format!("{name}, reference"), reference, "1.000".into()));
        }
        let close = |(measured, reference): (&f64, &f64)| *measured <= reference * MARGIN;
        let met = reference.is_none_or(|(_, reference)| figures.columns.iter().zip(reference).all(close));
        let recall = format!("{:.3}", figures.recall);
        plain.line(met && figures.recall >= EXACT, cells(name.clone(), &figures.columns, recall));
        for (setting, config, links) in [
            ("4 paths", LookupConfig::default(), Links::Warm),
            ("4 wide paths", LookupConfig::writing(), Links::Warm),
            ("one path, cold", LookupConfig::single_path(), Links::Cold),
            ("4 paths, cold", LookupConfig::default(), Links::Cold),
        ] {
            scale.progress(&format!("static, {nodes} nodes, {setting}"));
            let figures = measure(&world, &config, links, lookups / 2, &mut random);
            let recall = format!("{:.3}", figures.recall);
            let mut cells = cells(format!("{name}, {setting}"), &figures.columns, recall);
            cells[6].push_str(&format!(" (p95 {:.0})", figures.converged_p95));
            others.line(figures.recall >= EXACT, cells);
        }
    }
    vec![plain, others]
}
