//! Whose dial begins when. No I/O.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A dial that nobody has answered for so long lets the next one begin. Most of who is there answers sooner.
pub(crate) const FRESH: Duration = Duration::from_millis(150);

/// The bounds of one kind of dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TurnLimits {
    /// Fresh dials at the same time.
    pub(crate) fresh: usize,
    /// Dials at the same time.
    pub(crate) all: usize,
    /// How long a dial is fresh after its beginning, and after its progress. Without it, it is until it is over, and gives way to
    /// nobody.
    pub(crate) fresh_for: Option<Duration>,
}

/// Names a dial. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TurnId(u64);

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnAction {
    /// This dial may begin.
    Begin(TurnId),
    /// This one ends, for another to begin. It is forgotten already.
    GiveUp(TurnId),
}

/// Lets dials begin in the order in which they asked. Those that are silent keep nobody waiting: each goes on beside the fresh
/// ones while there is room, and the one longest without progress gives way when there is none.
#[derive(Debug)]
pub(crate) struct Turns {
    limits: TurnLimits,
    next: u64,
    waiting: BTreeSet<TurnId>,
    /// Those under way, and when each got further last.
    running: BTreeMap<TurnId, Instant>,
    by_progress: BTreeSet<(Instant, TurnId)>,
}

impl Turns {
    pub(crate) fn new(limits: TurnLimits) -> Self {
        Self { limits, next: 0, waiting: BTreeSet::new(), running: BTreeMap::new(), by_progress: BTreeSet::new() }
    }

    /// Somebody is to be dialed, and waits for its turn.
    pub(crate) fn enter(&mut self) -> TurnId {
        let id = TurnId(self.next);
        self.next += 1;
        self.waiting.insert(id);
        id
    }

    /// What to do next, until there is nothing: `None`. Call it after everything that has happened, and when a dial is
    /// [fresh no longer](Self::fresh_until).
    pub(crate) fn poll(&mut self, now: Instant) -> Option<TurnAction> {
        let id = *self.waiting.first()?;
        if !self.has_fresh_room(now) {
            return None;
        }
        if self.running.len() >= self.limits.all {
            let (_, oldest) = *self.by_progress.first()?;
            self.leave(oldest);
            return Some(TurnAction::GiveUp(oldest));
        }
        self.waiting.remove(&id);
        self.running.insert(id, now);
        self.by_progress.insert((now, id));
        Some(TurnAction::Begin(id))
    }

    /// Whether somebody who came now would begin at once.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        self.waiting.is_empty() && self.has_fresh_room(now)
    }

    fn has_fresh_room(&self, now: Instant) -> bool {
        let is_fresh = |at: Instant| self.limits.fresh_for.is_none_or(|fresh_for| at + fresh_for > now);
        let fresh = self.by_progress.iter().rev().take_while(|(at, _)| is_fresh(*at));
        fresh.take(self.limits.fresh).count() < self.limits.fresh
    }

    /// A dial got further. Ignored for one that is not under way.
    pub(crate) fn progress(&mut self, id: TurnId, now: Instant) {
        let Some(at) = self.running.get_mut(&id) else { return };
        self.by_progress.remove(&(*at, id));
        *at = now.max(*at);
        self.by_progress.insert((*at, id));
    }

    /// A dial is over, or is wanted no longer. Ignored for one that is over already.
    pub(crate) fn leave(&mut self, id: TurnId) {
        self.waiting.remove(&id);
        if let Some(at) = self.running.remove(&id) {
            self.by_progress.remove(&(at, id));
        }
    }

    /// Until when a dial under way is fresh, if it gets no further; `None` when it is not under way, or fresh until it is over.
    pub(crate) fn fresh_until(&self, id: TurnId) -> Option<Instant> {
        Some(*self.running.get(&id)? + self.limits.fresh_for?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TurnLimits = TurnLimits { fresh: 2, all: 5, fresh_for: Some(FRESH) };

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn begun(turns: &mut Turns, now: Instant) -> Vec<TurnAction> {
        std::iter::from_fn(|| turns.poll(now)).collect()
    }

    #[test]
    fn the_silent_let_the_next_begin_and_the_longest_silent_gives_way() {
        let (mut turns, now) = (Turns::new(LIMITS), start());
        let ids: Vec<_> = (0..8).map(|_| turns.enter()).collect();
        use TurnAction::{Begin, GiveUp};
        assert_eq!(begun(&mut turns, now), [Begin(ids[0]), Begin(ids[1])]);
        assert_eq!(turns.fresh_until(ids[0]), Some(now + FRESH));
        assert_eq!(begun(&mut turns, now + FRESH), [Begin(ids[2]), Begin(ids[3])]);
        turns.progress(ids[0], now + FRESH);
        // One of the two that are fresh goes, and one that got further is fresh.
        turns.leave(ids[3]);
        assert_eq!(begun(&mut turns, now + FRESH), []);
        assert_eq!(begun(&mut turns, now + 2 * FRESH), [Begin(ids[4]), Begin(ids[5])]);
        let third = begun(&mut turns, now + 3 * FRESH);
        assert_eq!(third, [GiveUp(ids[1]), Begin(ids[6]), GiveUp(ids[0]), Begin(ids[7])]);
        assert!(!turns.has_room(now + 3 * FRESH) && turns.has_room(now + 4 * FRESH));
    }

    #[test]
    fn those_that_the_application_waits_for_give_way_to_nobody() {
        let limits = TurnLimits { fresh: 2, all: 2, fresh_for: None };
        let (mut turns, now) = (Turns::new(limits), start());
        let ids: Vec<_> = (0..3).map(|_| turns.enter()).collect();
        assert_eq!(begun(&mut turns, now).len(), 2);
        assert_eq!(begun(&mut turns, now + 1000 * FRESH), []);
        turns.leave(ids[0]);
        assert_eq!(begun(&mut turns, now), [TurnAction::Begin(ids[2])]);
    }

    proptest! {
        #[test]
        fn everybody_has_a_turn_in_order_and_bounds_hold(ops in prop::collection::vec((0u8..4, 0usize..40, 0u64..200), 0..200)) {
            let (mut turns, mut now) = (Turns::new(LIMITS), start());
            let (mut ids, mut begun, mut last) = (Vec::new(), BTreeSet::new(), None);
            for (op, which, wait) in ops {
                now += Duration::from_millis(wait);
                let id = ids.get(which % ids.len().max(1)).copied();
                match (op, id) {
                    (0 | 1, _) => ids.push(turns.enter()),
                    (2, Some(id)) => turns.progress(id, now),
                    (3, Some(id)) => { turns.leave(id); begun.remove(&id); }
                    _ => {}
                }
                while let Some(action) = turns.poll(now) {
                    match action {
                        TurnAction::Begin(id) => {
                            prop_assert!(last < Some(id), "in order");
                            last = Some(id);
                            begun.insert(id);
                        }
                        TurnAction::GiveUp(id) => prop_assert!(begun.remove(&id), "only who has begun gives way"),
                    }
                }
                prop_assert!(begun.len() <= LIMITS.all);
                prop_assert_eq!(begun.iter().copied().collect::<Vec<_>>(), turns.running.keys().copied().collect::<Vec<_>>());
            }
            // Whoever still waits has its turn, whatever the others do.
            for _ in 0..turns.waiting.len() {
                now += FRESH;
                while turns.poll(now).is_some() {}
            }
            prop_assert!(turns.waiting.is_empty());
        }
    }
}
