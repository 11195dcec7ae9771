//! [`Error`]: what can go wrong, for every layer from here up.

use std::fmt;
use std::io;
use std::sync::Arc;

use p2p_core::{InvalidPeerId, PeerId};
use p2p_net::endpoint::ParseEndpointError;

use crate::codec::DecodeError;
use crate::handshake::HandshakeError;
use crate::keypair::KeyError;
use crate::protocol_id::InvalidProtocolId;
use crate::record::InvalidRecord;
use crate::tls::InvalidCertificate;
use crate::version::InvalidVersion;
use crate::{DisconnectReason, ProtocolId, RejectReason};

/// One error for every layer from this crate up. Cheap to clone: many may wait for what fails once.
///
/// An application's own errors travel in [`App`](Self::App); make one with [`Error::app`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A connection, a stream or an endpoint failed.
    #[error(transparent)]
    Net(#[from] p2p_net::Error),
    /// The runtime failed.
    #[error(transparent)]
    Core(Arc<p2p_core::Error>),
    /// The system failed an operation outside of connections, on a file for example.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and on which path.
        what: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A setting is not valid.
    #[error("invalid setting `{field}`: {reason}")]
    Config {
        /// The field's name.
        field: &'static str,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A key, a key file or a signature is not valid.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Text is not an endpoint.
    #[error("not an endpoint: {0}")]
    Endpoint(#[from] ParseEndpointError),
    /// Text or bytes are not a peer id.
    #[error("not a peer id: {0}")]
    PeerId(#[from] InvalidPeerId),
    /// Text is not a version.
    #[error(transparent)]
    Version(#[from] InvalidVersion),
    /// Text is not a protocol id.
    #[error(transparent)]
    ProtocolId(#[from] InvalidProtocolId),
    /// A peer record is not valid.
    #[error("invalid peer record: {0}")]
    Record(#[from] InvalidRecord),
    /// A certificate is not a node's.
    #[error(transparent)]
    Certificate(#[from] InvalidCertificate),
    /// A value cannot be encoded.
    #[error("cannot encode: {0}")]
    Encode(String),
    /// Bytes are not the encoding of a value.
    #[error("cannot decode: {0}")]
    Decode(#[from] DecodeError),
    /// A handshake came to no agreement.
    #[error("handshake failed: {0}")]
    Handshake(#[from] HandshakeError),
    /// The peer went in good order; everything it sent has been read.
    #[error("the peer has shut down")]
    PeerShutdown,
    /// The peer, or this side, ended this protocol; the connection lives on.
    #[error("the protocol has ended with this peer")]
    ProtocolEnded,
    /// The remote has finished the stream; everything on it has been read.
    #[error("the remote has finished the stream")]
    StreamEnded,
    /// The connection to the peer ended.
    #[error("disconnected: {0}")]
    Disconnected(DisconnectReason),
    /// The queue is full now; try later, or wait with `send`.
    #[error("busy: the send queue is full")]
    Busy,
    /// A message is longer than the limit.
    #[error("a message of {len} bytes exceeds the limit of {max}")]
    MessageTooLarge {
        /// Its bytes.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// There is no connection to that peer.
    #[error("not connected to peer {0}")]
    NotConnected(PeerId),
    /// The peer is connected, but does not speak that protocol with us.
    #[error("peer {peer} does not speak protocol {protocol} with this node")]
    ProtocolNotNegotiated {
        /// The peer.
        peer: PeerId,
        /// The protocol.
        protocol: ProtocolId,
    },
    /// A protocol of that id is attached already.
    #[error("protocol {0} is attached already")]
    DuplicateProtocol(ProtocolId),
    /// No protocol of that id is attached.
    #[error("protocol {0} is not attached")]
    ProtocolNotAttached(ProtocolId),
    /// It needs a running node.
    #[error("not running: call `run` first")]
    NotRunning,
    /// `run` was called before.
    #[error("running already")]
    AlreadyRunning,
    /// The node has been shut down, or is about to be.
    #[error("shut down")]
    ShutDown,
    /// Something took too long.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// Access control says no.
    #[error("access control does not allow {0}")]
    Denied(String),
    /// The peer is banned for now.
    #[error("peer {0} is banned")]
    Banned(PeerId),
    /// Nobody knows where the peer is.
    #[error("no address of peer {0} is known")]
    NoAddress(PeerId),
    /// All slots are taken.
    #[error("all connection slots are taken")]
    SlotsFull,
    /// The peer is this node itself.
    #[error("that peer is this node itself")]
    SelfDial,
    /// An application's own error.
    #[error(transparent)]
    App(AppError),
}

/// A result of this and every layer above.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An application's error inside [`Error::App`]: shared, so that the whole can be cloned.
#[derive(Clone)]
pub struct AppError(Arc<dyn std::error::Error + Send + Sync>);

impl AppError {
    /// The error itself, to look at or downcast.
    pub fn get(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for AppError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Error {
    /// Wraps an application's error, or a text, so that `?` carries it out of a protocol.
    ///
    /// ```
    /// use p2p_identity::Error;
    ///
    /// let error = Error::app("the database is away");
    /// assert_eq!(error.to_string(), "the database is away");
    /// ```
    pub fn app(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::App(AppError(Arc::from(error.into())))
    }

    /// An error of the system, with what was tried.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source: Arc::new(source) }
    }

    /// Whether the other end was this node itself, whichever end of the handshake noticed it first.
    pub fn is_self_dial(&self) -> bool {
        match self {
            Self::Handshake(error) => error.reason() == Some(&RejectReason::SelfDial),
            error => matches!(error, Self::SelfDial),
        }
    }

    /// An invalid setting.
    pub fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Config { field, reason: reason.into() }
    }
}

impl From<p2p_core::Error> for Error {
    fn from(error: p2p_core::Error) -> Self {
        Self::Core(Arc::new(error))
    }
}

/// For protocols that read and write streams: an error of a stream that became an [`io::Error`] on its way is itself
/// again. Any other says nothing of the file or socket that it is about: say it with [`Error::io`].
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.downcast::<p2p_net::Error>() {
            Ok(net) => Self::Net(net),
            Err(error) => Self::Io { what: "i/o".into(), source: Arc::new(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_shared_and_keeps_what_the_application_gave() {
        fn is_static_send_sync<T: Send + Sync + 'static>(_: &T) {}
        let error = Error::app(io::Error::other("boom"));
        is_static_send_sync(&error);
        let Error::App(app) = error.clone() else { panic!() };
        assert!(app.get().is::<io::Error>());
        assert_eq!(error.to_string(), "boom");
    }

    #[test]
    fn a_stream_error_survives_its_way_through_io() {
        let io: io::Error = p2p_net::Error::Reset(7).into();
        assert!(matches!(Error::from(io), Error::Net(p2p_net::Error::Reset(7))));
        assert!(matches!(Error::from(io::Error::other("x")), Error::Io { .. }));
    }

    #[test]
    fn a_version_in_a_protocol_needs_no_conversion() {
        fn version() -> Result<crate::Version, Error> {
            "0.1.0".parse()
        }
        assert_eq!(version().unwrap().own().minor, 1);
    }
}
