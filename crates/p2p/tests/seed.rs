//! The first program of the seed, the system that this one answers to, runs here: an echo node with a constructor of its own, a
//! TCP endpoint for peers, and a TCP and a UDP endpoint for discovery at one port. Ports are the system's choice here, and
//! somebody else is there to hear the echo.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;

use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, async_trait};

/// What nothing on loopback takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(180);

struct Echo {
    peer: PeerConn,
}

impl Echo {
    fn new(peer: PeerConn) -> Self {
        Self { peer }
    }

    fn new_shared(peer: PeerConn) -> Arc<Self> {
        Arc::new(Self { peer })
    }

    /// The seed's own form.
    fn new_dyn(peer: PeerConn) -> Arc<dyn Protocol> {
        Arc::new(Self { peer })
    }
}

#[async_trait]
impl Protocol for Echo {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            match self.peer.recv().await {
                Ok(message) => drop(self.peer.broadcast(message)?),
                Err(Error::PeerShutdown) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn version() -> Result<Version, Error> {
        "0.1.0, 0.1.0".parse()
    }

    fn id() -> ProtocolId {
        "ECHO".parse().unwrap()
    }
}

/// Says one thing and tells what comes back.
struct Caller {
    peer: PeerConn,
    heard: tokio::sync::mpsc::UnboundedSender<String>,
}

#[async_trait]
impl Protocol for Caller {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.peer.send("is anybody there?").await?;
        let echo = self.peer.recv().await?;
        let _ = self.heard.send(String::from_utf8_lossy(&echo).into_owned());
        Ok(())
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }

    fn id() -> ProtocolId {
        Echo::id()
    }
}

async fn echoes(attach: impl FnOnce(&Node) -> Result<(), Error>) {
    let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
    let config = Config {
        listen_endpoints: vec!["tcp://127.0.0.1:0".parse().unwrap()],
        discovery_endpoints: vec!["tcp://127.0.0.1:0".parse().unwrap(), "udp://127.0.0.1:0".parse().unwrap()],
        ..Default::default()
    };
    let node = Node::new(&key_pair, config).unwrap();
    attach(&node).expect("attach the echo protocol");
    node.run().await.expect("run the node");

    let caller = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config::default()).unwrap();
    let (tell, mut heard) = tokio::sync::mpsc::unbounded_channel();
    // A closure whose argument has no type written down: it is known from what is wanted.
    caller.attach_protocol(move |peer| Caller { heard: tell.clone(), peer: peer.clone() }).unwrap();
    caller.run().await.unwrap();
    caller.connect(&node.listen_endpoints()[0]).await.unwrap();
    let echo = caller.runtime().timeout(PATIENCE, heard.recv()).await.expect("an echo").unwrap();
    assert_eq!(echo, "is anybody there?");

    caller.shutdown().await;
    node.shutdown().await;
}

#[tokio::test]
async fn a_constructor_may_return_the_protocol() {
    echoes(|node| node.attach_protocol(Echo::new)).await;
}

#[tokio::test]
async fn a_constructor_may_return_an_arc_of_the_protocol() {
    echoes(|node| node.attach_protocol(Echo::new_shared)).await;
}

#[tokio::test]
async fn a_constructor_may_return_a_dyn_protocol_as_the_seed_does() {
    echoes(|node| node.attach_protocol::<Echo>(Echo::new_dyn)).await;
}

/// With the protocol named, the other forms go too.
#[tokio::test]
async fn the_protocol_may_be_named_in_any_form() {
    echoes(|node| node.attach_protocol::<Echo>(Echo::new)).await;
    echoes(|node| node.attach_protocol::<Echo>(move |peer| Arc::new(Echo::new(peer)))).await;
}
