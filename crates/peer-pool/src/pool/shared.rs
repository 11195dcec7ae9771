//! The state of a pool, and what happens to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use p2p_core::{ByteBudget, PeerId, Runtime, TaskGroup};
use p2p_identity::access::{AccessControl, Action, Candidate as AccessCandidate, Subject};
use p2p_identity::prefix::is_local;
use p2p_identity::{
    DisconnectReason, Error, HandshakeLimiter, HandshakeParams, KeyPair, Offer, PeerRecord, Prefix, ProtocolId,
    Purpose, RejectReason, Result,
};
use p2p_net::{Endpoint, Transports};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::buses::Buses;
use super::conduct::Conduct;
use crate::attached::Attached;
use crate::broadcast::Group;
use crate::listener::{Handshakes, Lookups};
use crate::peer::{Leave, Peer};
use crate::registry::{Candidate, DialKind, Effect, Registry};
use crate::{ConnectionEventKind, ConnectionId, Direction, Offence, PeerEvent, PeerPoolEventKind, PoolConfig};

/// A peer that is gone sooner, without a good-bye, is flapping.
const FLAPPING: Duration = Duration::from_secs(5);

/// Dials of peers that never answered may be so many times as many as others.
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
    pub(crate) conduct: Conduct,
    pub(crate) buses: Buses,
    pub(crate) tasks: TaskGroup,
    /// Something about the set of peers or the slots has changed.
    pub(crate) changed: Notify,
    /// Dials at the same time, for each kind.
    pub(crate) dials: [Semaphore; DialKind::COUNT],
    /// The task of each connected peer.
    pub(crate) sessions: TaskGroup,
    pub(crate) handshakes: Mutex<Handshakes>,
    pub(crate) lookups: Mutex<Option<Lookups>>,
    closing: AtomicBool,
    next_connection: AtomicU64,
    key_pair: KeyPair,
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

struct State {
    registry: Registry<Prefix>,
    peers: BTreeMap<PeerId, Arc<Peer>>,
    /// Connections for which the choice is open.
    fates: BTreeMap<ConnectionId, oneshot::Sender<Fate>>,
    groups: BTreeMap<ProtocolId, Arc<Group>>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is the peer's.
    Stays,
    /// It is to be closed.
    Goes(RejectReason),
}

/// A connection whose remote has said who it is.
pub(crate) struct Claim<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    pub(crate) boot: u64,
    pub(crate) direction: Direction,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) record: Option<&'a PeerRecord>,
    pub(crate) dial: Option<crate::registry::Dial>,
}

pub(super) struct SharedParts {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) key_pair: KeyPair,
    pub(super) config: PoolConfig,
    pub(super) access: Arc<dyn AccessControl>,
    pub(super) transports: Transports,
    pub(super) budget: ByteBudget,
}

