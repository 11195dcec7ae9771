//! Two nodes and the connections between them, explored over all interleavings of their messages.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::tests::{limits, peer};
use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Message {
    Hello,
    Accept,
    Reject,
    Stay,
    Closed,
}

#[derive(Debug, Clone, Default)]
struct Side {
    hello: bool,
    accept_sent: bool,
    accept_got: bool,
    over: bool,
}

#[derive(Debug, Clone)]
struct Conn {
    dialler: usize,
    started: bool,
    sides: [Side; 2],
    /// What is on its way to each side, in order.
    towards: [VecDeque<Message>; 2],
}

#[derive(Debug, Clone)]
struct World {
    nodes: [Registry<()>; 2],
    conns: Vec<Conn>,
    live: [BTreeSet<usize>; 2],
    /// How many connections may yet break.
    failures: usize,
    broke: bool,
    now: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Dial(usize),
    Deliver(usize, usize),
    TieBreakOver(usize),
    Break(usize),
}

const BOOT: u64 = 7;

impl World {
    fn new(diallers: &[usize], failures: usize, now: Instant) -> Self {
        let conn = |&dialler| Conn { dialler, started: false, sides: Default::default(), towards: Default::default() };
        Self {
            nodes: [0, 1].map(|side| Registry::new(peer(side), limits())),
            conns: diallers.iter().map(conn).collect(),
            live: Default::default(),
            failures,
            broke: false,
            now,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, conn) in self.conns.iter().enumerate() {
            if !conn.started {
                steps.push(Step::Dial(at));
                continue;
            }
            steps.extend((0..2).filter(|&side| !conn.towards[side].is_empty()).map(|side| Step::Deliver(at, side)));
            if self.failures > 0 && conn.sides.iter().any(|side| !side.over) {
                steps.push(Step::Break(at));
            }
        }
        steps.extend((0..2).filter(|&side| self.nodes[side].deadline().is_some()).map(Step::TieBreakOver));
        steps
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Dial(at) => {
                let dialler = self.conns[at].dialler;
                self.conns[at].started = true;
                self.conns[at].sides[dialler].hello = true;
                self.send(at, dialler, Message::Hello);
            }
            Step::Deliver(at, side) => {
                let message = self.conns[at].towards[side].pop_front().unwrap();
                if !self.conns[at].sides[side].over {
                    self.receive(at, side, message);
                }
            }
            Step::TieBreakOver(side) => {
                let late = self.now + Duration::from_secs(3600);
                let effects = self.nodes[side].poll(late);
                self.perform(side, effects);
            }
            Step::Break(at) => {
                self.failures -= 1;
                self.broke = true;
                self.conns[at].towards = Default::default();
                for side in 0..2 {
                    self.conns[at].towards[side].push_back(Message::Closed);
                }
            }
        }
    }

    fn send(&mut self, at: usize, from: usize, message: Message) {
        self.conns[at].towards[1 - from].push_back(message);
    }

    fn receive(&mut self, at: usize, side: usize, message: Message) {
        let (id, now) = (ConnectionId::new(at as u64), self.now);
        match message {
            Message::Hello => {
                if !self.conns[at].sides[side].hello {
                    self.conns[at].sides[side].hello = true;
                    self.send(at, side, Message::Hello);
                }
                let outbound = self.conns[at].dialler == side;
                let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
                let candidate = Candidate { id, peer: peer(1 - side), boot: BOOT, direction, prefix: None, dial: None };
                let (verdict, effects) = self.nodes[side].decide(now, candidate);
                self.perform(side, effects);
                match verdict {
                    Ok(()) => {
                        self.conns[at].sides[side].accept_sent = true;
                        self.send(at, side, Message::Accept);
                        self.complete(at, side);
                    }
                    Err(_) => {
                        self.conns[at].sides[side].over = true;
                        self.send(at, side, Message::Reject);
                    }
                }
            }
            Message::Accept => {
                self.conns[at].sides[side].accept_got = true;
                self.complete(at, side);
            }
            Message::Stay => {
                let effects = self.nodes[side].stay(now, id);
                self.perform(side, effects);
            }
            Message::Reject | Message::Closed => {
                assert!(
                    self.broke || !self.live[side].contains(&at),
                    "a live connection was given up by the other side"
                );
                self.conns[at].sides[side].over = true;
                self.live[side].remove(&at);
                let effects = self.nodes[side].removed(now, id);
                self.perform(side, effects);
            }
        }
    }

    fn complete(&mut self, at: usize, side: usize) {
        if self.conns[at].sides[side].accept_sent && self.conns[at].sides[side].accept_got {
            let effects = self.nodes[side].complete(self.now, ConnectionId::new(at as u64));
            self.perform(side, effects.unwrap_or_default());
        }
    }

    fn perform(&mut self, side: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Establish(id) => {
                    let at = id.get() as usize;
                    assert!(self.live[side].is_empty(), "two live connections");
                    self.live[side].insert(at);
                    if self.nodes[side].is_arbiter(peer(1 - side)) {
                        self.send(at, side, Message::Stay);
                    }
                }
                Effect::Drop(id, _) => {
                    let at = id.get() as usize;
                    assert!(!self.live[side].contains(&at), "dropped what was live");
                    self.conns[at].sides[side].over = true;
                    self.send(at, side, Message::Closed);
                }
                Effect::Close(..) => panic!("nothing here replaces a live connection"),
                Effect::Probe(_) => {}
            }
        }
    }
}

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
            assert_eq!(world.live[0], world.live[1], "the two sides disagree: {world:#?}");
            assert!(world.broke || world.live[0].len() == 1, "no connection is left: {world:#?}");
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
