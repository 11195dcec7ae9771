//! Where a node is asked.

use std::cmp::Reverse;
use std::net::IpAddr;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_net::{Endpoint, PeerAddr, Transport};

use crate::address::believed;

/// A node to ask: who must answer, if that is known, and where, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who must answer.
    pub peer_id: Option<PeerId>,
    /// Where. To be tried in this order.
    pub endpoints: Vec<Endpoint>,
}

impl Target {
    /// Whoever is at `endpoint`, or the peer that it names.
    pub fn at(endpoint: Endpoint) -> Self {
        Self { peer_id: endpoint.peer_id(), endpoints: vec![endpoint] }
    }

    /// The owner of a record: at its discovery addresses, or at the others when none of those takes connections. Only
    /// addresses that are believed from whoever was reached at `reached` count.
    pub fn of(record: &PeerRecord, reached: IpAddr) -> Self {
        let dialable = |addrs: &[PeerAddr]| -> Vec<PeerAddr> {
            believed(addrs, reached).filter(|addr| rank(addr.endpoint.transport()).is_some()).cloned().collect()
        };
        let mut addrs = dialable(record.discovery_addrs());
        if addrs.is_empty() {
            addrs = dialable(record.addrs());
        }
        addrs.sort_by_key(|addr| (Reverse(addr.priority), rank(addr.endpoint.transport())));
        Self { peer_id: Some(record.peer_id()), endpoints: addrs.into_iter().map(|addr| addr.endpoint).collect() }
    }

    /// Whether a connection that leads to `endpoint` leads to one of the target's addresses, as far as those are known.
    pub(crate) fn may_be_at(&self, endpoint: &Endpoint) -> bool {
        let there = endpoint.addr().ip().map(|ip| ip.to_canonical());
        let same = |one: &Endpoint| one.addr().ip().is_none_or(|ip| Some(ip.to_canonical()) == there);
        there.is_none() || self.endpoints.is_empty() || self.endpoints.iter().any(same)
    }

    /// Only what is at this address.
    pub fn only_at(mut self, ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        self.endpoints.retain(|endpoint| endpoint.addr().ip() == Some(ip));
        self
    }
}

/// The order among endpoints of equal priority; `None` for those that take no connections in this build.
fn rank(transport: Transport) -> Option<u8> {
    match transport {
        Transport::Quic if cfg!(feature = "quic") => Some(0),
        Transport::Tls => Some(1),
        Transport::Tcp => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use p2p_identity::KeyPair;

    use super::*;

    #[test]
    fn a_record_is_asked_where_it_serves_lookups_secure_transports_first() {
        let key_pair = KeyPair::from_seed([1; 32]);
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        let reached = IpAddr::from([8, 8, 8, 8]);
        let record = PeerRecord::builder()
            .addr(endpoint("tls://9.9.9.9:1"))
            .discovery_addr(endpoint("udp://9.9.9.9:2"))
            .discovery_addr(endpoint("tcp://9.9.9.9:3"))
            .discovery_addr(endpoint("tls://9.9.9.9:4"))
            .discovery_addr(endpoint("tls://10.0.0.1:6"))
            .discovery_addr(PeerAddr { endpoint: endpoint("tcp://9.9.9.8:5"), priority: 9 })
            .sign(&key_pair, 1)
            .unwrap();
        let ports = |target: Target| target.endpoints.iter().map(Endpoint::port).collect::<Vec<_>>();
        assert_eq!(ports(Target::of(&record, reached)), [5, 4, 3]);
        assert_eq!(ports(Target::of(&record, reached).only_at([9, 9, 9, 9].into())), [4, 3]);
        assert_eq!(ports(Target::of(&record, [127, 0, 0, 1].into())), [5, 4, 6, 3], "of our own network");

        let target = Target::of(&record, reached);
        for (at, expected) in
            [("tls://9.9.9.8:77", true), ("tls://[::ffff:9.9.9.9]:4", true), ("tls://8.8.8.8:4", false)]
        {
            assert_eq!(target.may_be_at(&endpoint(at)), expected, "{at}");
        }
        assert!(Target::at(endpoint("tls://a.example:1")).may_be_at(&endpoint("tls://8.8.8.8:1")));

        let without = PeerRecord::builder()
            .addr(endpoint("tls://9.9.9.9:1"))
            .discovery_addr(endpoint("udp://9.9.9.9:2"))
            .sign(&key_pair, 1)
            .unwrap();
        assert_eq!(ports(Target::of(&without, reached)), [1]);
        assert_eq!(Target::of(&without, reached).peer_id, Some(key_pair.peer_id()));
    }
}
