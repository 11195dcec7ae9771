//! Records whose signatures have been checked, so that the same record is not checked each time it is told.

use hashlink::LruCache;
use p2p_core::PeerId;
use p2p_identity::PeerRecord;

/// Records that are kept; the longest unused is evicted.
const KEPT: usize = 2048;

/// The newest verified record of each peer.
pub(super) struct Verified(LruCache<PeerId, PeerRecord>);

impl Verified {
    pub(super) fn new() -> Self {
        Self(LruCache::new(KEPT))
    }

    /// Checks a record unless that was done before. Gives the same bytes back, once in memory and known to be valid;
    /// `None` when its peer has not signed it.
    pub(super) fn check(&mut self, record: &PeerRecord) -> Option<PeerRecord> {
        if let Some(known) = self.0.get(&record.peer_id())
            && known == record
        {
            return Some(known.clone());
        }
        record.verify().ok()?;
        let newer = self.0.get(&record.peer_id()).is_none_or(|known| record.is_newer_than(known));
        if newer {
            self.0.insert(record.peer_id(), record.clone());
        }
        Some(record.clone())
    }

    /// The newest record of a peer that was seen, if it is still there.
    pub(super) fn newest(&mut self, peer_id: &PeerId) -> Option<&PeerRecord> {
        self.0.get(peer_id)
    }
}
