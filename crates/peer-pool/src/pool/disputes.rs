//! Notices that a peer's key is in use on two machines. No I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashlink::LruCache;
use p2p_core::PeerId;

/// Runs of a peer that are remembered.
const BOOTS: usize = 4;

/// How long after one notice the next about the same peer is given.
const QUIET: Duration = Duration::from_secs(60);

/// The last runs of each peer, told apart by the random number that a node draws when it starts. A node that restarts never
/// comes back to an earlier run: if one returns, both are alive.
#[derive(Debug)]
pub(super) struct Disputes(LruCache<PeerId, Runs>);

#[derive(Debug, Default)]
struct Runs {
    /// The present one first.
    boots: VecDeque<u64>,
    told: Option<Instant>,
}

impl Disputes {
    /// Remembers so many peers.
    pub(super) fn new(capacity: usize) -> Self {
        Self(LruCache::new(capacity.max(1)))
    }

    /// A run of a peer has connected. Whether it is time to say that another one lives too.
    pub(super) fn connected(&mut self, now: Instant, peer: PeerId, boot: u64) -> bool {
        if self.0.get(&peer).is_some_and(|runs| runs.boots.front() == Some(&boot)) {
            return false;
        }
        // `insert`, unlike `entry`, keeps to the capacity.
        let mut runs = self.0.remove(&peer).unwrap_or_default();
        let place = runs.boots.iter().position(|known| *known == boot);
        if let Some(place) = place {
            runs.boots.remove(place);
        }
        runs.boots.push_front(boot);
        runs.boots.truncate(BOOTS);
        let returned = place.is_some_and(|place| place > 0);
        let tell = returned && runs.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET);
        if tell {
            runs.told = Some(now);
        }
        self.0.insert(peer, runs);
        tell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32]).unwrap()
    }

    #[test]
    fn a_run_that_comes_back_after_another_is_told_once_a_minute() {
        let (mut disputes, now) = (Disputes::new(10), crate::clock::now());
        let at = |secs| now + Duration::from_secs(secs);
        assert!(!disputes.connected(now, peer(9), 1));
        assert!(!disputes.connected(now, peer(9), 1), "it has reconnected");
        assert!(!disputes.connected(now, peer(9), 2), "it has restarted");
        assert!(!disputes.connected(now, peer(8), 1), "that is another peer");
        assert!(disputes.connected(at(1), peer(9), 1), "it cannot have restarted into its past");
        assert!(!disputes.connected(at(2), peer(9), 2), "told already");
        assert!(disputes.connected(at(61), peer(9), 1));
    }

    #[test]
    fn restarts_are_no_dispute_and_memory_is_bounded() {
        let (mut disputes, now) = (Disputes::new(3), crate::clock::now());
        assert!((0..1000).all(|boot| !disputes.connected(now, peer(9), boot)));
        assert!((1..100).filter_map(|n| PeerId::from_bytes([n; 32]).ok()).all(|id| !disputes.connected(now, id, 1)));
        assert_eq!(disputes.0.len(), 3);
    }
}
