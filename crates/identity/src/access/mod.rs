//! Access control: who may connect, look up and probe, and whom we may.

mod list;

use std::fmt;
use std::net::IpAddr;

use p2p_core::PeerId;
use p2p_net::Endpoint;

use crate::PeerRecord;

pub use p2p_core::{ChangeNotifier, Changes};

pub use list::{AllowList, DenyList, PeerOrIp};

/// Says who may do what. Asked for each connection twice: with the endpoint before anything is exchanged, and with the
/// peer once the handshake has proven who it is. Must answer at once: it may be called under a lock.
///
/// ```
/// use p2p_identity::access::{AccessControl, Action, Subject};
///
/// /// Talks to port 9000 only.
/// struct OnePort;
///
/// impl AccessControl for OnePort {
///     fn allow(&self, subject: &Subject<'_>, action: Action) -> bool {
///         action.direction().is_inbound() || subject.endpoint().port() == 9000
///     }
/// }
/// ```
pub trait AccessControl: Send + Sync {
    /// Whether `subject` may be part of `action`.
    fn allow(&self, subject: &Subject<'_>, action: Action) -> bool;

    /// Whether the operator has named this peer, or its address, as one that belongs here, beyond not refusing it. Such a peer
    /// keeps its inbound slot when all are taken, and is disconnected but not banned for what it does. Asked with a peer that has
    /// proven who it is, and with an endpoint about its address.
    fn vouches(&self, subject: &Subject<'_>) -> bool {
        let _ = subject;
        false
    }

    /// For a policy that changes: what tells that it did, so that peers that are connected are asked about again and
    /// those that are no longer allowed are disconnected. `None` for one that never changes.
    fn changes(&self) -> Option<Changes> {
        None
    }
}

impl std::fmt::Debug for dyn AccessControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessControl")
    }
}

/// A policy behind a pointer is a policy.
impl<T: AccessControl + ?Sized> AccessControl for std::sync::Arc<T> {
    fn allow(&self, subject: &Subject<'_>, action: Action) -> bool {
        (**self).allow(subject, action)
    }

    fn vouches(&self, subject: &Subject<'_>) -> bool {
        (**self).vouches(subject)
    }

    fn changes(&self) -> Option<Changes> {
        (**self).changes()
    }
}

/// Who is asked about.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Subject<'a> {
    /// Before a handshake, or where there is none: only the endpoint is known. It names a peer if that peer is being
    /// dialed.
    Endpoint(&'a Endpoint),
    /// After the handshake: the peer is proven to be who it is.
    Peer(Candidate<'a>),
}

/// A peer that has proven who it is.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// Who it is.
    pub peer_id: PeerId,
    /// Where it was dialed, or where it came from.
    pub endpoint: &'a Endpoint,
    /// Its record, if it has given one. The signature has not been checked.
    pub record: Option<&'a PeerRecord>,
}

impl<'a> Candidate<'a> {
    /// A peer without a record.
    pub fn new(peer_id: PeerId, endpoint: &'a Endpoint) -> Self {
        Self { peer_id, endpoint, record: None }
    }

    /// The same with a record.
    pub fn with_record(self, record: Option<&'a PeerRecord>) -> Self {
        Self { record, ..self }
    }
}

impl<'a> Subject<'a> {
    /// Where it is.
    pub fn endpoint(&self) -> &'a Endpoint {
        match self {
            Self::Endpoint(endpoint) => endpoint,
            Self::Peer(candidate) => candidate.endpoint,
        }
    }

    /// Its address, unless only a host name is known.
    pub fn ip(&self) -> Option<IpAddr> {
        self.endpoint().addr().ip()
    }

    /// Who it is, or who is dialed.
    pub fn peer_id(&self) -> Option<PeerId> {
        match self {
            Self::Endpoint(endpoint) => endpoint.peer_id(),
            Self::Peer(candidate) => Some(candidate.peer_id),
        }
    }
}

/// What is about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Being peers.
    Connect(Direction),
    /// A lookup connection of the discovery layer.
    Lookup(Direction),
    /// A single question whether somebody is there.
    Probe(Direction),
}

impl Action {
    /// Who begins.
    pub fn direction(self) -> Direction {
        match self {
            Self::Connect(direction) | Self::Lookup(direction) | Self::Probe(direction) => direction,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, what) = match self {
            Self::Connect(direction) => (direction, "connection"),
            Self::Lookup(direction) => (direction, "lookup"),
            Self::Probe(direction) => (direction, "probe"),
        };
        write!(f, "{direction} {what}")
    }
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The remote did.
    Inbound,
    /// This node did.
    Outbound,
}

impl Direction {
    /// Whether the remote did.
    pub fn is_inbound(self) -> bool {
        self == Self::Inbound
    }

    /// Whether this node did.
    pub fn is_outbound(self) -> bool {
        self == Self::Outbound
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// Allows everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl AccessControl for AllowAll {
    fn allow(&self, _: &Subject<'_>, _: Action) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
