//! The handshake, from both sides.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::{ByteBudget, PeerId, Runtime};
use p2p_identity::access::{AccessControl, Action, Candidate, Direction, Subject};
use p2p_identity::handshake::{self, MAX_MESSAGE_LEN, NONCE_LEN};
use p2p_identity::{
    Channel, Error, Handshake, HandshakeError, HandshakeParams, KeyPair, PeerRecord, Purpose, RejectReason, RemotePeer,
    Result, TlsIdentity, peer_id_from_certificates,
};
use p2p_net::{AcceptTls, Connection, MessageReceiver, MessageSender, Stream, Transports};

use super::MESSAGE_LIMITS;
use crate::address::{Scope, is_of_use};
use crate::message::MAX_RESPONSE_LEN;

/// Proves who we are, and asks who others are.
pub(crate) struct Authenticator {
    runtime: Arc<dyn Runtime>,
    access: Arc<dyn AccessControl>,
    budget: ByteBudget,
    params: Mutex<Arc<HandshakeParams>>,
    /// What says the parameters in a certificate, where nobody else does.
    own: Option<(TlsIdentity, Transports)>,
}

/// A connection after its handshake, with the stream that this was on.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) connection: Connection,
    pub(crate) remote: RemotePeer,
    pub(crate) sender: MessageSender,
    pub(crate) receiver: MessageReceiver,
}

impl Authenticator {
    pub(crate) fn new(
        own: Option<(TlsIdentity, Transports)>,
        runtime: Arc<dyn Runtime>,
        access: Arc<dyn AccessControl>,
        budget: ByteBudget,
        key_pair: KeyPair,
        network: &str,
    ) -> Self {
        let mut params = HandshakeParams::new(key_pair, runtime.random_u64());
        params.network = network.into();
        params.serves = vec![Purpose::Lookup];
        let new = Self { runtime, access, budget, params: Mutex::new(Arc::new(params)), own };
        new.set_record(None);
        new
    }

    /// What to say of ourselves in handshakes from now on; nothing in client mode.
    pub(crate) fn set_record(&self, record: Option<PeerRecord>) {
        let mut params = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut params).record = record;
        // Under the lock, so that the last change is what stays.
        if let Some((tls, transports)) = &self.own {
            // A certificate is the same for everybody; a private record is not for everybody, and goes with the hello.
            let for_all = params.record.as_ref().is_none_or(is_public);
            let accepting = match for_all {
                true => tls.accepting(params.clone()),
                false => Ok(AcceptTls { config: tls.server_config().clone(), context: None }),
            };
            let presented = accepting.map(|tls| transports.accept_with(tls));
            if !matches!(presented, Ok(Ok(()))) {
                // Neither can fail: all parts have an encoding, and quic took the same configuration when it was set up.
                tracing::error!(?presented, "the certificate cannot be renewed");
            }
        }
    }

    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Whether a connection with whoever is at the subject is allowed.
    pub(crate) fn allows(&self, subject: &Subject<'_>, direction: Direction) -> bool {
        self.access.allow(subject, Action::Lookup(direction))
    }

    /// The side that dialed. `payload` goes with the hello.
    ///
    /// # Errors
    /// Those of the handshake; somebody else than `expected` is one of them.
    pub(crate) async fn dial(
        &self,
        connection: Connection,
        expected: Option<PeerId>,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Authenticated> {
        let channel = channel(&connection)?;
        let stream = connection.open_stream().await?;
        let handshake =
            Handshake::dial(self.params(&connection), channel, expected, Purpose::Lookup, self.nonce(), payload)?;
        let handshake = handshake.with_certificates(connection.peer_certificates())?;
        self.run(handshake, connection, stream, self.runtime.now() + timeout, &|| ()).await
    }

    /// The side that accepted; `progress` is told when the remote has said something.
    ///
    /// # Errors
    /// Those of the handshake.
    pub(crate) async fn accept(
        &self,
        connection: Connection,
        deadline: Instant,
        progress: &(dyn Fn() + Send + Sync),
    ) -> Result<Authenticated> {
        let channel = channel(&connection)?;
        let left = deadline.saturating_duration_since(self.runtime.now());
        let stream = self.runtime.timeout(left, connection.accept_stream()).await;
        let stream = stream.map_err(|_| HandshakeError::Refused(RejectReason::Timeout))??;
        progress();
        let mut handshake = Handshake::listen(self.params(&connection), channel, self.nonce())?;
        // Where others listen too, it is what they say of this node.
        if connection.accept_context().is_some_and(|context| context.is::<HandshakeParams>()) {
            handshake = handshake.presented();
        }
        self.run(handshake, connection, stream, deadline, progress).await
    }

    async fn run(
        &self,
        handshake: Handshake,
        connection: Connection,
        stream: Stream,
        deadline: Instant,
        progress: &(dyn Fn() + Send + Sync),
    ) -> Result<Authenticated> {
        let direction = match handshake.role() {
            p2p_identity::Role::Dialer => Direction::Outbound,
            p2p_identity::Role::Listener => Direction::Inbound,
        };
        let (recv, send) = stream.into_split();
        let sender = MessageSender::new(send, MESSAGE_LIMITS, &self.budget);
        let mut receiver = MessageReceiver::new(recv, MAX_MESSAGE_LEN, &self.budget);
        let decide = |remote: &RemotePeer| {
            let who = Candidate::new(remote.peer_id, connection.remote_endpoint()).with_record(remote.record.as_ref());
            if !self.allows(&Subject::Peer(who), direction) {
                return Err(RejectReason::Denied);
            }
            // Answers are longer, and each further question has a stream.
            connection.accepted();
            Ok(())
        };
        let runtime = &*self.runtime;
        let exchange = handshake::run(handshake, &sender, &receiver, runtime, deadline, progress, decide);
        let remote = exchange.await?;
        // The answer to a question that rode in the hello may be longer than anything in a handshake.
        receiver.set_max_message(MAX_RESPONSE_LEN);
        Ok(Authenticated { connection, remote, sender, receiver })
    }

    /// What to say to whoever is at the other side: our record only if one of its addresses is of use there.
    fn params(&self, connection: &Connection) -> Arc<HandshakeParams> {
        let mut params = self.params.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ip = connection.remote_endpoint().addr().ip();
        if let (Some(record), Some(ip)) = (&params.record, ip)
            && !is_of_use(record, ip)
        {
            Arc::make_mut(&mut params).record = None;
        }
        params
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = [0; NONCE_LEN];
        self.runtime.fill_random(&mut nonce);
        nonce
    }
}

/// Whether anybody has a reason to believe one of its addresses.
fn is_public(record: &PeerRecord) -> bool {
    let addrs = record.discovery_addrs().iter().chain(record.addrs());
    addrs.filter_map(|addr| addr.endpoint.addr().ip()).any(|ip| Scope::of(ip) == Scope::Public)
}

fn channel(connection: &Connection) -> Result<Channel> {
    Ok(match connection.peer_certificates() {
        Some(certificates) => Channel::Certified(peer_id_from_certificates(certificates)?),
        None => Channel::Plain,
    })
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

/// What to report when access control says no before anything was tried.
pub(super) fn denied(endpoint: &p2p_net::Endpoint) -> Error {
    Error::Denied(endpoint.to_string())
}
