//! The protocols of a node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_identity::{Error, ProtocolId, Result};

use crate::{PeerConn, Protocol, ProtocolInfo};

/// Makes the protocol of one peer.
pub(crate) type Constructor = Arc<dyn Fn(PeerConn) -> Arc<dyn Protocol> + Send + Sync>;

/// A protocol and how it is made.
#[derive(Clone)]
pub(crate) struct Attachment {
    pub(crate) info: ProtocolInfo,
    pub(crate) construct: Constructor,
}

/// All protocols that are attached now. Handshakes take a snapshot.
#[derive(Default)]
pub(crate) struct Attached(Mutex<Arc<BTreeMap<ProtocolId, Attachment>>>);

impl Attached {
    fn lock(&self) -> MutexGuard<'_, Arc<BTreeMap<ProtocolId, Attachment>>> {
        // The map is valid after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn attach(&self, info: ProtocolInfo, construct: Constructor, max: usize) -> Result<()> {
        let mut attached = self.lock();
        if attached.contains_key(&info.id) {
            return Err(Error::DuplicateProtocol(info.id));
        }
        if attached.len() >= max {
            return Err(Error::config("protocols", format!("a node has at most {max} protocols")));
        }
        Arc::make_mut(&mut attached).insert(info.id.clone(), Attachment { info, construct });
        Ok(())
    }

    pub(crate) fn detach(&self, id: &ProtocolId) -> bool {
        Arc::make_mut(&mut self.lock()).remove(id).is_some()
    }

    pub(crate) fn snapshot(&self) -> Arc<BTreeMap<ProtocolId, Attachment>> {
        self.lock().clone()
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.snapshot().keys()).finish()
    }
}
