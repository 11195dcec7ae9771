//! What a node does with its peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use p2p_core::{EventListener, PeerId};
use p2p_discovery::DiscoveredPeer;
use p2p_identity::{Error, PeerRecord, ProtocolId, ProtocolKind, Result, encode};
use p2p_kademlia::address::believed;
use p2p_kademlia::{Dht, PeerRecords};
use p2p_net::{Endpoint, PeerAddr};
use p2p_peer_pool::{Broadcast, PeerConn, PeerEvent, PeerInfo, Stream};
use serde::Serialize;

use super::{Node, lock};

/// A search for a peer's record.
enum Search {
    Of(Dht, PeerId),
    Begun(PeerRecords),
}

impl Search {
    async fn next(&mut self) -> Option<(PeerRecord, IpAddr)> {
        if let Self::Of(dht, peer_id) = self {
            *self = Self::Begun(dht.find_peer_records(peer_id).ok()?);
        }
        match self {
            Self::Begun(records) => records.next().await,
            Self::Of(..) => None,
        }
    }
}

impl Node {
    /// Connects to whoever is at the endpoint, or to the peer that it names; `Ok` when that peer is connected already.
    /// When it returns, the constructors of all protocols of the peer have run. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// [`Error::Net`] and [`Error::Handshake`] with what went wrong last, after all retries, the latter with what the remote
    /// has decided; [`Error::SlotsFull`], [`Error::Denied`], [`Error::Banned`] and [`Error::SelfDial`] where this side has;
    /// [`Error::Disconnected`] when the peer had to go while it was connected; [`Error::NotRunning`], [`Error::ShutDown`];
    /// [`Error::Core`] when the runtime has ended.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<PeerId, Error> {
        self.check_running()?;
        let peer_id = self.pool.connect(endpoint).await?;
        lock(&self.addresses).learn_endpoint(endpoint.clone().with_peer_id(peer_id));
        Ok(peer_id)
    }

    /// Connects to a peer at whichever of its addresses answers first as that peer; `Ok` when it is connected already. Known
    /// are the addresses that were configured, dialed, or found by a discovery. When one of them fails, or nobody has answered
    /// for 250 ms, the peer is looked up in the DHT too, if there is one, and what is found joins the race. Addresses that are
    /// not of the scope of who told them are left out. All of it takes at most
    /// [`dial_timeout`](crate::Config::dial_timeout), and then the time of a handshake. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// [`Error::NoAddress`] when none is found; those of [`connect`](Self::connect).
    pub async fn connect_peer(&self, peer_id: &PeerId) -> Result<()> {
        self.check_running()?;
        let mut known: Vec<PeerAddr> = self.dht.iter().flat_map(|dht| dht.nearby(peer_id)).collect();
        known.extend(lock(&self.addresses).of(peer_id).into_iter().map(PeerAddr::from));
        let Some(dht) = &self.dht else { return self.pool.connect_peer(peer_id, &known).await };
        let found = pin!(self.found(dht, *peer_id).fuse());
        self.pool.connect_peer_with(peer_id, &known, found).await
    }

    /// Where a peer is found in the DHT, or behind the router that is this node's too. The search begins when the stream is
    /// first polled.
    fn found(&self, dht: &Dht, peer_id: PeerId) -> impl futures_util::Stream<Item = Vec<PeerAddr>> + Send {
        let search = Search::Of(dht.clone(), peer_id);
        stream::unfold(Some(search), move |search| async move {
            let mut search = search?;
            let Some((record, reached)) = search.next().await else { return Some((dht.nearby(&peer_id), None)) };
            let mut addrs: Vec<PeerAddr> = believed(record.addrs(), reached).cloned().collect();
            addrs.iter().for_each(|addr| lock(&self.addresses).learn_endpoint(addr.endpoint.clone()));
            addrs.extend(dht.nearby(&peer_id));
            Some((addrs, Some(search)))
        })
    }

    /// Says good-bye to a peer, delivers what was sent, and disconnects; `code` and `reason` are the application's and
    /// reach the peer. Waits until it is done, at most [`drain_timeout`](crate::Config::drain_timeout); it goes on when
    /// the future is dropped. Does nothing when the peer is not connected.
    pub async fn disconnect(&self, peer_id: &PeerId, code: u32, reason: &str) {
        self.pool.disconnect(peer_id, code, reason).await;
    }

    /// Disconnects a peer at once and refuses it for `duration`.
    pub fn ban(&self, peer_id: &PeerId, duration: Duration) {
        self.pool.ban(peer_id, duration);
    }

    /// Lifts a ban; whether there was one.
    pub fn unban(&self, peer_id: &PeerId) -> bool {
        self.pool.unban(peer_id)
    }

    /// How many peers are connected.
    pub fn peers(&self) -> usize {
        self.pool.len()
    }

    /// Who is connected, in the order of ids.
    pub fn peer_ids(&self) -> Vec<PeerId> {
        self.pool.peer_ids()
    }

    /// A connected peer.
    pub fn peer(&self, peer_id: &PeerId) -> Option<PeerInfo> {
        self.pool.peer(peer_id)
    }

    /// Peers that dialed us, and from where.
    pub fn inbound_peers(&self) -> BTreeMap<PeerId, Endpoint> {
        self.pool.inbound_peers()
    }

    /// Peers that we dialed, and where.
    pub fn outbound_peers(&self) -> BTreeMap<PeerId, Endpoint> {
        self.pool.outbound_peers()
    }

    /// What a connected peer and this node both speak.
    pub fn peer_protocols(&self, peer_id: &PeerId) -> Option<BTreeSet<ProtocolId>> {
        self.pool.peer_protocols(peer_id)
    }

    /// A protocol's connection to a peer, if the peer is connected and speaks it.
    pub fn conn(&self, peer_id: &PeerId, protocol: &ProtocolId) -> Option<PeerConn> {
        self.pool.conn(peer_id, protocol).ok()
    }

    /// Opens a stream of bytes to a peer, on a protocol; the peer gets it from
    /// [`PeerConn::accept_stream`]. Dropping the future gives the stream up.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::ProtocolNotNegotiated`], those of [`PeerConn::open_stream`].
    pub async fn open_stream(&self, peer_id: &PeerId, protocol: &ProtocolId) -> Result<Stream> {
        self.pool.conn(peer_id, protocol)?.open_stream().await
    }

    /// Queues a message for a peer, waiting for room. Cancel-safe: a dropped call has queued nothing.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::ProtocolNotNegotiated`], those of [`PeerConn::send`].
    pub async fn send_to(&self, peer_id: &PeerId, protocol: &ProtocolId, message: impl Into<Bytes>) -> Result<()> {
        self.pool.conn(peer_id, protocol)?.send(message).await
    }

    /// As [`send_to`](Self::send_to), for a value.
    ///
    /// # Errors
    /// [`Error::Encode`], and those of [`send_to`](Self::send_to).
    pub async fn send_msg_to<T>(&self, peer_id: &PeerId, protocol: &ProtocolId, value: &T) -> Result<()>
    where
        T: Serialize + ?Sized,
    {
        let message = encode(value)?;
        self.send_to(peer_id, protocol, message).await
    }

    /// Gives a message to every peer that speaks the protocol. Never waits: who has no room is named in the result and
    /// does not get it.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`], [`Error::ProtocolNotAttached`], [`Error::NotRunning`], [`Error::ShutDown`]. That nobody is
    /// there is none.
    pub fn broadcast(&self, protocol: &ProtocolId, message: impl Into<Bytes>) -> Result<Broadcast> {
        self.check_running()?;
        self.pool.broadcast(protocol, message)
    }

    /// As [`broadcast`](Self::broadcast), to those named.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to(
        &self,
        protocol: &ProtocolId,
        message: impl Into<Bytes>,
        peers: &BTreeSet<PeerId>,
    ) -> Result<Broadcast> {
        self.check_running()?;
        self.pool.broadcast_to(protocol, message, peers)
    }

    /// As [`broadcast`](Self::broadcast), for a value, which is encoded once.
    ///
    /// # Errors
    /// [`Error::Encode`], and those of [`broadcast`](Self::broadcast).
    pub fn broadcast_msg<T: Serialize + ?Sized>(&self, protocol: &ProtocolId, value: &T) -> Result<Broadcast> {
        self.broadcast(protocol, encode(value)?)
    }

    /// Tells others, through the discoveries and the node's record, that this node has `item`. One that is
    /// [mandatory](ProtocolKind::Mandatory) is wanted of peers that the discoveries find; a
    /// [hidden](ProtocolKind::Hidden) one is not told.
    ///
    /// # Errors
    /// None today; [`Error::Config`] is kept for items that cannot be told.
    pub fn advertise(&self, item: impl AsRef<[u8]>, kind: ProtocolKind) -> Result<()> {
        if kind == ProtocolKind::Hidden {
            return Ok(());
        }
        lock(&self.items).insert(item.as_ref());
        self.discoveries.iter().for_each(|discovery| discovery.advertise(item.as_ref(), kind));
        self.tell_record()
    }

    /// Takes back what [`advertise`](Self::advertise) told.
    ///
    /// # Errors
    /// As [`advertise`](Self::advertise).
    pub fn unadvertise(&self, item: impl AsRef<[u8]>) -> Result<()> {
        lock(&self.items).remove(item.as_ref());
        self.discoveries.iter().for_each(|discovery| discovery.unadvertise(item.as_ref()));
        self.tell_record()
    }

    /// Peers that the discoveries know now to advertise `item`.
    pub fn find_peers_with(&self, item: impl AsRef<[u8]>) -> Vec<DiscoveredPeer> {
        self.discoveries.iter().flat_map(|discovery| discovery.find_peers_with(item.as_ref())).collect()
    }

    /// Listens for peers that come and go from now on.
    pub fn register_peer_events(&self) -> EventListener<PeerEvent> {
        self.pool.register_peer_events()
    }

    /// Who is connected now, and a listener for all that comes after, with nothing between them.
    pub fn watch_peers(&self) -> (Vec<PeerInfo>, EventListener<PeerEvent>) {
        self.pool.watch_peers()
    }
}
