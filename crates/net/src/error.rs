//! What can go wrong with an endpoint, a connection or a stream.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Endpoint;
use crate::code::{OfClose, OfStream};
use crate::endpoint::ParseEndpointError;

/// Errors of this crate. Cheap to clone: many streams learn of the same broken connection.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection has ended.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// The remote gave the stream up with this code.
    #[error("the remote reset the stream{}", OfStream(*.0))]
    Reset(u32),
    /// The remote reads no more of this stream, and says so with this code.
    #[error("the remote stopped reading the stream{}", OfStream(*.0))]
    Stopped(u32),
    /// The remote accepts no further stream now.
    #[error("the remote refuses more streams on this connection")]
    Refused,
    /// The stream was finished or reset on this side.
    #[error("the stream was already finished on this side")]
    Finished,
    /// A message is longer than the limit; on receiving, the remote broke the rule.
    #[error("a message of {len} bytes exceeds the limit of {max}")]
    MessageTooLarge {
        /// Bytes it has or claims to have.
        len: u64,
        /// Bytes allowed.
        max: usize,
    },
    /// A stream ended in the middle of a message.
    #[error("the stream ended in the middle of a message")]
    Truncated,
    /// A length is not in its shortest form.
    #[error("a message length is not in its shortest form")]
    LengthEncoding,
    /// Text is not an endpoint.
    #[error(transparent)]
    Endpoint(#[from] ParseEndpointError),
    /// This build, configuration or operation does not go with the endpoint's transport.
    #[error("{endpoint}: {why}")]
    Unsupported {
        /// Which endpoint.
        endpoint: Endpoint,
        /// What does not go.
        why: &'static str,
    },
    /// The system would not listen there.
    #[error("cannot listen on {endpoint}: {source}")]
    Listen {
        /// Where.
        endpoint: Endpoint,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No connection came about.
    #[error("cannot connect to {endpoint}: {reason}")]
    Dial {
        /// Where.
        endpoint: Endpoint,
        /// What went wrong, for the last address that was tried.
        reason: DialError,
    },
    /// The transport could not accept a connection (a failed TLS handshake, for example).
    #[error("an incoming connection failed: {0}")]
    Accept(Arc<str>),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a connection could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host name has no address.
    #[error("the host name could not be resolved: {0}")]
    Resolve(Arc<io::Error>),
    /// The system or the host refused.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// TLS or QUIC could not agree.
    #[error("the transport's handshake failed: {0}")]
    Handshake(Arc<str>),
    /// It took longer than the dial time-out.
    #[error("no answer in time")]
    TimedOut,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Closed(_) | Error::Reset(_) => io::ErrorKind::ConnectionReset,
            Error::Stopped(_) | Error::Finished => io::ErrorKind::BrokenPipe,
            Error::Refused => io::ErrorKind::ConnectionRefused,
            Error::Truncated => io::ErrorKind::UnexpectedEof,
            Error::MessageTooLarge { .. } | Error::LengthEncoding => io::ErrorKind::InvalidData,
            Error::Dial { reason: DialError::TimedOut, .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// How a connection ended: who did it, and what they said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    Local {
        /// As given to `close`.
        code: u32,
        /// As given to `close`.
        reason: String,
    },
    /// The remote closed it and said why. The text is the remote's: at most [`MAX_REASON_LEN`] bytes, control
    /// characters replaced.
    Remote {
        /// As the remote gave it.
        code: u32,
        /// As the remote gave it.
        reason: String,
    },
    /// The transport heard nothing for too long.
    TimedOut,
    /// The socket ended or failed without a word from the remote.
    Lost(String),
    /// The remote broke the rules of the transport.
    Violation(String),
}

/// The code that goes with a close because the remote broke the rules of the transport.
pub const VIOLATION_CODE: u32 = u32::MAX;

/// The longest reason that goes with a close, in bytes.
pub const MAX_REASON_LEN: usize = 256;

impl CloseReason {
    /// A reason the remote sent: shortened and made printable.
    pub(crate) fn from_remote(code: u32, reason: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&reason[..reason.len().min(MAX_REASON_LEN)]);
        Self::Remote { code, reason: text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect() }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { code, reason } => write!(f, "closed here{}", OfClose(*code, reason)),
            Self::Remote { code, reason } => write!(f, "closed by the remote{}", OfClose(*code, reason)),
            Self::TimedOut => f.write_str("the remote was silent for too long"),
            Self::Lost(why) => write!(f, "lost: {why}"),
            Self::Violation(what) => write!(f, "the remote broke the protocol: {what}"),
        }
    }
}

/// Shortens a reason to what may be sent, at a character boundary.
pub(crate) fn clip_reason(reason: &str) -> &str {
    let mut end = reason.len().min(MAX_REASON_LEN);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
