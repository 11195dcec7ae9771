//! Asks others.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_core::{PeerId, Runtime};
use p2p_identity::access::{Direction, Subject};
use p2p_identity::{Authenticated, Error, Judge, OwnAddresses, PeerRecord, Race, RaceLimits, Result};
use p2p_net::{Connection, Endpoint, MessageReceiver, MessageSender, PeerAddr, Transports};
use tokio::sync::{Notify, Semaphore};

use super::authenticate::denied;
use super::warm::{Lease, Take, WarmPool};
use super::{Authenticator, MESSAGE_LIMITS, Target};
use crate::KademliaConfig;
use crate::message::{MAX_RESPONSE_LEN, Request};

/// Endpoints of one node that are tried.
const MAX_ENDPOINTS: usize = 4;

/// The code that idle connections are closed with.
const IDLE: u32 = 0;

/// Asks questions over connections that it keeps for the next one. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct LookupClient(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) transports: Transports,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) dial_timeout: Duration,
    pub(super) request_timeout: Duration,
    idle_timeout: Duration,
    warm: Mutex<WarmPool<Warm>>,
    /// Notified when a dial has ended.
    dialed: Notify,
    /// Where this node has asked itself.
    own_addresses: OwnAddresses,
    pub(super) permits: Semaphore,
}

#[derive(Debug, Clone)]
pub(super) struct Warm {
    pub(super) connection: Connection,
    pub(super) record: Option<PeerRecord>,
}

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Not decoded.
    pub(crate) response: Bytes,
    /// Who answered, proven.
    pub(crate) peer_id: PeerId,
    /// What it said of itself when the connection was opened. Not verified.
    pub(crate) record: Option<PeerRecord>,
    /// Where it answered.
    pub(crate) endpoint: Endpoint,
}

/// Who wants to know something of a node.
pub(crate) trait Asking: Sync {
    /// An endpoint is about to be dialed for it, once: whether it may.
    fn may_dial(&self, endpoint: &Endpoint) -> bool;

    /// The node has been dialed there, and has proven who it is.
    fn met(&self, endpoint: &Endpoint);

    /// There is a connection to the node: the answer is due from now on.
    fn connected(&self);
}

impl LookupClient {
    pub(crate) fn new(transports: Transports, authenticator: Arc<Authenticator>, config: &KademliaConfig) -> Self {
        let limits = &config.limits;
        Self(Arc::new(Inner {
            runtime: transports.runtime().clone(),
            transports,
            authenticator,
            dial_timeout: config.dial_timeout,
            request_timeout: config.request_timeout,
            idle_timeout: limits.idle_timeout,
            warm: Mutex::new(WarmPool::new(limits.connections, limits.idle_timeout)),
            dialed: Notify::new(),
            own_addresses: OwnAddresses::new(),
            permits: Semaphore::new(limits.requests),
        }))
    }

    /// Asks a node, over a connection that is there or a new one. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// Those of dialing and of the handshake; [`Error::Timeout`] when there was a connection and no answer.
    pub(crate) async fn ask(&self, target: &Target, request: &Bytes, asking: &dyn Asking) -> Result<Answer> {
        let inner = &*self.0;
        // The semaphore is never closed.
        let _permit = inner.permits.acquire().await.map_err(|_| Error::ShutDown)?;
        inner.check_allowed(target)?;
        let Some(peer_id) = target.peer_id else {
            return inner.dial_and_ask(target, request, None, asking).await;
        };
        let (mut waited, mut stale) = (false, false);
        loop {
            let mut dialed = pin!(inner.dialed.notified());
            dialed.as_mut().enable();
            let taken = inner.lock().take(inner.runtime.now(), peer_id, &target.endpoints);
            match taken {
                // It has moved: what leads to its former address is of no use, except to those who ask there already.
                Take::Ready(warm, lease) if !target.may_be_at(warm.connection.remote_endpoint()) => {
                    let former = inner.lock().discard(lease);
                    drop(former);
                }
                Take::Ready(warm, lease) => {
                    let mut used = Use { inner, lease, keep: false };
                    asking.connected();
                    match inner.ask_over(&warm, request).await {
                        Ok(response) => {
                            used.keep = true;
                            return Ok(warm.answer(peer_id, response));
                        }
                        // It had ended before, or ends now because it was idle: another one may do.
                        Err(error) if warm.connection.close_reason().is_some() && !stale => {
                            tracing::trace!(%error, "a kept connection has ended");
                            stale = true;
                        }
                        Err(error) => return Err(error),
                    }
                }
                // Nor does anybody wait for a dial there.
                Take::Dialing(at) if !at.iter().any(|at| target.may_be_at(at)) => {
                    return inner.dial_and_ask(target, request, None, asking).await;
                }
                Take::Dialing(_) => {
                    dialed.await;
                    waited = true;
                }
                Take::Dial(lease) => {
                    let used = Use { inner, lease, keep: false };
                    if waited {
                        // Somebody has just tried in vain.
                        return Err(Error::Timeout("dialing the node"));
                    }
                    return inner.dial_and_ask(target, request, Some(used), asking).await;
                }
            }
        }
    }

