//! Moves the messages of a handshake over a stream.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use p2p_core::Runtime;
use p2p_net::{MessageReceiver, MessageSender};

use super::{Handshake, HandshakeError, MAX_MESSAGE_LEN, RejectReason, RemotePeer, Role, Serial, Step, reject_message};
use crate::{Error, Result};

type Verdict = Result<Serial, RejectReason>;

/// How long a side that refuses waits for the other to have read why. The connection is closed after that.
const LINGER: Duration = Duration::from_millis(500);

/// A handshake over the first stream of a connection, until `deadline` at the latest: [`open`](Self::open), then
/// [`finish`](Self::finish).
///
/// Both ask `decide` whether to agree with a remote whose hello is understood, and with which this side could agree: see
/// [`RemotePeer::peer_id`] for what may be concluded then. It is asked once in all, and gives the [`Serial`] that a
/// listener says; a dialer has said its own before, see [`Handshake::set_serial`].
///
/// A refusal by either side, a violation and a time-out are told to the remote as far as it listens, and are the error
/// here; the caller then closes the connection. A listener that refuses with [`RejectReason::AlreadyConnected`] sends its
/// own hello before, so that the dialer learns with whom, if its certificate has not said so.
///
/// A side is done when it has the other's accept. Should the other still refuse it then (its proof was not valid, or did
/// not come in time), it learns so by the end of the connection: nothing more of the handshake is sent after an accept.
///
/// Dropping it, or a future of it, abandons the handshake: the stream is of no use for another.
pub struct Exchange<'a> {
    /// What decides.
    pub handshake: Handshake,
    /// Sends on the first stream.
    pub sender: &'a MessageSender,
    /// Receives on the first stream.
    pub receiver: &'a MessageReceiver,
    /// For the time.
    pub runtime: &'a dyn Runtime,
    /// When the handshake must be over.
    pub deadline: Instant,
    /// Told of each message that has come.
    pub progress: &'a (dyn Fn() + Send + Sync),
}

/// As [`Exchange::open`] and [`Exchange::finish`], for who has nothing to say in between.
///
/// # Errors
/// [`Error::Handshake`] and [`Error::Net`].
pub async fn run<S: Into<Serial>>(
    handshake: Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    runtime: &dyn Runtime,
    deadline: Instant,
    progress: &(dyn Fn() + Send + Sync),
    decide: impl FnOnce(&RemotePeer) -> Result<S, RejectReason>,
) -> Result<RemotePeer> {
    let mut decide = Some(decide);
    let mut decide = |remote: &RemotePeer| match decide.take() {
        Some(decide) => decide(remote).map(Into::into),
        None => Ok(Serial::default()),
    };
    let mut exchange = Exchange { handshake, sender, receiver, runtime, deadline, progress };
    exchange.open(&mut decide).await?;
    exchange.finish(&mut decide).await
}

impl Exchange<'_> {
    /// Says what this side says first. A dialer that knows the listener's hello from its certificate decides now: it gets
    /// the remote, and its hello and accept are sent, or its refusal. What it says on the connection from here on arrives
    /// behind them, and counts if the listener accepts.
    ///
    /// # Errors
    /// [`Error::Handshake`] and [`Error::Net`].
    pub async fn open(&mut self, decide: impl FnMut(&RemotePeer) -> Verdict) -> Result<Option<RemotePeer>> {
        let opened = self.say_first(decide).await;
        self.told(opened).await
    }

    /// Exchanges the rest.
    ///
    /// # Errors
    /// [`Error::Handshake`] and [`Error::Net`].
    pub async fn finish(mut self, decide: impl FnMut(&RemotePeer) -> Verdict) -> Result<RemotePeer> {
        let done = self.listen(decide).await;
        self.told(done).await
    }

    async fn say_first(&mut self, decide: impl FnMut(&RemotePeer) -> Verdict) -> Result<Option<RemotePeer>> {
        if self.handshake.on_certificate()?.is_none() {
            if let Some(hello) = self.handshake.hello() {
                self.in_time(self.sender.send(hello)).await??;
            }
            return Ok(None);
        }
        let remote = self.handshake.candidate().cloned();
        self.decide(decide).await?;
        Ok(remote)
    }

    async fn listen(&mut self, mut decide: impl FnMut(&RemotePeer) -> Verdict) -> Result<RemotePeer> {
        loop {
            let message = match self.in_time(self.receiver.recv()).await? {
                Ok(message) => message.ok_or(HandshakeError::Closed)?,
                Err(p2p_net::Error::MessageTooLarge { len, .. }) => {
                    let reason = RejectReason::TooLarge { len, max: MAX_MESSAGE_LEN as u64 };
                    return Err(HandshakeError::Refused(reason).into());
                }
                Err(error @ (p2p_net::Error::LengthEncoding | p2p_net::Error::Truncated)) => {
                    return Err(HandshakeError::Refused(RejectReason::Malformed(error.to_string())).into());
                }
                Err(error) => return Err(error.into()),
            };
            (self.progress)();
            match self.handshake.on_message(&message)? {
                Step::Decide => self.decide(&mut decide).await?,
                Step::Done(peer) => return Ok(*peer),
            }
        }
    }

    /// Asks about the candidate and says what follows from the answer.
    async fn decide(&mut self, decide: impl FnMut(&RemotePeer) -> Verdict) -> Result<()> {
        match self.handshake.candidate().map_or_else(|| Ok(Serial::default()), decide) {
            Ok(serial) if self.handshake.role() == Role::Listener => self.handshake.set_serial(serial)?,
            Ok(_) => {}
            Err(reason) => {
                if reason == RejectReason::AlreadyConnected
                    && let Some(hello) = self.handshake.introduction()?
                {
                    self.in_time(self.sender.send(hello)).await??;
                }
                return Err(HandshakeError::Refused(reason).into());
            }
        }
        // A hello and the accept behind it go out together; a dialer's accept at once, so that the listener checks it
        // while the dialer checks the listener's.
        let _cork = self.sender.cork();
        for message in self.handshake.accept()? {
            self.in_time(self.sender.send(message)).await??;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let done = self.runtime.timeout_at(self.deadline, work).await;
        done.map_err(|_| HandshakeError::Refused(RejectReason::Timeout).into())
    }

    /// Tells the remote if it is refused here.
    async fn told<T>(&self, result: Result<T>) -> Result<T> {
        // A remote that has our accept may be done, and would take what comes now for a message of what follows.
        if let Err(Error::Handshake(HandshakeError::Refused(reason))) = &result
            && !self.handshake.has_accepted()
        {
            refuse(self.sender, self.receiver, self.runtime, reason).await;
        }
        result
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("handshake", &self.handshake).finish_non_exhaustive()
    }
}

/// Tells the remote why, and gives it a moment to read that: closing the connection at once could overtake it.
async fn refuse(sender: &MessageSender, receiver: &MessageReceiver, runtime: &dyn Runtime, reason: &RejectReason) {
    use p2p_net::Error;

    if sender.try_send(reject_message(reason)).is_err() || *reason == RejectReason::Timeout {
        return;
    }
    sender.finish();
    let closed = async {
        let _ = sender.flush().await;
        // Its own hello and accept may have been under way.
        for _ in 0..3 {
            match receiver.recv().await {
                Ok(Some(_)) => {}
                // What made us refuse it: no more can be read, and so not when the remote is done.
                Err(Error::MessageTooLarge { .. } | Error::LengthEncoding) => std::future::pending().await,
                Ok(None) | Err(_) => break,
            }
        }
    };
    let _ = runtime.timeout(LINGER, closed).await;
}
