//! Whose dial begins when, with dials as numbers, for fuzzing.

use std::time::{Duration, Instant};

use super::{TurnAction, TurnId, TurnLimits};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This dial may begin.
    Begin(u64),
    /// This one gives way.
    GiveUp(u64),
}

/// Dials of one kind, which are named in the order in which they come: 0, 1, and so on.
#[derive(Debug)]
pub struct Turns(super::Turns);

impl Turns {
    /// So many are fresh at the same time, for so long, of so many in all.
    pub fn new(fresh: usize, all: usize, fresh_for: Option<Duration>) -> Self {
        Self(super::Turns::new(TurnLimits { fresh, all, fresh_for }))
    }

    /// Somebody waits for its turn.
    pub fn enter(&mut self) -> u64 {
        self.0.enter().0
    }

    /// What to do next.
    pub fn poll(&mut self, now: Instant) -> Option<Turn> {
        self.0.poll(now).map(|action| match action {
            TurnAction::Begin(id) => Turn::Begin(id.0),
            TurnAction::GiveUp(id) => Turn::GiveUp(id.0),
        })
    }

    /// Whether somebody who came now would begin at once.
    pub fn has_room(&self, now: Instant) -> bool {
        self.0.has_room(now)
    }

    /// A dial got further.
    pub fn progress(&mut self, id: u64, now: Instant) {
        self.0.progress(TurnId(id), now);
    }

    /// A dial is over, or does not wait any longer.
    pub fn leave(&mut self, id: u64) {
        self.0.leave(TurnId(id));
    }

    /// Until when a dial is fresh.
    pub fn fresh_until(&self, id: u64) -> Option<Instant> {
        self.0.fresh_until(TurnId(id))
    }
}
