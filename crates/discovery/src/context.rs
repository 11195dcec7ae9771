//! [`DiscoveryContext`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::{EventBus, PeerId, Runtime};
use p2p_identity::PeerRecord;
use p2p_identity::access::AccessControl;
use p2p_net::Endpoint;

use crate::{DiscoveryEvent, DiscoveryEventKind};

/// What a discovery may know of its node. Holds nothing that keeps the node alive.
#[derive(Clone)]
pub struct DiscoveryContext {
    /// Time, tasks and sockets.
    pub runtime: Arc<dyn Runtime>,
    /// The node itself, which is never worth yielding.
    pub peer_id: PeerId,
    /// The node's signed record, as it is now; `None` while it has no address that others could reach.
    pub record: Arc<dyn Fn() -> Option<PeerRecord> + Send + Sync>,
    /// Where the node listens, ports resolved.
    pub listen_endpoints: Vec<Endpoint>,
    /// How often to look for more peers while the node has outbound slots free.
    pub seeding_interval: Duration,
    /// Whom the node talks to.
    pub access_control: Arc<dyn AccessControl>,
    /// Where [`DiscoveryEvent`]s go.
    pub events: EventBus<DiscoveryEvent>,
}

impl DiscoveryContext {
    /// Tells the node's monitor.
    pub fn emit(&self, kind: DiscoveryEventKind, endpoint: Option<Endpoint>, peer_id: Option<PeerId>) {
        self.events.emit(DiscoveryEvent { at: self.runtime.system_time(), kind, endpoint, peer_id });
    }
}

impl fmt::Debug for DiscoveryContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveryContext")
            .field("peer_id", &self.peer_id)
            .field("listen_endpoints", &self.listen_endpoints)
            .finish_non_exhaustive()
    }
}