    /// Closes idle connections when their time has come; ends when the client is gone.
    pub(crate) async fn expire_idle(self) {
        let (inner, runtime) = (Arc::downgrade(&self.0), self.0.runtime.clone());
        let period = self.0.idle_timeout / 4;
        drop(self);
        loop {
            runtime.sleep(period).await;
            let Some(inner) = inner.upgrade() else { return };
            let idle = inner.lock().expire(runtime.now());
            close(idle);
        }
    }

    /// Dials addresses again at which this node has met itself.
    pub(crate) fn forget_own_addresses(&self) {
        self.0.own_addresses.clear();
    }

    /// Closes the connections that nobody uses at the moment.
    pub(crate) fn close_idle(&self) {
        let idle = self.0.lock().clear_idle();
        close(idle);
    }

    /// Closes all connections.
    pub(crate) fn close_all(&self) {
        let all = self.0.lock().clear();
        close(all);
    }

    /// Connections that are open or being opened.
    pub(crate) fn connections(&self) -> usize {
        self.0.lock().len()
    }
}

fn close(connections: Vec<Warm>) {
    connections.iter().for_each(|warm| warm.connection.close(IDLE, "idle"));
}

/// One use of a connection in the pool, or the dialing of one. Unless it is to be kept, it is of no use to others.
struct Use<'a> {
    inner: &'a Inner,
    lease: Lease,
    keep: bool,
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut pool = self.inner.lock();
        if self.keep {
            pool.release(self.inner.runtime.now(), self.lease);
            return;
        }
        let discarded = pool.discard(self.lease);
        drop(pool);
        self.inner.dialed.notify_waiters();
        close(discarded.into_iter().collect());
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, WarmPool<Warm>> {
        // The pool is valid after each statement.
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one of the target's endpoints may be asked: the policy may have changed since there was a connection.
    pub(super) fn check_allowed(&self, target: &Target) -> Result<()> {
        let named = |endpoint: &Endpoint| endpoint.clone().with_peer_id(target.peer_id);
        let allowed = |endpoint| self.authenticator.allows(&Subject::Endpoint(&named(endpoint)), Direction::Outbound);
        match target.endpoints.first() {
            Some(first) if !target.endpoints.iter().any(allowed) => Err(denied(first)),
            _ => Ok(()),
        }
    }

    /// Keeps a connection for further questions, unless there is one.
    pub(super) fn keep(&self, peer_id: PeerId, warm: Warm) {
        let now = self.runtime.now();
        let mut pool = self.lock();
        let Some((lease, evicted)) = pool.insert(now, peer_id, warm) else { return };
        pool.release(now, lease);
        drop(pool);
        close(evicted);
    }

    async fn ask_over(&self, warm: &Warm, request: &Bytes) -> Result<Bytes> {
        let exchange = exchange(&warm.connection, request.clone(), &self.authenticator);
        match self.runtime.timeout(self.request_timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Timeout("waiting for a node's answer")),
        }
    }

    /// Whether an endpoint may be dialed, for what is known of it.
    pub(super) fn may_dial(&self, endpoint: &Endpoint) -> Result<()> {
        if self.own_addresses.contains(endpoint) {
            return Err(Error::SelfDial);
        }
        let allowed = self.authenticator.allows(&Subject::Endpoint(endpoint), Direction::Outbound);
        if allowed { Ok(()) } else { Err(denied(endpoint)) }
    }

    /// Where a race for the target begins.
    pub(super) fn candidates(target: &Target) -> Vec<PeerAddr> {
        let named = |endpoint: &Endpoint| PeerAddr::from(endpoint.clone().with_peer_id(target.peer_id));
        target.endpoints.iter().take(MAX_ENDPOINTS).map(named).collect()
    }

    /// Connects to the target at whichever of its endpoints it answers first, within the time for a dial.
    async fn race(&self, target: &Target, payload: &[u8], asking: &dyn Asking) -> Result<Authenticated> {
        let deadline = self.runtime.now() + self.dial_timeout;
        let contest = Contest { inner: self, expected: target.peer_id, payload, deadline, asking };
        let race = Race { transports: &self.transports, limits: RaceLimits::default(), until: deadline };
        race.run(&contest, &mut Self::candidates(target), None).await.map_err(|error| error.unwrap_or_else(nobody))
    }

    async fn dial_and_ask(
        &self,
        target: &Target,
        request: &Bytes,
        used: Option<Use<'_>>,
        asking: &dyn Asking,
    ) -> Result<Answer> {
        let payload = if Request::fits_hello(request) { request.clone() } else { Bytes::new() };
        let Authenticated { connection, remote, sender, receiver } = self.race(target, &payload, asking).await?;
        asking.connected();
        // Nothing else goes this way; dropped unfinished, the end of the handshake might not get there.
        sender.finish();
        let warm = Warm { connection, record: remote.record };
        let now = self.runtime.now();
        let (mut used, evicted) = match used {
            Some(used) => {
                let evicted = self.lock().ready(now, used.lease, warm.clone());
                (Some(used), evicted)
            }
            None => match self.lock().insert(now, remote.peer_id, warm.clone()) {
                Some((lease, evicted)) => (Some(Use { inner: self, lease, keep: false }), evicted),
                None => (None, Vec::new()),
            },
        };
        close(evicted);
        self.dialed.notify_waiters();
        let response = if payload.is_empty() {
            self.ask_over(&warm, request).await?
        } else {
            let answer = self.runtime.timeout(self.request_timeout, receiver.recv()).await;
            let answer = answer.map_err(|_| Error::Timeout("waiting for a node's answer"))??;
            answer.ok_or(Error::Net(p2p_net::Error::Truncated))?
        };
        if let Some(used) = &mut used {
            used.keep = true;
        }
        Ok(warm.answer(remote.peer_id, response))
    }
}

