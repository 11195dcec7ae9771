//! Two nodes on smol. No tokio runtime is anywhere; tokio's I/O traits and channels work on any.

use std::sync::Arc;
use std::time::Duration;

use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, SmolRuntime, async_trait};
use tokio::sync::mpsc;

struct Hello {
    conn: PeerConn,
    heard: mpsc::UnboundedSender<String>,
}

#[async_trait]
impl Protocol for Hello {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.conn.send_msg("hello from smol").await?;
        let text: String = self.conn.recv_msg().await?;
        let _ = self.heard.send(format!("{text:?} over {}", self.conn.remote_endpoint().transport()));
        Ok(())
    }

    fn id() -> ProtocolId {
        "/hello/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

fn main() -> Result<(), Error> {
    smol::block_on(async {
        let (heard, mut hearing) = mpsc::unbounded_channel();
        let attach = |node: &Node| {
            let heard = heard.clone();
            node.attach_protocol(move |conn| Hello { conn, heard: heard.clone() })
        };
        // Outside of tokio, and with the feature `smol`, smol is found by itself...
        let ada = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config::loopback())?;
        attach(&ada)?;
        ada.run().await?;

        for endpoint in ada.listen_endpoints() {
            // ... and it can be given, wherever one is.
            let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
            let bob = Node::builder(&key_pair).runtime(Arc::new(SmolRuntime::new())).build()?;
            attach(&bob)?;
            bob.run().await?;
            bob.connect(&endpoint.with_peer_id(ada.peer_id())).await?;
            for _ in ["ada", "bob"] {
                let heard = ada.runtime().timeout(Duration::from_secs(60), hearing.recv()).await.map_err(Error::app)?;
                println!("{}", heard.unwrap_or_default());
            }
            bob.shutdown().await;
        }
        ada.shutdown().await;
        Ok(())
    })
}
