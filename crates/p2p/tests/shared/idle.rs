//! A protocol that makes nodes peers for each other, and reads nothing.

use std::sync::Arc;

use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Error, async_trait};

/// Reads nothing, until its connection ends.
pub(crate) struct Idle(pub(crate) PeerConn);

#[async_trait]
impl Protocol for Idle {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        "/idle".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}
