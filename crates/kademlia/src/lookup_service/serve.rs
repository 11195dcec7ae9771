//! Answers others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use p2p_core::{EventBus, Runtime, TaskGroup};
use p2p_identity::access::{Candidate, Direction, Subject};
use p2p_identity::{Authenticated, HandshakeLimits, InboundHandshakes, PrefixCounter, close_code};
use p2p_net::{Connection, Error, MessageReceiver, MessageSender, Stream, Transports};

use super::connections::Connections;
use super::rate::RequestLimiter;
use super::{Answerer, Asker, Authenticator, MESSAGE_LIMITS};
use crate::message::{MAX_REQUEST_LEN, Request, Response};
use crate::{KademliaConfig, KademliaEvent, Refused};

/// How many times longer than the one who dialed the other side keeps an idle connection: so it is the dialer, who
/// knows, that ends it.
const IDLE_FACTOR: u32 = 2;

/// Whoever has begun to ask can be evicted for a newcomer after one of so many parts of the time that a request may take.
const PATIENCE_SHARE: u32 = 8;

/// Answers questions over connections that others open. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct LookupServer(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) tasks: Arc<TaskGroup>,
    pub(super) transports: Transports,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) handshakes: InboundHandshakes,
    pub(super) events: EventBus<KademliaEvent>,
    answerer: Answerer,
    connections: Mutex<Connections<Connection>>,
    limiter: Mutex<RequestLimiter>,
    requests_per_connection: usize,
    request_timeout: Duration,
    idle_timeout: Duration,
}

/// What a server is made of.
pub(crate) struct ServerParts {
    pub(crate) tasks: Arc<TaskGroup>,
    pub(crate) transports: Transports,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) answerer: Answerer,
    pub(crate) events: EventBus<KademliaEvent>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // All of them are valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LookupServer {
    pub(crate) fn new(parts: ServerParts, config: &KademliaConfig) -> Self {
        let limits = &config.limits;
        let prefixes = PrefixCounter::new(limits.inbound_per_prefix).limit_local(config.limit_local);
        let handshakes = HandshakeLimits { limit_local: config.limit_local, ..limits.handshakes };
        let limiter = RequestLimiter::new(limits.requests_per_second, limits.requests_per_prefix, config.limit_local);
        Self(Arc::new(Inner {
            runtime: parts.tasks.runtime().clone(),
            tasks: parts.tasks,
            transports: parts.transports,
            authenticator: parts.authenticator,
            handshakes: InboundHandshakes::new(handshakes),
            answerer: parts.answerer,
            events: parts.events,
            connections: Mutex::new(Connections::new(
                limits.inbound_connections,
                config.request_timeout / PATIENCE_SHARE,
                prefixes,
            )),
            limiter: Mutex::new(limiter),
            requests_per_connection: limits.requests_per_connection,
            request_timeout: config.request_timeout,
            idle_timeout: limits.idle_timeout * IDLE_FACTOR,
        }))
    }

    /// Answers over a connection whose handshake is done, in a task of its own.
    pub(crate) fn serve(&self, opened: Authenticated) {
        self.0.tasks.spawn("lookup connection", self.0.clone().serve(opened));
    }

    /// Connections that others have opened.
    pub(crate) fn connections(&self) -> usize {
        lock(&self.0.connections).len()
    }
}

/// A place among the connections, given back when dropped; the connection is closed then.
struct Place<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(connection) = lock(&self.inner.connections).remove(self.id) {
            connection.close(0, "idle");
        }
    }
}

/// A stream on which something is asked, until it is dropped.
struct Asking<'a>(&'a Place<'a>);

impl<'a> Asking<'a> {
    fn begins(place: &'a Place<'a>) -> Self {
        lock(&place.inner.connections).begins(place.id);
        Self(place)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner.connections).ends(self.0.id);
    }
}

/// Something that is asked and not answered yet.
struct Asked<'a>(&'a Place<'a>);

impl<'a> Asked<'a> {
    fn now(place: &'a Place<'a>) -> Self {
        lock(&place.inner.connections).asked(place.id, place.inner.runtime.now());
        Self(place)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner.connections).answered(self.0.id);
    }
}

