//! Moves a handshake's messages over the control stream.

use std::time::{Duration, Instant};

use p2p_core::Runtime;
use p2p_identity::handshake::{MAX_MESSAGE_LEN, Step, reject_message};
use p2p_identity::{Error, Handshake, HandshakeError, RejectReason, RemotePeer, Result, Role};
use p2p_net::{MessageReceiver, MessageSender};

/// How long a side that refuses waits for the other to have read why.
const LINGER: Duration = Duration::from_millis(500);

/// Runs a handshake until `deadline`. As `p2p_identity::handshake::run`, but tells of each message that has come, and
/// a dialler that is connected already learns with whom.
///
/// # Errors
/// [`Error::Handshake`], after the remote was told, and [`Error::Net`].
pub(super) async fn run(
    mut handshake: Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    runtime: &dyn Runtime,
    deadline: Instant,
    progress: &(dyn Fn() + Send + Sync),
    decide: impl FnOnce(&RemotePeer) -> Result<(), RejectReason>,
) -> Result<RemotePeer> {
    let exchange = exchange(&mut handshake, sender, receiver, progress, decide);
    let left = deadline.saturating_duration_since(runtime.now());
    let error = match runtime.timeout(left, exchange).await {
        Ok(Ok(peer)) => return Ok(peer),
        Ok(Err(error)) => error,
        Err(_) => HandshakeError::Refused(RejectReason::Timeout).into(),
    };
    if let Error::Handshake(HandshakeError::Refused(reason)) = &error {
        refuse(sender, receiver, runtime, reason).await;
    }
    Err(error)
}

async fn exchange(
    handshake: &mut Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    progress: &(dyn Fn() + Send + Sync),
    decide: impl FnOnce(&RemotePeer) -> Result<(), RejectReason>,
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
                    (Some(decide), Some(candidate)) => decide(candidate),
                    _ => Ok(()),
                };
                if let Err(reason) = verdict {
                    if reason == RejectReason::AlreadyConnected && handshake.role() == Role::Listener {
                        // Our hello, without the accept that would follow: it says who we are.
                        if let Some(hello) = handshake.accept()?.into_iter().next() {
                            sender.send(hello).await?;
                        }
                    }
                    return Err(HandshakeError::Refused(reason).into());
                }
                for message in handshake.accept()? {
                    sender.send(message).await?;
                }
            }
            Step::Done(peer) => return Ok(*peer),
            // A later version's step that this one does not know would be asked for by this side only.
            _ => return Err(HandshakeError::Refused(RejectReason::Malformed("unexpected message".into())).into()),
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
