//! The network under the pool has changed: what waits for it goes on, and what it took is closed.

use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use p2p_core::{ChangeNotifier, Changes, PeerId, Runtime};
use p2p_identity::{DisconnectReason, PeerRecord};
use p2p_net::Endpoint;

use super::PeerPool;
use crate::peer::{Leave, Peer};
use crate::{ConnectionId, Direction};

/// A peer whose connection went with the address that it was bound to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LostPeer {
    /// Who it is.
    pub peer_id: PeerId,
    /// The connection that is no more.
    pub connection_id: ConnectionId,
    /// What was dialed, or where the peer dialed from.
    pub endpoint: Endpoint,
    /// Who dialed.
    pub direction: Direction,
    /// What the peer said of itself. Its signature has not been checked.
    pub record: Option<PeerRecord>,
}

impl PeerPool {
    /// Looks at everything anew, because the network has changed: every peer is pinged at once, and dials that failed or
    /// got stuck begin anew. With the machine's present `addresses`, connections bound to another one are closed at once, as
    /// nothing can come over them any more; gives those, for somebody to dial. Peers that are kept connected are dialed
    /// anyway. A connection over quic that this side dialed from a socket on all addresses moves to the
    /// new one by itself, and stays.
    ///
    /// Cheap, and harmless when nothing has changed.
    pub fn network_changed(&self, addresses: Option<&[IpAddr]>) -> Vec<LostPeer> {
        let shared = &self.shared;
        let mut lost = Vec::new();
        for peer in shared.peers() {
            if addresses.is_some_and(|addresses| is_stranded(&peer, addresses)) {
                peer.core().leave(Leave::Now(DisconnectReason::Lost("the address it was bound to is gone".into())));
                lost.push(LostPeer {
                    peer_id: peer.id(),
                    connection_id: peer.core().connection_id,
                    endpoint: peer.core().endpoint.clone(),
                    direction: peer.core().direction,
                    record: peer.record().cloned(),
                });
            } else {
                peer.core().probe();
            }
        }
        shared.own_addresses.clear();
        shared.network.has_changed();
        lost
    }

    /// Waits until a connection that [`network_changed`](Self::network_changed) closes is gone: only then can another one
    /// take its place. Cancel-safe.
    pub async fn gone_with_address(&self, lost: &LostPeer) {
        let there =
            || self.shared.peer(&lost.peer_id).is_some_and(|peer| peer.core().connection_id == lost.connection_id);
        self.shared.until(|| (!there()).then_some(())).await;
    }
}

/// Whether nothing can come over the peer's connection any more.
fn is_stranded(peer: &Peer, addresses: &[IpAddr]) -> bool {
    // That of a quic connection which this side dialed from a socket on all addresses is not known: it moves by itself.
    let local = peer.connection().local_addr().ip().to_canonical();
    // Link-local addresses are not among those that a runtime tells of.
    let told = match local {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    told && !local.is_loopback() && !local.is_unspecified() && !addresses.contains(&local)
}

/// Tells whoever waits that the network has changed.
#[derive(Debug, Default)]
pub(crate) struct Network(ChangeNotifier);

impl Network {
    /// Nobody waits any longer.
    pub(super) fn has_changed(&self) {
        self.0.notify();
    }

    /// All changes from now on.
    pub(crate) fn changes(&self) -> Changes {
        self.0.subscribe()
    }

    /// Waits for so long, or until the network has changed; whether it has. Cancel-safe.
    pub(crate) async fn sleep(&self, runtime: &dyn Runtime, duration: Duration) -> bool {
        let mut changes = self.changes();
        let changed = pin!(changes.changed());
        matches!(select(changed, pin!(runtime.sleep(duration))).await, Either::Left(_))
    }
}
