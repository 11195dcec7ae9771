//! [`Node`]: one entry point that wires everything.

mod addresses;
mod builder;
mod dialable;
mod items;
mod lifecycle;
mod network;
mod peers;
mod remembered;
mod seek;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_core::{PeerId, Runtime, TaskGroup};
use p2p_discovery::Discovery;
use p2p_identity::{Error, KeyPair, ProtocolId, Result};
use p2p_kademlia::Dht;
use p2p_net::Endpoint;
use p2p_peer_pool::{Constructor, IntoProtocol, PeerConn, PeerPool, Protocol, ProtocolInfo};
use tokio::sync::Notify;

use self::addresses::Addresses;
pub use self::builder::NodeBuilder;
use self::items::Items;
use self::lifecycle::Phase;
#[cfg(feature = "fuzzing")]
pub use self::remembered::rewrite as rewrite_remembered;
use crate::{Config, Monitor};

/// A peer-to-peer node: it listens, dials, proves who it is, and speaks the application's protocols with its peers.
///
/// Made with [`Node::new`] or [`Node::builder`], given protocols, then [`run`](Self::run). Dropping the last handle ends
/// everything at once; [`shutdown`](Self::shutdown) is the orderly way, and delivers what was sent.
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use p2p::keypair::{KeyPair, KeyPairType};
/// use p2p::{Config, Node};
///
/// let one = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config::loopback())?;
/// let two = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config::loopback())?;
/// one.run().await?;
/// two.run().await?;
/// let peer = one.connect(&two.listen_endpoints()[0]).await?;
/// assert_eq!(peer, two.peer_id());
/// one.shutdown().await;
/// two.shutdown().await;
/// # Ok(()) })}
/// # #[cfg(not(feature = "tokio"))]
/// # fn main() {}
/// ```
pub struct Node {
    config: Config,
    key_pair: KeyPair,
    pool: PeerPool,
    monitor: Monitor,
    dht: Option<Dht>,
    discoveries: Vec<Arc<dyn Discovery>>,
    addresses: Arc<Mutex<Addresses>>,
    items: Arc<Mutex<Items>>,
    phase: Mutex<Phase>,
    listen_endpoints: Mutex<Vec<Endpoint>>,
    /// Somebody says that the network has changed.
    network: Arc<Notify>,
    tasks: TaskGroup,
}

/// Locks what is valid after each statement, whatever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// A node that does nothing yet, on the runtime around the caller: a simulator's, tokio's, or smol's.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is wrong; [`Error::Core`] when there is no runtime.
    pub fn new(key_pair: &KeyPair, config: Config) -> Result<Arc<Self>> {
        Self::builder(key_pair).config(config).build()
    }

    /// For what [`new`](Self::new) does not offer: another runtime, other discoveries.
    pub fn builder(key_pair: &KeyPair) -> NodeBuilder {
        NodeBuilder::new(key_pair)
    }

    /// Speaks a protocol with new peers from now on. The constructor is called once for each peer that speaks it too,
    /// and returns the protocol, an `Arc` of it, or, where the protocol is named, an `Arc<dyn Protocol>`. Connections that
    /// stand are not affected. Unless it is [hidden](p2p_identity::ProtocolKind::Hidden), its id is
    /// [advertised](Self::advertise), so that discoveries find peers that speak it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
    /// # use p2p::{Error, Node, async_trait};
    /// # struct Echo { conn: PeerConn }
    /// # #[async_trait]
    /// # impl Protocol for Echo {
    /// #     async fn start(self: Arc<Self>) -> Result<(), Error> { self.conn.closed().await; Ok(()) }
    /// #     fn id() -> ProtocolId { "/echo/1".parse().expect("a valid id") }
    /// #     fn version() -> Result<Version, Error> { "0.1.0".parse() }
    /// # }
    /// impl Echo {
    ///     fn new(conn: PeerConn) -> Self {
    ///         Self { conn }
    ///     }
    ///
    ///     fn new_dyn(conn: PeerConn) -> Arc<dyn Protocol> {
    ///         Arc::new(Self { conn })
    ///     }
    /// }
    ///
    /// # fn attach(node: &Node) -> Result<(), Error> {
    /// node.attach_protocol(Echo::new)?;
    /// # Ok(()) }
    /// # fn or(node: &Node) -> Result<(), Error> {
    /// // Or, where only the name says which protocol it is:
    /// node.attach_protocol::<Echo>(Echo::new_dyn)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::DuplicateProtocol`]; those of [`Protocol::version`].
    pub fn attach_protocol<P: Protocol>(&self, constructor: impl Constructor<P>) -> Result<()> {
        self.attach_dyn(ProtocolInfo::of::<P>()?, move |conn| constructor(conn).into_protocol())
    }

    /// As [`attach_protocol`](Self::attach_protocol), for a protocol that is only known at run time.
    ///
    /// # Errors
    /// [`Error::DuplicateProtocol`].
    pub fn attach_dyn<F>(&self, info: ProtocolInfo, constructor: F) -> Result<()>
    where
        F: Fn(PeerConn) -> Arc<dyn Protocol> + Send + Sync + 'static,
    {
        let (id, kind) = (info.id.clone(), info.kind);
        self.pool.attach_dyn(info, constructor)?;
        self.advertise(id.as_str(), kind)
    }

    /// Speaks a protocol with new peers no more; whether it was attached. Connections that stand are not affected.
    pub fn detach_protocol(&self, id: &ProtocolId) -> bool {
        let detached = self.pool.detach(id);
        if detached && let Err(error) = self.unadvertise(id.as_str()) {
            tracing::warn!(protocol = %id, %error, "a protocol that was detached is still advertised");
        }
        detached
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.pool.peer_id()
    }

    /// The settings it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its key.
    pub fn key_pair(&self) -> &KeyPair {
        &self.key_pair
    }

    /// Where it runs.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        self.pool.runtime()
    }

    /// Where it listens, with the ports that the system chose; empty before [`run`](Self::run). A socket that has failed
    /// is not among them until it is bound anew, to the same port.
    pub fn listen_endpoints(&self) -> Vec<Endpoint> {
        let endpoints = lock(&self.listen_endpoints).clone();
        endpoints.into_iter().filter(|endpoint| !self.pool.is_unbound(endpoint)).collect()
    }

    /// The pool of its peers, for what this type does not offer.
    pub fn pool(&self) -> &PeerPool {
        &self.pool
    }

    /// Its DHT, if the settings ask for one and no other discovery replaced it.
    pub fn dht(&self) -> Option<Dht> {
        self.dht.clone()
    }

    /// Listeners for what happens inside.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    fn check_running(&self) -> Result<()> {
        match *lock(&self.phase) {
            Phase::Running => Ok(()),
            Phase::New | Phase::Starting => Err(Error::NotRunning),
            Phase::Over => Err(Error::ShutDown),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("peer_id", &self.peer_id()).field("peers", &self.peers()).finish_non_exhaustive()
    }
}
