//! What can go wrong in a DHT beside what can go wrong anywhere.

use p2p_identity::Error;

use crate::Refused;

/// Why the DHT could not do something. Travels as an application's error: see [`DhtError::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DhtError {
    /// No node keeps it, as none could be asked: there is no bootstrap peer, or none answers.
    #[error("no other node could be reached: check the bootstrap peers")]
    NoNodes,
    /// All nodes that were asked refused.
    #[error("no node keeps it: {0}")]
    Refused(Refused),
    /// A newer value, or another one than was expected, is there.
    #[error("the value has not been replaced: {0}")]
    Conflict(Refused),
    /// Others could not be told where this node is: it has no address that they could reach.
    #[error(
        "this node has no address that others could reach: set `discovery_endpoints`, and `public_ip` if others cannot see it"
    )]
    NoRecord,
}

impl DhtError {
    /// The error inside of another, if it is one of these.
    ///
    /// ```
    /// use p2p_kademlia::DhtError;
    ///
    /// let error = p2p_identity::Error::from(DhtError::NoNodes);
    /// assert_eq!(DhtError::of(&error), Some(DhtError::NoNodes));
    /// ```
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::App(error) => error.get().downcast_ref().copied(),
            _ => None,
        }
    }
}

impl From<DhtError> for Error {
    fn from(error: DhtError) -> Self {
        Self::app(error)
    }
}
