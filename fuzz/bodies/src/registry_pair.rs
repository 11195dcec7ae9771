//! Crossing dials between two nodes: however their messages interleave, one connection is left that both chose. See
//! `p2p_peer_pool::registry::model`.

use p2p_peer_pool::fuzzing::RegistryPair;

use crate::input::{Input, start};

/// More than any run of a few connections takes.
const MAX_STEPS: usize = 1000;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (count, who, failures) = (1 + input.below(5), input.byte(), input.below(3));
    let dialers: Vec<usize> = (0..count).map(|n| usize::from(who >> n & 1)).collect();
    let new = *input.of(&[RegistryPair::new, RegistryPair::certified, RegistryPair::blind]);
    let mut world = new(&dialers, failures, start()).losing(usize::from(input.byte() & 1));
    for _ in 0..MAX_STEPS {
        let steps = world.steps();
        if steps.is_empty() {
            return world.finish();
        }
        world.apply(*input.of(&steps));
    }
    panic!("it comes to no end");
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![[vec![1, 2, 0], vec![0; 20]].concat(), (0..60).map(|n: u8| n.wrapping_mul(101)).collect()]
}
