//! The protocols of a node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_identity::{Error, ProtocolId, Result};
use p2p_net::EarlyStreams;

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
pub(crate) struct Attached {
    protocols: Mutex<Arc<BTreeMap<ProtocolId, Attachment>>>,
    early_streams: EarlyStreams,
}

impl Attached {
    /// None yet. A remote that has not been accepted may open as many of `early_streams` as a handshake and all protocols
    /// take.
    pub(crate) fn new(early_streams: EarlyStreams) -> Self {
        early_streams.set(1);
        Self { protocols: Mutex::default(), early_streams }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<BTreeMap<ProtocolId, Attachment>>> {
        // The map is valid after each statement.
        self.protocols.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There were so many, and now there are so many. A remote that was shown those of before may come yet.
    fn changed(&self, before: usize, now: usize) {
        let most = u32::try_from(before.max(now)).unwrap_or(u32::MAX);
        self.early_streams.set(most.saturating_add(1));
    }

    pub(crate) fn attach(&self, info: ProtocolInfo, construct: Constructor, max: usize) -> Result<()> {
        let mut attached = self.lock();
        if attached.contains_key(&info.id) {
            return Err(Error::DuplicateProtocol(info.id));
        }
        if attached.len() >= max {
            return Err(Error::config("protocols", format!("a node has at most {max} protocols")));
        }
        let before = attached.len();
        Arc::make_mut(&mut attached).insert(info.id.clone(), Attachment { info, construct });
        self.changed(before, attached.len());
        Ok(())
    }

    pub(crate) fn detach(&self, id: &ProtocolId) -> bool {
        let mut attached = self.lock();
        let before = attached.len();
        let detached = Arc::make_mut(&mut attached).remove(id).is_some();
        if detached {
            self.changed(before, attached.len());
        }
        detached
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
