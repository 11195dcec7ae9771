//! [`PeerPool`]: all peers of a node.

mod admission;
mod buses;
mod conduct;
mod disputes;
mod door;
mod kept_ids;
mod network;
mod shared;
mod view;

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use p2p_core::{ByteBudget, PeerId, Runtime};
use p2p_identity::access::AccessControl;
use p2p_identity::race::Source;
use p2p_identity::{Authenticated, DisconnectReason, Error, KeyPair, PeerRecord, ProtocolId, Result, TlsIdentity};
use p2p_net::{EarlyStreams, Endpoint, NetConfig, PeerAddr, Transports};

pub(crate) use self::admission::{Accepted, Claim, Fate};
pub use self::network::LostPeer;
pub(crate) use self::shared::Shared;
use self::shared::SharedParts;
use crate::attached::Attached;
use crate::connector::Wanted;
use crate::peer::{Leave, Peer};
use crate::registry::DialKind;
use crate::{Constructor, IntoProtocol, Offence, PeerConn, PoolConfig, Protocol, ProtocolInfo};

/// After [`PoolConfig::drain_timeout`], how long a shutdown gives protocols to end by themselves.
const END_OF_PROTOCOLS: Duration = Duration::from_millis(500);

/// The peers of a node: connects, accepts, shakes hands, runs protocols, and says who is there.
///
/// Clones are handles to the same pool. Dropping the last one ends everything at once; [`shutdown`](Self::shutdown) is
/// the orderly way.
#[derive(Clone)]
pub struct PeerPool {
    shared: Arc<Shared>,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "held for its drop"))]
    alive: Arc<Alive>,
}

/// Ends everything with the last handle. Tasks hold the rest.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.close();
        self.0.tasks.abort_all();
        self.0.sessions.abort_all();
        // Handles to peers that the application still has would keep the ports.
        let shared = self.0.clone();
        self.0.transports.tasks().spawn("close", async move {
            shared.sessions.wait().await;
            shared.transports.shutdown().await;
        });
    }
}

impl PeerPool {
    /// A pool without peers, which listens nowhere yet. It asks `access` about everybody.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is not valid.
    pub fn new(
        runtime: Arc<dyn Runtime>,
        key_pair: &KeyPair,
        config: PoolConfig,
        access: Arc<dyn AccessControl>,
    ) -> Result<Self> {
        config.validate()?;
        let limits = &config.limits;
        let budget = ByteBudget::new(limits.memory);
        let mut net = NetConfig::default();
        let tls = TlsIdentity::new(key_pair)?;
        net.tls = Some(tls.configs());
        net.max_inbound_streams = limits.inbound_streams;
        net.stream_window = limits.stream_window;
        net.connection_window = limits.connection_window;
        let early_streams = EarlyStreams::new(1);
        net.early_streams = Some(early_streams.clone());
        net.budget = budget.clone();
        (net.upload, net.download) = (limits.upload, limits.download);
        net.dial_timeout = config.dial_timeout;
        net.accept_timeout = config.handshake_timeout;
        // Pings keep a connection. Quic knows best when a packet last came.
        net.idle_timeout = config.ping_times().give_up();
        net.keep_alive = None;
        let transports = Transports::new(runtime.clone(), net);
        let changes = access.changes();
        let key_pair = key_pair.clone();
        let attached = Attached::new(early_streams);
        let parts = SharedParts { runtime, key_pair, tls, config, access, transports, budget, attached };
        let shared = Arc::new(Shared::new(parts));
        shared.params().validate()?;
        shared.params_changed();
        if let Some(mut changes) = changes {
            let weak = Arc::downgrade(&shared);
            shared.tasks.spawn("access control", async move {
                loop {
                    changes.changed().await;
                    let Some(shared) = weak.upgrade() else { return };
                    shared.conduct.changed.notify();
                    for peer in shared.peers().into_iter().filter(|peer| !shared.is_allowed(peer)) {
                        peer.core().leave(Leave::Now(DisconnectReason::Denied));
                    }
                }
            });
        }
        Ok(Self { alive: Arc::new(Alive(shared.clone())), shared })
    }

    /// Attaches a protocol: `constructor` makes it for each peer that speaks it too. It may return the protocol, an [`Arc`] of
    /// it, or, where the protocol is named (`attach::<MyProtocol>`), an `Arc<dyn Protocol>`: see [`Constructor`]. Peers that
    /// are connected already are not concerned.
    ///
    /// # Errors
    /// [`Error::DuplicateProtocol`]; [`Error::Config`] when there are too many; those of [`Protocol::version`].
    pub fn attach<P: Protocol>(&self, constructor: impl Constructor<P>) -> Result<()> {
        self.attach_dyn(ProtocolInfo::of::<P>()?, move |conn| constructor(conn).into_protocol())
    }

