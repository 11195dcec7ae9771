//! Looking at a pool's peers, and speaking to many of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use p2p_core::{EventBus, EventListener, PeerId};
use p2p_identity::{Error, ProtocolId, Result};
use p2p_net::Endpoint;

use super::PeerPool;
use crate::{Broadcast, ConnectionEvent, Direction, PeerConn, PeerEvent, PeerInfo, PeerPoolEvent};

impl PeerPool {
    /// How many peers are connected.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// Whether no peer is connected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All peers.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.peers().iter().map(|peer| peer.info()).collect()
    }

    /// Who is connected.
    pub fn peer_ids(&self) -> Vec<PeerId> {
        self.shared.peers().iter().map(|peer| peer.id()).collect()
    }

    /// What is known of a connected peer.
    pub fn peer(&self, peer_id: &PeerId) -> Option<PeerInfo> {
        self.shared.peer(peer_id).map(|peer| peer.info())
    }

    /// A handle to a connected peer.
    pub fn handle(&self, peer_id: &PeerId) -> Option<crate::Peer> {
        self.shared.peer(peer_id).map(|peer| crate::Peer::new(&peer))
    }

    /// Peers that dialed us, and from where.
    pub fn inbound_peers(&self) -> BTreeMap<PeerId, Endpoint> {
        self.peers_of(Direction::Inbound)
    }

    /// Peers that we dialed, and where.
    pub fn outbound_peers(&self) -> BTreeMap<PeerId, Endpoint> {
        self.peers_of(Direction::Outbound)
    }

    fn peers_of(&self, direction: Direction) -> BTreeMap<PeerId, Endpoint> {
        let peers = self.shared.peers();
        let peers = peers.iter().map(|peer| peer.core()).filter(|core| core.direction == direction);
        peers.map(|core| (core.id, core.endpoint.clone())).collect()
    }

    /// What a connected peer and this node both speak.
    pub fn peer_protocols(&self, peer_id: &PeerId) -> Option<BTreeSet<ProtocolId>> {
        self.shared.peer(peer_id).map(|peer| peer.links().keys().cloned().collect())
    }

    /// A protocol's connection to a peer.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::ProtocolNotNegotiated`].
    pub fn conn(&self, peer_id: &PeerId, protocol: &ProtocolId) -> Result<PeerConn> {
        let peer = self.shared.peer(peer_id).ok_or(Error::NotConnected(*peer_id))?;
        let missing = || Error::ProtocolNotNegotiated { peer: *peer_id, protocol: protocol.clone() };
        peer.conn(protocol).ok_or_else(missing)
    }

    /// Gives a message to all peers that speak a protocol. Never waits: who has no room is named and does not get it.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::ProtocolNotAttached`], [`Error::ShutDown`]. That nobody is there is none.
    pub fn broadcast(&self, protocol: &ProtocolId, message: impl Into<Bytes>) -> Result<Broadcast> {
        self.broadcast_where(protocol, &message.into(), |_| true)
    }

    /// As [`broadcast`](Self::broadcast), to those of the peers that `to` names.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to(
        &self,
        protocol: &ProtocolId,
        message: impl Into<Bytes>,
        to: &BTreeSet<PeerId>,
    ) -> Result<Broadcast> {
        self.broadcast_where(protocol, &message.into(), |peer| to.contains(peer))
    }

    fn broadcast_where(
        &self,
        protocol: &ProtocolId,
        message: &Bytes,
        to: impl Fn(&PeerId) -> bool,
    ) -> Result<Broadcast> {
        self.shared.check_open()?;
        self.shared.spoken(protocol)?.broadcast(message, to)
    }

    /// All peers that come and go from now on.
    pub fn register_peer_events(&self) -> EventListener<PeerEvent> {
        self.shared.buses.peers.register()
    }

    /// The peers there are, and all that come and go after that: nothing is missing in between.
    pub fn watch_peers(&self) -> (Vec<PeerInfo>, EventListener<PeerEvent>) {
        self.shared.watch()
    }

    /// Where [`ConnectionEvent`]s come from.
    pub fn connection_events(&self) -> &EventBus<ConnectionEvent> {
        &self.shared.buses.connections
    }

    /// Where [`PeerPoolEvent`]s come from.
    pub fn pool_events(&self) -> &EventBus<PeerPoolEvent> {
        &self.shared.buses.pool
    }
}