/// The error of a race without candidates.
pub(super) fn nobody() -> Error {
    Error::config("endpoints", "there is no endpoint to dial")
}

/// Whether an endpoint may be dialed now.
pub(super) fn check_dial(asking: &dyn Asking, endpoint: &Endpoint) -> p2p_net::Result<()> {
    if asking.may_dial(endpoint) {
        return Ok(());
    }
    let why = "what is there was dialed in vain too often of late";
    Err(p2p_net::Error::Unsupported { endpoint: endpoint.clone(), why })
}

/// Asks whoever is the target, wherever that answers first.
struct Contest<'a> {
    inner: &'a Inner,
    expected: Option<PeerId>,
    payload: &'a [u8],
    /// When it must be clear who answers.
    deadline: Instant,
    asking: &'a dyn Asking,
}

impl Judge for Contest<'_> {
    type Won = Authenticated;
    type Error = Error;

    fn allow(&self, endpoint: &Endpoint) -> Result<()> {
        self.inner.may_dial(endpoint)
    }

    async fn connect(&self, transports: &Transports, endpoint: &Endpoint) -> p2p_net::Result<Connection> {
        check_dial(self.asking, endpoint)?;
        transports.connect(endpoint).await
    }

    async fn ask(&self, connection: Connection) -> Result<Authenticated> {
        let endpoint = connection.remote_endpoint().clone();
        let asked = self.inner.authenticator.dial(connection, self.expected, self.payload, self.deadline).await;
        if asked.as_ref().is_err_and(|error| error.is_self_dial()) && self.inner.own_addresses.insert(&endpoint) {
            tracing::warn!(%endpoint, "this node itself answers there, or another one with its key: it is not asked again until the network changes");
        }
        if asked.is_ok() {
            self.asking.met(&endpoint);
        }
        asked
    }

    fn failed(&self, endpoint: &Endpoint, error: &Error) {
        tracing::trace!(%endpoint, %error, "a node does not answer at one of its addresses");
    }
}

impl Warm {
    pub(super) fn answer(self, peer_id: PeerId, response: Bytes) -> Answer {
        let endpoint = self.connection.remote_endpoint().clone();
        Answer { response, peer_id, record: self.record, endpoint }
    }
}

/// One question on a stream of its own.
async fn exchange(connection: &Connection, request: Bytes, authenticator: &Authenticator) -> Result<Bytes> {
    let (recv, send) = connection.open_stream().await?.into_split();
    let sender = MessageSender::new(send, MESSAGE_LIMITS, authenticator.budget());
    sender.send(request).await?;
    sender.finish();
    let receiver = MessageReceiver::new(recv, MAX_RESPONSE_LEN, authenticator.budget()).silent();
    let answer = receiver.recv().await?;
    Ok(answer.ok_or(p2p_net::Error::Truncated)?)
}

impl std::fmt::Debug for LookupClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupClient").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
