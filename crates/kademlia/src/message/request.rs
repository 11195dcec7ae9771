//! What one node asks another.

use std::time::Duration;

use bytes::Bytes;
use p2p_identity::handshake::MAX_PAYLOAD_LEN;
use p2p_identity::{PeerRecord, Result};
use serde::{Deserialize, Serialize};

use super::{decode, encode};
use crate::{Key, StoredValue};

/// The longest request, in bytes. The longest that this version writes is shorter: a record and a few numbers.
pub const MAX_REQUEST_LEN: usize = 4096;

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
            Self::GetRecord | Self::DialBack { .. } => None,
        }
    }

    /// A duration as a request carries it: whole seconds, rounded down so that nothing lives longer by being passed on.
    pub fn seconds(duration: Duration) -> u32 {
        duration.as_secs().try_into().unwrap_or(u32::MAX)
    }
}