impl Shared {
    pub(super) fn new(parts: SharedParts) -> Self {
        let SharedParts { runtime, key_pair, config, access, transports, budget } = parts;
        let limits = &config.limits;
        let own_id = key_pair.peer_id();
        let state = State {
            registry: Registry::new(own_id, config.slot_limits()),
            peers: BTreeMap::new(),
            fates: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        Self {
            own_id,
            budget,
            transports,
            attached: Attached::default(),
            access,
            conduct: Conduct::new(limits, config.ban_time),
            buses: Buses::new(runtime.clone(), limits.event_queue, config.enable_monitor),
            tasks: TaskGroup::new(runtime.clone()),
            changed: Notify::new(),
            dials: [1, 1, KEPT_DIALS, 1].map(|times| Semaphore::new(limits.dials * times)),
            sessions: TaskGroup::new(runtime.clone()),
            handshakes: Mutex::new(Handshakes::new(HandshakeLimiter::new(config.handshake_limits()))),
            lookups: Mutex::default(),
            closing: AtomicBool::new(false),
            next_connection: AtomicU64::new(1),
            boot_nonce: runtime.random_u64(),
            key_pair,
            params: Mutex::default(),
            state: Mutex::new(state),
            config: Arc::new(config),
            runtime,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No statement below panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_params(&self) -> MutexGuard<'_, Params> {
        // Both fields are valid by themselves.
        self.params.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// No new peers from here on; whether this was the first call.
    pub(super) fn close(&self) -> bool {
        let first = !self.closing.swap(true, Ordering::AcqRel);
        self.changed.notify_waiters();
        first
    }

    /// What this node says in handshakes now.
    pub(crate) fn params(&self) -> Arc<HandshakeParams> {
        let mut params = self.lock_params();
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

    /// Something that handshakes say has changed.
    pub(super) fn params_changed(&self) {
        self.lock_params().cached = None;
    }

    pub(super) fn set_record(&self, record: Option<PeerRecord>) {
        let mut params = self.lock_params();
        params.record = record;
        params.cached = None;
    }

    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId::new(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// All peers that speak a protocol.
    pub(crate) fn group(&self, protocol: &ProtocolId) -> Arc<Group> {
        let mut state = self.lock();
        state.groups.entry(protocol.clone()).or_default().clone()
    }

    pub(super) fn group_if_any(&self, protocol: &ProtocolId) -> Option<Arc<Group>> {
        self.lock().groups.get(protocol).cloned()
    }

    /// The address range that a remote counts against.
    fn prefix(&self, ip: Option<IpAddr>) -> Option<Prefix> {
        ip.filter(|ip| !(self.config.limits.exempt_private && is_local(*ip))).map(Prefix::of)
    }

    /// Whether to accept what a remote claims to be. Its fate is told later.
    pub(crate) fn decide(&self, claim: &Claim<'_>) -> Result<oneshot::Receiver<Fate>, RejectReason> {
        let now = self.runtime.now();
        if self.is_closing() {
            return Err(RejectReason::ShuttingDown);
        }
        if self.conduct.is_banned(claim.peer, now) {
            return Err(RejectReason::Banned);
        }
        let who = AccessCandidate::new(claim.peer, claim.endpoint).with_record(claim.record);
        if !self.access.allow(&Subject::Peer(who), Action::Connect(claim.direction)) {
            return Err(RejectReason::Denied);
        }
        let candidate = Candidate {
            id: claim.id,
            peer: claim.peer,
            boot: claim.boot,
            direction: claim.direction,
            prefix: self.prefix(claim.endpoint.addr().ip()),
            dial: claim.dial,
        };
        let mut state = self.lock();
        let (verdict, effects) = state.registry.decide(now, candidate);
        let fate = verdict.map(|()| {
            let (tell, fate) = oneshot::channel();
            state.fates.insert(claim.id, tell);
            fate
        });
        Self::apply(&mut state, effects);
        fate
    }

    /// Runs something on the registry and does what it says.
    pub(crate) fn with_registry(&self, change: impl FnOnce(&mut Registry<Prefix>) -> Vec<Effect>) {
        let mut state = self.lock();
        let effects = change(&mut state.registry);
        Self::apply(&mut state, effects);
    }

    fn apply(state: &mut State, effects: Vec<Effect>) {
        for effect in effects {
            // Who no longer waits for the fate of its connection is about to report it gone.
            match effect {
                Effect::Establish(id) => drop(state.fates.remove(&id).map(|tell| tell.send(Fate::Stays))),
                Effect::Drop(id, why) => drop(state.fates.remove(&id).map(|tell| tell.send(Fate::Goes(why)))),
                Effect::Close(id, reason) => {
                    if let Some(peer) = state.peer_of(id) {
                        peer.core().leave(Leave::Now(reason));
                    }
                }
                Effect::Probe(id) => {
                    if let Some(peer) = state.peer_of(id) {
                        peer.core().probe();
                    }
                }
            }
        }
    }

    /// A connection that did not become a peer is gone.
    pub(crate) fn abandoned(&self, id: ConnectionId) {
        let mut state = self.lock();
        state.fates.remove(&id);
        let effects = state.registry.removed(self.runtime.now(), id);
        Self::apply(&mut state, effects);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Announces a peer whose protocols have been constructed; an error when it may not stay after all.
    pub(crate) fn admit(&self, peer: &Arc<Peer>) -> Result<(), DisconnectReason> {
        let (id, core) = (peer.id(), peer.core());
        let mut state = self.lock();
        if self.is_closing() {
            return Err(DisconnectReason::LocalShutdown);
        }
        if self.conduct.is_banned(id, self.runtime.now()) {
            return Err(DisconnectReason::Banned);
        }
        if !self.is_allowed(peer) {
            return Err(DisconnectReason::Denied);
        }
        if state.registry.live(&id) != Some(core.connection_id) {
            return Err(DisconnectReason::Replaced);
        }
        state.peers.insert(id, peer.clone());
        for (protocol, link) in peer.links() {
            if let Some(group) = state.groups.get(protocol) {
                group.add(link.clone());
            }
        }
        // Under the lock, so that events come in the order of what they tell.
        self.buses.peers.emit(PeerEvent::Added { peer: peer.info() });
        self.buses.pool(PeerPoolEventKind::NewPeer, &core.endpoint, Some(id));
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    pub(super) fn is_allowed(&self, peer: &Peer) -> bool {
        let core = peer.core();
        let who = AccessCandidate::new(core.id, &core.endpoint);
        self.access.allow(&Subject::Peer(who), Action::Connect(core.direction))
    }

    /// The peer is about to go in good order.
    pub(crate) fn peer_leaving(&self, peer: &Peer) {
        self.lock().registry.leaving(peer.core().connection_id);
        self.changed.notify_waiters();
    }

    /// The peer's connection has ended.
    pub(crate) fn peer_gone(&self, peer: &Arc<Peer>, reason: DisconnectReason) {
        let (id, core) = (peer.id(), peer.core());
        let mut state = self.lock();
        for (protocol, link) in peer.links() {
            if let Some(group) = state.groups.get(protocol) {
                group.remove(link);
            }
        }
        if state.peers.get(&id).is_some_and(|present| Arc::ptr_eq(present, peer)) {
            state.peers.remove(&id);
            self.buses.peers.emit(PeerEvent::Removed { peer: peer.info(), reason: reason.clone() });
            self.buses.pool(PeerPoolEventKind::RemovePeer { reason: reason.clone() }, &core.endpoint, Some(id));
        }
        let kind = ConnectionEventKind::Disconnected { reason: reason.clone() };
        self.buses.connection(kind, &core.endpoint, Some(id));
        let effects = state.registry.removed(self.runtime.now(), core.connection_id);
        Self::apply(&mut state, effects);
        drop(state);
        self.changed.notify_waiters();
        let lived = self.runtime.now().saturating_duration_since(core.since);
        if core.direction.is_inbound() && matches!(reason, DisconnectReason::Lost(_)) && lived < FLAPPING {
            self.offence(Some(id), &core.endpoint, Offence::Flapping);
        }
    }

    /// Counts an offence; a peer that is banned for it is disconnected.
    pub(crate) fn offence(&self, peer: Option<PeerId>, endpoint: &Endpoint, offence: Offence) {
        let banned = self.conduct.offence(self.runtime.now(), peer, endpoint.addr().ip(), offence);
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

    /// The connected peer that was dialled at an endpoint.
    pub(crate) fn dialled(&self, endpoint: &Endpoint) -> Option<PeerId> {
        let state = self.lock();
        let mut peers = state.peers.values().map(|peer| peer.core());
        let there = peers.find(|core| core.direction.is_outbound() && core.endpoint == *endpoint)?;
        (state.registry.live(&there.id) == Some(there.connection_id)).then_some(there.id)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().peers.len()
    }

    pub(super) fn outbound_free(&self) -> usize {
        self.config.outbound_slots.saturating_sub(self.lock().registry.slots_taken().1)
    }

    /// The peers and a listener for what changes after that.
    pub(super) fn watch(&self) -> (Vec<crate::PeerInfo>, p2p_core::EventListener<PeerEvent>) {
        let state = self.lock();
        (state.peers.values().map(|peer| peer.info()).collect(), self.buses.peers.register())
    }

    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.lock().peers.values().cloned().collect()
    }

    /// Fails once the pool shuts down.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closing() { Err(Error::ShutDown) } else { Ok(()) }
    }
}

impl State {
    fn peer_of(&self, id: ConnectionId) -> Option<&Arc<Peer>> {
        self.peers.values().find(|peer| peer.core().connection_id == id)
    }
}
