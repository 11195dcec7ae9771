//! The state of a pool, and what happens to it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_core::{ByteBudget, PeerId, Runtime, TaskGroup};
use p2p_identity::access::{AccessControl, Candidate as AccessCandidate, Subject};
use p2p_identity::{
    DisconnectReason, Error, HandshakeParams, InboundHandshakes, KeyPair, Offer, OwnAddresses, PeerRecord, Prefix,
    ProtocolId, Purpose, Result, TlsIdentity,
};
use p2p_net::{Endpoint, Transports};
use tokio::sync::{Notify, oneshot};

use super::admission::Fate;
use super::buses::Buses;
use super::conduct::Conduct;
use super::disputes::Disputes;
use super::door::Door;
use super::kept_ids::KeptIds;
use super::network::Network;
use crate::attached::Attached;
use crate::broadcast::Group;
use crate::lane::{Lane, Line};
use crate::lines::Lines;
use crate::listener::Lookups;
use crate::peer::{Leave, Peer};
use crate::registry::{DialKind, Registry};
use crate::turns::{FRESH, TurnLimits};
use crate::{ConnectionId, Offence, PeerEvent, PoolConfig};

/// Fresh dials in the background at the same time: one of so many of those that the application may have.
const FRESH_SHARE: usize = 2;

/// Dials in the background at the same time, silent ones included, as multiples of those that the application may have: of peers
/// that were found, and of those that are kept connected.
const FOUND_DIALS: usize = 2;
const KEPT_DIALS: usize = 4;

/// Everything that a pool's tasks share.
pub(crate) struct Shared {
    pub(crate) own_id: PeerId,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) config: Arc<PoolConfig>,
    pub(crate) budget: ByteBudget,
    pub(crate) transports: Transports,
    pub(crate) attached: Attached,
    pub(crate) access: Arc<dyn AccessControl>,
    pub(crate) conduct: Arc<Conduct>,
    pub(crate) buses: Buses,
    /// For peers that come and go, and for protocols of theirs that fail.
    pub(crate) lines: Lines,
    pub(crate) tasks: TaskGroup,
    /// Something about the set of peers or the slots has changed.
    pub(crate) changed: Notify,
    /// The network has changed.
    pub(crate) network: Network,
    /// Dials of each kind.
    lanes: [Lane; DialKind::COUNT],
    /// Those who look for peers to fill outbound slots with.
    pub(crate) seekers: Line,
    /// The task of each connected peer.
    pub(crate) sessions: TaskGroup,
    pub(crate) handshakes: InboundHandshakes,
    /// Whom the operator wants to be connected with.
    pub(crate) kept: KeptIds,
    /// Where this node has dialed itself.
    pub(crate) own_addresses: OwnAddresses,
    pub(crate) lookups: Mutex<Option<Lookups>>,
    /// Where a listening socket has failed and is not yet bound anew.
    unbound: Mutex<BTreeSet<Endpoint>>,
    closing: AtomicBool,
    /// Notified when `closing` is set: thousands of dials may wait for it, and for nothing else that changes.
    closed: Notify,
    next_connection: AtomicU64,
    key_pair: KeyPair,
    tls: TlsIdentity,
    boot_nonce: u64,
    params: Mutex<Params>,
    state: Mutex<State>,
}

#[derive(Default)]
struct Params {
    record: Option<PeerRecord>,
    /// What handshakes say, until something in it changes.
    cached: Option<Arc<HandshakeParams>>,
}

pub(super) struct State {
    pub(super) registry: Registry<Prefix>,
    pub(super) peers: BTreeMap<PeerId, Arc<Peer>>,
    /// Connections for which the choice is open.
    pub(super) fates: BTreeMap<ConnectionId, oneshot::Sender<Fate>>,
    pub(super) groups: BTreeMap<ProtocolId, Arc<Group>>,
    pub(super) disputes: Disputes,
    /// Connections that this side has replaced, and that are not gone yet.
    pub(super) replaced: BTreeSet<ConnectionId>,
}

pub(super) struct SharedParts {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) key_pair: KeyPair,
    pub(super) tls: TlsIdentity,
    pub(super) config: PoolConfig,
    pub(super) access: Arc<dyn AccessControl>,
    pub(super) transports: Transports,
    pub(super) budget: ByteBudget,
    pub(super) attached: Attached,
}

