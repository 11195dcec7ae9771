//! What a discovery is told, and what it tells.

use std::fmt;
use std::io;
use std::time::SystemTime;

use p2p_core::PeerId;
use p2p_identity::DisconnectReason;
use p2p_net::Endpoint;

/// What became of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerConnectionEvent {
    /// A connection stands.
    Connected {
        /// With whom.
        peer_id: PeerId,
        /// Over which endpoint; one that the remote can be reached at again only if we dialed it.
        endpoint: Endpoint,
        /// Whether we dialed it.
        outbound: bool,
    },
    /// The connection has ended.
    Disconnected {
        /// With whom.
        peer_id: PeerId,
        /// Over which endpoint.
        endpoint: Endpoint,
        /// How.
        reason: DisconnectReason,
    },
    /// A dial has led to somebody: over a new connection, or because there was one already, which anybody may have made.
    /// Only the discovery that named the endpoint is told; before or after [`Connected`](Self::Connected), and maybe when the
    /// peer has gone again.
    Answered {
        /// Who.
        peer_id: PeerId,
        /// Where, as the discovery named it.
        endpoint: Endpoint,
    },
    /// No connection came about, after all retries.
    ConnectFailed {
        /// With whom, if that was known.
        peer_id: Option<PeerId>,
        /// Where.
        endpoint: Endpoint,
    },
    /// It is this node itself that answers there: not worth yielding until the network changes.
    Own {
        /// Where.
        endpoint: Endpoint,
    },
    /// The peer is banned; it is not worth yielding until the ban is over.
    Banned {
        /// Who.
        peer_id: PeerId,
    },
}

/// Something that a discovery did, for the monitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryEvent {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: DiscoveryEventKind,
    /// With which endpoint, if any.
    pub endpoint: Option<Endpoint>,
    /// With which peer, if any.
    pub peer_id: Option<PeerId>,
}

/// What a discovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiscoveryEventKind {
    /// It began to look for peers.
    LookupStarted,
    /// It found nobody.
    LookupFailed,
    /// It found so many peers.
    LookupSucceeded(usize),
    /// It began to check whether the peers it knows live.
    RefreshStarted,
    /// So many of them do.
    RefreshSucceeded(usize),
    /// The check failed.
    RefreshFailed,
    /// It forgot a peer.
    EntryEvicted,
    /// A socket of its own has failed and is bound anew.
    ListenFailed(io::ErrorKind),
    /// That socket is bound again.
    Listening,
    /// Others were asked to reach the node and do not find it, at the endpoint if one is named. The discovery says why: see
    /// `StaysClient` of the DHT's own events.
    StaysClient,
}

impl fmt::Display for DiscoveryEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LookupStarted => f.write_str("lookup started"),
            Self::LookupFailed => f.write_str("lookup failed"),
            Self::LookupSucceeded(peers) => write!(f, "lookup found {peers} peers"),
            Self::RefreshStarted => f.write_str("refresh started"),
            Self::RefreshSucceeded(peers) => write!(f, "refresh: {peers} peers live"),
            Self::RefreshFailed => f.write_str("refresh failed"),
            Self::EntryEvicted => f.write_str("entry evicted"),
            Self::ListenFailed(kind) => write!(f, "a socket has failed: {kind}"),
            Self::Listening => f.write_str("listening again"),
            Self::StaysClient => f.write_str("others do not find this node"),
        }
    }
}

impl fmt::Display for DiscoveryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(peer_id) = &self.peer_id {
            write!(f, ", peer {peer_id}")?;
        }
        if let Some(endpoint) = &self.endpoint {
            write!(f, ", {endpoint}")?;
        }
        Ok(())
    }
}