    /// As [`attach`](Self::attach), for a protocol that is only known at run time.
    ///
    /// # Errors
    /// [`Error::DuplicateProtocol`]; [`Error::Config`] when there are too many.
    pub fn attach_dyn<F>(&self, info: ProtocolInfo, constructor: F) -> Result<()>
    where
        F: Fn(PeerConn) -> Arc<dyn Protocol> + Send + Sync + 'static,
    {
        self.shared.attached.attach(info, Arc::new(constructor), self.shared.config.limits.protocols)?;
        self.shared.params_changed();
        Ok(())
    }

    /// Detaches a protocol; whether it was attached. Peers that are connected already go on speaking it.
    pub fn detach(&self, protocol: &ProtocolId) -> bool {
        let detached = self.shared.attached.detach(protocol);
        self.shared.params_changed();
        detached
    }

    /// The protocols that are attached.
    pub fn protocols(&self) -> Vec<ProtocolInfo> {
        self.shared.attached.snapshot().values().map(|attachment| attachment.info.clone()).collect()
    }

    /// Accepts connections at an endpoint; gives it with the port that the system chose.
    ///
    /// # Errors
    /// [`Error::Net`] with what the system said; [`Error::ShutDown`]; [`Error::Core`] when the runtime has ended.
    pub async fn listen(&self, endpoint: &Endpoint) -> Result<Endpoint> {
        self.shared.listen(endpoint).await
    }

    /// Whether the socket at one of the endpoints that [`listen`](Self::listen) gave has failed and is not yet bound anew.
    /// [`ConnectionEventKind::ListenFailed`](crate::ConnectionEventKind::ListenFailed) and
    /// [`Listening`](crate::ConnectionEventKind::Listening) tell of each change.
    pub fn is_unbound(&self, endpoint: &Endpoint) -> bool {
        self.shared.unbound().contains(endpoint)
    }

