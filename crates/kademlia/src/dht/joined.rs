//! [`Dht::joined`].

use p2p_identity::{Error, Result};

use super::{Dht, DhtError};
use crate::engine::{Joined, Standing};

impl Dht {
    /// Waits until it is known what came of joining: whether others have answered, and whether they reach this node or why
    /// not. That takes some round trips for a node that is reached, and up to about the
    /// [`dial_timeout`](crate::KademliaConfig::dial_timeout) of others for one that is not. What it says may change:
    /// [`KademliaEvent::ModeChanged`](crate::KademliaEvent::ModeChanged) and
    /// [`KademliaEvent::StaysClient`](crate::KademliaEvent::StaysClient) tell of that. Cancel-safe.
    ///
    /// # Errors
    /// [`DhtError::NoNodes`] inside [`Error::App`] when none of the bootstrap peers has answered, nor anybody else; they are
    /// asked again, so it may be called again. [`Error::NotRunning`], [`Error::ShutDown`].
    pub async fn joined(&self) -> Result<Joined> {
        self.check_running()?;
        let mut watch = self.shared().standing().ok_or(Error::ShutDown)?;
        let standing = watch.wait_for(Option::is_some).await.map_err(|_| Error::ShutDown)?.clone();
        match standing {
            Some(Standing::Joined(joined)) => Ok(joined),
            Some(Standing::Nobody) | None => Err(DhtError::NoNodes.into()),
        }
    }
}
