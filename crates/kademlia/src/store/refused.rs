//! Why a node does not do what it was asked.

use serde::{Deserialize, Serialize};

/// Why a node does not do what it was asked. Travels in a response, so it grows only at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refused {
    /// Too much to do, or too many requests from this asker: ask another node, or later.
    #[error("busy: try another node, or later")]
    Busy,
    /// The request was not understood.
    #[error("the request was not understood")]
    Malformed,
    /// This node does not serve such requests.
    #[error("requests of this kind are not served")]
    Unsupported,
    /// The value is too long, or its publisher has not signed it.
    #[error("the value is not valid")]
    InvalidValue,
    /// The record is not valid, or has no address that can be reached from here.
    #[error("the record is not valid")]
    InvalidRecord,
    /// A newer value is there.
    #[error("a newer value is there, with sequence number {current}")]
    Older {
        /// Its sequence number.
        current: u64,
    },
    /// Another value with the same sequence number is there.
    #[error("another value with the same sequence number is there")]
    Conflict,
    /// The value that is there is not the one that the writer expected to replace.
    #[error("the value to be replaced has sequence number {current}, which the writer did not expect")]
    Unexpected {
        /// Its sequence number.
        current: u64,
    },
    /// What came from the asker's address prefix takes up its share of the store.
    #[error("the share of this address range is used up")]
    Quota,
    /// The store is full of what is closer or stays longer.
    #[error("full")]
    Full,
    /// A record that is not the asker's own.
    #[error("only a provider itself may say that it provides")]
    NotYours,
    /// Its time is over already.
    #[error("it has expired")]
    Expired,
    /// There is no record: this node is only a client.
    #[error("this node has no record")]
    NoRecord,
    /// A reason that this version does not know, by its index.
    #[error("refused for a reason this version does not know ({0})")]
    Other(u32),
}

impl Refused {
    /// The first index on the wire that is none of the reasons known here.
    pub(crate) const FIRST_UNKNOWN: u32 = 13;
}
