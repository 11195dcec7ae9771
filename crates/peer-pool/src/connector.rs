//! Dials peers: retries, and what comes of them.

use std::cmp::Reverse;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_core::{Backoff, PeerId};
use p2p_identity::access::{Action, Subject};
use p2p_identity::race::Source;
use p2p_identity::{Error, HandshakeError, Race, RaceLimits, RejectReason, Result, close_code};
use p2p_net::{CloseReason, DialError, Endpoint, PeerAddr};

use crate::contest::{Contest, Slot};
use crate::establish::Failure;
use crate::pool::Shared;
use crate::registry::DialKind;
use crate::{ConnectionEventKind, Direction, PeerEvent, PeerPoolEventKind};

/// The waits between the tries of one dial.
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A dial that has run for so long when the network changes begins anew: what it sent before may have gone nowhere.
const STUCK: Duration = Duration::from_secs(1);

/// Whom to dial, and where.
pub(crate) struct Wanted<'a> {
    /// Why.
    pub(crate) kind: DialKind,
    /// Who must answer, if that is known.
    pub(crate) expected: Option<PeerId>,
    /// Where.
    pub(crate) addrs: Vec<PeerAddr>,
    /// Where else: looked for when nobody answers at once.
    pub(crate) source: Option<Source<'a>>,
}

/// What the tries of one call share.
#[derive(Default)]
struct Call {
    /// The end of all addresses and tries, from the moment on in which the first may begin.
    until: Option<Instant>,
    /// Others that wait were to have their turn: there is no further try.
    gave_way: bool,
}

impl Wanted<'_> {
    /// The address that is tried first, for what is said about the whole.
    fn first(&self) -> Option<&Endpoint> {
        self.addrs.iter().min_by_key(|addr| Reverse(addr.priority)).map(|addr| &addr.endpoint)
    }
}

impl Shared {
    /// Connects to whoever is at one of the addresses, or to the expected peer wherever it answers first. Cancel-safe: a
    /// dropped call gives up.
    pub(crate) async fn connect(self: &Arc<Self>, wanted: Wanted<'_>) -> Result<PeerId> {
        let closing = pin!(self.closed());
        let connecting = pin!(self.connect_open(wanted));
        match futures_util::future::select(connecting, closing).await {
            futures_util::future::Either::Left((result, _)) => result,
            futures_util::future::Either::Right(_) => Err(Error::ShutDown),
        }
    }

    async fn connect_open(self: &Arc<Self>, mut wanted: Wanted<'_>) -> Result<PeerId> {
        self.check_open()?;
        let expected = wanted.expected;
        if let Some(peer) = expected {
            if peer == self.own_id {
                return Err(Error::SelfDial);
            }
            if self.is_connected(&peer) {
                return Ok(peer);
            }
            if self.conduct.is_banned(peer, self.runtime.now()) {
                return Err(Error::Banned(peer));
            }
        }
        if let (None, [addr]) = (expected, &*wanted.addrs)
            && let Some(peer) = self.dialed(&addr.endpoint)
        {
            return Ok(peer);
        }
        self.keep_allowed(&mut wanted)?;
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        let mut before = None;
        let mut call = Call::default();
        loop {
            let failure = match self.connect_lively(&mut wanted, &mut call).await {
                Ok(peer) => return Ok(peer),
                Err(failure) => failure,
            };
            // If somebody else got the slot between two tries, what went wrong is what did before.
            let peer_id = failure.peer_id;
            let error = match (failure.error, before.take()) {
                (Error::SlotsFull, Some(before)) => return Err(self.connect_failed(before, &wanted)),
                (error, _) => by_its_name(error, peer_id, wanted.first()),
            };
            let attempt = backoff.failures() as usize + 1;
            // Peers that are to be kept connected are dialed again anyway.
            let retries = if matches!(wanted.kind, DialKind::Kept | DialKind::Again) {
                0
            } else {
                self.config.max_connect_retries
            };
            if !is_temporary(&error) || attempt > retries || call.gave_way {
                return Err(self.connect_failed(error, &wanted));
            }
            let after = backoff.next(&*self.runtime);
            if call.until.is_some_and(|until| self.runtime.now() + after >= until) {
                return Err(self.connect_failed(error, &wanted));
            }
            before = Some(error.clone());
            if let Some(endpoint) = wanted.first() {
                let kind = ConnectionEventKind::ConnectRetried { attempt, after, error };
                self.buses.connection(kind, endpoint, expected);
            }
            self.network.sleep(&*self.runtime, after).await;
        }
    }

