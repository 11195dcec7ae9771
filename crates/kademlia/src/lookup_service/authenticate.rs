//! The handshake, from both sides.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use p2p_core::{ByteBudget, PeerId, Runtime};
use p2p_identity::access::{AccessControl, Action, Candidate, Changes, Direction, Subject};
use p2p_identity::{
    Authenticated, Error, HandshakeParams, KeyPair, Opening, PeerRecord, Purpose, RejectReason, RemotePeer, Result,
    Role, Terms, TlsIdentity,
};
use p2p_net::{AcceptTls, Connection, Transports};

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

    /// What tells that the policy has changed, if it ever does.
    pub(crate) fn changes(&self) -> Option<Changes> {
        self.access.changes()
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
        deadline: Instant,
    ) -> Result<Authenticated> {
        let params = self.params(&connection);
        let opening = Opening::dialed(connection, params, expected, Purpose::Lookup, payload, &*self.runtime)?;
        self.run(opening, deadline, &|| ()).await
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
        let params = self.params(&connection);
        // Where others listen too, the certificate is what they say of this node.
        let opening = Opening::accepted(connection, |_| params, &*self.runtime)?;
        self.run(opening, deadline, progress).await
    }

    async fn run(
        &self,
        opening: Opening,
        deadline: Instant,
        progress: &(dyn Fn() + Send + Sync),
    ) -> Result<Authenticated> {
        let direction = match opening.handshake.role() {
            Role::Dialer => Direction::Outbound,
            Role::Listener => Direction::Inbound,
        };
        let decide = |connection: &Connection, remote: &RemotePeer| {
            let who = Candidate::new(remote.peer_id, connection.remote_endpoint()).with_record(remote.record.as_ref());
            if !self.allows(&Subject::Peer(who), direction) {
                return Err(RejectReason::Denied);
            }
            // Answers are longer, and each further question has a stream.
            connection.accepted();
            Ok(())
        };
        let (runtime, budget, limits) = (&*self.runtime, &self.budget, MESSAGE_LIMITS);
        let terms = Terms { runtime, budget, limits, priority: 0, deadline, progress };
        let mut authenticated = opening.authenticate(terms, decide).await?;
        // The answer to a question that rode in the hello may be longer than anything in a handshake.
        authenticated.receiver.set_max_message(MAX_RESPONSE_LEN);
        Ok(authenticated)
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
}

/// Whether anybody has a reason to believe one of its addresses.
fn is_public(record: &PeerRecord) -> bool {
    let addrs = record.discovery_addrs().iter().chain(record.addrs());
    addrs.filter_map(|addr| addr.endpoint.addr().ip()).any(|ip| Scope::of(ip) == Scope::Public)
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
