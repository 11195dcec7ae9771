//! What was done for whom a moment ago.

use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;
use p2p_core::PeerId;

/// Peers that are remembered; the longest ago makes way.
const REMEMBERED: usize = 4096;

/// Lets something be done once in a while for each peer.
pub(super) struct Recent {
    again: Duration,
    /// The longest ago comes first.
    done: LinkedHashMap<PeerId, Instant>,
}

impl Recent {
    /// Once in `again` for each peer.
    pub(super) fn new(again: Duration) -> Self {
        Self { again, done: LinkedHashMap::new() }
    }

    /// Whether it may be done now; it then counts as done.
    pub(super) fn admit(&mut self, now: Instant, peer_id: PeerId) -> bool {
        self.admit_if(now, peer_id, || true)
    }

    /// The same, if there is no other reason against it, which is asked for last.
    pub(super) fn admit_if(&mut self, now: Instant, peer_id: PeerId, may: impl FnOnce() -> bool) -> bool {
        let recently = |at: &Instant| now.saturating_duration_since(*at) < self.again;
        if self.done.get(&peer_id).is_some_and(recently) || !may() {
            return false;
        }
        self.done.remove(&peer_id);
        self.done.insert(peer_id, now);
        if self.done.len() > REMEMBERED {
            self.done.pop_front();
        }
        true
    }
}
