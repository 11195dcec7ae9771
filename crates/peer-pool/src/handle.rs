//! [`Peer`]: a handle to one connected peer, whatever is spoken with it.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use p2p_core::PeerId;
use p2p_identity::{DisconnectReason, ProtocolId};
use p2p_net::Endpoint;

use crate::peer::{Core, Leave};
use crate::{ConnectionId, Direction, Offence, PeerConn, PeerInfo};

/// One connection to a peer. Clones are handles to the same; none of them keeps the peer connected. From
/// [`PeerPool::handle`](crate::PeerPool::handle).
#[derive(Clone)]
pub struct Peer {
    core: Arc<Core>,
    peer: Weak<crate::peer::Peer>,
}

impl Peer {
    pub(crate) fn new(peer: &Arc<crate::peer::Peer>) -> Self {
        Self { core: peer.core().clone(), peer: Arc::downgrade(peer) }
    }

    /// Who it is.
    pub fn peer_id(&self) -> PeerId {
        self.core.id
    }

    /// Tells this connection from earlier and later ones.
    pub fn connection_id(&self) -> ConnectionId {
        self.core.connection_id
    }

    /// What was dialed, or where the peer dialed from.
    pub fn remote_endpoint(&self) -> &Endpoint {
        &self.core.endpoint
    }

    /// Who dialed.
    pub fn direction(&self) -> Direction {
        self.core.direction
    }

    /// The smoothed round-trip time, once measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.core.rtt()
    }

    /// Everything about it; `None` once it is gone.
    pub fn info(&self) -> Option<PeerInfo> {
        self.peer.upgrade().map(|peer| peer.info())
    }

    /// A protocol's connection, if the peer is there and speaks it.
    pub fn conn(&self, protocol: &ProtocolId) -> Option<PeerConn> {
        self.peer.upgrade()?.conn(protocol)
    }

    /// Reports that the peer did something it should not have done. Offences add up to a ban for some time.
    pub fn report(&self, offence: Offence) {
        self.peer.upgrade().iter().for_each(|peer| peer.report(offence));
    }

    /// As [`PeerConn::disconnect`].
    pub async fn disconnect(&self, code: u32, reason: &str) {
        self.core.leave(Leave::Orderly(DisconnectReason::Local { code, reason: reason.into() }));
        self.core.closed().await;
    }

    /// Waits until the peer is disconnected. Cancel-safe.
    pub async fn closed(&self) -> DisconnectReason {
        self.core.closed().await
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}
