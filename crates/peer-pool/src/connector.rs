//! Dials peers: retries, and several addresses.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use p2p_core::{Backoff, PeerId};
use p2p_identity::access::{Action, Subject};
use p2p_identity::{Error, HandshakeError, RejectReason, Result, close_code};
use p2p_net::{CloseReason, Connection, DialError, Endpoint};

use crate::establish::{Attempt, Failure, Outcome, establish};
use crate::pool::Shared;
use crate::registry::{Dial, DialKind};
use crate::{ConnectionEventKind, Direction, PeerEvent, PeerPoolEventKind};

/// The waits between the tries of one dial.
const RETRY_BASE: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How long after one of a peer's addresses the next is tried too (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// A dial that has run for so long when the network changes begins anew: what it sent before may have gone nowhere.
const STUCK: Duration = Duration::from_secs(1);

/// How long to wait for the connection that a remote says there is.
const OTHER_CONNECTION: Duration = Duration::from_secs(1);

/// Gives a dial's slot back.
struct Slot<'a> {
    shared: &'a Shared,
    dial: Dial,
    /// When its transports must be connected.
    until: Instant,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.shared.with_registry(|registry| {
            registry.end_dial(self.dial);
            Vec::new()
        });
        self.shared.changed.notify_waiters();
    }
}

