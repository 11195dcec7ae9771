//! Which connections become peers, and what happens when one does, or is gone.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::access::{Action, Candidate as AccessCandidate, Subject};
use p2p_identity::prefix::is_local;
use p2p_identity::{DisconnectReason, PeerRecord, Prefix, RejectReason, Serial};
use p2p_net::Endpoint;
use tokio::sync::oneshot;

use super::shared::{Shared, State};
use crate::peer::{Leave, Peer};
use crate::registry::{Candidate, Dial, Effect, Registry, Standing};
use crate::{ConnectionEventKind, ConnectionId, Direction, Offence, PeerEvent, PeerPoolEventKind};

/// A peer that is gone sooner, without a good-bye, is flapping.
const FLAPPING: Duration = Duration::from_secs(5);

/// What becomes of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is the peer's.
    Stays,
    /// It is to be closed.
    Goes(RejectReason),
}

/// A connection that this side has accepted.
pub(crate) struct Accepted {
    /// What becomes of it, once that is clear.
    pub(crate) fate: oneshot::Receiver<Fate>,
    /// Protocols are to speak before the remote has accepted.
    pub(crate) early: bool,
    /// What a listener says about its connections with the remote.
    pub(crate) serial: Serial,
}

/// A connection whose remote has said who it is.
pub(crate) struct Claim<'a> {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    /// Whether that is proven already.
    pub(crate) proven: bool,
    pub(crate) boot: u64,
    pub(crate) direction: Direction,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) record: Option<&'a PeerRecord>,
    pub(crate) dial: Option<Dial>,
    /// What the remote has said about its connections with us.
    pub(crate) serial: Option<Serial>,
    /// Protocols would speak before the remote has accepted.
    pub(crate) may_speak: bool,
}

impl Shared {
    /// The address range that a remote counts against.
    fn prefix(&self, ip: Option<IpAddr>) -> Option<Prefix> {
        ip.filter(|ip| !(self.config.limits.exempt_private && is_local(*ip))).map(Prefix::of)
    }

    /// Whether to accept what a remote claims to be. Its fate is told later.
    pub(crate) fn decide(&self, claim: &Claim<'_>) -> Result<Accepted, RejectReason> {
        let now = self.runtime.now();
        let who = AccessCandidate::new(claim.peer, claim.endpoint).with_record(claim.record);
        self.let_in(who, Action::Connect(claim.direction))?;
        let named = self.is_named(&who);
        let candidate = Candidate {
            id: claim.id,
            peer: claim.peer,
            proven: claim.proven,
            boot: claim.boot,
            direction: claim.direction,
            prefix: self.prefix(claim.endpoint.addr().ip()),
            claim: named,
            dial: claim.dial,
            serial: claim.serial,
            may_speak: claim.may_speak,
        };
        let mut state = self.lock();
        if claim.direction.is_inbound() && state.registry.is_full() {
            self.rate_peers(&mut state, now);
        }
        let (verdict, effects) = state.registry.decide(now, candidate);
        let fate = verdict.map(|()| {
            let (tell, fate) = oneshot::channel();
            state.fates.insert(claim.id, tell);
            Accepted { fate, early: state.registry.is_early(claim.id), serial: state.registry.serial(claim.id) }
        });
        Self::apply(&mut state, effects);
        fate
    }

    /// Whether the operator has named the peer: it is kept connected, or access control vouches for it.
    pub(crate) fn is_named(&self, who: &AccessCandidate<'_>) -> bool {
        self.kept.contains(&who.peer_id) || self.access.vouches(&Subject::Peer(*who))
    }

    /// Says what speaks for each inbound peer: one of them may have to go.
    fn rate_peers(&self, state: &mut State, now: Instant) {
        for peer in state.peers.values().map(|peer| peer.core()).filter(|core| core.direction.is_inbound()) {
            let claim = self.is_named(&AccessCandidate::new(peer.id, &peer.endpoint));
            state.registry.set_standing(peer.connection_id, Standing { claim, used: peer.last_used(now) });
        }
    }

    /// Whether to have anything to do with somebody, and if not, what to tell it.
    pub(crate) fn let_in(&self, who: AccessCandidate<'_>, action: Action) -> Result<(), RejectReason> {
        if self.is_closing() {
            return Err(RejectReason::ShuttingDown);
        }
        if self.access.allow(&Subject::Peer(who), action) {
            return Ok(());
        }
        Err(match self.conduct.is_banned(who.peer_id, self.runtime.now()) {
            true => RejectReason::Banned,
            false => RejectReason::Denied,
        })
    }

