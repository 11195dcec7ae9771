//! Where known peers are.

use hashlink::LruCache;
use p2p_core::PeerId;
use p2p_discovery::DiscoveredPeer;
use p2p_net::Endpoint;

/// Peers whose addresses are kept; beyond that the one longest unused is forgotten.
const PEERS: usize = 4096;

/// Endpoints kept for one peer.
const ENDPOINTS: usize = 8;

/// A bounded address book, newest knowledge first.
pub(super) struct Addresses(LruCache<PeerId, Vec<Endpoint>>);

impl Addresses {
    pub(super) fn new() -> Self {
        Self(LruCache::new(PEERS))
    }

    /// Learns where a peer is said to be.
    pub(super) fn learn(&mut self, peer: &DiscoveredPeer) {
        // The best address last, so that it ends up first.
        for endpoint in peer.dial_order().into_iter().rev() {
            self.learn_endpoint(endpoint);
        }
    }

    /// Learns an endpoint, if it names its peer.
    pub(super) fn learn_endpoint(&mut self, endpoint: Endpoint) {
        let Some(peer_id) = endpoint.peer_id() else { return };
        let known = self.0.entry(peer_id).or_insert_with(Vec::new);
        known.retain(|other| *other != endpoint);
        known.insert(0, endpoint);
        known.truncate(ENDPOINTS);
    }

    /// The endpoints of a peer, the most promising first.
    pub(super) fn of(&mut self, peer_id: &PeerId) -> Vec<Endpoint> {
        self.0.get(peer_id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(n: u8, port: u16) -> Endpoint {
        let peer_id = PeerId::from_bytes([n; 32]).unwrap();
        format!("tcp://{peer_id}@192.0.2.1:{port}").parse().unwrap()
    }

    #[test]
    fn the_newest_endpoints_are_kept_and_come_first() {
        let mut addresses = Addresses::new();
        for port in 1..=20 {
            addresses.learn_endpoint(endpoint(9, port));
        }
        addresses.learn_endpoint(endpoint(9, 15));
        let ports: Vec<_> = addresses.of(&endpoint(9, 1).peer_id().unwrap()).iter().map(Endpoint::port).collect();
        assert_eq!(ports, [15, 20, 19, 18, 17, 16, 14, 13]);
        assert!(addresses.of(&endpoint(10, 1).peer_id().unwrap()).is_empty());
    }
}
