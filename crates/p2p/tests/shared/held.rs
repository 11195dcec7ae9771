//! A protocol whose messages the test reads.

use std::sync::Arc;

use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Error, async_trait};
use tokio::sync::mpsc::UnboundedSender;

/// Leaves its messages to the test.
pub(crate) struct Held(pub(crate) PeerConn, pub(crate) UnboundedSender<PeerConn>);

#[async_trait]
impl Protocol for Held {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let _ = self.1.send(self.0.clone());
        self.0.closed().await;
        Ok(())
    }

    fn id() -> ProtocolId {
        "/x".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}
