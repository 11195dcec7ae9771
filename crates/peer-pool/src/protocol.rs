//! [`Protocol`]: what an application speaks with each of its peers.

use std::sync::Arc;

use async_trait::async_trait;
use p2p_identity::{Error, ProtocolId, ProtocolKind, Version};

/// What an application speaks with a peer. One value is made for each peer that speaks it too, by the constructor
/// given to [`PeerPool::attach`](crate::PeerPool::attach).
///
/// All constructors of a peer's protocols run before the peer is announced; then [`start`](Self::start) runs, in a
/// task of its own.
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use p2p_identity::{Error, ProtocolId, Version};
/// use p2p_peer_pool::{PeerConn, Protocol};
///
/// struct Echo(PeerConn);
///
/// #[async_trait]
/// impl Protocol for Echo {
///     async fn start(self: Arc<Self>) -> Result<(), Error> {
///         loop {
///             self.0.send(self.0.recv().await?).await?;
///         }
///     }
///
///     fn id() -> ProtocolId {
///         "/echo/1".parse().expect("a valid id")
///     }
///
///     fn version() -> Result<Version, Error> {
///         "0.1.0".parse()
///     }
/// }
/// ```
#[async_trait]
pub trait Protocol: Send + Sync + 'static {
    /// Speaks the protocol with the peer. It is dropped where it waits when the peer has gone and it does not end by
    /// itself.
    ///
    /// # Errors
    /// What it returns decides what happens:
    ///
    /// - `Ok` ends this protocol with this peer: the remote's `recv` gives [`Error::ProtocolEnded`] after what was
    ///   sent. The connection lives on.
    /// - [`Error::PeerShutdown`], [`Error::ProtocolEnded`] and [`Error::Disconnected`] mean the same: `?` on `recv` is
    ///   a fine way to end.
    /// - Any other error, and a panic, end a protocol that is optional in the same way. One that is
    ///   [mandatory](ProtocolKind::Mandatory) takes the connection with it.
    async fn start(self: Arc<Self>) -> Result<(), Error>;

    /// Its name, the same on all nodes.
    fn id() -> ProtocolId
    where
        Self: Sized;

    /// Its version, and the versions of the remote's that it works with.
    ///
    /// # Errors
    /// Those of parsing the text.
    fn version() -> Result<Version, Error>
    where
        Self: Sized;

    /// Whether a peer must speak it. Optional unless said otherwise.
    fn kind() -> ProtocolKind
    where
        Self: Sized,
    {
        ProtocolKind::Optional
    }
}

/// What is known of a protocol without making one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolInfo {
    /// Its name.
    pub id: ProtocolId,
    /// Its version, and the versions it works with.
    pub version: Version,
    /// Whether a peer must speak it, and whether it is advertised.
    pub kind: ProtocolKind,
}

impl ProtocolInfo {
    /// What the type says.
    ///
    /// # Errors
    /// Those of [`Protocol::version`].
    pub fn of<P: Protocol>() -> Result<Self, Error> {
        Ok(Self { id: P::id(), version: P::version()?, kind: P::kind() })
    }
}

mod sealed {
    use std::sync::Arc;

    use super::Protocol;

    pub trait Sealed<Marker> {}
    impl<P: Protocol> Sealed<super::Plain> for P {}
    impl<P: Protocol> Sealed<super::Shared> for Arc<P> {}
}

/// Marks [`IntoProtocol`] for a protocol itself.
#[derive(Debug)]
pub struct Plain(());

/// Marks [`IntoProtocol`] for a protocol in an [`Arc`].
#[derive(Debug)]
pub struct Shared(());

/// What a constructor may return: `P` or `Arc<P>`. `Marker` is inferred.
pub trait IntoProtocol<Marker>: sealed::Sealed<Marker> {
    /// The protocol.
    type Protocol: Protocol;

    /// Shares it.
    fn into_protocol(self) -> Arc<Self::Protocol>;
}

impl<P: Protocol> IntoProtocol<Plain> for P {
    type Protocol = P;

    fn into_protocol(self) -> Arc<P> {
        Arc::new(self)
    }
}

impl<P: Protocol> IntoProtocol<Shared> for Arc<P> {
    type Protocol = P;

    fn into_protocol(self) -> Arc<P> {
        self
    }
}
