//! One race for a peer: what the pool does with each connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::{Error, HandshakeError, Judge, RejectReason};
use p2p_net::{Connection, DialError, Endpoint};

use crate::connector::{is_duplicate, is_temporary};
use crate::establish::{Attempt, Failure, Outcome, establish};
use crate::lane::Turn;
use crate::pool::Shared;
use crate::registry::{Dial, DialKind};
use crate::{ConnectionEventKind, Direction, PeerPoolEventKind};

/// How long to wait for the connection that a remote says there is.
const OTHER_CONNECTION: Duration = Duration::from_secs(1);

/// How long a connection waits for a slot where its own is lent: several times as long as a dial that nobody answers holds one.
const FOR_A_SLOT: Duration = Duration::from_secs(1);

/// A dial's slot, given back when dropped.
pub(crate) struct Slot<'a> {
    shared: &'a Arc<Shared>,
    kind: DialKind,
    /// `None` while it is lent to others.
    dial: Mutex<Option<Dial>>,
}

impl<'a> Slot<'a> {
    /// Takes one, if there is one.
    pub(crate) fn take(shared: &'a Arc<Shared>, kind: DialKind) -> Option<Self> {
        let slot = Self { shared, kind, dial: Mutex::default() };
        slot.hold().is_some().then_some(slot)
    }

    /// Holds the slot from now on, if it does not yet; `None` when there is none left.
    pub(crate) fn hold(&self) -> Option<Dial> {
        let mut held = self.lock();
        if held.is_none() {
            self.shared.with_registry(|registry| {
                *held = registry.begin_dial(self.kind);
                Vec::new()
            });
        }
        *held
    }

    /// Gives the slot back until somebody answers. Harmless when a connection has taken it over.
    pub(crate) fn lend(&self) {
        if let Some(dial) = self.lock().take() {
            self.shared.with_registry(|registry| {
                registry.end_dial(dial);
                Vec::new()
            });
        }
        self.shared.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Dial>> {
        // It is replaced as a whole.
        self.dial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.lend();
    }
}

/// Makes a peer of the first connection that can become one.
pub(crate) struct Contest<'a> {
    pub(crate) slot: &'a Slot<'a>,
    /// What is told when somebody answers.
    pub(crate) turn: &'a Turn<'a>,
    /// Who was dialed, if that is known.
    pub(crate) expected: Option<PeerId>,
    /// When transports must be connected.
    pub(crate) until: Instant,
}

impl Judge for Contest<'_> {
    type Won = PeerId;
    type Error = Failure;

    fn allow(&self, endpoint: &Endpoint) -> Result<(), Failure> {
        let shared = self.slot.shared;
        if shared.own_addresses.contains(endpoint) {
            return Err(self.failure(Error::SelfDial));
        }
        if !shared.may_dial_at(endpoint) {
            return Err(self.failure(Error::Denied(endpoint.to_string())));
        }
        Ok(())
    }

    async fn ask(&self, mut connection: Connection) -> Result<PeerId, Failure> {
        let shared = self.slot.shared;
        self.turn.progress();
        let mut known = self.expected;
        loop {
            let endpoint = connection.remote_endpoint().clone();
            let failure = match self.establish(known, connection).await {
                Ok(peer) => return Ok(peer),
                Err(failure) => failure,
            };
            if failure.error.is_self_dial() {
                self.met_oneself(&endpoint);
            }
            let Some(peer) = failure.peer_id.filter(|_| is_duplicate(&failure.error)) else { return Err(failure) };
            // Either there is another connection soon, or this side has none and never will.
            let known_fate = shared.until(|| match shared.is_connected(&peer) {
                false if shared.holds(&peer) => None,
                connected => Some(connected),
            });
            if let Ok(true) = shared.runtime.timeout(OTHER_CONNECTION, known_fate).await {
                shared.buses.pool(PeerPoolEventKind::PeerAlreadyConnected, &endpoint, Some(peer));
                return Ok(peer);
            }
            // Only whoever says to whom it has no connection left replaces the one that the remote still holds.
            if known.replace(peer).is_some() {
                return Err(failure);
            }
            connection = self.dial_again(&endpoint).await?;
        }
    }

    fn failed(&self, endpoint: &Endpoint, failure: &Failure) {
        self.slot.shared.handshake_failed(endpoint, self.expected, failure);
    }

    /// What may be different at the next try says more than what will not.
    fn weight(&self, failure: &Failure) -> u8 {
        is_temporary(&failure.error).into()
    }
}

impl Contest<'_> {
    fn failure(&self, error: Error) -> Failure {
        Failure { error, peer_id: self.expected, proven: false }
    }

    async fn establish(&self, expected: Option<PeerId>, connection: Connection) -> Result<PeerId, Failure> {
        let shared = self.slot.shared;
        let full = || self.failure(Error::SlotsFull);
        // Those that are silent give their slots back soon.
        let held = shared.runtime.timeout(FOR_A_SLOT, shared.until(|| self.slot.hold())).await;
        held.map_err(|_| full())?;
        shared.buses.connection(ConnectionEventKind::Connected, connection.remote_endpoint(), expected);
        let deadline = shared.runtime.now() + shared.config.handshake_timeout;
        let direction = Direction::Outbound;
        let slot = Some(self.slot);
        let attempt = Attempt { shared, connection, direction, expected, slot, deadline, progress: &|| () };
        match establish(attempt).await {
            Ok(Outcome::Peer(peer) | Outcome::Lookup(peer)) => Ok(peer),
            Err(failure) => Err(match failure.error {
                Error::Handshake(HandshakeError::Refused(RejectReason::SlotsFull)) => full(),
                _ => failure,
            }),
        }
    }

    async fn dial_again(&self, endpoint: &Endpoint) -> Result<Connection, Failure> {
        let shared = self.slot.shared;
        let late = |_| Err(p2p_net::Error::Dial { endpoint: endpoint.clone(), reason: DialError::TimedOut });
        let dialed = shared.runtime.timeout_at(self.until, shared.transports.connect(endpoint)).await;
        dialed.unwrap_or_else(late).map_err(|error| self.failure(error.into()))
    }

    /// Remembers an address at which this node has met itself, and says so once.
    fn met_oneself(&self, endpoint: &Endpoint) {
        let shared = self.slot.shared;
        if shared.own_addresses.insert(endpoint) {
            tracing::warn!(%endpoint, "this node itself answers there, or another one with its key: it is not dialed again until the network changes");
            shared.buses.pool(PeerPoolEventKind::OwnAddress, &endpoint.clone().with_peer_id(None), Some(shared.own_id));
        }
    }
}

impl From<p2p_net::Error> for Failure {
    fn from(error: p2p_net::Error) -> Self {
        Self { error: error.into(), peer_id: None, proven: false }
    }
}
