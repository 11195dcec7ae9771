//! For tests of protocols: two peers in memory.

mod memory;

use std::sync::Arc;

use p2p_identity::access::AllowAll;
use p2p_identity::{Error, KeyPair, KeyPairType, Result};

use self::memory::MemoryRuntime;
use crate::{Constructor, PeerConn, PeerPool, PoolConfig, Protocol};

/// Two peers that are connected in memory and speak one protocol: each end's connection to the other. All of it is the
/// production code, handshake and flow control included; only the socket is not one.
///
/// Both protocols run. The peers are disconnected when both connections, and all their clones, are dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use p2p_identity::{Error, ProtocolId, Version};
/// use p2p_peer_pool::{PeerConn, Protocol, testing};
///
/// struct Silent(PeerConn);
///
/// #[async_trait]
/// impl Protocol for Silent {
///     async fn start(self: Arc<Self>) -> Result<(), Error> {
///         self.0.closed().await;
///         Ok(())
///     }
///     fn id() -> ProtocolId {
///         "/silent/1".parse().expect("a valid id")
///     }
///     fn version() -> Result<Version, Error> {
///         "0.1.0".parse()
///     }
/// }
///
/// # if p2p_core::runtime::current().is_err() { return Ok(()) }
/// let (left, right) = testing::pair::<Silent>(Silent).await?;
/// left.send("hello").await?;
/// assert_eq!(right.recv().await?, "hello");
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// Those of [`PeerPool::attach`] and [`PeerPool::connect`]; [`Error::Core`] outside of a runtime.
pub async fn pair<P: Protocol>(constructor: impl Constructor<P>) -> Result<(PeerConn, PeerConn)> {
    let constructor = Arc::new(constructor);
    let runtime = Arc::new(MemoryRuntime::new(p2p_core::runtime::current()?));
    let pool = || {
        let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
        let pool = PeerPool::new(runtime.clone(), &key_pair, PoolConfig::default(), Arc::new(AllowAll))?;
        let constructor = constructor.clone();
        pool.attach::<P>(move |conn| constructor(conn))?;
        Ok::<_, Error>(pool)
    };
    let (left, right) = (pool()?, pool()?);
    let endpoint = right.listen(&"tcp://127.0.0.1:0".parse()?).await?;
    left.connect(&endpoint).await?;
    right.wait_for(&left.peer_id()).await;
    let keep: Arc<dyn std::any::Any + Send + Sync> = Arc::new((left.keep_alive(), right.keep_alive()));
    let end =
        |pool: &PeerPool, other: &PeerPool| pool.conn(&other.peer_id(), &P::id()).map(|c| c.keeping(keep.clone()));
    Ok((end(&left, &right)?, end(&right, &left)?))
}
