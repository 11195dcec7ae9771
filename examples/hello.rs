//! The program of the README: says hello to everybody whom it finds.

use std::sync::Arc;

use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, async_trait};

struct Hello(PeerConn);

#[async_trait]
impl Protocol for Hello {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.send_msg("hello").await?;
        let text: String = self.0.recv_msg().await?;
        println!("{} says {text:?} over {}", self.0.peer_id(), self.0.remote_endpoint());
        Ok(())
    }

    fn id() -> ProtocolId {
        "/hello/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        eprintln!("{error}");
        std::process::exit(1);
    }
}

async fn run() -> Result<(), Error> {
    let listen_endpoints = vec!["quic://0.0.0.0:0".parse()?]; // for peers and lookups
    let discovery_endpoints = vec!["udp://0.0.0.0:0".parse()?]; // for liveness pings
    let bootstrap_peers = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let config = Config { listen_endpoints, discovery_endpoints, bootstrap_peers, ..Config::default() };
    let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
    node.attach_protocol(Hello)?;
    node.run().await?;
    for endpoint in node.dialable_endpoints() {
        println!("this is {endpoint}");
    }
    if let Some(dht) = node.dht() {
        match dht.joined().await {
            Ok(standing) => println!("{standing}"), // whether others reach this node, or why not
            Err(error) => println!("{error}; it is tried again"),
        }
    }
    std::future::pending().await // until Ctrl-C
}