    /// As [`connect_once`](Self::connect_once); begins anew when the network changes.
    async fn connect_lively(self: &Arc<Self>, wanted: &mut Wanted<'_>, call: &mut Call) -> Result<PeerId, Failure> {
        loop {
            let began = self.runtime.now();
            let mut connecting = pin!(self.connect_once(&mut *wanted, &mut *call));
            let mut changes = self.network.changes();
            loop {
                let changed = pin!(changes.changed());
                match futures_util::future::select(connecting.as_mut(), changed).await {
                    futures_util::future::Either::Left((result, _)) => return result,
                    futures_util::future::Either::Right(_) if self.runtime.now() >= began + STUCK => break,
                    futures_util::future::Either::Right(_) => {}
                }
            }
        }
    }

    /// Tells that a dial is given up.
    fn connect_failed(&self, error: Error, wanted: &Wanted<'_>) -> Error {
        if let Some(endpoint) = wanted.first() {
            let expected = wanted.expected;
            self.buses.connection(ConnectionEventKind::ConnectFailed { error: error.clone() }, endpoint, expected);
            self.buses.pool(PeerPoolEventKind::ConnectFailed { error: error.clone() }, endpoint, expected);
        }
        error
    }

    /// Keeps the addresses that access control lets us dial, and names who must be there.
    fn keep_allowed(&self, wanted: &mut Wanted<'_>) -> Result<()> {
        if let Some(peer) = wanted.expected {
            for addr in &mut wanted.addrs {
                addr.endpoint = addr.endpoint.clone().with_peer_id(peer);
            }
        }
        if wanted.source.is_some() {
            // What is found may be allowed: the race leaves out what is not.
            return Ok(());
        }
        let denied = wanted.first().map(|first| Error::Denied(first.to_string()));
        wanted.addrs.retain(|addr| self.may_dial_at(&addr.endpoint));
        if wanted.addrs.is_empty() { Err(denied.unwrap_or_else(|| nowhere(wanted.expected))) } else { Ok(()) }
    }

    /// Whether access control lets us dial there.
    pub(crate) fn may_dial_at(&self, endpoint: &Endpoint) -> bool {
        self.access.allow(&Subject::Endpoint(endpoint), Action::Connect(Direction::Outbound))
    }

    /// One try of each address.
    async fn connect_once(self: &Arc<Self>, wanted: &mut Wanted<'_>, call: &mut Call) -> Result<PeerId, Failure> {
        let (kind, expected) = (wanted.kind, wanted.expected);
        let failure = |error| Failure { error, peer_id: expected, proven: false };
        let (turn, give_way) = self.lane(kind).turn().await;
        let until = *call.until.get_or_insert_with(|| self.runtime.now() + self.config.dial_timeout);
        let Some(slot) = Slot::take(self, kind) else {
            drop(turn);
            self.changed.notify_waiters();
            return Err(failure(Error::SlotsFull));
        };
        // Given back before the slot, of whose end the others are told.
        let turn = turn;
        let first = wanted.first().cloned();
        let contest = Contest { slot: &slot, turn: &turn, expected, until };
        let race = Race { transports: &self.transports, limits: RaceLimits::default(), until };
        let source = wanted.source.as_mut().map(|source| source.as_mut() as Source<'_>);
        let failed = |failed: Option<Failure>| failed.unwrap_or_else(|| failure(nowhere(expected)));
        let dialing = async {
            let dialing = pin!(race.run(&contest, &mut wanted.addrs, source));
            let Some(peer) = expected else { return dialing.await.map_err(failed) };
            // The peer may connect to us in the meantime.
            let connected = pin!(self.until(|| self.is_connected(&peer).then_some(peer)));
            match futures_util::future::select(dialing, connected).await {
                futures_util::future::Either::Left((result, _)) => result.map_err(failed),
                futures_util::future::Either::Right((peer, _)) => Ok(peer),
            }
        };
        match turn.run(dialing, give_way, || slot.lend()).await {
            Some(result) => result,
            None => {
                call.gave_way = true;
                let late = |endpoint| p2p_net::Error::Dial { endpoint, reason: DialError::TimedOut }.into();
                Err(failure(first.map_or_else(|| nowhere(expected), late)))
            }
        }
    }

    /// Tells that a connection did not become a peer. `expected` is who was dialed, if that is known.
    pub(crate) fn handshake_failed(&self, endpoint: &Endpoint, expected: Option<PeerId>, failure: &Failure) {
        // What a stranger only claims is nobody's failure.
        let peer_id = failure.peer_id.filter(|_| failure.proven).or(expected);
        let reason = failure.error.clone();
        if is_duplicate(&reason) {
            self.buses.pool(PeerPoolEventKind::PeerAlreadyConnected, endpoint, peer_id);
            return;
        }
        self.buses.pool(PeerPoolEventKind::HandshakeFailed { reason: reason.clone() }, endpoint, peer_id);
        let endpoint = endpoint.clone();
        self.buses.peers.emit(PeerEvent::HandshakeFailed { peer_id, endpoint, reason });
    }

    /// Waits until a condition on the set of peers gives something. Cancel-safe.
    pub(crate) async fn until<T>(&self, condition: impl Fn() -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(value) = condition() {
                return value;
            }
            changed.await;
        }
    }
}

