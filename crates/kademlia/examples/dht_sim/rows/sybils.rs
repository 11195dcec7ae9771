//! Ids ground so close to a key that they are all a plain lookup finds.

use std::collections::BTreeSet;

use p2p_kademlia::{Distance, Key, Lookup, LookupConfig, RegionLookup, RttEstimator, SizeEstimator};

use super::Scale;
use crate::drive::{Links, Reply, drive, lookup, seeds};
use crate::random::Random;
use crate::report::{Section, mean, percent};
use crate::world::{K, Peer, World, start};

/// None for comparison.
const SYBILS: [usize; 4] = [0, 20, 40, 100];

/// Of those who put and then get.
const REQUIRED: f64 = 0.99;

/// Lookups after which a node knows how large the network is.
const ESTIMATES: usize = 8;

/// A network in which some nodes sit closer to a key than any honest one.
struct Besieged {
    world: World,
    key: Key,
    sybils: BTreeSet<Key>,
    sorted: Vec<Key>,
}

impl Besieged {
    fn new(honest: &World, count: usize, random: &mut Random) -> Self {
        let key = random.key();
        let best = honest.closest(&key, 1, |_| true)[0];
        let bits = key.common_prefix_len(&best) + 1;
        let sybils: BTreeSet<Key> = (0..count).map(|_| random.key_near(&key, bits)).collect();
        Self { world: honest.with(sybils.iter().copied()), key, sorted: sybils.iter().copied().collect(), sybils }
    }

    fn honest(&self, random: &mut Random) -> Key {
        let anyone = std::iter::repeat_with(|| self.world.key(random.below(self.world.len())));
        { anyone }.find(|key| !self.sybils.contains(key)).unwrap_or(self.key)
    }

    fn reply(&self, by: &Key, target: &Key) -> Reply {
        if !self.sybils.contains(by) {
            return Reply::Contacts(self.world.answer(by, target));
        }
        let mut named = self.sorted.clone();
        named.sort_unstable_by_key(|key| target.distance(key));
        Reply::Contacts(named.into_iter().take(K).map(|key| Peer { key, ip: None }).collect())
    }

    fn plain(&self, local: Key, target: Key, config: &LookupConfig, random: &mut Random) -> Lookup<Peer> {
        let mut lookup = lookup(&self.world, local, target, config);
        drive(&mut lookup, Links::Warm, random, |by, target| self.reply(by, target));
        lookup
    }

    fn region(&self, local: Key, config: &LookupConfig, random: &mut Random) -> RegionLookup<Peer> {
        let radius = self.radius(local, random);
        let seeds = seeds(&self.world, local, self.key, config);
        let rtt = RttEstimator::default();
        let mut region = RegionLookup::new(local, self.key, radius, seeds, config.clone(), rtt, start());
        drive(&mut region, Links::Warm, random, |by, target| self.reply(by, target));
        region
    }

    /// The distance of the k-th closest node, as this node estimates it from lookups of its own.
    fn radius(&self, local: Key, random: &mut Random) -> Distance {
        let mut estimator = SizeEstimator::new();
        for _ in 0..ESTIMATES {
            let target = random.key();
            let lookup = self.plain(local, target, &LookupConfig::single_path(), random);
            estimator.add(&target, lookup.closest().map(|peer| peer.key));
        }
        estimator.kth_distance(K).unwrap_or(Distance::MAX)
    }
}

#[derive(Default)]
struct Outcome {
    kept: usize,
    put_queries: Vec<f64>,
    get_queries: Vec<f64>,
    holders: Vec<f64>,
}

/// To every node of the region, and from there.
fn with_region(network: &Besieged, random: &mut Random, outcome: &mut Outcome) {
    let [publisher, reader] = [network.honest(random), network.honest(random)];
    let put = network.region(publisher, &LookupConfig::writing(), random);
    let holders: BTreeSet<Key> = put.found().map(|peer| peer.key).filter(|key| !network.sybils.contains(key)).collect();
    let plain = network.plain(reader, network.key, &LookupConfig::default(), random);
    let mut queries = plain.stats().queries;
    let mut found = plain.answered().any(|peer| holders.contains(&peer.key));
    if !found {
        let region = network.region(reader, &LookupConfig::default(), random);
        queries += region.stats().queries;
        found = region.found().any(|peer| holders.contains(&peer.key));
    }
    if !found {
        let r = network.radius(publisher, random);
        eprintln!(
            "holders {} radius lz {} frac {} key-best {} put found {} stats {:?} depths {:?}",
            holders.len(),
            r.leading_zeros(),
            r.fraction(),
            network.key.common_prefix_len(&network.world.closest(&network.key, 1, |k| !network.sybils.contains(k))[0]),
            put.found().count(),
            put.stats(),
            put.found().map(|p| p.key.common_prefix_len(&network.key)).collect::<Vec<_>>()
        );
    }
    outcome.kept += usize::from(found);
    outcome.holders.push(holders.len() as f64);
    outcome.put_queries.push(put.stats().queries as f64);
    outcome.get_queries.push(queries as f64);
}

/// To the k closest nodes, and from them.
fn without(network: &Besieged, random: &mut Random, outcome: &mut Outcome) {
    let [publisher, reader] = [network.honest(random), network.honest(random)];
    let put = network.plain(publisher, network.key, &LookupConfig::writing(), random);
    let holders: BTreeSet<Key> =
        put.closest().map(|peer| peer.key).filter(|key| !network.sybils.contains(key)).collect();
    let get = network.plain(reader, network.key, &LookupConfig::default(), random);
    outcome.kept += usize::from(get.answered().any(|peer| holders.contains(&peer.key)));
}

pub(crate) fn run(scale: &Scale) -> Vec<Section> {
    let (nodes, trials) = (scale.pick(5_000, 1_000), scale.pick(1_000, 10));
    let mut section = Section::new(
        "Sybils around a key",
        "5 000 honest nodes, and sybils closer to the key than any of them, each at an address prefix of its own. They accept \
         what is stored and forget it, and name only one another. Off: put to and get from the 20 closest nodes. The radius of \
         the region is what the nodes themselves estimate from eight lookups.",
        &["sybils", "put then get", "required", "k-closest (off)", "honest holders", "RPCs of put", "of get"],
    );
    for sybils in scale.pick(&SYBILS[..], &SYBILS[2..3]).iter().copied() {
        scale.progress(&format!("sybils, {sybils}"));
        let seeded = scale.random(sybils as u64);
        let honest = World::new(nodes, &seeded);
        let mut random = seeded.fork(9);
        let (mut on, mut off) = (Outcome::default(), Outcome::default());
        for _ in 0..trials {
            let network = Besieged::new(&honest, sybils, &mut random);
            with_region(&network, &mut random, &mut on);
            without(&network, &mut random, &mut off);
        }
        let share = |kept: usize| kept as f64 / trials as f64;
        section.line(
            (sybils > 0).then_some(share(on.kept) >= REQUIRED),
            [
                sybils.to_string(),
                percent(share(on.kept)),
                if sybils > 0 { "≥ 99 %".into() } else { String::new() },
                percent(share(off.kept)),
                format!("{:.1}", mean(&on.holders)),
                format!("{:.0}", mean(&on.put_queries)),
                format!("{:.0}", mean(&on.get_queries)),
            ],
        );
        section.without(share(off.kept) >= REQUIRED);
    }
    vec![section]
}
