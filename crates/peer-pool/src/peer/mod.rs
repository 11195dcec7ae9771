//! A connected peer: its streams, its protocols and the task that looks after both.

mod core;
mod drain;
mod session;
pub(crate) mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use futures_util::FutureExt;
use p2p_core::task::panic_message;
use p2p_core::{PeerId, TaskGroup};
use p2p_identity::{DisconnectReason, Negotiated, PeerRecord, ProtocolId, ProtocolKind};
use p2p_net::{CloseReason, Connection, MessageSender};

pub(crate) use self::core::{Core, CoreParts, Leave, Outcome};
pub(crate) use self::session::Session;
use self::streams::MessageStream;
use crate::attached::Attachment;
use crate::link::{Link, LinkParts};
use crate::pool::Shared;
use crate::{Offence, PeerConn, PeerInfo, Protocol};

/// Owns what belongs to one peer. The pool and the peer's task hold it; handles of protocols do not.
pub(crate) struct Peer {
    core: Arc<Core>,
    connection: Connection,
    control: Arc<MessageSender>,
    links: BTreeMap<ProtocolId, Arc<Link>>,
    mandatory: BTreeSet<ProtocolId>,
    protocols: TaskGroup,
    tasks: TaskGroup,
    pool: Weak<Shared>,
    /// What the peer said of itself; its signature has not been checked.
    record: Option<PeerRecord>,
}

/// A protocol of a peer, before it starts.
pub(crate) type Constructed = (Arc<Link>, Arc<dyn Protocol>);

pub(crate) struct PeerParts {
    pub(crate) core: Core,
    pub(crate) connection: Connection,
    pub(crate) control: Arc<MessageSender>,
    pub(crate) streams: BTreeMap<ProtocolId, MessageStream>,
    pub(crate) negotiated: BTreeMap<ProtocolId, Negotiated>,
    pub(crate) record: Option<PeerRecord>,
}

impl Peer {
    pub(crate) fn new(pool: &Arc<Shared>, parts: PeerParts) -> Arc<Self> {
        let PeerParts { core, connection, control, streams, negotiated, record } = parts;
        let core = Arc::new(core);
        let limits = &pool.config.limits;
        let mandatory = |(id, negotiated): (&ProtocolId, &Negotiated)| {
            (negotiated.local_kind == ProtocolKind::Mandatory).then(|| id.clone())
        };
        Arc::new_cyclic(|peer| {
            let link = |(protocol, stream): (ProtocolId, MessageStream)| {
                let remote_version = negotiated.get(&protocol)?.remote_version.clone();
                let link = Link::new(LinkParts {
                    core: core.clone(),
                    peer: peer.clone(),
                    group: Arc::downgrade(&pool.group(&protocol)),
                    protocol: protocol.clone(),
                    remote_version,
                    sender: stream.sender,
                    receiver: stream.receiver,
                    max_waiting: limits.waiting_streams,
                    max_stash: limits.queue_bytes,
                    max_message: limits.message,
                    budget: pool.budget.clone(),
                });
                Some((protocol, Arc::new(link)))
            };
            Self {
                links: streams.into_iter().filter_map(link).collect(),
                mandatory: negotiated.iter().filter_map(mandatory).collect(),
                protocols: TaskGroup::new(core.runtime.clone()),
                tasks: TaskGroup::new(core.runtime.clone()),
                pool: Arc::downgrade(pool),
                core,
                connection,
                control,
                record,
            }
        })
    }

    /// Runs the constructors. One that panics ends its protocol; `Err` when that one is mandatory.
    pub(crate) fn construct(
        &self,
        attached: &BTreeMap<ProtocolId, Attachment>,
    ) -> Result<Vec<Constructed>, DisconnectReason> {
        let mut protocols = Vec::with_capacity(self.links.len());
        for (id, link) in &self.links {
            let Some(attachment) = attached.get(id) else {
                // Detached since the handshake.
                self.core.protocol_ended(id.clone(), Outcome::Ended);
                continue;
            };
            let conn = PeerConn::new(link.clone());
            match std::panic::catch_unwind(AssertUnwindSafe(|| (attachment.construct)(conn))) {
                Ok(protocol) => protocols.push((link.clone(), protocol)),
                Err(panic) => {
                    let outcome = Outcome::Panicked(panic_message(&*panic).into());
                    if let Some(reason) = self.consequence(id, &outcome) {
                        return Err(reason);
                    }
                    self.core.protocol_ended(id.clone(), outcome);
                }
            }
        }
        Ok(protocols)
    }

