//! [`DiscoveredPeer`].

use p2p_core::PeerId;
use p2p_net::{Endpoint, PeerAddr};

/// A peer that may be worth a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiscoveredPeer {
    /// Who must answer, if that is known.
    pub peer_id: Option<PeerId>,
    /// Where it accepts connections.
    pub addrs: Vec<PeerAddr>,
    /// Where it serves the discovery itself.
    pub discovery_addrs: Vec<PeerAddr>,
}

impl DiscoveredPeer {
    /// The endpoints to dial, best first, each naming the peer that must answer.
    pub fn dial_order(&self) -> Vec<Endpoint> {
        let mut addrs: Vec<&PeerAddr> = self.addrs.iter().collect();
        addrs.sort_by_key(|addr| std::cmp::Reverse(addr.priority));
        addrs
            .into_iter()
            .map(|addr| addr.endpoint.clone().with_peer_id(self.peer_id.or(addr.endpoint.peer_id())))
            .collect()
    }
}

/// The peer that the endpoint names, or whoever answers there.
impl From<Endpoint> for DiscoveredPeer {
    fn from(endpoint: Endpoint) -> Self {
        Self { peer_id: endpoint.peer_id(), addrs: vec![endpoint.into()], discovery_addrs: Vec::new() }
    }
}
