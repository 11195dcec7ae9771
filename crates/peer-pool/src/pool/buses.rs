//! Where events go out.

use std::sync::Arc;

use p2p_core::{EventBus, PeerId, Runtime};
use p2p_net::Endpoint;

use crate::{ConnectionEvent, ConnectionEventKind, PeerEvent, PeerPoolEvent, PeerPoolEventKind};

pub(crate) struct Buses {
    pub(crate) peers: EventBus<PeerEvent>,
    pub(crate) connections: EventBus<ConnectionEvent>,
    pub(crate) pool: EventBus<PeerPoolEvent>,
    runtime: Arc<dyn Runtime>,
    monitored: bool,
}

impl Buses {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, queue: usize, monitored: bool) -> Self {
        Self {
            peers: EventBus::new(queue),
            connections: EventBus::new(queue),
            pool: EventBus::new(queue),
            runtime,
            monitored,
        }
    }

    pub(crate) fn connection(&self, kind: ConnectionEventKind, endpoint: &Endpoint, peer_id: Option<PeerId>) {
        tracing::debug!(%endpoint, peer = peer_id.map(tracing::field::display), event = %kind);
        if self.monitored && self.connections.has_listeners() {
            let at = self.runtime.system_time();
            self.connections.emit(ConnectionEvent { at, kind, endpoint: Some(endpoint.clone()), peer_id });
        }
    }

    /// Nothing happens any more: listeners see the end.
    pub(crate) fn close(&self) {
        self.peers.close();
        self.connections.close();
        self.pool.close();
    }

    pub(crate) fn pool(&self, kind: PeerPoolEventKind, endpoint: &Endpoint, peer_id: Option<PeerId>) {
        tracing::debug!(%endpoint, peer = peer_id.map(tracing::field::display), event = %kind);
        if self.monitored && self.pool.has_listeners() {
            let at = self.runtime.system_time();
            self.pool.emit(PeerPoolEvent { at, kind, endpoint: Some(endpoint.clone()), peer_id });
        }
    }
}
