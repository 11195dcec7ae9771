//! How a node finds others: the [`Discovery`] trait, what it yields and is told, and [`StaticDiscovery`].
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod context;
mod departures;
mod event;
mod peer;
mod static_list;

use std::sync::Arc;

use async_trait::async_trait;
use p2p_identity::{Error, ProtocolKind};

pub use context::DiscoveryContext;
pub use departures::Departures;
pub use event::{DiscoveryEvent, DiscoveryEventKind, PeerConnectionEvent};
pub use peer::DiscoveredPeer;
pub use static_list::StaticDiscovery;

/// Finds peers for a node to connect to.
///
/// The node calls [`init`](Self::init) once, then [`start`](Self::start), and then takes peers from
/// [`recv`](Self::recv) while it has outbound slots free; it tells what becomes of them through
/// [`on_event`](Self::on_event). Several may run beside each other.
///
/// ```
/// use std::sync::Arc;
/// use p2p_discovery::{DiscoveredPeer, Discovery, PeerConnectionEvent};
/// use p2p_identity::Error;
///
/// /// Knows one peer and offers it once.
/// struct One(tokio::sync::Mutex<Option<DiscoveredPeer>>);
///
/// #[async_trait::async_trait]
/// impl Discovery for One {
///     async fn start(self: Arc<Self>) -> Result<(), Error> {
///         Ok(())
///     }
///     async fn shutdown(&self) {}
///     async fn recv(&self) -> DiscoveredPeer {
///         match self.0.lock().await.take() {
///             Some(peer) => peer,
///             None => std::future::pending().await,
///         }
///     }
///     fn on_event(&self, _: PeerConnectionEvent) {}
///     fn find_peers_with(&self, _: &[u8]) -> Vec<DiscoveredPeer> {
///         Vec::new()
///     }
/// }
/// ```
#[async_trait]
pub trait Discovery: Send + Sync {
    /// Gives what a discovery may need of the node. Called once, before [`start`](Self::start).
    fn init(&self, _ctx: DiscoveryContext) {}

    /// Starts whatever runs in the background and returns.
    ///
    /// # Errors
    /// Ends the node's own start.
    async fn start(self: Arc<Self>) -> Result<(), Error>;

    /// Ends everything that [`start`](Self::start) began. Idempotent.
    async fn shutdown(&self);

    /// The next peer to connect to; pending while there is none. Must be cancel-safe: a peer is returned or stays.
    async fn recv(&self) -> DiscoveredPeer;

    /// Tells what became of a peer, found by this discovery or otherwise. Must not block.
    fn on_event(&self, event: PeerConnectionEvent);

    /// The network has changed, or is back: peers that wait because they could not be reached are worth another try now.
    /// Must not block.
    fn network_changed(&self) {}

    /// Peers known now that advertise `item`. Answers at once.
    fn find_peers_with(&self, item: &[u8]) -> Vec<DiscoveredPeer>;

    /// From now on, tells others that this node has `item`; a mandatory item is one that they must have too.
    fn advertise(&self, _item: &[u8], _kind: ProtocolKind) {}

    /// Takes back what [`advertise`](Self::advertise) told.
    fn unadvertise(&self, _item: &[u8]) {}
}
