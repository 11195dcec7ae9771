//! Peers that are kept connected.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use p2p_core::PeerId;
use p2p_identity::{DisconnectReason, Error};
use p2p_net::{Endpoint, Transport};

use crate::PeerPoolEventKind;
use crate::connector::Wanted;
use crate::peer::Peer;
use crate::pool::Shared;
use crate::redial::{Again, End, Redial};
use crate::registry::DialKind;

/// How long the connection may take that replaces another one here.
const SUCCESSOR: Duration = Duration::from_secs(1);

impl Shared {
    /// Keeps a peer connected for as long as the pool lives.
    pub(crate) async fn keep_connected(self: Arc<Self>, endpoint: Endpoint) {
        let mut redial = Redial::new();
        let mut kind = DialKind::Kept;
        // Whoever answers where nobody was named is meant.
        let mut kept = endpoint.peer_id().map(|id| self.kept.keep(id));
        loop {
            let mut changes = self.network.changes();
            let (expected, addrs) = (endpoint.peer_id(), vec![endpoint.clone().into()]);
            let again = match self.connect(Wanted { kind, expected, addrs, source: None }).await {
                Ok(peer) => {
                    kind = DialKind::Again;
                    if kept.as_ref().is_none_or(|kept| kept.id != peer) {
                        kept = Some(self.kept.keep(peer));
                    }
                    self.kept_until_it_ends(peer, &endpoint, &mut redial).await
                }
                Err(Error::ShutDown) => return,
                Err(Error::SelfDial) if expected == Some(self.own_id) => return,
                // A name may get other addresses.
                Err(Error::SelfDial) if endpoint.addr().ip().is_some() => {
                    changes.changed().await;
                    continue;
                }
                Err(_) => redial.failed(self.runtime.random_u64()),
            };
            if again.patient {
                self.runtime.sleep(again.after).await;
            } else if self.network.sleep(&*self.runtime, again.after).await {
                redial.network_changed();
            }
        }
    }

    /// Waits until a peer is connected no more; when to dial it again.
    async fn kept_until_it_ends(&self, id: PeerId, endpoint: &Endpoint, redial: &mut Redial) -> Again {
        let (end, lived, boot) = loop {
            // Gone before anybody could look.
            let Some(peer) = self.peer(&id) else { break (End::Left, Duration::ZERO, None) };
            let core = peer.core();
            let reason = core.closed().await;
            if reason == DisconnectReason::Replaced && self.has_successor(&peer).await {
                continue;
            }
            let lived = self.runtime.now().saturating_duration_since(core.since);
            let over_tcp = matches!(core.endpoint.transport(), Transport::Tcp | Transport::Tls);
            if over_tcp && redial.swallows_large(&reason, lived) {
                self.large_packets_are_lost(id, &core.endpoint);
            }
            break (End::of(&reason, lived), lived, Some(core.boot));
        };
        let again = redial.ended(end, lived, boot, self.runtime.random_u64());
        let times = redial.times(end);
        if end == End::Left && times > 2 {
            tracing::warn!(
                peer = %id, %endpoint, times, again_in = ?again.after,
                "a peer of `dial_peers` accepts and leaves soon after, again and again: its own log says why, and whether it has \
                 room for this node",
            );
            self.buses.pool(PeerPoolEventKind::PeerLeaves { times, again: again.after }, endpoint, Some(id));
        }
        again
    }

    /// Says what a path looks like that lets handshakes pass and nothing else, and goes around it as far as that can be done.
    fn large_packets_are_lost(&self, id: PeerId, endpoint: &Endpoint) {
        tracing::warn!(
            peer = %id, %endpoint,
            "connections stand and then fall silent: it looks as if small packets pass and large ones do not (a path MTU \
             that nobody reports); trying small segments. Quic finds such a path's MTU by itself",
        );
        self.buses.pool(PeerPoolEventKind::LargePacketsLost, endpoint, Some(id));
        endpoint.addr().ip().into_iter().for_each(|ip| self.transports.use_small_segments(ip));
    }

    /// Whether a connection was replaced on this side: by one that is there, or soon will be.
    async fn has_successor(&self, old: &Arc<Peer>) -> bool {
        let there = || self.peer(&old.id()).filter(|peer| !Arc::ptr_eq(peer, old)).map(drop);
        let there = pin!(self.until(there));
        let patience = pin!(self.runtime.sleep(SUCCESSOR));
        matches!(select(there, patience).await, Either::Left(_))
    }
}
