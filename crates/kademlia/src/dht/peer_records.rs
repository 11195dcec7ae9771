//! [`PeerRecords`].

use std::fmt;
use std::net::IpAddr;

use p2p_identity::PeerRecord;
use tokio::sync::watch;

use super::calls::Running;

/// What is found out about a peer while it is looked for; from [`Dht::find_peer_records`](crate::Dht::find_peer_records). Ends
/// when the search has.
pub struct PeerRecords {
    newest: watch::Receiver<Option<(PeerRecord, IpAddr)>>,
    /// Ends the search when it is dropped.
    _running: Running,
}

impl PeerRecords {
    pub(super) fn new(newest: watch::Receiver<Option<(PeerRecord, IpAddr)>>, running: Running) -> Self {
        Self { newest, _running: running }
    }

    /// The newest record that there is now, once it is newer than the last or told by somebody from whom more of its addresses
    /// are [believed](crate::address::believed); with where that somebody was reached. `None` when there was nothing more by
    /// the end of the search. Cancel-safe.
    pub async fn next(&mut self) -> Option<(PeerRecord, IpAddr)> {
        self.newest.changed().await.ok()?;
        self.newest.borrow_and_update().clone()
    }
}

impl fmt::Debug for PeerRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerRecords").finish_non_exhaustive()
    }
}
