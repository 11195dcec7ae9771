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
        let mut changes = self.shared().standing.subscribe();
        loop {
            let (closed, standing) = {
                let core = self.shared().lock();
                (core.closed, core.standing.clone())
            };
            match standing {
                _ if closed => return Err(Error::ShutDown),
                Some(Standing::Joined(joined)) => return Ok(joined),
                Some(Standing::Nobody) => return Err(DhtError::NoNodes.into()),
                None => changes.changed().await,
            }
        }
    }
}
