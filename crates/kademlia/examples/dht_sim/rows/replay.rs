//! Nodes that answer with an older version of a value.

use std::collections::BTreeMap;

use p2p_identity::KeyPair;
use p2p_kademlia::{Key, LookupConfig, StoredValue};

use super::Scale;
use crate::drive::{Links, Reply, drive, lookup};
use crate::report::{Section, count, percent};
use crate::world::World;

const REPLAYING: f64 = 0.2;
const REQUIRED: f64 = 0.999;

pub(crate) fn run(scale: &Scale) -> Vec<Section> {
    let (nodes, reads) = (scale.pick(10_000, 1_000), scale.pick(4_000, 100));
    scale.progress("replay");
    let mut random = scale.random(5).fork(9);
    let world = World::new(nodes, &scale.random(5));
    let publisher = KeyPair::from_seed([7; 32]);
    let mut right = [0, 0];
    let mut total = 0;
    for n in 0..reads as u64 {
        let versions =
            [1, 2].map(|seq| StoredValue::sign(&publisher, n.to_be_bytes().to_vec(), seq, vec![seq as u8; 32]));
        let [Ok(old), Ok(new)] = versions else { continue };
        let key = new.key();
        let replaying: Vec<bool> = (0..nodes).map(|_| random.chance(REPLAYING)).collect();
        let replays = |key: &Key| world.index(key).is_some_and(|index| replaying[index]);
        let run = |local: Key, config: &LookupConfig, random: &mut _| {
            let mut lookup = lookup(&world, local, key, config);
            let trace = drive(&mut lookup, Links::Warm, random, |by, target| Reply::Contacts(world.answer(by, target)));
            (lookup, trace)
        };
        let [writer, reader] = [world.key(random.below(nodes)), world.key(random.below(nodes))];
        // Both versions went to the same nodes; those that replay kept the old one.
        let (put, _) = run(writer, &LookupConfig::writing(), &mut random);
        let holders: BTreeMap<Key, &StoredValue> =
            put.closest().map(|peer| (peer.key, if replays(&peer.key) { &old } else { &new })).collect();
        let (get, trace) = run(reader, &LookupConfig::default(), &mut random);
        let valid = |value: &&StoredValue| value.verify_under(&key).is_ok();
        let answers = get.answered().filter_map(|peer| holders.get(&peer.key).copied()).filter(valid);
        let newest = answers.reduce(|best, value| if value.supersedes(best) { value } else { best });
        let mut in_time: Vec<_> = trace.answered.iter().collect();
        in_time.sort_by_key(|(_, after)| **after);
        let first = in_time.into_iter().find_map(|(key, _)| holders.get(key).copied());
        total += 1;
        right[0] += usize::from(newest == Some(&new));
        right[1] += usize::from(first == Some(&new));
    }
    let [on, off] = right.map(|right| right as f64 / total as f64);
    let mut section = Section::new(
        "Old records, replayed",
        "10 000 nodes, of which 20 % answer with the version before. A reader hears the closest nodes out and takes the valid \
         value with the highest sequence number. Off: it takes the first value that is valid.",
        &["reads", "newest returned", "required", "first valid answer (off)"],
    );
    section.line(on >= REQUIRED, [count(total), percent(on), "≥ 99.9 %".into(), percent(off)]);
    section.without(off >= REQUIRED);
    vec![section]
}
