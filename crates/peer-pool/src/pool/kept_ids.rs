//! Who is kept connected.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_core::PeerId;

/// The peers that are kept connected, as far as it is known who they are: as many as there are tasks that keep one.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptIds(Arc<Mutex<BTreeMap<PeerId, usize>>>);

impl KeptIds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, usize>> {
        // The map is valid after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer is kept for as long as this lives.
    pub(crate) fn keep(&self, id: PeerId) -> KeptId {
        *self.lock().entry(id).or_default() += 1;
        KeptId { ids: self.clone(), id }
    }

    pub(crate) fn contains(&self, id: &PeerId) -> bool {
        self.lock().contains_key(id)
    }
}

/// A peer is kept.
pub(crate) struct KeptId {
    ids: KeptIds,
    pub(crate) id: PeerId,
}

impl Drop for KeptId {
    fn drop(&mut self) {
        let mut ids = self.ids.lock();
        if let Some(times) = ids.get_mut(&self.id) {
            *times -= 1;
            if *times == 0 {
                ids.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_identity::KeyPair;

    use super::*;

    #[test]
    fn a_peer_is_kept_as_long_as_anybody_keeps_it() {
        let (ids, id) = (KeptIds::default(), KeyPair::from_seed([7; 32]).peer_id());
        let (first, second) = (ids.keep(id), ids.keep(id));
        drop(first);
        assert!(ids.contains(&id));
        drop(second);
        assert!(!ids.contains(&id) && ids.lock().is_empty());
    }
}
