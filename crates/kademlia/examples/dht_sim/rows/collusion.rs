//! Nodes that answer with one another, whatever they are asked.

use p2p_kademlia::{Key, LookupConfig};

use super::Scale;
use crate::drive::{Links, Reply, drive, lookup};
use crate::random::Random;
use crate::report::{Section, mean, percent};
use crate::world::{K, Peer, World};

/// The share of colluding nodes, and how often the closest honest one must be reached.
const REQUIRED: [(f64, f64); 3] = [(0.2, 0.999), (0.3, 0.999), (0.5, 0.99)];

/// How colluding nodes choose whom to name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The closest of them, all the same ones.
    Closest,
    /// Each time others, of this many times as many.
    Varied(usize),
}

struct Network {
    world: World,
    colludes: Vec<bool>,
}

impl Network {
    fn is_honest(&self, key: &Key) -> bool {
        self.world.index(key).is_some_and(|index| !self.colludes[index])
    }
}

/// How often the closest honest node was reached, and questions per lookup.
fn reached(network: &Network, config: &LookupConfig, named: Named, lookups: usize, random: &mut Random) -> (f64, f64) {
    let (mut reached, mut queries) = (0, Vec::new());
    for _ in 0..lookups {
        let anyone = std::iter::repeat_with(|| network.world.key(random.below(network.world.len())));
        let Some(local) = { anyone }.find(|key| network.is_honest(key)) else { continue };
        let target = random.key();
        let best = network.world.closest(&target, 1, |key| network.is_honest(key) && *key != local);
        let pool = K * if let Named::Varied(times) = named { times } else { 1 };
        let liars = network.world.closest(&target, pool, |key| !network.is_honest(key));
        let mut choice = random.fork(1);
        let mut lookup = lookup(&network.world, local, target, config);
        let trace = drive(&mut lookup, Links::Warm, random, |by, target| {
            if network.is_honest(by) {
                return Reply::Contacts(network.world.answer(by, target));
            }
            let chosen = choice.sample(liars.len(), K);
            Reply::Contacts(chosen.into_iter().map(|one| Peer { key: liars[one], ip: None }).collect())
        });
        reached += usize::from(best.iter().all(|key| trace.answered.contains_key(key)));
        queries.push(lookup.stats().queries as f64);
    }
    (reached as f64 / lookups as f64, mean(&queries))
}

pub(crate) fn run(scale: &Scale) -> Vec<Section> {
    let nodes = scale.pick(10_000, 2_000);
    let mut section = Section::new(
        "Colluding nodes",
        "10 000 nodes. A colluding node answers with the 20 colluding ones closest to the target, or with 20 drawn from the \
         closest 60; in the tables there are as many of them as among the nodes. How often the closest honest node answers a \
         lookup; the defence is what tells four wide paths from one.",
        &["colluding", "4 paths, width 8", "required", "RPCs", "one path (off)", "4 paths, width 5", "RPCs"],
    );
    let shares = scale.pick(&REQUIRED[..], &REQUIRED[2..]);
    for (share, required) in shares.iter().copied() {
        let seeded = scale.random((share * 1000.0) as u64);
        let mut random = seeded.fork(9);
        let world = World::new(nodes, &seeded);
        let colludes = (0..nodes).map(|_| random.chance(share)).collect();
        let network = Network { world, colludes };
        for (how, named) in [("", Named::Closest), (", varied", Named::Varied(3))] {
            scale.progress(&format!("collusion, {share}{how}"));
            let mut measure = |config| reached(&network, &config, named, scale.lookups(nodes), &mut random);
            let (wide, wide_queries) = measure(LookupConfig::writing());
            let (single, _) = measure(LookupConfig::single_path());
            let (narrow, narrow_queries) = measure(LookupConfig::default());
            section.line(
                how.is_empty().then_some(wide >= required),
                [
                    format!("{:.0} %{how}", share * 100.0),
                    percent(wide),
                    if how.is_empty() { format!("≥ {} %", required * 100.0) } else { String::new() },
                    format!("{wide_queries:.1}"),
                    percent(single),
                    percent(narrow),
                    format!("{narrow_queries:.1}"),
                ],
            );
            section.without(single >= required);
        }
    }
    vec![section]
}
