//! Signed peer records.

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
    /// An address nobody can be reached at: not an IP address, unspecified, link-local, multicast, or port 0.
    #[error("address {0} cannot be in a record: {1}")]
    Address(String, &'static str),
    /// The signature is not the peer's.
    #[error("the signature is not valid")]
    Signature,
}
