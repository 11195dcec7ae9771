//! [`Monitor`]: what happens inside a node, for those who watch it.

use p2p_core::{EventBus, EventListener};
use p2p_discovery::DiscoveryEvent;
use p2p_peer_pool::{ConnectionEvent, PeerPoolEvent};

/// Gives out listeners for what happens inside a node. Each listener gets every event of its kind from its
/// registration on, in a bounded queue of its own: one that does not read loses the oldest and is told how many.
///
/// With [`Config::enable_monitor`](crate::Config::enable_monitor) off, listeners wait without ever getting anything.
///
/// ```
/// # async fn show(node: std::sync::Arc<p2p::Node>) -> Result<(), p2p::RecvError> {
/// use p2p::ConnectionEvent;
///
/// let mut listener = node.monitor().register::<ConnectionEvent>();
/// loop {
///     println!("{}", listener.recv().await?);
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Monitor {
    connections: EventBus<ConnectionEvent>,
    pool: EventBus<PeerPoolEvent>,
    discovery: EventBus<DiscoveryEvent>,
}

impl Monitor {
    pub(crate) fn new(
        connections: EventBus<ConnectionEvent>,
        pool: EventBus<PeerPoolEvent>,
        discovery: EventBus<DiscoveryEvent>,
    ) -> Self {
        Self { connections, pool, discovery }
    }

    /// A listener for [`ConnectionEvent`], [`PeerPoolEvent`] or [`DiscoveryEvent`].
    pub fn register<E: MonitorEvent>(&self) -> EventListener<E> {
        E::bus(self).register()
    }

    pub(crate) fn discovery(&self) -> &EventBus<DiscoveryEvent> {
        &self.discovery
    }
}

/// What a [`Monitor`] has listeners for. Implemented for the three kinds of events and nothing else.
pub trait MonitorEvent: sealed::HasBus {}

mod sealed {
    use p2p_core::EventBus;

    use super::Monitor;

    pub trait HasBus: Clone + Send + Sync + 'static {
        fn bus(monitor: &Monitor) -> &EventBus<Self>;
    }
}

macro_rules! events {
    ($($event:ident: $bus:ident),*) => {$(
        impl MonitorEvent for $event {}
        impl sealed::HasBus for $event {
            fn bus(monitor: &Monitor) -> &EventBus<Self> {
                &monitor.$bus
            }
        }
    )*};
}

events!(ConnectionEvent: connections, PeerPoolEvent: pool, DiscoveryEvent: discovery);
