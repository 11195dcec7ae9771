//! Why a handshake comes to no agreement.

use std::fmt;

use p2p_core::PeerId;
use serde::{Deserialize, Serialize};

use crate::ProtocolId;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Purpose {
    /// To be peers: protocols run over it.
    Peer,
    /// A short exchange of the discovery layer.
    Lookup,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Peer => "peer",
            Self::Lookup => "lookup",
        })
    }
}

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Party {
    /// This side.
    Local,
    /// The other side.
    Remote,
}

/// Why one side refuses the other. It is told to the other side, so both know: `ours` and [`Party::Local`] always
/// mean the side on which the value is looked at, and are swapped on the way.
///
/// The list grows only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// The two belong to different networks.
    #[error("this node is in network {ours:?}, the remote in {theirs:?}: set the same `network` on both")]
    NetworkMismatch {
        /// This side's network.
        ours: String,
        /// The other side's.
        theirs: String,
    },
    /// The two have no wire format in common.
    #[error("this node speaks wire version {ours}, the remote {theirs}: upgrade the older one")]
    WireVersion {
        /// This side's.
        ours: u16,
        /// The other side's.
        theirs: u16,
    },
    /// One application's version does not accept the other's.
    #[error("version {ours:?} here and {theirs:?} there do not accept each other")]
    VersionIncompatible {
        /// This side's version text.
        ours: String,
        /// The other side's.
        theirs: String,
    },
    /// A protocol that is mandatory on one side is missing on the other.
    #[error("mandatory protocol {protocol} is missing {}", match .missing_at { Party::Local => "on this node: attach it", Party::Remote => "on the remote" })]
    MissingProtocol {
        /// The protocol.
        protocol: ProtocolId,
        /// Who does not have it.
        missing_at: Party,
    },
    /// Both have a mandatory protocol, in versions that do not accept each other.
    #[error("mandatory protocol {protocol}: version {ours:?} here and {theirs:?} there do not accept each other")]
    ProtocolVersion {
        /// The protocol.
        protocol: ProtocolId,
        /// This side's version text.
        ours: String,
        /// The other side's.
        theirs: String,
    },
    /// Somebody else answered at the dialled endpoint.
    #[error("peer {expected} was dialled, but {actual} answered")]
    IdentityMismatch {
        /// Who was dialled.
        expected: PeerId,
        /// Who answered.
        actual: PeerId,
    },
    /// The peer id of the hello is not the key of the TLS certificate.
    #[error("peer {claimed} was claimed, but the certificate proves {proven}")]
    FalseIdentity {
        /// What the hello says.
        claimed: PeerId,
        /// What TLS proved.
        proven: PeerId,
    },
    /// The signature over the handshake is missing or wrong.
    #[error("the proof of identity is not valid")]
    BadSignature,
    /// A node reached itself.
    #[error("the endpoint is this node's own")]
    SelfDial,
    /// A message of the handshake broke the rules.
    #[error("malformed handshake: {0}")]
    Malformed(String),
    /// A message of the handshake is longer than allowed.
    #[error("a handshake message of {len} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Its bytes.
        len: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// One side has banned the other for some time.
    #[error("banned for some time")]
    Banned,
    /// Access control on one side says no.
    #[error("not allowed by access control")]
    Denied,
    /// All slots for peers are taken.
    #[error("all slots are taken: try another peer, or later")]
    SlotsFull,
    /// Too many connections from the same address range.
    #[error("too many connections from the same address range")]
    PrefixFull,
    /// The two are connected already.
    #[error("already connected")]
    AlreadyConnected,
    /// One side shuts down.
    #[error("shutting down")]
    ShuttingDown,
    /// The handshake took too long.
    #[error("the handshake took too long")]
    Timeout,
    /// The purpose is not served here.
    #[error("connections for the purpose of {0} are not served")]
    PurposeUnsupported(Purpose),
    /// A reason that this version does not know, by its number.
    #[error("refused for a reason this version does not know ({0})")]
    Other(u32),
}

/// How a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// This side refused the remote.
    #[error("refused the remote: {0}")]
    Refused(RejectReason),
    /// The remote refused this side.
    #[error("the remote refused: {0}")]
    Remote(RejectReason),
    /// The remote ended the stream before the handshake was complete.
    #[error("the remote ended the connection during the handshake")]
    Closed,
}

impl HandshakeError {
    /// Why, whoever decided so.
    pub fn reason(&self) -> Option<&RejectReason> {
        match self {
            Self::Refused(reason) | Self::Remote(reason) => Some(reason),
            Self::Closed => None,
        }
    }
}

impl From<RejectReason> for HandshakeError {
    fn from(reason: RejectReason) -> Self {
        Self::Refused(reason)
    }
}
