//! [`Authenticated`]: a connection whose remote has proven who it is.

use std::sync::Arc;
use std::time::Instant;

use p2p_core::{ByteBudget, PeerId, Runtime};
use p2p_net::{Connection, MessageReceiver, MessageSender, SendLimits};

use crate::handshake::{self, MAX_MESSAGE_LEN, NONCE_LEN};
use crate::{
    Channel, Handshake, HandshakeError, HandshakeParams, Purpose, RejectReason, RemotePeer, Result, Role, Serial,
    peer_id_from_certificates,
};

/// A connection whose remote has proven who it is, with the stream on which the handshake was. Whoever has it closes it.
#[derive(Debug)]
pub struct Authenticated {
    /// The connection.
    pub connection: Connection,
    /// Who is at the other end, proven.
    pub remote: RemotePeer,
    /// Sends on the stream on which the handshake was.
    pub sender: MessageSender,
    /// Receives on the stream on which the handshake was.
    pub receiver: MessageReceiver,
}

/// A connection that is about to become [`Authenticated`]: the transport has connected, and the handshake begins.
///
/// [`authenticate`](Self::authenticate) does all of it. Whoever does something in between takes the
/// [`control_stream`](Self::control_stream) and an [`Exchange`](handshake::Exchange) of the [`handshake`](Self::handshake).
#[derive(Debug)]
pub struct Opening {
    /// The connection.
    pub connection: Connection,
    /// The handshake, of which nothing has been said.
    pub handshake: Handshake,
    /// Who TLS has proven the remote to be.
    pub proven: Option<PeerId>,
}

/// How the handshake is held.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// For the time.
    pub runtime: &'a dyn Runtime,
    /// Bounds what is in the queues.
    pub budget: &'a ByteBudget,
    /// Bounds of what is sent on the control stream.
    pub limits: SendLimits,
    /// What goes ahead of what: that of the control stream.
    pub priority: i32,
    /// When the handshake must be over.
    pub deadline: Instant,
    /// Told of each sign of the remote's.
    pub progress: &'a (dyn Fn() + Send + Sync),
}

impl Opening {
    /// The side that dialed. `expected` is who must be there, if that is known; `payload` goes with the hello.
    ///
    /// # Errors
    /// [`Error::Certificate`](crate::Error::Certificate), and those of [`Handshake::dial`].
    pub fn dialed(
        connection: Connection,
        params: Arc<HandshakeParams>,
        expected: Option<PeerId>,
        purpose: Purpose,
        payload: &[u8],
        runtime: &dyn Runtime,
    ) -> Result<Self> {
        let (channel, proven) = channel(&connection)?;
        let handshake = Handshake::dial(params, channel, expected, purpose, nonce(runtime), payload)?;
        let handshake = handshake.with_certificates(connection.peer_certificates())?;
        Ok(Self { connection, handshake, proven })
    }

    /// The side that accepted. `params` is given what the certificate said that the connection was accepted with, if it said
    /// something.
    ///
    /// # Errors
    /// [`Error::Certificate`](crate::Error::Certificate), and those of [`Handshake::listen`].
    pub fn accepted(
        connection: Connection,
        params: impl FnOnce(Option<Arc<HandshakeParams>>) -> Arc<HandshakeParams>,
        runtime: &dyn Runtime,
    ) -> Result<Self> {
        let (channel, proven) = channel(&connection)?;
        let presented = connection.accept_context().cloned().and_then(|context| context.downcast().ok());
        let has_presented = presented.is_some();
        let handshake = Handshake::listen(params(presented), channel, nonce(runtime))?;
        let handshake = if has_presented { handshake.presented() } else { handshake };
        Ok(Self { connection, handshake, proven })
    }

    /// Opens the control stream, which is the first one of the connection, or waits for it. Dropping the future gives the
    /// connection up.
    ///
    /// # Errors
    /// [`Error::Net`](crate::Error::Net); [`Error::Handshake`](crate::Error::Handshake) when it does not come in time.
    pub async fn control_stream(&self, terms: Terms<'_>) -> Result<(MessageSender, MessageReceiver)> {
        let stream = match self.handshake.role() {
            Role::Dialer => terms.runtime.timeout_at(terms.deadline, self.connection.open_stream()).await,
            Role::Listener => terms.runtime.timeout_at(terms.deadline, self.connection.accept_stream()).await,
        };
        let stream = stream.map_err(|_| HandshakeError::Refused(RejectReason::Timeout))??;
        (terms.progress)();
        let (recv, mut send) = stream.into_split();
        send.set_priority(terms.priority);
        let sender = MessageSender::new(send, terms.limits, terms.budget);
        Ok((sender, MessageReceiver::new(recv, MAX_MESSAGE_LEN, terms.budget).silent()))
    }

    /// Holds the handshake. `decide` is asked once whether to agree with a remote whose hello is understood: see
    /// [`RemotePeer::peer_id`] for what may be concluded then. Dropping the future gives the connection up.
    ///
    /// # Errors
    /// Those of [`control_stream`](Self::control_stream), and of [`handshake::run`].
    pub async fn authenticate<S: Into<Serial>>(
        self,
        terms: Terms<'_>,
        decide: impl FnOnce(&Connection, &RemotePeer) -> Result<S, RejectReason>,
    ) -> Result<Authenticated> {
        let (sender, receiver) = self.control_stream(terms).await?;
        let Self { connection, handshake, .. } = self;
        let Terms { runtime, deadline, progress, .. } = terms;
        let decide = |remote: &RemotePeer| decide(&connection, remote);
        let remote = handshake::run(handshake, &sender, &receiver, runtime, deadline, progress, decide).await?;
        Ok(Authenticated { connection, remote, sender, receiver })
    }
}

/// What the transport has proven.
fn channel(connection: &Connection) -> Result<(Channel, Option<PeerId>)> {
    let Some(certificates) = connection.peer_certificates() else { return Ok((Channel::Plain, None)) };
    let peer_id = peer_id_from_certificates(certificates)?;
    Ok((Channel::Certified(peer_id), Some(peer_id)))
}

fn nonce(runtime: &dyn Runtime) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    runtime.fill_random(&mut nonce);
    nonce
}

impl std::fmt::Debug for Terms<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