    /// The numbers for the hello of a connection that was dialed.
    pub(crate) fn number(&self, id: ConnectionId, peer: Option<PeerId>) -> Serial {
        self.lock().registry.number(id, peer)
    }

    /// Whether protocols speak to a peer that has yet to accept the connection.
    pub(crate) fn speaks_early(&self, peer: &PeerId) -> bool {
        self.lock().registry.speaks_early(peer)
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
                Effect::Evict(id) => {
                    // One that has yet to be announced is told by `admit`.
                    if let Some(peer) = state.peer_of(id) {
                        peer.core().leave(Leave::Orderly(evicted()));
                    }
                }
                Effect::Close(id, reason) => {
                    if let Some(peer) = state.peer_of(id) {
                        peer.core().leave(Leave::Now(reason));
                        state.replaced.insert(id);
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
        if state.registry.is_leaving(core.connection_id) {
            return Err(evicted());
        }
        if state.registry.live(&id) != Some(core.connection_id) {
            return Err(DisconnectReason::Replaced);
        }
        state.peers.insert(id, peer.clone());
        let disputed = state.disputes.connected(self.runtime.now(), id, core.boot);
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
        if tracing::enabled!(tracing::Level::INFO) && self.lines.has_room(self.runtime.now()) {
            tracing::info!(peer = %id, endpoint = %core.endpoint, direction = %core.direction, "a peer is connected");
        }
        if disputed {
            self.key_in_use_elsewhere(id, &core.endpoint);
        }
        Ok(())
    }

    /// Says that a key, this node's or a peer's, is in use on two machines.
    fn key_in_use_elsewhere(&self, whose: PeerId, endpoint: &Endpoint) {
        if whose == self.own_id {
            tracing::warn!(
                %endpoint,
                "this key is in use elsewhere: another node with it has taken our place at a peer. Give each machine a key \
                 file of its own",
            );
        } else {
            tracing::warn!(
                peer = %whose, %endpoint,
                "a peer's key is in use on two machines, which connect in turns: whoever runs them has to give each a key \
                 file of its own",
            );
        }
        self.buses.pool(PeerPoolEventKind::KeyInUseElsewhere, endpoint, Some(whose));
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
        let mut was_announced = false;
        let mut state = self.lock();
        for (protocol, link) in peer.links() {
            if let Some(group) = state.groups.get(protocol) {
                group.remove(link);
            }
        }
        if state.peers.get(&id).is_some_and(|present| Arc::ptr_eq(present, peer)) {
            state.peers.remove(&id);
            was_announced = true;
            self.buses.peers.emit(PeerEvent::Removed { peer: peer.info(), reason: reason.clone() });
            self.buses.pool(PeerPoolEventKind::RemovePeer { reason: reason.clone() }, &core.endpoint, Some(id));
        }
        let kind = ConnectionEventKind::Disconnected { reason: reason.clone() };
        self.buses.connection(kind, &core.endpoint, Some(id));
        let effects = state.registry.removed(self.runtime.now(), core.connection_id);
        Self::apply(&mut state, effects);
        let replaced_here = state.replaced.remove(&core.connection_id);
        drop(state);
        self.changed.notify_waiters();
        if was_announced && tracing::enabled!(tracing::Level::INFO) && self.lines.has_room(self.runtime.now()) {
            let (endpoint, direction) = (&core.endpoint, core.direction);
            tracing::info!(peer = %id, %endpoint, %direction, %reason, "a peer is gone");
        }
        if reason == DisconnectReason::Replaced && !replaced_here {
            self.key_in_use_elsewhere(self.own_id, &core.endpoint);
        }
        let lived = self.runtime.now().saturating_duration_since(core.since);
        if core.direction.is_inbound() && core.was_dropped() && lived < FLAPPING {
            self.offence(Some(id), &core.endpoint, Offence::Flapping);
        }
    }
}

/// Why a peer goes that discovery has found.
fn evicted() -> DisconnectReason {
    DisconnectReason::Local { code: 0, reason: "its slot was wanted for another peer".into() }
}

impl State {
    fn peer_of(&self, id: ConnectionId) -> Option<&Arc<Peer>> {
        self.peers.values().find(|peer| peer.core().connection_id == id)
    }
}