/// Whether the connection was given up because there is another one to the same peer.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    match error {
        Error::Handshake(error) => error.reason() == Some(&RejectReason::AlreadyConnected),
        Error::Net(p2p_net::Error::Closed(CloseReason::Remote { code, .. })) => *code == close_code::DUPLICATE,
        _ => false,
    }
}

/// What this side decides about a peer has one name, whether the endpoint says who that is or the handshake has.
fn by_its_name(error: Error, peer_id: Option<PeerId>, endpoint: Option<&Endpoint>) -> Error {
    if error.is_self_dial() {
        return Error::SelfDial;
    }
    let Error::Handshake(handshake) = &error else { return error };
    match (handshake, peer_id) {
        (HandshakeError::Refused(RejectReason::Banned), Some(peer)) => Error::Banned(peer),
        (HandshakeError::Refused(RejectReason::Denied), _) => {
            endpoint.map_or(error.clone(), |endpoint| Error::Denied(endpoint.to_string()))
        }
        _ => error,
    }
}

/// Whether another try may have another result.
pub(crate) fn is_temporary(error: &Error) -> bool {
    match error {
        Error::Net(p2p_net::Error::Unsupported { .. } | p2p_net::Error::Endpoint(_)) => false,
        Error::Net(p2p_net::Error::Dial { reason: DialError::Io(error), .. }) => !is_without_route(error),
        Error::Net(p2p_net::Error::Closed(CloseReason::Remote { code, .. })) => !is_refusal(*code),
        Error::Net(_) | Error::Handshake(HandshakeError::Closed) => true,
        Error::Handshake(error) => {
            matches!(error.reason(), Some(RejectReason::AlreadyConnected | RejectReason::Timeout))
        }
        _ => false,
    }
}

/// Whether a remote that closes the connection with `code` would do the same to the next one. A remote may accept and then
/// close, and the end may overtake the accept: what comes of a dial must not depend on that.
fn is_refusal(code: u32) -> bool {
    use close_code as c;
    matches!(
        code,
        c::SHUTDOWN | c::PROTOCOL_VIOLATION | c::PROTOCOL_FAILED | c::PROTOCOL_PANICKED | c::DENIED | c::BANNED
    )
}

/// Whether the system has no way to the address, which a wait of seconds does not change.
fn is_without_route(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    let no_way =
        matches!(error.kind(), K::NetworkUnreachable | K::HostUnreachable | K::AddrNotAvailable | K::InvalidInput);
    no_way || p2p_core::runtime::is_unknown_family(error)
}

/// What to say when there is no address.
fn nowhere(expected: Option<PeerId>) -> Error {
    match expected {
        Some(peer) => Error::NoAddress(peer),
        None => Error::config("endpoints", "there is no endpoint to dial"),
    }
}
