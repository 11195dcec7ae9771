//! A contact of a real network.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_net::Transport;

use crate::address::believed;
use crate::lookup_service::Target;
use crate::{Contact, Key, SignedContact};

/// A node that can be asked: its record, and from where that was told, which decides what addresses of it are believed.
#[derive(Clone, PartialEq, Eq)]
pub struct Peer {
    contact: SignedContact,
    reached: IpAddr,
    /// Of the endpoint that is tried first.
    ip: Option<IpAddr>,
    named_by: Option<Arc<PeerId>>,
}

impl Peer {
    /// The owner of a record that was told by whoever was reached at `reached`; `None` if it has no address that can be
    /// believed and asked.
    pub fn new(network: &str, record: PeerRecord, reached: IpAddr) -> Option<Self> {
        let ip = Target::of(&record, reached).endpoints.first()?.addr().ip();
        Some(Self { contact: SignedContact::new(network, record), reached, ip, named_by: None })
    }

    /// The same, if it is not known otherwise than by the word of this node.
    pub(super) fn named_by(mut self, namer: &Arc<PeerId>) -> Self {
        self.named_by = Some(namer.clone());
        self
    }

    /// By whose word alone it is known.
    pub(super) fn namer(&self) -> Option<PeerId> {
        self.named_by.as_deref().copied()
    }

    /// Who it is.
    pub fn peer_id(&self) -> PeerId {
        self.contact.peer_id()
    }

    /// What it says of itself. Verified, if the peer is in a table.
    pub fn record(&self) -> &PeerRecord {
        self.contact.record()
    }

    /// From where this was told: of a peer in a table, where it answered itself.
    pub fn reached(&self) -> IpAddr {
        self.reached
    }

    /// Where it can be asked.
    pub fn target(&self) -> Target {
        Target::of(self.record(), self.reached)
    }

    /// Where it answers pings.
    pub fn ping_address(&self) -> Option<SocketAddr> {
        believed(self.record().discovery_addrs(), self.reached)
            .find(|addr| addr.endpoint.transport() == Transport::Udp)
            .and_then(|addr| addr.endpoint.socket_addr())
    }
}

impl Contact for Peer {
    fn key(&self) -> Key {
        self.contact.key()
    }

    fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    fn seq(&self) -> u64 {
        self.contact.seq()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({}, seq {})", self.peer_id().short(), self.seq())
    }
}
