//! What was done for whom a moment ago.

use std::hash::Hash;
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;
use p2p_core::PeerId;

/// Peers that are remembered; the longest ago is evicted.
const REMEMBERED: usize = 4096;

/// Lets something be done once in a while for each peer, or whatever it is that counts.
pub(super) struct Recent<T = PeerId> {
    again: Duration,
    /// The longest ago comes first.
    done: LinkedHashMap<T, Instant>,
}

impl<T: Hash + Eq> Recent<T> {
    /// Once in `again` for each.
    pub(super) fn new(again: Duration) -> Self {
        Self { again, done: LinkedHashMap::new() }
    }

    /// Whether it may be done now; it then counts as done.
    pub(super) fn admit(&mut self, now: Instant, who: T) -> bool {
        self.admit_if(now, who, || true)
    }

    /// The same, if there is no other reason against it, which is asked for last.
    pub(super) fn admit_if(&mut self, now: Instant, who: T, may: impl FnOnce() -> bool) -> bool {
        let recently = |at: &Instant| now.saturating_duration_since(*at) < self.again;
        if self.done.get(&who).is_some_and(recently) || !may() {
            return false;
        }
        self.done.remove(&who);
        self.done.insert(who, now);
        if self.done.len() > REMEMBERED {
            self.done.pop_front();
        }
        true
    }
}
