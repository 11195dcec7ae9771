//! Accepts connections.

use std::sync::{Arc, PoisonError};

use p2p_core::runtime::SocketEvent;
use p2p_core::{EventListener, RecvError};
use p2p_identity::access::{Action, Candidate as AccessCandidate, Subject};
use p2p_identity::{Authenticated, Error, HandshakeError, RejectReason, Result, close_code};
use p2p_net::{CloseReason, Endpoint, Incoming, Listener};

use crate::establish::{Attempt, Failure, establish};
use crate::pool::Shared;
use crate::{ConnectionEventKind, Direction, Offence};

/// Takes connections that remotes opened for the discovery layer. The pool has forgotten them.
pub(crate) type Lookups = Arc<dyn Fn(Authenticated) + Send + Sync>;

impl Shared {
    /// Listens; the endpoint with the port that the system chose.
    pub(crate) async fn listen(self: &Arc<Self>, endpoint: &Endpoint) -> Result<Endpoint> {
        self.check_open()?;
        let listener = match self.transports.listen(endpoint).await {
            Ok(listener) => listener,
            Err(error) => {
                let error = Error::from(error);
                self.buses.connection(ConnectionEventKind::ListenFailed { error: error.clone() }, endpoint, None);
                return Err(error);
            }
        };
        let local = listener.local_endpoint();
        self.buses.connection(ConnectionEventKind::Listening, &local, None);
        self.tasks.spawn("listening socket", watch(self.clone(), local.clone(), listener.events()));
        self.tasks.spawn("listener", accept_all(self.clone(), listener));
        Ok(local)
    }

    /// Hands a connection to the discovery layer.
    pub(crate) fn serve_lookup(&self, lookup: Authenticated) -> Result<()> {
        let handler = self.lookups.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(handler) = handler else {
            return Err(HandshakeError::Refused(RejectReason::PurposeUnsupported(lookup.remote.purpose)).into());
        };
        let who = AccessCandidate::new(lookup.remote.peer_id, lookup.connection.remote_endpoint());
        self.let_in(who, Action::Lookup(Direction::Inbound)).map_err(HandshakeError::Refused)?;
        handler(lookup);
        Ok(())
    }

    /// Whether somebody at this endpoint may go on to the handshake.
    fn may_try(&self, endpoint: &Endpoint) -> Result<()> {
        self.check_open()?;
        let subject = Subject::Endpoint(endpoint);
        let lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let allowed = self.access.allow(&subject, Action::Connect(Direction::Inbound))
            || (lookups && self.access.allow(&subject, Action::Lookup(Direction::Inbound)));
        if !allowed {
            return Err(Error::Denied(endpoint.to_string()));
        }
        Ok(())
    }

    /// Starts the handshake of somebody who connected; the one that has been silent for the longest time makes room.
    fn begin_handshake(self: &Arc<Self>, incoming: Incoming) {
        let endpoint = incoming.remote_endpoint();
        if let Err(error) = self.may_try(&endpoint) {
            incoming.refuse();
            self.buses.connection(ConnectionEventKind::AcceptFailed { error }, &endpoint, None);
            return;
        }
        let shared = self.clone();
        // It is large, and whoever spawns it moves it several times.
        self.handshakes.begin(incoming, &self.tasks, "handshake", |incoming, place| {
            Box::pin(async move {
                let progress = || place.progress(shared.runtime.now());
                shared.handshake(incoming, place.deadline(), &progress).await;
            })
        });
    }

    async fn handshake(
        self: &Arc<Self>,
        incoming: Incoming,
        deadline: std::time::Instant,
        progress: &(dyn Fn() + Send + Sync),
    ) {
        let endpoint = incoming.remote_endpoint();
        let proven = incoming.is_addr_proven();
        let connection = match incoming.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                self.buses.connection(ConnectionEventKind::AcceptFailed { error: error.into() }, &endpoint, None);
                // Whose address it is may have nothing to do with it.
                if proven {
                    self.offence(None, &endpoint, Offence::Nuisance);
                }
                return;
            }
        };
        progress();
        self.buses.connection(ConnectionEventKind::Accepted, &endpoint, None);
        let direction = Direction::Inbound;
        let attempt = Attempt { shared: self, connection, direction, expected: None, slot: None, deadline, progress };
        if let Err(failure) = establish(attempt).await {
            // First: who hears of the failure finds its consequences.
            if let Some(offence) = offence(&failure) {
                self.offence(failure.peer_id.filter(|_| failure.proven), &endpoint, offence);
            }
            self.handshake_failed(&endpoint, None, &failure);
        }
    }
}

async fn accept_all(shared: Arc<Shared>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(incoming) => shared.begin_handshake(incoming),
            Err(error) => {
                if !shared.is_closing() {
                    let kind = ConnectionEventKind::ListenFailed { error: error.into() };
                    shared.buses.connection(kind, &listener.local_endpoint(), None);
                }
                return;
            }
        }
    }
}

/// Says what happens to a listening socket, for as long as it is open.
async fn watch(shared: Arc<Shared>, endpoint: Endpoint, mut events: EventListener<SocketEvent>) {
    loop {
        match events.recv().await {
            Ok(SocketEvent::Failed(source)) => {
                shared.unbound().insert(endpoint.clone());
                let error = p2p_net::Error::Listen { endpoint: endpoint.clone(), source }.into();
                shared.buses.connection(ConnectionEventKind::ListenFailed { error }, &endpoint, None);
            }
            Ok(SocketEvent::Bound) => {
                shared.unbound().remove(&endpoint);
                shared.buses.connection(ConnectionEventKind::Listening, &endpoint, None);
            }
            // Of what was missed the next event is the outcome; other kinds of events are not about being bound.
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(_) => return,
        }
    }
}

/// What a failed handshake says about the remote.
fn offence(failure: &Failure) -> Option<Offence> {
    let reason = match &failure.error {
        Error::Handshake(HandshakeError::Refused(reason)) => reason,
        // Handshakes that nobody goes on with are not free, once it is known whose they are.
        error => return (failure.proven && is_dropped(error)).then_some(Offence::Nuisance),
    };
    match reason {
        RejectReason::FalseIdentity { .. } | RejectReason::BadSignature => Some(Offence::FalseIdentity),
        RejectReason::Malformed(_) | RejectReason::TooLarge { .. } => Some(Offence::BrokeProtocol),
        RejectReason::Timeout => Some(Offence::Nuisance),
        _ => None,
    }
}

/// Whether the remote has given up, or taken back, a handshake without a reason that an honest one has.
fn is_dropped(error: &Error) -> bool {
    match error {
        Error::Handshake(HandshakeError::Remote(RejectReason::AlreadyConnected | RejectReason::ShuttingDown)) => false,
        Error::Handshake(HandshakeError::Remote(_) | HandshakeError::Closed) => true,
        // Of dials that cross, or race, all but one go.
        Error::Net(p2p_net::Error::Closed(CloseReason::Remote { code, .. })) => {
            !matches!(*code, close_code::DUPLICATE | close_code::SHUTDOWN)
        }
        Error::Net(p2p_net::Error::Reset(_) | p2p_net::Error::Closed(CloseReason::Lost(_))) => true,
        _ => false,
    }
}
