//! Who can be asked: what the table and the lookups need to know of a node.

use std::fmt;
use std::net::IpAddr;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;

use crate::Key;

/// A node as the routing table and the lookups see it. They are the same code over [`SignedContact`]s in a real node and
/// over bare positions in a simulation of a million.
pub trait Contact: Clone {
    /// Its position.
    fn key(&self) -> Key;

    /// The address that it counts for in the limits by address prefix; `None` counts for none.
    fn ip(&self) -> Option<IpAddr>;

    /// Which of two descriptions of a node is newer.
    fn seq(&self) -> u64;
}

/// A node in its own signed words. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedContact {
    key: Key,
    record: PeerRecord,
}

impl SignedContact {
    /// The node of a record, whose signature need not have been checked yet.
    pub fn new(network: &str, record: PeerRecord) -> Self {
        Self { key: Key::of_peer(network, &record.peer_id()), record }
    }

    /// Who it is.
    pub fn peer_id(&self) -> PeerId {
        self.record.peer_id()
    }

    /// What it said about itself.
    pub fn record(&self) -> &PeerRecord {
        &self.record
    }
}

impl Contact for SignedContact {
    fn key(&self) -> Key {
        self.key
    }

    fn ip(&self) -> Option<IpAddr> {
        self.record.discovery_addrs().iter().chain(self.record.addrs()).find_map(|addr| addr.endpoint.addr().ip())
    }

    fn seq(&self) -> u64 {
        self.record.seq()
    }
}

impl fmt::Debug for SignedContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedContact({}, seq {})", self.peer_id().short(), self.seq())
    }
}
