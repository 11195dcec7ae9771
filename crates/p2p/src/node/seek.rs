//! Connects to whom the discoveries find, and tells them what became of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use p2p_core::RecvError;
use p2p_discovery::{DiscoveredPeer, Discovery, PeerConnectionEvent};
use p2p_identity::{DisconnectReason, Error};
use p2p_peer_pool::{Direction, PeerEvent, PeerInfo, PeerPool};

use super::addresses::Addresses;
use super::{Node, lock};

/// Dials of one discovery at the same time.
const IN_FLIGHT: usize = 16;

/// How long a discovery whose dial has ended lets the others go first: one that finds only the dead must not take every slot that
/// is given back.
const TURN: Duration = Duration::from_millis(10);

impl Node {
    pub(super) fn seek_peers(&self) {
        if self.discoveries.is_empty() {
            return;
        }
        let (peers, events) = self.pool.watch_peers();
        self.tasks.spawn("peer events", tell(peers, events, self.discoveries.clone(), self.addresses.clone()));
        for discovery in &self.discoveries {
            let seeker = Seeker { pool: self.pool.clone(), addresses: self.addresses.clone() };
            self.tasks.spawn("seek peers", seeker.run(discovery.clone()));
        }
    }
}

struct Seeker {
    pool: PeerPool,
    addresses: Arc<Mutex<Addresses>>,
}

impl Seeker {
    async fn run(self, discovery: Arc<dyn Discovery>) {
        let mut dials = FuturesUnordered::new();
        loop {
            let busy = dials.len() >= IN_FLIGHT;
            let next = async {
                self.pool.outbound_slot_free().await;
                discovery.recv().await
            };
            tokio::select! {
                biased;
                Some(()) = dials.next() => self.pool.runtime().sleep(TURN).await,
                peer = next, if !busy => {
                    lock(&self.addresses).learn(&peer);
                    dials.push(self.dial(peer, &*discovery));
                }
            }
        }
    }

    async fn dial(&self, peer: DiscoveredPeer, discovery: &dyn Discovery) {
        let Some(first) = peer.dial_order().into_iter().next() else { return };
        let connected = loop {
            match self.pool.connect_found(peer.peer_id, &peer.addrs).await {
                // The slot was taken while the discovery looked for somebody, which says nothing of whom it found.
                Err(Error::SlotsFull) => self.pool.outbound_slot_free().await,
                connected => break connected,
            }
        };
        match connected {
            // The peer's event tells, or it was connected before.
            Ok(_) => {}
            Err(Error::Banned(peer_id)) => discovery.on_event(PeerConnectionEvent::Banned { peer_id }),
            Err(Error::SelfDial | Error::ShutDown) => {}
            Err(error) => {
                tracing::debug!(endpoint = %first, %error, "a discovered peer could not be connected to");
                discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: peer.peer_id, endpoint: first });
            }
        }
    }
}

/// Tells every discovery who comes and goes.
async fn tell(
    peers: Vec<PeerInfo>,
    mut events: p2p_core::EventListener<PeerEvent>,
    discoveries: Vec<Arc<dyn Discovery>>,
    addresses: Arc<Mutex<Addresses>>,
) {
    let tell = |event: PeerConnectionEvent| discoveries.iter().for_each(|discovery| discovery.on_event(event.clone()));
    let connected = |peer: PeerInfo| {
        let outbound = peer.direction == Direction::Outbound;
        if outbound {
            lock(&addresses).learn_endpoint(peer.endpoint.clone().with_peer_id(peer.peer_id));
        }
        tell(PeerConnectionEvent::Connected { peer_id: peer.peer_id, endpoint: peer.endpoint, outbound });
    };
    peers.into_iter().for_each(connected);
    loop {
        match events.recv().await {
            Ok(PeerEvent::Added { peer }) => connected(peer),
            Ok(PeerEvent::Removed { peer, reason: DisconnectReason::Banned }) => {
                tell(PeerConnectionEvent::Banned { peer_id: peer.peer_id });
            }
            Ok(PeerEvent::Removed { peer, reason }) => {
                let PeerInfo { peer_id, endpoint, .. } = peer;
                tell(PeerConnectionEvent::Disconnected { peer_id, endpoint, reason });
            }
            Ok(_) => {}
            Err(RecvError::Closed) => return,
            // What was lost is over; whoever is still there is told of at its end.
            Err(_) => {}
        }
    }
}