impl Shared {
    pub(super) fn new(parts: SharedParts) -> Self {
        let SharedParts { runtime, key_pair, tls, config, access, transports, budget, attached } = parts;
        let limits = &config.limits;
        let own_id = key_pair.peer_id();
        let conduct = Arc::new(Conduct::new(limits, config.ban_time, runtime.now()));
        let state = State {
            registry: Registry::new(own_id, config.slot_limits()),
            peers: BTreeMap::new(),
            fates: BTreeMap::new(),
            groups: BTreeMap::new(),
            disputes: Disputes::new(limits.offenders),
            replaced: BTreeSet::new(),
        };
        Self {
            own_id,
            budget,
            transports,
            attached,
            access: Arc::new(Door::new(access, conduct.clone(), runtime.clone())),
            conduct,
            buses: Buses::new(runtime.clone(), limits.event_queue, config.enable_monitor),
            lines: Lines::new(runtime.now()),
            tasks: TaskGroup::new(runtime.clone()),
            changed: Notify::new(),
            network: Network::default(),
            lanes: DialKind::ALL.map(|kind| Lane::new(runtime.clone(), turn_limits(kind, limits.dials))),
            seekers: Line::default(),
            sessions: TaskGroup::new(runtime.clone()),
            handshakes: InboundHandshakes::new(config.handshake_limits()),
            kept: KeptIds::default(),
            own_addresses: OwnAddresses::new(),
            lookups: Mutex::default(),
            unbound: Mutex::default(),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            next_connection: AtomicU64::new(1),
            boot_nonce: runtime.random_u64(),
            key_pair,
            tls,
            params: Mutex::default(),
            state: Mutex::new(state),
            config: Arc::new(config),
            runtime,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No statement below panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_params(&self) -> MutexGuard<'_, Params> {
        // Both fields are valid by themselves.
        self.params.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a listening socket has failed and is not yet bound anew.
    pub(crate) fn unbound(&self) -> MutexGuard<'_, BTreeSet<Endpoint>> {
        // A set is valid whatever panicked.
        self.unbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// No new peers from here on; whether this was the first call.
    pub(super) fn close(&self) -> bool {
        let first = !self.closing.swap(true, Ordering::AcqRel);
        self.lock().groups.values().for_each(|group| group.close());
        self.closed.notify_waiters();
        self.changed.notify_waiters();
        first
    }

    /// Waits until there are no new peers. Cancel-safe.
    pub(crate) async fn closed(&self) {
        let mut closed = pin!(self.closed.notified());
        closed.as_mut().enable();
        if !self.is_closing() {
            closed.await;
        }
    }

    /// What this node says in handshakes now.
    pub(crate) fn params(&self) -> Arc<HandshakeParams> {
        self.current(&mut self.lock_params())
    }

    fn current(&self, params: &mut Params) -> Arc<HandshakeParams> {
        if let Some(cached) = &params.cached {
            return cached.clone();
        }
        let mut fresh = HandshakeParams::new(self.key_pair.clone(), self.boot_nonce);
        fresh.network = self.config.network.clone();
        fresh.version = self.config.version.clone();
        fresh.record = params.record.clone();
        let offer = |info: &crate::ProtocolInfo| Offer { version: info.version.clone(), kind: info.kind };
        fresh.protocols = self.attached.snapshot().values().map(|at| (at.info.id.clone(), offer(&at.info))).collect();
        // Unpoisoned or not, the handler is either there or not.
        if self.lookups.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            fresh.serves.push(Purpose::Lookup);
        }
        let fresh = Arc::new(fresh);
        params.cached = Some(fresh.clone());
        fresh
    }

    /// Something that handshakes say has changed: from now on the certificate says it too.
    pub(super) fn params_changed(&self) {
        self.present(&mut self.lock_params());
    }

    pub(super) fn set_record(&self, record: Option<PeerRecord>) {
        let mut params = self.lock_params();
        params.record = record;
        self.present(&mut params);
    }

    /// Under the lock, so that the last change is what stays.
    fn present(&self, params: &mut Params) {
        params.cached = None;
        let presented = self.tls.accepting(self.current(params)).map(|tls| self.transports.accept_with(tls));
        if !matches!(presented, Ok(Ok(()))) {
            // Neither can fail: all parts have an encoding, and quic took the same configuration when it was set up.
            tracing::error!(?presented, "the certificate cannot be renewed");
        }
    }

    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId::new(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// All peers that speak a protocol.
    pub(crate) fn group(&self, protocol: &ProtocolId) -> Arc<Group> {
        let mut state = self.lock();
        let group = state.groups.entry(protocol.clone());
        group.or_insert_with(|| Arc::new(Group::new(self.config.limits.message))).clone()
    }

    /// The same, for a protocol that is attached, or that peers still speak.
    pub(super) fn spoken(&self, protocol: &ProtocolId) -> Result<Arc<Group>> {
        let spoken = self.lock().groups.get(protocol).filter(|group| !group.is_empty()).cloned();
        match spoken {
            Some(group) => Ok(group),
            None if self.attached.snapshot().contains_key(protocol) => Ok(self.group(protocol)),
            None => Err(Error::ProtocolNotAttached(protocol.clone())),
        }
    }

    /// Counts an offence; a peer that is banned for it is disconnected. Whom the operator has named is spared.
    pub(crate) fn offence(&self, peer: Option<PeerId>, endpoint: &Endpoint, offence: Offence) {
        let spared = match peer {
            Some(peer) => self.is_named(&AccessCandidate::new(peer, endpoint)),
            None => self.access.vouches(&Subject::Endpoint(endpoint)),
        };
        let banned = self.conduct.offence(self.runtime.now(), peer, endpoint.addr().ip(), offence, spared);
        if let Some(peer) = peer.filter(|_| banned).and_then(|peer| self.peer(&peer)) {
            peer.core().leave(Leave::Now(DisconnectReason::Banned));
        }
    }

    pub(crate) fn peer(&self, id: &PeerId) -> Option<Arc<Peer>> {
        self.lock().peers.get(id).cloned()
    }

    pub(crate) fn is_connected(&self, id: &PeerId) -> bool {
        let state = self.lock();
        state.peers.contains_key(id) && state.registry.live(id).is_some()
    }

    /// Whether a connection to the peer may yet come about here, or has to go first.
    pub(crate) fn holds(&self, id: &PeerId) -> bool {
        let state = self.lock();
        state.registry.live(id).is_some() || state.registry.is_pending(id)
    }

    /// The connected peer that was dialed at an endpoint.
    pub(crate) fn dialed(&self, endpoint: &Endpoint) -> Option<PeerId> {
        let state = self.lock();
        let mut peers = state.peers.values().map(|peer| peer.core());
        let there = peers.find(|core| core.direction.is_outbound() && core.endpoint == *endpoint)?;
        (state.registry.live(&there.id) == Some(there.connection_id)).then_some(there.id)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().peers.len()
    }

    /// Whether a dial could begin at once: it has its turn, and a slot.
    pub(super) fn may_dial(&self, kind: DialKind) -> bool {
        self.lane(kind).has_room() && self.lock().registry.may_dial(kind)
    }

    pub(crate) fn lane(&self, kind: DialKind) -> &Lane {
        &self.lanes[kind as usize]
    }

    /// The peers and a listener for what changes after that.
    pub(super) fn watch(&self) -> (Vec<crate::PeerInfo>, p2p_core::EventListener<PeerEvent>) {
        let state = self.lock();
        (state.peers.values().map(|peer| peer.info()).collect(), self.buses.peers.register())
    }

    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.lock().peers.values().cloned().collect()
    }

    /// Fails once the pool shuts down, or its runtime has.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closing() { Err(Error::ShutDown) } else { Ok(self.runtime.check()?) }
    }
}

/// What the dials of one kind may be. The application's wait for each other, and nobody cuts them short.
fn turn_limits(kind: DialKind, dials: usize) -> TurnLimits {
    let background = |times| TurnLimits {
        fresh: (dials / FRESH_SHARE).max(1),
        all: dials.saturating_mul(times),
        fresh_for: Some(FRESH),
    };
    match kind {
        DialKind::Asked => TurnLimits { fresh: dials, all: dials, fresh_for: None },
        DialKind::Found => background(FOUND_DIALS),
        DialKind::Kept | DialKind::Again => background(KEPT_DIALS),
    }
}
