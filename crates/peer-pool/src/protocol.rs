//! [`Protocol`]: what an application speaks with each of its peers.

use std::sync::Arc;

use async_trait::async_trait;
use p2p_identity::{Error, ProtocolId, ProtocolKind, Version};

use crate::PeerConn;

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

    pub trait Sealed<P> {}
    impl<P: Protocol> Sealed<P> for P {}
    impl<P: Protocol> Sealed<P> for Arc<P> {}
    impl<P: Protocol> Sealed<P> for Arc<dyn Protocol> {}
}

/// What a constructor of the protocol `P` may return: `P`, `Arc<P>` or `Arc<dyn Protocol>`.
pub trait IntoProtocol<P: Protocol>: sealed::Sealed<P> {
    /// Shares it.
    fn into_protocol(self) -> Arc<dyn Protocol>;
}

impl<P: Protocol> IntoProtocol<P> for P {
    fn into_protocol(self) -> Arc<dyn Protocol> {
        Arc::new(self)
    }
}

impl<P: Protocol> IntoProtocol<P> for Arc<P> {
    fn into_protocol(self) -> Arc<dyn Protocol> {
        self
    }
}

impl<P: Protocol> IntoProtocol<P> for Arc<dyn Protocol> {
    fn into_protocol(self) -> Arc<dyn Protocol> {
        self
    }
}

/// Makes the protocol `P` for each peer: any function or closure that takes the peer's [`PeerConn`] and returns `P`, `Arc<P>`
/// or `Arc<dyn Protocol>`. Which protocol that is follows from what it returns; for the last form it has to be said:
///
/// ```
/// # use std::sync::Arc;
/// # use async_trait::async_trait;
/// # use p2p_identity::{Error, ProtocolId, Version};
/// # use p2p_peer_pool::{PeerConn, PeerPool, Protocol};
/// # struct Echo(PeerConn);
/// # #[async_trait]
/// # impl Protocol for Echo {
/// #     async fn start(self: Arc<Self>) -> Result<(), Error> { Ok(()) }
/// #     fn id() -> ProtocolId { "/echo/1".parse().expect("a valid id") }
/// #     fn version() -> Result<Version, Error> { "0.1.0".parse() }
/// # }
/// fn new(conn: PeerConn) -> Arc<dyn Protocol> {
///     Arc::new(Echo(conn))
/// }
///
/// # fn attach(pool: &PeerPool) -> Result<(), Error> {
/// pool.attach(Echo)?; // or: pool.attach(|conn| Arc::new(Echo(conn)))?;
/// # Ok(()) }
/// # fn attach_dyn(pool: &PeerPool) -> Result<(), Error> {
/// pool.attach::<Echo>(new)?;
/// # Ok(()) }
/// ```
pub trait Constructor<P: Protocol>: Fn(PeerConn) -> <Self as Constructor<P>>::Made + Send + Sync + 'static {
    /// What it returns.
    type Made: IntoProtocol<P>;
}

impl<P, R, F> Constructor<P> for F
where
    P: Protocol,
    R: IntoProtocol<P>,
    F: Fn(PeerConn) -> R + Send + Sync + 'static,
{
    type Made = R;
}