impl Inner {
    pub(super) async fn serve(self: Arc<Self>, opened: Authenticated) {
        let Authenticated { connection, remote, sender, receiver: _receiver } = opened;
        let endpoint = connection.remote_endpoint().clone();
        // What was accepted came from an address, not from a name.
        let Some(address) = endpoint.socket_addr() else { return };
        let mut policy = self.authenticator.changes();
        let admitted = lock(&self.connections).admit(self.runtime.now(), address.ip(), connection.clone());
        let Ok((id, evicted)) = admitted else {
            connection.close(close_code::RESERVED, "no place");
            return;
        };
        evicted.iter().for_each(|evicted| evicted.close(0, "make room"));
        let place = Place { inner: &self, id };
        let arrived = Some(connection.local_addr().ip().to_canonical()).filter(|ip| !ip.is_unspecified());
        let unsolicited = connection.is_unsolicited();
        let asker = Asker { peer_id: remote.peer_id, address, arrived, unsolicited, record: remote.record };
        let mut answering: FuturesUnordered<BoxedAnswer<'_>> = FuturesUnordered::new();
        if remote.payload.is_empty() {
            sender.finish();
        } else {
            answering.push(Box::pin(self.answer_first(&place, &connection, sender, &asker, &remote.payload)));
        }
        let mut idle = self.runtime.sleep(self.idle_timeout);
        // What has changed between the handshake and here is told to nobody.
        if !self.is_allowed(&asker, &connection) {
            connection.close(close_code::DENIED, "not allowed");
            return;
        }
        loop {
            let changed = async {
                match &mut policy {
                    Some(policy) => policy.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // What this side wants goes first.
                () = changed => {
                    if !self.is_allowed(&asker, &connection) {
                        connection.close(close_code::DENIED, "not allowed");
                        return;
                    }
                }
                // Whoever asks nothing as a whole has no place for longer than whoever asks nothing.
                () = &mut idle => {
                    let now = self.runtime.now();
                    let ends = lock(&self.connections).ends_at(place.id, self.idle_timeout);
                    match ends {
                        Some(at) if at <= now => return,
                        at => idle.reset(at.unwrap_or(now + self.idle_timeout)),
                    }
                }
                Some(()) = answering.next(), if !answering.is_empty() => {}
                stream = connection.accept_stream(), if answering.len() < self.requests_per_connection => {
                    let Ok(stream) = stream else { return };
                    if !self.is_allowed(&asker, &connection) {
                        connection.close(close_code::DENIED, "not allowed");
                        return;
                    }
                    answering.push(Box::pin(self.answer_stream(&place, &connection, stream, &asker)));
                }
                // With all places taken no further stream is looked at, but the end is.
                _ = connection.closed() => return,
            }
        }
    }

    /// The policy may have changed since the handshake.
    fn is_allowed(&self, asker: &Asker, connection: &Connection) -> bool {
        let who = Candidate::new(asker.peer_id, connection.remote_endpoint()).with_record(asker.record.as_ref());
        self.authenticator.allows(&Subject::Peer(who), Direction::Inbound)
    }

    async fn answer_first(
        &self,
        place: &Place<'_>,
        connection: &Connection,
        sender: MessageSender,
        asker: &Asker,
        request: &[u8],
    ) {
        let _asking = Asking::begins(place);
        let asked = Asked::now(place);
        let response = self.answer(asker, request).await;
        drop(asked);
        self.send(connection, &sender, response).await;
    }

    async fn answer_stream(&self, place: &Place<'_>, connection: &Connection, stream: Stream, asker: &Asker) {
        let _asking = Asking::begins(place);
        let (recv, send) = stream.into_split();
        let sender = MessageSender::new(send, MESSAGE_LIMITS, self.authenticator.budget());
        let receiver = MessageReceiver::new(recv, MAX_REQUEST_LEN, self.authenticator.budget()).silent();
        let response = match self.runtime.timeout(self.request_timeout, receiver.recv()).await {
            Ok(Ok(Some(request))) => {
                let _asked = Asked::now(place);
                self.answer(asker, &request).await
            }
            Ok(Err(Error::MessageTooLarge { .. } | Error::LengthEncoding | Error::Truncated)) => {
                Refused::Malformed.into()
            }
            // It went, changed its mind, or is too slow.
            _ => return,
        };
        self.send(connection, &sender, response).await;
    }

    async fn answer(&self, asker: &Asker, request: &[u8]) -> Response {
        if !lock(&self.limiter).admit(self.runtime.now(), asker.peer_id, asker.address.ip()) {
            return Refused::Busy.into();
        }
        match Request::decode(request) {
            Ok(request) => (self.answerer)(asker.clone(), request).await,
            Err(error) => {
                tracing::debug!(peer = %asker.peer_id, %error, "a request cannot be read");
                Refused::Malformed.into()
            }
        }
    }

    async fn send(&self, connection: &Connection, sender: &MessageSender, response: Response) {
        let sending = async {
            send_what_fits(sender, response).await?;
            sender.finish();
            sender.flush().await
        };
        match self.runtime.timeout(self.request_timeout, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "an answer could not be sent"),
            // It asks and does not read: nothing more of it is worth an answer.
            Err(_) => connection.close(close_code::STALLED, "answers are not read"),
        }
    }
}

type BoxedAnswer<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Sends a response with as many of its contacts as the stream takes: that of a handshake takes less than others.
async fn send_what_fits(sender: &MessageSender, mut response: Response) -> Result<(), Error> {
    loop {
        let bytes = match response.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                // The engine keeps the bounds; were it not to, the asker asks elsewhere.
                tracing::error!(%error, "an answer exceeds its bounds");
                Response::from(Refused::Busy).encode().unwrap_or_default()
            }
        };
        match sender.send(bytes).await {
            Err(Error::MessageTooLarge { .. }) if shrink(&mut response) => {}
            result => return result,
        }
    }
}

/// Leaves the farther half of the contacts out, or half of the providers; `false` when there is nothing to leave out.
fn shrink(response: &mut Response) -> bool {
    let (closer, providers) = match response {
        Response::Contacts(closer) | Response::Value { closer, .. } => (closer, None),
        Response::Providers { closer, providers } => (closer, Some(providers)),
        _ => return false,
    };
    if !closer.contacts.is_empty() {
        closer.contacts.truncate(closer.contacts.len() / 2);
        return true;
    }
    match providers {
        Some(providers) if !providers.is_empty() => providers.truncate(providers.len() / 2),
        _ => return false,
    }
    true
}

impl std::fmt::Debug for LookupServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LookupServer").field("connections", &self.connections()).finish_non_exhaustive()
    }
}
