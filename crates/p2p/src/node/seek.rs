//! Connects to whom the discoveries find, and tells them what became of it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use p2p_core::{EventListener, PeerId, RecvError};
use p2p_discovery::{DiscoveredPeer, Discovery, PeerConnectionEvent};
use p2p_identity::{DisconnectReason, Error};
use p2p_peer_pool::{Direction, PeerEvent, PeerInfo, PeerPool};

use super::addresses::Addresses;
use super::{Node, lock};

/// Peers of one discovery that are being dialed, or wait for their next try, at the same time: so many times
/// [`Limits::dials`](p2p_peer_pool::Limits::dials), more than are dialed at once.
const IN_FLIGHT: usize = 4;

impl Node {
    pub(super) fn seek_peers(&self) {
        if self.discoveries.is_empty() {
            return;
        }
        let (peers, events) = self.pool.watch_peers();
        let teller = Teller {
            pool: self.pool.clone(),
            discoveries: self.discoveries.clone(),
            addresses: self.addresses.clone(),
            there: BTreeMap::new(),
        };
        self.tasks.spawn("peer events", teller.run(peers, events));
        for discovery in &self.discoveries {
            let in_flight = self.config.limits.dials.saturating_mul(IN_FLIGHT);
            let seeker = Seeker { pool: self.pool.clone(), addresses: self.addresses.clone(), in_flight };
            self.tasks.spawn("seek peers", seeker.run(discovery.clone()));
        }
    }
}

struct Seeker {
    pool: PeerPool,
    addresses: Arc<Mutex<Addresses>>,
    in_flight: usize,
}

impl Seeker {
    async fn run(self, discovery: Arc<dyn Discovery>) {
        let mut dials = FuturesUnordered::new();
        // It keeps its place in the line of all discoveries, whatever becomes of the dials.
        let mut next = pin!(self.next(&*discovery));
        loop {
            let busy = dials.len() >= self.in_flight;
            tokio::select! {
                biased;
                Some(()) = dials.next() => {}
                peer = &mut next, if !busy => {
                    lock(&self.addresses).learn(&peer);
                    dials.push(self.dial(peer, &*discovery));
                    next.set(self.next(&*discovery));
                }
            }
        }
    }

    async fn next(&self, discovery: &dyn Discovery) -> DiscoveredPeer {
        self.pool.outbound_slot_free().await;
        discovery.recv().await
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
            Ok(peer_id) => {
                discovery.on_event(PeerConnectionEvent::Answered { peer_id, endpoint: first });
            }
            Err(Error::Banned(peer_id)) => discovery.on_event(PeerConnectionEvent::Banned { peer_id }),
            Err(Error::SelfDial) => discovery.on_event(PeerConnectionEvent::Own { endpoint: first }),
            Err(Error::ShutDown) => {}
            Err(error) => {
                tracing::debug!(endpoint = %first, %error, "a discovered peer could not be connected to");
                discovery.on_event(PeerConnectionEvent::ConnectFailed { peer_id: peer.peer_id, endpoint: first });
            }
        }
    }
}

/// Tells every discovery who comes and goes.
struct Teller {
    pool: PeerPool,
    discoveries: Vec<Arc<dyn Discovery>>,
    addresses: Arc<Mutex<Addresses>>,
    /// Those of whom was told that they are connected, and no more until now.
    there: BTreeMap<PeerId, PeerInfo>,
}

impl Teller {
    async fn run(mut self, peers: Vec<PeerInfo>, mut events: EventListener<PeerEvent>) {
        self.compare(peers);
        loop {
            match events.recv().await {
                Ok(PeerEvent::Added { peer }) => self.connected(peer),
                Ok(PeerEvent::Removed { peer, reason }) => self.gone(peer, reason),
                Ok(_) => {}
                Err(RecvError::Closed) => return,
                // Who has come and gone meanwhile shows in who is there.
                Err(_) => {
                    let (peers, later) = self.pool.watch_peers();
                    events = later;
                    self.compare(peers);
                }
            }
        }
    }

    /// Tells what is different from what was told.
    fn compare(&mut self, peers: Vec<PeerInfo>) {
        let here: BTreeMap<_, _> = peers.iter().map(|peer| (peer.peer_id, peer.connection_id)).collect();
        let is_gone = |peer: &PeerInfo| here.get(&peer.peer_id) != Some(&peer.connection_id);
        let gone: Vec<_> = self.there.values().filter(|peer| is_gone(peer)).cloned().collect();
        for peer in gone {
            self.gone(peer, DisconnectReason::Lost("its end was missed".into()));
        }
        for peer in peers {
            if !self.there.contains_key(&peer.peer_id) {
                self.connected(peer);
            }
        }
    }

    fn connected(&mut self, peer: PeerInfo) {
        self.there.insert(peer.peer_id, peer.clone());
        let outbound = peer.direction == Direction::Outbound;
        if outbound {
            lock(&self.addresses).learn_endpoint(peer.endpoint.clone().with_peer_id(peer.peer_id));
        }
        self.tell(&PeerConnectionEvent::Connected { peer_id: peer.peer_id, endpoint: peer.endpoint, outbound });
    }

    fn gone(&mut self, peer: PeerInfo, reason: DisconnectReason) {
        let PeerInfo { peer_id, endpoint, .. } = peer;
        self.there.remove(&peer_id);
        self.tell(&match reason {
            DisconnectReason::Banned => PeerConnectionEvent::Banned { peer_id },
            reason => PeerConnectionEvent::Disconnected { peer_id, endpoint, reason },
        });
    }

    fn tell(&self, event: &PeerConnectionEvent) {
        self.discoveries.iter().for_each(|discovery| discovery.on_event(event.clone()));
    }
}
