//! Why a handshake comes to no agreement.

use p2p_core::PeerId;
use serde::{Deserialize, Serialize};

use super::Purpose;
use crate::codec::{decode_borrowed, decode_prefix};
use crate::disconnect::clean;
use crate::{DecodeError, ProtocolId};

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
/// Encoded as its index in this list and its fields; the list grows only at the end, and an index that this version
/// does not know is [`Other`](Self::Other).
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
    /// Somebody else answered at the dialed endpoint.
    #[error("peer {expected} was dialed, but {actual} answered")]
    IdentityMismatch {
        /// Who was dialed.
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
    /// A reason that this version does not know, by its index.
    #[error("refused for a reason this version does not know ({0})")]
    Other(u32),
}

/// The longest text inside a [`RejectReason`], in bytes.
pub const MAX_REASON_TEXT: usize = 128;

/// The first index that [`RejectReason`] does not use itself: that of its `Other`.
const FIRST_UNKNOWN: u32 = 20;

impl RejectReason {
    /// The same, as the other side sees it.
    pub(super) fn mirrored(self) -> Self {
        match self {
            Self::NetworkMismatch { ours, theirs } => Self::NetworkMismatch { ours: theirs, theirs: ours },
            Self::WireVersion { ours, theirs } => Self::WireVersion { ours: theirs, theirs: ours },
            Self::VersionIncompatible { ours, theirs } => Self::VersionIncompatible { ours: theirs, theirs: ours },
            Self::MissingProtocol { protocol, missing_at } => {
                Self::MissingProtocol { protocol, missing_at: missing_at.other() }
            }
            Self::ProtocolVersion { protocol, ours, theirs } => {
                Self::ProtocolVersion { protocol, ours: theirs, theirs: ours }
            }
            same => same,
        }
    }

    /// The same with every text cut to [`MAX_REASON_TEXT`] bytes and made printable: they may be a stranger's.
    pub(super) fn cleaned(mut self) -> Self {
        let texts: &mut [&mut String] = match &mut self {
            Self::NetworkMismatch { ours, theirs }
            | Self::VersionIncompatible { ours, theirs }
            | Self::ProtocolVersion { ours, theirs, .. } => &mut [ours, theirs],
            Self::Malformed(what) => &mut [what],
            _ => &mut [],
        };
        texts.iter_mut().for_each(|text| **text = clean(text, MAX_REASON_TEXT));
        self
    }

    /// Reads a reason from the end of a message.
    pub(super) fn from_wire(bytes: &[u8]) -> Result<Self, DecodeError> {
        match decode_borrowed(bytes) {
            Ok(reason) => Ok(reason),
            Err(error) => match decode_prefix::<u32>(bytes) {
                // A newer version's fields cannot be read, but that it refuses can.
                Ok((index, _)) if index >= FIRST_UNKNOWN => Ok(Self::Other(index)),
                _ => Err(error),
            },
        }
    }
}

impl Party {
    fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
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
