//! From a connection to a peer: handshake, choice, streams, constructors, announcement.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::{Either, select};
use p2p_core::PeerId;
use p2p_identity::access::{Action, Candidate as AccessCandidate};
use p2p_identity::handshake::{Exchange, MAX_MESSAGE_LEN};
use p2p_identity::{
    Authenticated, DisconnectReason, Error, Handshake, HandshakeError, Opening, ProtocolId, Purpose, RejectReason,
    RemotePeer, Result, Serial, Terms, close_code,
};
use p2p_net::{Connection, Cork, MessageReceiver, MessageSender, SendLimits};
use tokio::sync::oneshot;

use crate::attached::Attachment;
use crate::contest::Slot;
use crate::control::{Control, ControlMessage};
use crate::early::EarlyPeer;
use crate::peer::streams::{self, Collected, MessageStream};
use crate::peer::{Constructed, Core, CoreParts, Peer, PeerParts, Session};
use crate::pool::{Accepted, Claim, Fate, Shared};
use crate::{ConnectionId, Direction};

/// The control stream goes before all others.
const CONTROL_PRIORITY: i32 = 100;

/// Control messages are few and short: a remote that leaves so many unread has stopped reading.
const CONTROL_LIMITS: SendLimits =
    SendLimits { max_message: MAX_MESSAGE_LEN, queue_messages: 64, queue_bytes: 2 * MAX_MESSAGE_LEN };

/// A connection that may become a peer.
pub(crate) struct Attempt<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) connection: Connection,
    pub(crate) direction: Direction,
    /// Who was dialed, if that is known.
    pub(crate) expected: Option<PeerId>,
    /// What holds its outbound slot, of a dial.
    pub(crate) slot: Option<&'a Slot<'a>>,
    /// When the handshake must be over.
    pub(crate) deadline: Instant,
    /// Told of each message of the handshake.
    pub(crate) progress: &'a (dyn Fn() + Send + Sync),
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Outcome {
    Peer(PeerId),
    /// It was for the discovery layer, which has it now.
    Lookup(PeerId),
}

/// Nothing became of it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Who the remote is, or says it is.
    pub(crate) peer_id: Option<PeerId>,
    /// Whether that is proven.
    pub(crate) proven: bool,
}

/// Closes the connection and frees what it held, unless it became a peer: however the attempt ends, its future being
/// dropped included.
struct Guard {
    shared: Arc<Shared>,
    connection: Connection,
    id: ConnectionId,
    /// Who was dialed, or has proven to be there, if that is known.
    expected: Option<PeerId>,
    /// With what to close.
    code: u32,
    reason: String,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            // A dial that is given up because the peer has connected to us meanwhile has not failed.
            if self.code == close_code::HANDSHAKE && self.expected.is_some_and(|peer| self.shared.is_connected(&peer)) {
                self.close_with(&DisconnectReason::Duplicate);
            }
            self.connection.close(self.code, &self.reason);
            self.shared.abandoned(self.id);
        }
    }
}

impl Guard {
    fn close_with(&mut self, reason: &DisconnectReason) {
        (self.code, self.reason) = (reason.close_code(), reason.close_reason());
    }
}

/// Makes a peer of a connection, or closes it. Cancel-safe: when dropped, the connection is closed.
pub(crate) async fn establish(attempt: Attempt<'_>) -> Result<Outcome, Failure> {
    let mut seen = Seen { peer_id: attempt.expected, proven: false };
    // Dropped after the guard has closed the connection: a reset stream would tell the remote less than the close does.
    let mut early = None;
    let mut control = None;
    let mut guard = Guard {
        shared: attempt.shared.clone(),
        connection: attempt.connection.clone(),
        id: attempt.shared.next_connection(),
        expected: attempt.expected,
        code: close_code::HANDSHAKE,
        reason: "handshake failed".into(),
        armed: true,
    };
    let result = attempt.run(&mut guard, &mut seen, &mut control, &mut early).await;
    result.map_err(|error| {
        early.iter_mut().for_each(|early| early.failed(&error));
        match &error {
            Error::Handshake(HandshakeError::Refused(RejectReason::AlreadyConnected)) => {
                guard.close_with(&DisconnectReason::Duplicate);
            }
            Error::Disconnected(reason) => guard.close_with(reason),
            // Said on the stream too, unless the remote may be done with the handshake.
            Error::Handshake(HandshakeError::Refused(reason)) => guard.reason = reason.to_string(),
            _ => {}
        }
        drop(guard);
        Failure { error, peer_id: seen.peer_id, proven: seen.proven }
    })
}