    /// Starts the protocols, each in a task of its own.
    pub(crate) fn start(&self, protocols: Vec<Constructed>) {
        for (link, protocol) in protocols {
            self.protocols.spawn("protocol", async move {
                let outcome = match AssertUnwindSafe(protocol.start()).catch_unwind().await {
                    Ok(Ok(())) => Outcome::Ended,
                    Ok(Err(error)) => Outcome::Failed(error),
                    Err(panic) => Outcome::Panicked(panic_message(&*panic).into()),
                };
                link.core.protocol_ended(link.protocol.clone(), outcome);
            });
        }
    }

    /// Why the connection must end because a protocol did; `None` when it goes on without it.
    fn consequence(&self, protocol: &ProtocolId, outcome: &Outcome) -> Option<DisconnectReason> {
        use p2p_identity::Error as E;
        let mandatory = self.mandatory.contains(protocol);
        match outcome {
            Outcome::Ended => None,
            // It has only passed on why it could not go on.
            Outcome::Failed(E::PeerShutdown | E::ProtocolEnded | E::Disconnected(_)) => None,
            Outcome::Failed(error) => {
                if self.has_line() {
                    tracing::warn!(
                        peer = %self.core.id, endpoint = %self.core.endpoint, %protocol, %error, disconnects = mandatory,
                        "a protocol's `start` has failed with this peer",
                    );
                }
                let (protocol, error) = (protocol.clone(), error.to_string());
                mandatory.then_some(DisconnectReason::ProtocolFailed { protocol, error })
            }
            Outcome::Panicked(message) => {
                if self.has_line() {
                    tracing::error!(
                        peer = %self.core.id, endpoint = %self.core.endpoint, %protocol, message, disconnects = mandatory,
                        "a protocol's `start` or constructor has panicked with this peer: a bug in the protocol",
                    );
                }
                let (protocol, message) = (protocol.clone(), message.clone());
                mandatory.then_some(DisconnectReason::ProtocolPanicked { protocol, message })
            }
        }
    }

    /// Whether the log has room for a line that this peer may have caused.
    fn has_line(&self) -> bool {
        self.pool.upgrade().is_none_or(|pool| pool.lines.has_room(pool.runtime.now()))
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn id(&self) -> PeerId {
        self.core.id
    }

    pub(crate) fn record(&self) -> Option<&PeerRecord> {
        self.record.as_ref()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn links(&self) -> &BTreeMap<ProtocolId, Arc<Link>> {
        &self.links
    }

    /// The tasks of its protocols.
    pub(crate) fn protocols(&self) -> &TaskGroup {
        &self.protocols
    }

    /// Tasks that end with the peer.
    pub(crate) fn tasks(&self) -> &TaskGroup {
        &self.tasks
    }

    pub(crate) fn conn(&self, protocol: &ProtocolId) -> Option<PeerConn> {
        self.links.get(protocol).cloned().map(PeerConn::new)
    }

    pub(crate) fn info(&self) -> PeerInfo {
        PeerInfo {
            peer_id: self.core.id,
            connection_id: self.core.connection_id,
            endpoint: self.core.endpoint.clone(),
            direction: self.core.direction,
            protocols: self.links.keys().cloned().collect(),
            connected_at: self.core.connected_at,
            rtt: self.core.rtt(),
        }
    }

    pub(crate) fn report(&self, offence: Offence) {
        if let Some(pool) = self.pool.upgrade() {
            pool.offence(Some(self.core.id), &self.core.endpoint, offence);
        }
    }

    /// The peer is not announced after all: handles that its constructors kept learn of the end.
    pub(crate) fn abandon(&self, error: &p2p_identity::Error) {
        let reason = match error {
            p2p_identity::Error::Disconnected(reason) => reason.clone(),
            error => DisconnectReason::Lost(error.to_string()),
        };
        self.end(reason);
    }

    /// Ends the tasks of protocols, and those that protocols started.
    pub(crate) async fn stop(&self) {
        self.protocols.shutdown().await;
        self.tasks.shutdown().await;
    }

    /// The connection closes for `reason`, which everybody who waits learns. Gives the reason that came first.
    pub(crate) fn end(&self, reason: DisconnectReason) -> DisconnectReason {
        let reason = self.core.set_ended(reason);
        self.connection.close(reason.close_code(), &reason.close_reason());
        self.core.set_closed();
        self.links.values().for_each(|link| link.wake());
        reason
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}

/// What the end of a connection means for the peer.
pub(crate) fn disconnect_reason(reason: CloseReason) -> DisconnectReason {
    match reason {
        CloseReason::Local { code, reason } => DisconnectReason::Local { code, reason },
        CloseReason::Remote { code, reason } => DisconnectReason::from_close(code, &reason),
        CloseReason::TimedOut => DisconnectReason::PingTimeout,
        CloseReason::Lost(why) => DisconnectReason::Lost(why),
        CloseReason::Violation(what) => DisconnectReason::ProtocolViolation(what),
        other => DisconnectReason::Lost(other.to_string()),
    }
}