    /// Connects to an endpoint, with retries; `Ok` when its peer is connected already. When it returns, the
    /// constructors of all protocols of the peer have run. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// [`Error::Net`] and [`Error::Handshake`] with what went wrong last, the latter with what the remote has decided;
    /// [`Error::SlotsFull`], [`Error::Denied`], [`Error::Banned`] and [`Error::SelfDial`] where this side has;
    /// [`Error::Disconnected`] when the peer had to go while it was connected; [`Error::ShutDown`]; [`Error::Core`] when the
    /// runtime has ended.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<PeerId> {
        let (expected, addrs) = (endpoint.peer_id(), vec![endpoint.clone().into()]);
        self.shared.connect(Wanted { kind: DialKind::Asked, expected, addrs, source: None }).await
    }

    /// Connects to a peer at whichever of its addresses answers first, those of higher priority being tried before.
    /// Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// [`Error::NoAddress`], and those of [`connect`](Self::connect).
    pub async fn connect_peer(&self, peer_id: &PeerId, addrs: &[PeerAddr]) -> Result<()> {
        let (expected, addrs) = (Some(*peer_id), addrs.to_vec());
        self.shared.connect(Wanted { kind: DialKind::Asked, expected, addrs, source: None }).await.map(drop)
    }

    /// As [`connect_peer`](Self::connect_peer), with a source of further addresses: it is asked when the first address has
    /// failed, or nobody has answered for 250 ms, and what it gives joins the others. All of it takes at most
    /// [`PoolConfig::dial_timeout`], and then the time of a handshake. A source that has ended must stay at its end.
    ///
    /// # Errors
    /// As [`connect_peer`](Self::connect_peer).
    pub async fn connect_peer_with(&self, peer_id: &PeerId, addrs: &[PeerAddr], source: Source<'_>) -> Result<()> {
        let (expected, addrs, source) = (Some(*peer_id), addrs.to_vec(), Some(source));
        self.shared.connect(Wanted { kind: DialKind::Asked, expected, addrs, source }).await.map(drop)
    }

    /// Connects to somebody whom discovery has found, without delaying those whom the application asked for.
    /// Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub async fn connect_found(&self, peer_id: Option<PeerId>, addrs: &[PeerAddr]) -> Result<PeerId> {
        let (expected, addrs) = (peer_id, addrs.to_vec());
        self.shared.connect(Wanted { kind: DialKind::Found, expected, addrs, source: None }).await
    }

    /// Keeps a peer connected from now on: dials it, and again, with growing waits, after it failed or went.
    pub fn keep_connected(&self, endpoint: Endpoint) {
        self.shared.tasks.spawn("kept peer", self.shared.clone().keep_connected(endpoint));
    }

    /// Begins to keep [`PoolConfig::dial_peers`] connected, in random order. Call it once.
    pub fn start(&self) {
        let mut peers = self.shared.config.dial_peers.clone();
        self.shared.runtime.shuffle(&mut peers);
        peers.into_iter().for_each(|endpoint| self.keep_connected(endpoint));
    }

    /// Waits until an outbound slot is free for a peer that was found, and it could be dialed at once: neither another peer nor a
    /// dial of another one that was found holds the slot; a dial that nobody has answered for 150 ms holds none. Calls return in
    /// the order in which they were made. Cancel-safe.
    pub async fn outbound_slot_free(&self) {
        let place = self.shared.seekers.enter(&self.shared.changed);
        let free = || (place.is_first() && self.shared.may_dial(DialKind::Found)).then_some(());
        self.shared.until(free).await;
    }

    /// Says good-bye to a peer, delivers what was sent, and disconnects; `code` is the application's. Waits until it is
    /// done, at most [`PoolConfig::drain_timeout`], or the runtime ends; it goes on when the future is dropped.
    pub async fn disconnect(&self, peer_id: &PeerId, code: u32, reason: &str) {
        if let Some(peer) = self.shared.peer(peer_id) {
            peer.core().leave(Leave::Orderly(DisconnectReason::Local { code, reason: reason.into() }));
            // All sessions end with their runtime, and then nobody is left to announce it.
            futures_util::future::select(pin!(self.gone(&peer)), pin!(self.shared.sessions.wait())).await;
        }
    }

    /// Waits until the peer is announced as removed.
    async fn gone(&self, peer: &Arc<Peer>) {
        let gone = || {
            let present = self.shared.peer(&peer.id());
            (!present.is_some_and(|present| Arc::ptr_eq(&present, peer))).then_some(())
        };
        self.shared.until(gone).await;
    }

    /// Disconnects a peer at once and refuses it for `duration`.
    pub fn ban(&self, peer_id: &PeerId, duration: Duration) {
        self.shared.conduct.ban(*peer_id, duration, self.shared.runtime.now());
        if let Some(peer) = self.shared.peer(peer_id) {
            peer.core().leave(Leave::Now(DisconnectReason::Banned));
        }
    }

    /// Lifts a ban and forgets what led to it; whether there was one.
    pub fn unban(&self, peer_id: &PeerId) -> bool {
        self.shared.conduct.unban(*peer_id)
    }

    /// Whether a peer is banned now.
    pub fn is_banned(&self, peer_id: &PeerId) -> bool {
        self.shared.conduct.is_banned(*peer_id, self.shared.runtime.now())
    }

    /// Reports that a peer did something it should not have done. Offences add up to a ban for some time.
    pub fn report(&self, peer_id: &PeerId, offence: Offence) {
        if let Some(peer) = self.shared.peer(peer_id) {
            peer.report(offence);
        }
    }

    /// What handshakes tell others of this node from now on.
    ///
    /// # Errors
    /// [`Error::Config`] when it is another peer's.
    pub fn set_record(&self, record: Option<PeerRecord>) -> Result<()> {
        if record.as_ref().is_some_and(|record| record.peer_id() != self.peer_id()) {
            return Err(Error::config("record", "it is another peer's"));
        }
        self.shared.set_record(record);
        Ok(())
    }

    /// Serves connections for the discovery layer from now on, at every endpoint listened at. `handler` must return at
    /// once.
    pub fn serve_lookups(&self, handler: impl Fn(Authenticated) + Send + Sync + 'static) {
        *self.shared.lookups.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(handler));
        self.shared.params_changed();
    }

    /// This node.
    pub fn peer_id(&self) -> PeerId {
        self.shared.own_id
    }

    /// Whom this node has anything to do with: the policy that it was made with, and nobody who is banned. For whatever else
    /// listens, dials or answers for this node.
    pub fn access_control(&self) -> Arc<dyn AccessControl> {
        self.shared.access.clone()
    }

    /// Where everything runs.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.shared.runtime
    }

    /// The transports that connections come from, for other uses of the same sockets.
    pub fn transports(&self) -> &Transports {
        &self.shared.transports
    }

    /// The settings.
    pub fn config(&self) -> &PoolConfig {
        &self.shared.config
    }

    /// Says good-bye to all peers, delivers what was sent to those that take it, for at most
    /// [`PoolConfig::drain_timeout`], and ends every task, connection and socket. Idempotent; cancel-safe: call it again
    /// to go on.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.close();
        shared.tasks.shutdown().await;
        let peers = shared.peers();
        peers.iter().for_each(|peer| peer.core().leave(Leave::Orderly(DisconnectReason::LocalShutdown)));
        let patience = shared.config.drain_timeout + END_OF_PROTOCOLS;
        let _ = shared.runtime.timeout(patience, shared.sessions.wait()).await;
        shared.sessions.shutdown().await;
        for peer in peers {
            peer.stop().await;
        }
        shared.transports.shutdown().await;
        shared.buses.close();
    }

    /// Tasks that have not ended, those of transports included.
    pub fn tasks(&self) -> usize {
        self.shared.tasks.len() + self.shared.sessions.len() + self.shared.transports.tasks().len()
    }

    /// Waits until a peer is connected. Cancel-safe.
    pub async fn wait_for(&self, peer_id: &PeerId) {
        self.shared.until(|| self.shared.is_connected(peer_id).then_some(())).await;
    }

    #[cfg(feature = "testing")]
    pub(crate) fn keep_alive(&self) -> Arc<dyn std::any::Any + Send + Sync> {
        self.alive.clone()
    }
}

impl fmt::Debug for PeerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerPool").field("peer_id", &self.peer_id()).field("peers", &self.len()).finish_non_exhaustive()
    }
}
