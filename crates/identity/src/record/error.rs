//! What can be wrong with a record.

use p2p_net::Endpoint;

/// Why bytes are not a peer record, or values cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// More bytes than a record may have.
    #[error("{len} bytes exceed the limit of {max}")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A format that this version does not know.
    #[error("unknown format version {0}")]
    Format(u8),
    /// The structure is broken.
    #[error("malformed: {0}")]
    Malformed(String),
    /// More addresses than a record may have.
    #[error("{len} addresses exceed the limit of {max}")]
    TooManyAddresses {
        /// How many there are.
        len: usize,
        /// How many may be.
        max: usize,
    },
    /// An address at which nobody else can reach the peer.
    #[error("{endpoint} cannot be in a record: {why}")]
    Address {
        /// The address.
        endpoint: Endpoint,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The signature is not the peer's.
    #[error("the signature is not the peer's")]
    Signature,
}
