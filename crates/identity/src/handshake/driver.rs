//! Moves the messages of a handshake over a stream.

use std::time::Duration;

use p2p_core::Runtime;
use p2p_net::{MessageReceiver, MessageSender};

use super::{Handshake, HandshakeError, MAX_MESSAGE_LEN, RejectReason, RemotePeer, Step, reject_message};
use crate::{Error, Result};

/// How long a side that refuses waits for the other to have read why. The connection is closed after that.
const LINGER: Duration = Duration::from_millis(500);

/// Runs a handshake over the first stream of a connection, for at most `timeout`.
///
/// `decide` is asked once, when the remote's hello is understood and this side could agree: see
/// [`RemotePeer::peer_id`] for what may be concluded then. A refusal by either side, a violation and a time-out
/// are told to the remote as far as it listens, and are the error here; the caller then closes the connection.
///
/// The dialler is done one round trip after it began. Should the listener still refuse it then (its proof was not
/// valid), it learns so by the end of the connection.
///
/// Dropping the future abandons the handshake: the stream is of no use for another.
///
/// # Errors
/// [`Error::Handshake`] and [`Error::Net`].
pub async fn run(
    mut handshake: Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    runtime: &dyn Runtime,
    timeout: Duration,
    decide: impl FnOnce(&RemotePeer) -> Result<(), RejectReason>,
) -> Result<RemotePeer> {
    let exchange = exchange(&mut handshake, sender, receiver, decide);
    let error = match runtime.timeout(timeout, exchange).await {
        Ok(Ok(peer)) => return Ok(peer),
        Ok(Err(error)) => error,
        Err(_) => RejectReason::Timeout.into(),
    };
    let Failure::Handshake(HandshakeError::Refused(reason)) = &error else { return Err(error.into()) };
    // A remote that does not listen need not be told.
    if sender.try_send(reject_message(reason)).is_ok() && *reason != RejectReason::Timeout {
        sender.finish();
        // Closing the connection now could overtake the reason; the remote closes it once it has read that.
        let closed = async {
            let _ = sender.flush().await;
            // Its own hello and accept may have been under way.
            for _ in 0..3 {
                match receiver.recv().await {
                    Ok(Some(_)) => {}
                    // What made us refuse it: no more can be read, and so not when the remote is done.
                    Err(p2p_net::Error::MessageTooLarge { .. } | p2p_net::Error::LengthEncoding) => {
                        std::future::pending().await
                    }
                    Ok(None) | Err(_) => break,
                }
            }
        };
        let _ = runtime.timeout(LINGER, closed).await;
    }
    Err(error.into())
}

enum Failure {
    Handshake(HandshakeError),
    Other(Error),
}

impl From<RejectReason> for Failure {
    fn from(reason: RejectReason) -> Self {
        Self::Handshake(HandshakeError::Refused(reason))
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Handshake(error) => Self::Handshake(error),
            error => Self::Other(error),
        }
    }
}

impl From<p2p_net::Error> for Failure {
    fn from(error: p2p_net::Error) -> Self {
        match error {
            p2p_net::Error::MessageTooLarge { len, .. } => {
                RejectReason::TooLarge { len, max: MAX_MESSAGE_LEN as u64 }.into()
            }
            error @ (p2p_net::Error::LengthEncoding | p2p_net::Error::Truncated) => {
                RejectReason::Malformed(error.to_string()).into()
            }
            error => Self::Other(error.into()),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Handshake(error) => error.into(),
            Failure::Other(error) => error,
        }
    }
}

async fn exchange(
    handshake: &mut Handshake,
    sender: &MessageSender,
    receiver: &MessageReceiver,
    decide: impl FnOnce(&RemotePeer) -> Result<(), RejectReason>,
) -> Result<RemotePeer, Failure> {
    if let Some(hello) = handshake.hello() {
        sender.send(hello).await?;
    }
    let mut decide = Some(decide);
    loop {
        let message = receiver.recv().await?.ok_or(HandshakeError::Closed)?;
        match handshake.on_message(&message)? {
            Step::Decide => {
                if let (Some(decide), Some(candidate)) = (decide.take(), handshake.candidate()) {
                    decide(candidate)?;
                }
                for message in handshake.accept()? {
                    sender.send(message).await?;
                }
            }
            Step::Done(peer) => return Ok(*peer),
        }
    }
}