impl Shared {
    /// Connects to whoever is at one of the endpoints, or to `expected` wherever it answers first. Cancel-safe: a
    /// dropped call gives up.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        kind: DialKind,
        expected: Option<PeerId>,
        endpoints: &[Endpoint],
    ) -> Result<PeerId> {
        let closing = pin!(self.until(|| self.is_closing().then_some(())));
        let connecting = pin!(self.connect_open(kind, expected, endpoints));
        match futures_util::future::select(connecting, closing).await {
            futures_util::future::Either::Left((result, _)) => result,
            futures_util::future::Either::Right(_) => Err(Error::ShutDown),
        }
    }

    async fn connect_open(
        self: &Arc<Self>,
        kind: DialKind,
        expected: Option<PeerId>,
        endpoints: &[Endpoint],
    ) -> Result<PeerId> {
        self.check_open()?;
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
        if let (None, [endpoint]) = (expected, endpoints)
            && let Some(peer) = self.dialed(endpoint)
        {
            return Ok(peer);
        }
        let endpoints = self.allowed(expected, endpoints)?;
        let mut backoff = Backoff::new(RETRY_BASE, RETRY_MAX);
        let mut before = None;
        // For all addresses and tries together, from the moment in which the first may begin.
        let mut until = None;
        loop {
            let failure = match self.connect_lively(kind, expected, &endpoints, &mut until).await {
                Ok(peer) => return Ok(peer),
                Err(failure) => failure,
            };
            // If somebody else got the slot between two tries, what went wrong is what did before.
            let peer_id = failure.peer_id;
            let error = match (failure.error, before.take()) {
                (Error::SlotsFull, Some(before)) => return Err(self.connect_failed(before, &endpoints[0], expected)),
                (error, _) => by_its_name(error, peer_id, &endpoints[0]),
            };
            let endpoint = &endpoints[0];
            let attempt = backoff.failures() as usize + 1;
            // Peers that are to be kept connected are dialed again anyway.
            let retries =
                if matches!(kind, DialKind::Kept | DialKind::Again) { 0 } else { self.config.max_connect_retries };
            if !is_temporary(&error) || attempt > retries {
                return Err(self.connect_failed(error, endpoint, expected));
            }
            let after = backoff.next(&*self.runtime);
            if until.is_some_and(|until| self.runtime.now() + after >= until) {
                return Err(self.connect_failed(error, endpoint, expected));
            }
            before = Some(error.clone());
            self.buses.connection(ConnectionEventKind::ConnectRetried { attempt, after, error }, endpoint, expected);
            self.network.sleep(&*self.runtime, after).await;
        }
    }

    /// As [`connect_once`](Self::connect_once); begins anew when the network changes.
    async fn connect_lively(
        self: &Arc<Self>,
        kind: DialKind,
        expected: Option<PeerId>,
        endpoints: &[Endpoint],
        until: &mut Option<Instant>,
    ) -> Result<PeerId, Failure> {
        loop {
            let began = self.runtime.now();
            let mut connecting = pin!(self.connect_once(kind, expected, endpoints, &mut *until));
            let mut changes = self.network.changes();
            loop {
                let changed = pin!(changes.next());
                match futures_util::future::select(connecting.as_mut(), changed).await {
                    futures_util::future::Either::Left((result, _)) => return result,
                    futures_util::future::Either::Right(_) if self.runtime.now() >= began + STUCK => break,
                    futures_util::future::Either::Right(_) => {}
                }
            }
        }
    }

    /// Tells that a dial is given up.
    fn connect_failed(&self, error: Error, endpoint: &Endpoint, expected: Option<PeerId>) -> Error {
        self.buses.connection(ConnectionEventKind::ConnectFailed { error: error.clone() }, endpoint, expected);
        self.buses.pool(PeerPoolEventKind::ConnectFailed { error: error.clone() }, endpoint, expected);
        error
    }

    /// The endpoints that access control lets us dial.
    fn allowed(&self, expected: Option<PeerId>, endpoints: &[Endpoint]) -> Result<Vec<Endpoint>> {
        let named = endpoints.iter().map(|endpoint| match expected {
            Some(peer) => endpoint.clone().with_peer_id(peer),
            None => endpoint.clone(),
        });
        let allow =
            |endpoint: &Endpoint| self.access.allow(&Subject::Endpoint(endpoint), Action::Connect(Direction::Outbound));
        let allowed: Vec<_> = named.filter(allow).collect();
        match (allowed.is_empty(), endpoints.first(), expected) {
            (false, ..) => Ok(allowed),
            (true, Some(endpoint), _) => Err(Error::Denied(endpoint.to_string())),
            (true, None, Some(peer)) => Err(Error::NoAddress(peer)),
            (true, None, None) => Err(Error::config("endpoints", "there is no endpoint to dial")),
        }
    }

    /// One try of each endpoint.
    async fn connect_once(
        self: &Arc<Self>,
        kind: DialKind,
        expected: Option<PeerId>,
        endpoints: &[Endpoint],
        until: &mut Option<Instant>,
    ) -> Result<PeerId, Failure> {
        let failure = |error| Failure { error, peer_id: expected, proven: false };
        let permit = self.dials[kind as usize].acquire().await;
        // The semaphore is never closed; were it, nobody could dial.
        let _permit = permit.map_err(|_| failure(Error::ShutDown))?;
        let mut dial = None;
        self.with_registry(|registry| {
            dial = registry.begin_dial(kind);
            Vec::new()
        });
        let until = *until.get_or_insert_with(|| self.runtime.now() + self.config.dial_timeout);
        let slot = Slot { shared: self, dial: dial.ok_or_else(|| failure(Error::SlotsFull))?, until };
        let dialing = pin!(self.race(&slot, expected, endpoints));
        let Some(peer) = expected else { return dialing.await };
        // The peer may connect to us in the meantime.
        let connected = pin!(self.until(|| self.is_connected(&peer).then_some(peer)));
        match futures_util::future::select(dialing, connected).await {
            futures_util::future::Either::Left((result, _)) => result,
            futures_util::future::Either::Right((peer, _)) => Ok(peer),
        }
    }

    /// Tries the endpoints one after the other, without waiting long for one that does not answer.
    async fn race(
        self: &Arc<Self>,
        slot: &Slot<'_>,
        expected: Option<PeerId>,
        endpoints: &[Endpoint],
    ) -> Result<PeerId, Failure> {
        let mut waiting = endpoints.iter();
        let mut dialing = FuturesUnordered::new();
        let mut last = None;
        loop {
            match waiting.next() {
                Some(endpoint) => dialing.push(self.dial(slot, expected, endpoint)),
                None if dialing.is_empty() => {
                    return Err(last.unwrap_or(Failure { error: Error::ShutDown, peer_id: expected, proven: false }));
                }
                None => {}
            }
            let result = if waiting.len() > 0 {
                match self.runtime.timeout(NEXT_ADDRESS, dialing.next()).await {
                    Ok(result) => result,
                    Err(_) => continue,
                }
            } else {
                dialing.next().await
            };
            match result {
                Some(Err(failure)) => last = Some(failure),
                Some(Ok(peer)) => return Ok(peer),
                None => {}
            }
        }
    }

    async fn dial(
        self: &Arc<Self>,
        slot: &Slot<'_>,
        expected: Option<PeerId>,
        endpoint: &Endpoint,
    ) -> Result<PeerId, Failure> {
        let mut known = expected;
        let failure = loop {
            let failure = match self.dial_known(slot, known, endpoint).await {
                Ok(peer) => return Ok(peer),
                Err(failure) => failure,
            };
            let Some(peer) = failure.peer_id.filter(|_| is_duplicate(&failure.error)) else { break failure };
            // Either there is another connection soon, or this side has none and never will.
            let known_fate = self.until(|| match self.is_connected(&peer) {
                false if self.holds(&peer) => None,
                connected => Some(connected),
            });
            if let Ok(true) = self.runtime.timeout(OTHER_CONNECTION, known_fate).await {
                self.buses.pool(PeerPoolEventKind::PeerAlreadyConnected, endpoint, Some(peer));
                return Ok(peer);
            }
            // Only whoever says to whom it has no connection left replaces the one that the remote still holds.
            if known.replace(peer).is_some() {
                break failure;
            }
        };
        self.handshake_failed(endpoint, expected, &failure);
        Err(failure)
    }

    async fn dial_known(
        self: &Arc<Self>,
        slot: &Slot<'_>,
        expected: Option<PeerId>,
        endpoint: &Endpoint,
    ) -> Result<PeerId, Failure> {
        let dialed = self.dial_until(slot.until, endpoint).await;
        let connection = dialed.map_err(|error| Failure { error: error.into(), peer_id: expected, proven: false })?;
        self.buses.connection(ConnectionEventKind::Connected, endpoint, expected);
        let deadline = self.runtime.now() + self.config.handshake_timeout;
        let direction = Direction::Outbound;
        let dial = Some(slot.dial);
        let attempt = Attempt { shared: self, connection, direction, expected, dial, deadline, progress: &|| () };
        match establish(attempt).await? {
            Outcome::Peer(peer) | Outcome::Lookup(peer) => Ok(peer),
        }
    }

    async fn dial_until(&self, until: Instant, endpoint: &Endpoint) -> p2p_net::Result<Connection> {
        let left = until.saturating_duration_since(self.runtime.now());
        let late = |_| Err(p2p_net::Error::Dial { endpoint: endpoint.clone(), reason: DialError::TimedOut });
        self.runtime.timeout(left, self.transports.dial(endpoint)).await.unwrap_or_else(late)
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
fn is_duplicate(error: &Error) -> bool {
    match error {
        Error::Handshake(error) => error.reason() == Some(&RejectReason::AlreadyConnected),
        Error::Net(p2p_net::Error::Closed(CloseReason::Remote { code, .. })) => *code == close_code::DUPLICATE,
        _ => false,
    }
}

/// What this side decides about a peer has one name, whether the endpoint says who that is or the handshake has.
fn by_its_name(error: Error, peer_id: Option<PeerId>, endpoint: &Endpoint) -> Error {
    let Error::Handshake(handshake) = &error else { return error };
    match (handshake, peer_id) {
        // Either end of it may have noticed first.
        (HandshakeError::Refused(RejectReason::SelfDial) | HandshakeError::Remote(RejectReason::SelfDial), _) => {
            Error::SelfDial
        }
        (HandshakeError::Refused(RejectReason::Banned), Some(peer)) => Error::Banned(peer),
        (HandshakeError::Refused(RejectReason::Denied), _) => Error::Denied(endpoint.to_string()),
        _ => error,
    }
}

/// Whether another try may have another result.
fn is_temporary(error: &Error) -> bool {
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
