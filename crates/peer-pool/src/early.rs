//! Protocols that speak before the listener has accepted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use p2p_identity::{DisconnectReason, Error, HandshakeError, RejectReason, close_code};

use crate::peer::{Constructed, Peer, disconnect_reason};
use crate::pool::Shared;

/// How long protocols that were cut short may take to end by themselves.
const LINGER: Duration = Duration::from_millis(250);

/// A peer whose listener has yet to accept, on a connection that it was dialed on. Its protocols run; nobody else knows of
/// it. Unless it is [confirmed](Self::confirmed), they learn that it is gone, and are ended.
pub(crate) struct EarlyPeer {
    pool: Arc<Shared>,
    /// Until it is confirmed.
    peer: Option<Arc<Peer>>,
    /// Why it is gone.
    reason: Option<DisconnectReason>,
}

impl EarlyPeer {
    /// Starts the protocols.
    pub(crate) fn start(pool: &Arc<Shared>, peer: Arc<Peer>, protocols: Vec<Constructed>) -> Self {
        peer.start(protocols);
        Self { pool: pool.clone(), peer: Some(peer), reason: None }
    }

    /// The listener has accepted, and the connection stays: it is a peer as any other. `None` when it was before.
    pub(crate) fn confirmed(&mut self) -> Option<Arc<Peer>> {
        let peer = self.peer.take()?;
        peer.core().confirm();
        Some(peer)
    }

    pub(crate) fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Why it will not become a peer.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.reason = Some(reason(error));
    }
}

impl Drop for EarlyPeer {
    fn drop(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        let given_up = || match self.pool.is_connected(&peer.id()) {
            true => DisconnectReason::Duplicate,
            false => DisconnectReason::Lost("the dial was given up".into()),
        };
        peer.end(self.reason.take().unwrap_or_else(given_up));
        let runtime = self.pool.runtime.clone();
        self.pool.sessions.spawn("refused peer", async move {
            // Readers are woken by the end and return; what they have not read is theirs no more.
            let _ = runtime.timeout(LINGER, join_all(peer.links().values().map(|link| link.drain()))).await;
            let _ = runtime.timeout(LINGER, peer.protocols().wait()).await;
            peer.stop().await;
        });
    }
}

/// What protocols are told of a handshake that failed behind their backs.
fn reason(error: &Error) -> DisconnectReason {
    match error {
        Error::Disconnected(reason) => reason.clone(),
        Error::Net(p2p_net::Error::Closed(reason)) => disconnect_reason(reason.clone()),
        Error::Handshake(error) => match error {
            HandshakeError::Refused(RejectReason::AlreadyConnected)
            | HandshakeError::Remote(RejectReason::AlreadyConnected) => DisconnectReason::Duplicate,
            HandshakeError::Remote(RejectReason::ShuttingDown) => DisconnectReason::RemoteShutdown,
            HandshakeError::Remote(reason) => {
                DisconnectReason::Remote { code: close_code::HANDSHAKE, reason: reason.to_string() }
            }
            HandshakeError::Refused(RejectReason::Malformed(what)) => DisconnectReason::ProtocolViolation(what.clone()),
            error => DisconnectReason::Lost(error.to_string()),
        },
        Error::ShutDown => DisconnectReason::LocalShutdown,
        error => DisconnectReason::Lost(error.to_string()),
    }
}
