//! Accepts connections.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use p2p_core::TaskHandle;
use p2p_identity::access::{Action, Subject};
use p2p_identity::{Error, HandshakeError, HandshakeId, HandshakeLimiter, RejectReason, RemotePeer, Result};
use p2p_net::{Connection, Endpoint, Incoming, Listener, MessageReceiver, MessageSender};

use crate::establish::{Attempt, Failure, establish};
use crate::pool::Shared;
use crate::{ConnectionEventKind, Direction, Offence};

/// Takes connections for the discovery layer.
pub(crate) type Lookups = Arc<dyn Fn(LookupConnection) + Send + Sync>;

/// A connection that a remote opened for the discovery layer, after its handshake. The pool has forgotten it: whoever
/// takes it closes it.
#[derive(Debug)]
pub struct LookupConnection {
    /// The connection.
    pub connection: Connection,
    /// Who is at the other end, proven.
    pub remote: RemotePeer,
    /// Sends on the stream on which the handshake was.
    pub sender: MessageSender,
    /// Receives on the stream on which the handshake was.
    pub receiver: MessageReceiver,
}

/// Inbound handshakes under way.
pub(crate) struct Handshakes {
    pub(crate) limiter: HandshakeLimiter,
    tasks: BTreeMap<HandshakeId, TaskHandle>,
}

impl Handshakes {
    pub(crate) fn new(limiter: HandshakeLimiter) -> Self {
        Self { limiter, tasks: BTreeMap::new() }
    }
}

/// Reports a handshake as finished, however its task ends.
struct Finish {
    shared: Arc<Shared>,
    id: HandshakeId,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let mut handshakes = self.shared.handshakes();
        handshakes.limiter.finish(self.id);
        handshakes.tasks.remove(&self.id);
    }
}

impl Shared {
    fn handshakes(&self) -> MutexGuard<'_, Handshakes> {
        // Limiter and map are valid after each statement.
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

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
        self.tasks.spawn("listener", accept_all(self.clone(), listener));
        Ok(local)
    }

    /// Hands a connection to the discovery layer.
    pub(crate) fn serve_lookup(&self, lookup: LookupConnection) -> Result<()> {
        let handler = self.lookups.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(handler) = handler else {
            return Err(HandshakeError::Refused(RejectReason::PurposeUnsupported(lookup.remote.purpose)).into());
        };
        let endpoint = lookup.connection.remote_endpoint();
        let who = p2p_identity::access::Candidate::new(lookup.remote.peer_id, endpoint);
        if !self.access.allow(&Subject::Peer(who), Action::Lookup(Direction::Inbound)) {
            return Err(HandshakeError::Refused(RejectReason::Denied).into());
        }
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
        let banned = || endpoint.addr().ip().is_some_and(|ip| self.conduct.is_addr_banned(ip, self.runtime.now()));
        if !allowed || banned() {
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
        let mut handshakes = self.handshakes();
        let Some(admission) = handshakes.limiter.admit(incoming.remote_addr().ip(), self.runtime.now()) else {
            return incoming.refuse();
        };
        let evicted = admission.evict.and_then(|id| handshakes.tasks.remove(&id));
        drop(handshakes);
        evicted.iter().for_each(TaskHandle::abort);
        let id = admission.id;
        let finish = Finish { shared: self.clone(), id };
        // Not under the lock: a group that is shut down drops the future here, and with it `finish`, which locks.
        let task = self.tasks.spawn("handshake", async move {
            let shared = finish.shared.clone();
            let progress = || shared.handshakes().limiter.progress(finish.id, shared.runtime.now());
            shared.handshake(incoming, admission.deadline, &progress).await;
        });
        let mut handshakes = self.handshakes();
        if handshakes.limiter.contains(id) {
            handshakes.tasks.insert(id, task);
        } else {
            // It has ended already, or had to make room before it was on the list.
            task.abort();
        }
    }

    async fn handshake(
        self: &Arc<Self>,
        incoming: Incoming,
        deadline: std::time::Instant,
        progress: &(dyn Fn() + Send + Sync),
    ) {
        let endpoint = incoming.remote_endpoint();
        let connection = match incoming.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                self.buses.connection(ConnectionEventKind::AcceptFailed { error: error.into() }, &endpoint, None);
                self.offence(None, &endpoint, Offence::Nuisance);
                return;
            }
        };
        progress();
        self.buses.connection(ConnectionEventKind::Accepted, &endpoint, None);
        let direction = Direction::Inbound;
        let attempt = Attempt { shared: self, connection, direction, expected: None, dial: None, deadline, progress };
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

/// What a failed handshake says about the remote.
fn offence(failure: &Failure) -> Option<Offence> {
    let Error::Handshake(HandshakeError::Refused(reason)) = &failure.error else { return None };
    match reason {
        RejectReason::FalseIdentity { .. } | RejectReason::BadSignature => Some(Offence::FalseIdentity),
        RejectReason::Malformed(_) | RejectReason::TooLarge { .. } => Some(Offence::BrokeProtocol),
        RejectReason::Timeout => Some(Offence::Nuisance),
        _ => None,
    }
}
