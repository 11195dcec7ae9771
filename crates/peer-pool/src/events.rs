//! What a pool tells: peers that come and go, for the application, and what happens on the way, for the monitor.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use p2p_core::PeerId;
use p2p_identity::{DisconnectReason, Error, ProtocolId};
use p2p_net::Endpoint;

use crate::{ConnectionId, Direction};

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Who it is.
    pub peer_id: PeerId,
    /// Tells this connection from earlier and later ones.
    pub connection_id: ConnectionId,
    /// What was dialed, or where the peer dialed from.
    pub endpoint: Endpoint,
    /// Who dialed.
    pub direction: Direction,
    /// What both sides speak.
    pub protocols: BTreeSet<ProtocolId>,
    /// Since when, by the wall clock.
    pub connected_at: SystemTime,
    /// The smoothed round-trip time, once measured.
    pub rtt: Option<Duration>,
}

/// Peers come and go. Each `Added` has exactly one `Removed`, and they alternate for each peer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A peer is connected; all constructors of its protocols have run.
    Added {
        /// Which.
        peer: PeerInfo,
    },
    /// A peer is connected no more.
    Removed {
        /// Which, as it was at the end.
        peer: PeerInfo,
        /// Why.
        reason: DisconnectReason,
    },
    /// A connection did not become a peer.
    HandshakeFailed {
        /// Who it was, if that is proven or was expected.
        peer_id: Option<PeerId>,
        /// What was dialed, or where the remote dialed from.
        endpoint: Endpoint,
        /// Why.
        reason: Error,
    },
}

/// Something about a connection, for the monitor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// What.
    pub kind: ConnectionEventKind,
    /// With which endpoint.
    pub endpoint: Option<Endpoint>,
    /// With which peer, where that is known.
    pub peer_id: Option<PeerId>,
}

/// What happened to a connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionEventKind {
    /// A dial has led to a connection.
    Connected,
    /// A dial failed and will be repeated.
    ConnectRetried {
        /// Counts from 1.
        attempt: usize,
        /// When: after so long.
        after: Duration,
        /// What went wrong.
        error: Error,
    },
    /// A dial has failed for good.
    ConnectFailed {
        /// What went wrong.
        error: Error,
    },
    /// A remote has connected.
    Accepted,
    /// A remote tried to connect and could not, or was not let in.
    AcceptFailed {
        /// What went wrong.
        error: Error,
    },
    /// A peer's connection has ended.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// Connections are accepted at the endpoint: from now on, or again.
    Listening,
    /// The endpoint cannot be listened at; or its socket has failed, and is bound anew.
    ListenFailed {
        /// What went wrong.
        error: Error,
    },
}

/// Something about the set of peers, for the monitor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeerPoolEvent {
    /// When, by the wall clock.
    pub at: SystemTime,
    /// What.
    pub kind: PeerPoolEventKind,
    /// With which endpoint.
    pub endpoint: Option<Endpoint>,
    /// With which peer, where that is known.
    pub peer_id: Option<PeerId>,
}

/// What happened to the set of peers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PeerPoolEventKind {
    /// A peer was added.
    NewPeer,
    /// A peer was removed.
    RemovePeer {
        /// Why.
        reason: DisconnectReason,
    },
    /// A connection did not become a peer.
    HandshakeFailed {
        /// Why.
        reason: Error,
    },
    /// A peer could not be connected to.
    ConnectFailed {
        /// What went wrong.
        error: Error,
    },
    /// The peer has a connection already, which stays.
    PeerAlreadyConnected,
    /// A key is in use on two machines, which take each other's place: that of this node if the event names it, else the
    /// peer's. Give each machine a key of its own.
    KeyInUseElsewhere,
    /// Connections to a peer that is to be kept connected stand, and then fall silent: it looks as if small packets pass and
    /// large ones do not. From now on its host is dialed with small segments.
    LargePacketsLost,
    /// This node, or another one with its key, was dialed by this node at the event's endpoint. That is left out from now on,
    /// until the network changes.
    OwnAddress,
    /// A peer that is to be kept connected accepts and leaves soon after.
    PeerLeaves {
        /// How often it has, in a row.
        times: usize,
        /// When it is dialed again: after so long.
        again: Duration,
    },
}

impl fmt::Display for ConnectionEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::ConnectRetried { attempt, after, error } => {
                write!(f, "dial failed ({error}), try {attempt} follows in {} ms", after.as_millis())
            }
            Self::ConnectFailed { error } => write!(f, "dial failed: {error}"),
            Self::Accepted => f.write_str("accepted"),
            Self::AcceptFailed { error } => write!(f, "not accepted: {error}"),
            Self::Disconnected { reason } => write!(f, "disconnected: {reason}"),
            Self::Listening => f.write_str("listening"),
            Self::ListenFailed { error } => write!(f, "cannot listen: {error}"),
        }
    }
}

impl fmt::Display for PeerPoolEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewPeer => f.write_str("new peer"),
            Self::RemovePeer { reason } => write!(f, "peer removed: {reason}"),
            Self::HandshakeFailed { reason } => write!(f, "handshake failed: {reason}"),
            Self::ConnectFailed { error } => write!(f, "could not connect: {error}"),
            Self::PeerAlreadyConnected => f.write_str("already connected"),
            Self::KeyInUseElsewhere => f.write_str("this key is in use elsewhere"),
            Self::LargePacketsLost => f.write_str("small packets pass, large ones do not"),
            Self::OwnAddress => f.write_str("this is an address of this node itself"),
            Self::PeerLeaves { times, again } => {
                write!(f, "accepted and left soon after, for the {times}. time; dialed again in {} s", again.as_secs())
            }
        }
    }
}

/// The end of an event's line: where and who.
fn place(f: &mut fmt::Formatter<'_>, endpoint: Option<&Endpoint>, peer_id: Option<PeerId>) -> fmt::Result {
    if let Some(endpoint) = endpoint {
        write!(f, " ({endpoint})")?;
    }
    peer_id.map_or(Ok(()), |peer_id| write!(f, " [{}]", peer_id.short()))
}

impl fmt::Display for ConnectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        place(f, self.endpoint.as_ref(), self.peer_id)
    }
}

impl fmt::Display for PeerPoolEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        place(f, self.endpoint.as_ref(), self.peer_id)
    }
}
