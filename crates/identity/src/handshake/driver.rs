//! Moves the messages of a handshake over a stream.

use std::time::{Duration, Instant};

use p2p_core::Runtime;
use p2p_net::{MessageReceiver, MessageSender};

use super::{Handshake, HandshakeError, MAX_MESSAGE_LEN, RejectReason, RemotePeer, Role, Serial, Step, reject_message};
use crate::{Error, Result};

/// How long a side that refuses waits for the other to have read why. The connection is closed after that.
const LINGER: Duration = Duration::from_millis(500);

/// Runs a handshake over the first stream of a connection, until `deadline` at the latest.
///
/// `progress` is told of each message that has come. `decide` is asked once, when the remote's hello is understood and
/// this side could agree: see [`RemotePeer::peer_id`] for what may be concluded then. It gives the [`Serial`] of a
/// listener's hello; `()` for none. A refusal by either side, a
/// violation and a time-out are told to the remote as far as it listens, and are the error here; the caller then closes
/// the connection. A listener that refuses with [`RejectReason::AlreadyConnected`] sends its own hello before, so that
/// the dialler learns with whom.
///
/// A side is done when it has the other's accept. Should the other still refuse it then (its proof was not valid, or did
/// not come in time), it learns so by the end of the connection: nothing more of the handshake is sent after an accept.
///
/// Dropping the future abandons the handshake: the stream is of no use for another.
///
/// # Errors
/// [`Error::Handshake`] and [`Error::Net`].
pub async fn run<S: Into<Serial>>(
    mut handshake: Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    runtime: &dyn Runtime,
    deadline: Instant,
    progress: &(dyn Fn() + Send + Sync),
    decide: impl FnOnce(&RemotePeer) -> Result<S, RejectReason>,
) -> Result<RemotePeer> {
    let mut accepted = false;
    let exchange = exchange(&mut handshake, sender, receiver, progress, decide, &mut accepted);
    let left = deadline.saturating_duration_since(runtime.now());
    let error = match runtime.timeout(left, exchange).await {
        Ok(Ok(peer)) => return Ok(peer),
        Ok(Err(error)) => error,
        Err(_) => HandshakeError::Refused(RejectReason::Timeout).into(),
    };
    // A remote that has our accept may be done, and would take what comes now for a message of what follows.
    if let Error::Handshake(HandshakeError::Refused(reason)) = &error
        && !accepted
    {
        refuse(sender, receiver, runtime, reason).await;
    }
    Err(error)
}

async fn exchange<S: Into<Serial>>(
    handshake: &mut Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    progress: &(dyn Fn() + Send + Sync),
    decide: impl FnOnce(&RemotePeer) -> Result<S, RejectReason>,
    accepted: &mut bool,
) -> Result<RemotePeer> {
    if let Some(hello) = handshake.hello() {
        sender.send(hello).await?;
    }
    let mut decide = Some(decide);
    loop {
        let message = match receiver.recv().await {
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
        progress();
        match handshake.on_message(&message)? {
            Step::Decide => {
                let verdict = match (decide.take(), handshake.candidate()) {
                    (Some(decide), Some(candidate)) => decide(candidate).map(Into::into),
                    _ => Ok(Serial::default()),
                };
                match verdict {
                    Ok(serial) if handshake.role() == Role::Listener => handshake.set_serial(serial)?,
                    Ok(_) => {}
                    Err(reason) => {
                        if reason == RejectReason::AlreadyConnected && handshake.role() == Role::Listener {
                            // Our hello, without the accept that would follow: it says who we are.
                            if let Some(hello) = handshake.accept()?.into_iter().next() {
                                sender.send(hello).await?;
                            }
                        }
                        return Err(HandshakeError::Refused(reason).into());
                    }
                }
                *accepted = true;
                // A listener's hello and accept go out together; a dialler's accept at once, so that the listener checks it
                // while the dialler checks the listener's.
                let _cork = sender.cork();
                for message in handshake.accept()? {
                    sender.send(message).await?;
                }
            }
            Step::Done(peer) => return Ok(*peer),
        }
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
