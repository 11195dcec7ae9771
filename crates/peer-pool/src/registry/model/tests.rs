//! All interleavings of a few connections.

use std::collections::{BTreeSet, HashSet};

use super::{Step, World};

/// Runs every interleaving; gives how many states there are.
fn explore(diallers: &[usize], failures: usize) -> usize {
    let now = crate::clock::now();
    let mut seen = HashSet::new();
    let mut open = vec![World::new(diallers, failures, now)];
    let mut ends = 0;
    while let Some(world) = open.pop() {
        let steps = world.steps();
        if steps.is_empty() {
            ends += 1;
            world.finish();
        }
        for step in steps {
            let mut next = world.clone();
            next.apply(step);
            if seen.insert(format!("{next:?}")) {
                open.push(next);
            }
        }
    }
    assert!(ends > 0);
    seen.len()
}

#[test]
fn crossing_dials_leave_one_connection_that_both_sides_chose() {
    assert!(explore(&[0, 1], 0) > 100);
    for diallers in [&[0][..], &[1], &[0, 0], &[1, 1], &[0, 0, 1], &[0, 1, 1]] {
        explore(diallers, 0);
    }
}

#[test]
fn whatever_breaks_both_sides_end_up_agreeing() {
    for diallers in [&[0][..], &[1], &[0, 1], &[0, 0], &[1, 1]] {
        explore(diallers, 1);
    }
    explore(&[0, 1], 2);
}

/// Dials that start at the same time, over links that all take one step: the arbiter's own stays.
#[test]
fn of_dials_that_cross_the_one_of_the_smaller_peer_stays() {
    let mut world = World::new(&[1, 0], 0, crate::clock::now());
    world.apply(Step::Dial(0));
    world.apply(Step::Dial(1));
    loop {
        let under_way: Vec<_> = (0..2)
            .flat_map(|at| (0..2).map(move |side| (at, side)))
            .map(|(at, side)| (at, side, world.conns[at].towards[side].len()))
            .collect();
        if under_way.iter().all(|(.., messages)| *messages == 0) {
            break;
        }
        for (at, side, messages) in under_way {
            (0..messages).for_each(|_| world.apply(Step::Deliver(at, side)));
        }
    }
    assert_eq!(world.live, [BTreeSet::from([1]), BTreeSet::from([1])]);
}