struct Seen {
    peer_id: Option<PeerId>,
    proven: bool,
}

/// Both ends of the control stream.
struct ControlStream {
    sender: Arc<MessageSender>,
    receiver: MessageReceiver,
}

impl Attempt<'_> {
    async fn run(
        self,
        guard: &mut Guard,
        seen: &mut Seen,
        control_slot: &mut Option<ControlStream>,
        early: &mut Option<EarlyPeer>,
    ) -> Result<Outcome> {
        let shared = self.shared;
        let opening = self.opening()?;
        if let Some(peer_id) = opening.proven {
            *seen = Seen { peer_id: Some(peer_id), proven: true };
            if self.direction.is_outbound() {
                guard.expected.get_or_insert(peer_id);
            }
        }
        self.wait_for_early(&opening.handshake).await;
        let may_speak = self.may_speak(&opening.handshake);
        let (sender, receiver) = opening.control_stream(self.terms()).await?;
        let control = control_slot.insert(ControlStream { sender: Arc::new(sender), receiver });
        let mut machine = opening.handshake;
        let attached = shared.attached.snapshot();
        if self.direction.is_outbound() {
            machine.set_serial(shared.number(guard.id, seen.peer_id))?;
        }
        let mut accepted = None;
        let mut exchange = Exchange {
            handshake: machine,
            sender: &control.sender,
            receiver: &control.receiver,
            runtime: &*shared.runtime,
            deadline: self.deadline,
            progress: self.progress,
        };
        // What a dialer says first goes out together.
        let cork = control.sender.cork();
        let known = cork.wait(exchange.open(self.decider(guard.id, may_speak, seen, &mut accepted))).await?;
        if let (Some(remote), Some(Accepted { early: true, .. })) = (&known, &accepted) {
            // All streams share what may be sent before the remote accepts, and without the handshake it never does.
            control.sender.hand_over().await?;
            let Collected { messages, .. } = self.streams(remote, &cork).await?;
            let (peer, protocols) = self.peer(guard.id, remote, control.sender.clone(), messages, &attached, true)?;
            *early = Some(EarlyPeer::start(shared, peer, protocols));
        }
        drop(cork);
        let remote = match (known, &mut accepted) {
            (Some(_), Some(accepted)) => {
                let done = pin!(exchange.finish(|_: &RemotePeer| Ok(Serial::default())));
                match select(done, &mut accepted.fate).await {
                    Either::Left((done, _)) => done?,
                    Either::Right((fate, _)) => return Err(Fate::undecided(fate)),
                }
            }
            _ => exchange.finish(self.decider(guard.id, may_speak, seen, &mut accepted)).await?,
        };
        seen.proven = true;
        let Some(Accepted { fate, .. }) = accepted else { return self.hand_over(guard, control_slot, remote) };
        // The heads of all streams go out together.
        let cork = control.sender.cork();
        cork.wait(self.chosen(guard.id, &remote, control, fate)).await?;
        if shared.own_id < remote.peer_id {
            control.sender.send(ControlMessage::Stay.to_bytes()?).await?;
        }
        if let Some(peer) = early.as_ref().and_then(EarlyPeer::peer) {
            shared.admit(peer).map_err(Error::Disconnected)?;
        }
        let (peer, arrived) = match early.as_mut().and_then(EarlyPeer::confirmed) {
            Some(peer) => {
                guard.armed = false;
                (peer, Collected::default())
            }
            None => {
                let mut arrived = self.streams(&remote, &cork).await?;
                drop(cork);
                let (sender, messages) = (control.sender.clone(), std::mem::take(&mut arrived.messages));
                let (peer, protocols) = self.peer(guard.id, &remote, sender, messages, &attached, false)?;
                let admitted = shared.admit(&peer).map_err(Error::Disconnected);
                admitted.inspect_err(|error| peer.abandon(error))?;
                // From here on the session closes the connection, and tells when it is gone.
                guard.armed = false;
                peer.start(protocols);
                (peer, arrived)
            }
        };
        // It was put there above.
        let Some(control) = control_slot.take() else { return Err(Error::ShutDown) };
        let session = Session::new(shared, peer, control.receiver);
        shared.sessions.spawn("peer", session.run(arrived.early, arrived.pending));
        Ok(Outcome::Peer(remote.peer_id))
    }

    /// What the transport has proven, and the handshake that follows from it.
    fn opening(&self) -> Result<Opening> {
        let (shared, connection, runtime) = (self.shared, self.connection.clone(), &*self.shared.runtime);
        match self.direction {
            Direction::Outbound => {
                Opening::dialed(connection, shared.params(), self.expected, Purpose::Peer, &[], runtime)
            }
            Direction::Inbound => {
                Opening::accepted(connection, |presented| presented.unwrap_or_else(|| shared.params()), runtime)
            }
        }
    }

    fn terms(&self) -> Terms<'_> {
        let shared = self.shared;
        Terms {
            runtime: &*shared.runtime,
            budget: &shared.budget,
            limits: CONTROL_LIMITS,
            priority: CONTROL_PRIORITY,
            deadline: self.deadline,
            progress: self.progress,
        }
    }

    /// Waits while protocols speak to the remote on another connection that it has yet to accept: if it does, that one
    /// stays, else this one may. Where both sides speak on dials that cross, each waits for the other: the arbiter goes on
    /// after a short time, and refuses the other side's.
    async fn wait_for_early(&self, machine: &Handshake) {
        let shared = self.shared;
        let Some(peer) = machine.expected().filter(|peer| shared.speaks_early(peer)) else { return };
        let left = self.deadline.saturating_duration_since(shared.runtime.now());
        let patience = match self.direction.is_inbound() && shared.own_id < peer {
            true => left.min(shared.config.slot_limits().tie_break),
            false => left,
        };
        let over = shared.until(|| (!shared.speaks_early(&peer)).then_some(()));
        // When this takes too long, the connection is refused as the second one that it is.
        let _ = shared.runtime.timeout(patience, over).await;
    }

    /// Whether the protocols of a dialer that knows the listener's hello may speak before the listener has accepted: no dial
    /// of the listener may be about to arrive here, and so nobody at its address be in the middle of a handshake.
    fn may_speak(&self, machine: &Handshake) -> bool {
        let ip = self.connection.remote_endpoint().addr().ip();
        let may_cross = || ip.is_some_and(|ip| self.shared.handshakes.has_from(ip));
        self.direction.is_outbound() && machine.hello().is_none() && !may_cross()
    }

    /// Decides about a remote that can be agreed with.
    fn decider<'a>(
        &'a self,
        id: ConnectionId,
        may_speak: bool,
        seen: &'a mut Seen,
        accepted: &'a mut Option<Accepted>,
    ) -> impl FnMut(&RemotePeer) -> Result<Serial, RejectReason> + Send + 'a {
        move |remote| {
            seen.peer_id = Some(remote.peer_id);
            let serial = match remote.purpose {
                Purpose::Peer => accepted.insert(self.shared.decide(&self.claim(id, remote, may_speak)?)?).serial,
                // The same gate, before a proof over tcp; whoever takes the connection asks again after it.
                _ => {
                    let who = AccessCandidate::new(remote.peer_id, self.connection.remote_endpoint());
                    self.shared.let_in(who.with_record(remote.record.as_ref()), Action::Lookup(self.direction))?;
                    Serial::default()
                }
            };
            // Before our accept, so that the remote may send more as soon as it has that.
            self.connection.accepted();
            Ok(serial)
        }
    }

    /// Makes the peer and its protocols.
    fn peer(
        &self,
        id: ConnectionId,
        remote: &RemotePeer,
        control: Arc<MessageSender>,
        streams: BTreeMap<ProtocolId, MessageStream>,
        attached: &BTreeMap<ProtocolId, Attachment>,
        early: bool,
    ) -> Result<(Arc<Peer>, Vec<Constructed>)> {
        let core = Core::new(CoreParts {
            id: remote.peer_id,
            connection_id: id,
            boot: remote.boot_nonce,
            endpoint: self.connection.remote_endpoint().clone().with_peer_id(None),
            direction: self.direction,
            runtime: self.shared.runtime.clone(),
            early,
        });
        let (connection, negotiated) = (self.connection.clone(), remote.protocols.clone());
        let record = remote.record.clone();
        let peer = Peer::new(self.shared, PeerParts { core, connection, control, streams, negotiated, record });
        let protocols = peer.construct(attached).map_err(Error::Disconnected);
        let protocols = protocols.inspect_err(|error| peer.abandon(error))?;
        Ok((peer, protocols))
    }

    fn claim<'a>(
        &'a self,
        id: ConnectionId,
        remote: &'a RemotePeer,
        may_speak: bool,
    ) -> Result<Claim<'a>, RejectReason> {
        Ok(Claim {
            id,
            peer: remote.peer_id,
            proven: self.connection.peer_certificates().is_some(),
            boot: remote.boot_nonce,
            direction: self.direction,
            endpoint: self.connection.remote_endpoint(),
            record: remote.record.as_ref(),
            // Whoever has been silent for a while may have lost it.
            dial: self.slot.map(|slot| slot.hold().ok_or(RejectReason::SlotsFull)).transpose()?,
            serial: remote.serial,
            may_speak,
        })
    }

    /// The discovery layer takes the connection.
    fn hand_over(&self, guard: &mut Guard, control: &mut Option<ControlStream>, remote: RemotePeer) -> Result<Outcome> {
        let peer_id = remote.peer_id;
        let Some(ControlStream { sender, receiver }) = control.take() else { return Err(Error::ShutDown) };
        // Nobody else has it: there is no peer.
        let sender = Arc::into_inner(sender).ok_or(Error::ShutDown)?;
        self.shared.serve_lookup(Authenticated { connection: self.connection.clone(), remote, sender, receiver })?;
        guard.armed = false;
        Ok(Outcome::Lookup(peer_id))
    }

    /// Waits until it is clear that this connection is the peer's.
    async fn chosen(
        &self,
        id: ConnectionId,
        remote: &RemotePeer,
        control: &ControlStream,
        mut fate: oneshot::Receiver<Fate>,
    ) -> Result<()> {
        let shared = self.shared;
        shared.with_registry(|registry| {
            registry.numbered(id, remote.serial);
            registry.complete(shared.runtime.now(), id).unwrap_or_default()
        });
        // Nearly always there is nothing to choose.
        if let Ok(fate) = fate.try_recv() {
            return fate.into_result();
        }
        let patience = shared.config.handshake_timeout + shared.config.drain_timeout;
        let wait = self.wait_for_fate(id, remote, control, &mut fate);
        match shared.runtime.timeout(patience, wait).await {
            Ok(result) => result,
            Err(_) => Err(HandshakeError::Refused(RejectReason::Timeout).into()),
        }
    }

    async fn wait_for_fate(
        &self,
        id: ConnectionId,
        remote: &RemotePeer,
        control: &ControlStream,
        fate: &mut oneshot::Receiver<Fate>,
    ) -> Result<()> {
        let shared = self.shared;
        let now = || shared.runtime.now();
        let arbiter = shared.own_id < remote.peer_id;
        let mut reader = Control::new(!arbiter, now());
        let mut tie_break = shared.runtime.sleep(shared.config.slot_limits().tie_break);
        let (mut over, mut stay) = (false, false);
        loop {
            tokio::select! {
                biased;
                told = &mut *fate => return told.map_or(Err(Error::ShutDown), Fate::into_result),
                () = &mut tie_break, if !over => {
                    over = true;
                    shared.with_registry(|registry| registry.poll(now()));
                }
                message = control.receiver.recv(), if !arbiter && !stay => {
                    let message = message?.ok_or(HandshakeError::Closed)?;
                    match reader.receive(now(), &message) {
                        Ok(Some(ControlMessage::Stay)) => {
                            stay = true;
                            shared.with_registry(|registry| registry.stay(now(), id));
                        }
                        _ => return Err(HandshakeError::Refused(RejectReason::Malformed("not a Stay".into())).into()),
                    }
                }
                reason = self.connection.closed() => return Err(p2p_net::Error::Closed(reason).into()),
            }
        }
    }

    /// The streams of the protocols; everything said until then is on its way after it.
    async fn streams(&self, remote: &RemotePeer, cork: &Cork) -> Result<Collected> {
        let shared = self.shared;
        let (config, budget) = (&shared.config, &shared.budget);
        let protocols = remote.protocols.keys();
        match self.direction {
            Direction::Outbound => {
                let messages = cork.wait(streams::open(&self.connection, protocols, config, budget)).await?;
                Ok(Collected { messages, ..Collected::default() })
            }
            Direction::Inbound => {
                let collecting =
                    streams::collect(&self.connection, protocols.collect(), &shared.runtime, config, budget);
                cork.wait(collecting).await
            }
        }
    }
}

impl Fate {
    fn into_result(self) -> Result<()> {
        match self {
            Self::Stays => Ok(()),
            Self::Goes(reason) => Err(HandshakeError::Refused(reason).into()),
        }
    }

    /// What it means that a fate is known before the connection is complete.
    fn undecided(fate: Result<Self, oneshot::error::RecvError>) -> Error {
        fate.map_or(Ok(()), Self::into_result).err().unwrap_or(Error::ShutDown)
    }
}
