//! Whose dial begins when, against a plain list: in the order in which they came, within the bounds, the longest silent gives way,
//! and whoever waits has its turn.

use std::time::{Duration, Instant};

use p2p_peer_pool::fuzzing::{Turn, Turns};

use crate::input::{Input, start};

const FRESH: Duration = Duration::from_millis(150);

#[derive(Clone, Copy)]
struct Dial {
    id: u64,
    /// When it got further last; `None` while it waits.
    at: Option<Instant>,
}

/// All dials that wait or are under way, in the order in which they came.
struct Model {
    fresh: usize,
    all: usize,
    fresh_for: Option<Duration>,
    dials: Vec<Dial>,
}

impl Model {
    fn fresh(&self, now: Instant) -> usize {
        let is_fresh = |at: Instant| self.fresh_for.is_none_or(|fresh_for| now < at + fresh_for);
        self.dials.iter().filter_map(|dial| dial.at).filter(|at| is_fresh(*at)).count()
    }

    fn running(&self) -> usize {
        self.dials.iter().filter(|dial| dial.at.is_some()).count()
    }

    fn waiting(&self) -> Vec<u64> {
        self.dials.iter().filter(|dial| dial.at.is_none()).map(|dial| dial.id).collect()
    }

    fn leave(&mut self, id: u64) {
        self.dials.retain(|dial| dial.id != id);
    }

    fn poll(&mut self, now: Instant) -> Option<Turn> {
        let full = self.running() >= self.all;
        let room = self.fresh(now) < self.fresh;
        let next = self.dials.iter_mut().find(|dial| dial.at.is_none()).filter(|_| room)?;
        if full {
            let silent = self.dials.iter().filter_map(|dial| Some((dial.at?, dial.id))).min();
            let (_, id) = silent.expect("somebody is under way");
            self.leave(id);
            return Some(Turn::GiveUp(id));
        }
        next.at = Some(now);
        Some(Turn::Begin(next.id))
    }
}

struct Both {
    turns: Turns,
    model: Model,
    begun: Option<u64>,
}

impl Both {
    /// Lets all begin that may. Gives who has.
    fn act(&mut self, now: Instant) -> Vec<u64> {
        let mut begun = Vec::new();
        loop {
            let turn = self.turns.poll(now);
            assert_eq!(turn, self.model.poll(now));
            match turn {
                None => break,
                Some(Turn::GiveUp(_)) => assert!(self.model.fresh_for.is_some(), "it gives way to nobody"),
                Some(Turn::Begin(id)) => {
                    assert!(self.begun < Some(id), "before its turn");
                    self.begun = Some(id);
                    begun.push(id);
                }
            }
        }
        let Self { turns, model, .. } = self;
        assert!(model.running() <= model.all);
        for Dial { id, at } in &model.dials {
            assert_eq!(turns.fresh_until(*id), at.zip(model.fresh_for).map(|(at, fresh_for)| at + fresh_for));
        }
        let waiting = model.waiting();
        assert_eq!(turns.has_room(now), waiting.is_empty() && model.fresh(now) < model.fresh);
        // Whoever polls when a dial is fresh no longer comes in time for those that wait.
        let due = |dial: &Dial| turns.fresh_until(dial.id).is_some_and(|until| until > now);
        assert!(waiting.is_empty() || model.fresh_for.is_none() || model.dials.iter().any(due), "nobody wakes it");
        begun
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let fresh = 1 + input.below(3);
    let all = fresh + input.below(5);
    let fresh_for = (input.below(4) > 0).then_some(FRESH);
    // Those that give way to nobody are as many as may be fresh.
    let all = if fresh_for.is_some() { all } else { fresh };
    let model = Model { fresh, all, fresh_for, dials: Vec::new() };
    let mut both = Both { turns: Turns::new(fresh, all, fresh_for), model, begun: None };
    let (mut now, mut entered) = (start(), 0);
    while !input.is_empty() {
        let [what, which] = input.any::<[u8; 2]>();
        // Now and then one that never was or that is over.
        let count = both.model.dials.len() + 1;
        let picked = both.model.dials.get(usize::from(which) % count).map_or(u64::from(which), |dial| dial.id);
        match what % 8 {
            0..=2 => {
                let room = both.turns.has_room(now);
                let id = both.turns.enter();
                assert_eq!(id, entered, "a name is used twice");
                entered += 1;
                both.model.dials.push(Dial { id, at: None });
                assert_eq!(both.act(now).contains(&id), room, "it does not begin though there is room");
                continue;
            }
            3 | 4 => {
                both.turns.progress(picked, now);
                let at = both.model.dials.iter_mut().filter(|dial| dial.id == picked).find_map(|dial| dial.at.as_mut());
                at.into_iter().for_each(|at| *at = now);
            }
            5 => {
                both.turns.leave(picked);
                both.model.leave(picked);
            }
            _ => now += Duration::from_millis(u64::from(which)),
        }
        both.act(now);
    }
    // Whatever the others do, or if they do nothing, everybody has its turn, as fast as the bounds allow.
    let waiting = both.model.waiting();
    for _ in 0..waiting.len().div_ceil(fresh) {
        now += FRESH;
        if fresh_for.is_none() {
            let under_way: Vec<u64> =
                both.model.dials.iter().filter(|dial| dial.at.is_some()).map(|dial| dial.id).collect();
            for id in under_way {
                both.turns.leave(id);
                both.model.leave(id);
            }
        }
        both.act(now);
    }
    assert_eq!(both.model.waiting(), [], "somebody waits for ever");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let many = [0, 0].repeat(12);
    vec![
        [&[1, 3, 1][..], &many, &[6, 150, 6, 150, 3, 2, 6, 149, 6, 1, 5, 0, 6, 150]].concat(),
        [&[2, 0, 0][..], &many, &[6, 255, 5, 0, 5, 1, 3, 0, 5, 12]].concat(),
        [&[0, 4, 2][..], &[0, 0, 3, 0, 6, 100].repeat(10)].concat(),
    ]
}
