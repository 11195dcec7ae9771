//! All interleavings of a few connections.

use std::collections::{BTreeSet, HashSet};

use super::{Step, World};

/// Runs every interleaving; gives how many states there are.
fn explore(dialers: &[usize], failures: usize) -> usize {
    let now = crate::clock::now();
    let worlds = [World::new, World::certified, World::blind].map(|world| world(dialers, failures, now));
    worlds.into_iter().map(explore_from).sum()
}

fn explore_from(world: World) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![world];
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
    for dialers in [&[0][..], &[1], &[0, 0], &[1, 1], &[0, 0, 1], &[0, 1, 1]] {
        explore(dialers, 0);
    }
}

#[test]
fn whatever_breaks_both_sides_end_up_agreeing() {
    for dialers in [&[0][..], &[1], &[0, 1], &[0, 0], &[1, 1]] {
        explore(dialers, 1);
    }
    explore(&[0, 1], 2);
}

/// One side loses a connection and the other still holds it: whoever dials after that gets through, nothing that both
/// sides hold is ever replaced, and late messages of what was lost change nothing.
#[test]
fn who_has_lost_a_connection_gets_another_at_once() {
    for new in [World::new, World::certified, World::blind] {
        let world = |dialers: &[usize]| new(dialers, 0, crate::clock::now()).losing(1);
        for dialers in [&[0][..], &[1], &[0, 0], &[1, 1], &[0, 1]] {
            explore_from(world(dialers));
        }
        explore_from(world(&[0, 1]).losing(2));
    }
}

/// Over plain tcp a dial may not know who will answer. It claims nothing then, and so replaces nothing.
#[test]
fn dials_to_nobody_in_particular_never_make_the_sides_disagree() {
    let world = |dialers: &[usize]| World::new(dialers, 0, crate::clock::now()).losing(1).uninformed();
    for dialers in [[0, 0], [0, 1], [1, 1]] {
        explore_from(world(&dialers));
    }
}

/// Runs dials over links that all take one step, the second dial so many steps after the first.
fn in_step(mut world: World, later: usize) -> World {
    world.apply(Step::Dial(0));
    for step in 0.. {
        if step == later {
            world.apply(Step::Dial(1));
        }
        let under_way: Vec<_> = (0..2)
            .flat_map(|at| (0..2).map(move |side| (at, side)))
            .map(|(at, side)| (at, side, world.conns[at].towards[side].len()))
            .collect();
        if step > later && under_way.iter().all(|(.., messages)| *messages == 0) {
            break;
        }
        for (at, side, messages) in under_way {
            for _ in 0..messages {
                let deliver = Step::Deliver(at, side);
                // What a side leaves for later comes in a later step.
                if world.steps().contains(&deliver) {
                    world.apply(deliver);
                }
            }
        }
    }
    world
}

/// Dials that start at the same time: the arbiter's own stays.
#[test]
fn of_dials_that_cross_the_one_of_the_smaller_peer_stays() {
    for world in [World::new, World::certified, World::blind] {
        let world = in_step(world(&[1, 0], 0, crate::clock::now()), 0);
        assert_eq!(world.live, [BTreeSet::from([1]), BTreeSet::from([1])]);
    }
}

/// A dial that nothing crosses is spoken on early, whoever dials.
#[test]
fn a_dialer_does_not_wait_without_a_reason() {
    for dialer in [0, 1] {
        for later in [4, 10] {
            let world = in_step(World::certified(&[dialer, 1 - dialer], 0, crate::clock::now()), later);
            assert!(world.conns[0].sides[dialer].early, "{world:#?}");
            assert_eq!(world.live, [BTreeSet::from([0]), BTreeSet::from([0])]);
        }
    }
}
