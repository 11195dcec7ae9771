//! What one node asks another.

use std::time::Duration;

use bytes::Bytes;
use p2p_identity::handshake::MAX_PAYLOAD_LEN;
use p2p_identity::{PeerRecord, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bounded::read_bytes;
use super::{decode, encode};
use crate::{Key, StoredValue};

/// The longest request, in bytes. The longest that this version writes is shorter: a record and [`Padding`].
pub const MAX_REQUEST_LEN: usize = 5120;

/// What one node asks another. It grows only at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// Which nodes are closest to a position?
    FindNode {
        /// The position.
        target: Key,
    },
    /// What is stored under a key, and which nodes are closest to it?
    GetValue {
        /// The key.
        key: Key,
    },
    /// Who provides a key, and which nodes are closest to it?
    GetProviders {
        /// The key.
        key: Key,
    },
    /// Keep a value under [its key](StoredValue::key).
    PutValue {
        /// The value.
        value: StoredValue,
        /// Only if what it replaces, if there is anything, has this sequence number.
        expected_seq: Option<u64>,
        /// Seconds that it has left. A node keeps it for no longer than its own limit.
        ttl: u32,
    },
    /// Remember that the asker provides a key.
    PutProvider {
        /// The key.
        key: Key,
        /// The asker's own record.
        record: PeerRecord,
        /// Seconds that it is to be remembered. A node does so for no longer than its own limit.
        ttl: u32,
    },
    /// What is your own record?
    GetRecord,
    /// Can you reach me?
    DialBack {
        /// The asker's own record: where to try.
        record: PeerRecord,
    },
    /// Can you reach me at an address that I do not come from? As long as what the one who is asked sends there, so that
    /// nobody gains by naming somebody else's.
    TryElsewhere {
        /// The asker's own record: its first address is tried.
        record: PeerRecord,
        /// What makes it so long.
        padding: Padding,
    },
    /// Who else is behind the public address that I come from?
    Near {
        /// The asker's own record for those: where it is behind that address, if it listens there. Its number is 0, so that
        /// it takes the place of no other.
        record: PeerRecord,
    },
}

/// Bytes of [`Padding`]. With the record beside it, a request is longer than what a dial-back sends to somebody who does not
/// answer, headers included: over quic a datagram of 1,200 bytes that dials, one that gives up, and five that ask the
/// network whether anybody is there; and two attempts each for two endpoints over tcp.
pub const PADDING_LEN: usize = 3000;

/// Bytes that say nothing: [`PADDING_LEN`] zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Padding;

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&[0; PADDING_LEN])
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = read_bytes::<D, PADDING_LEN>(deserializer)?;
        if bytes.len() == PADDING_LEN && bytes.iter().all(|byte| *byte == 0) {
            Ok(Self)
        } else {
            Err(D::Error::custom("the padding is not as long as it must be, or not of zeros"))
        }
    }
}

impl Request {
    /// Its bytes. At most [`MAX_REQUEST_LEN`].
    ///
    /// # Errors
    /// [`Error::Encode`](p2p_identity::Error::Encode) when a part exceeds its bound.
    pub fn encode(&self) -> Result<Bytes> {
        encode(self, MAX_REQUEST_LEN)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`](p2p_identity::Error::MessageTooLarge) and
    /// [`Error::Decode`](p2p_identity::Error::Decode). Signatures are not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        decode(bytes, MAX_REQUEST_LEN)
    }

    /// Whether the encoded request fits into a hello, and so costs no round trip of its own on a new connection. All
    /// do but those with a value of nearly its greatest length or with an unusually long record.
    pub fn fits_hello(encoded: &[u8]) -> bool {
        encoded.len() <= MAX_PAYLOAD_LEN
    }

    /// The position that it is about, if it is about one.
    pub fn target(&self) -> Option<Key> {
        match self {
            Self::FindNode { target: key } | Self::GetValue { key } | Self::GetProviders { key } => Some(*key),
            Self::PutProvider { key, .. } => Some(*key),
            Self::PutValue { value, .. } => Some(value.key()),
            Self::GetRecord | Self::DialBack { .. } | Self::TryElsewhere { .. } | Self::Near { .. } => None,
        }
    }

    /// A duration as a request carries it: whole seconds, rounded down so that nothing lives longer by being passed on.
    pub fn seconds(duration: Duration) -> u32 {
        duration.as_secs().try_into().unwrap_or(u32::MAX)
    }
}
