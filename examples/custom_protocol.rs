//! Mandatory and optional protocols, typed messages and a raw stream, between two nodes in one process.

use std::sync::Arc;
use std::time::Duration;

use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{Offence, PeerConn, Protocol, ProtocolId, ProtocolKind, Version};
use p2p::{Config, Error, Node, async_trait};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Adds numbers for others. Every peer must speak it.
struct Sums(PeerConn);

#[derive(Serialize, Deserialize)]
enum Message {
    Add(Vec<u64>),
    Sum(u64),
}

#[async_trait]
impl Protocol for Sums {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.0.send_msg(&Message::Add(vec![1, 2, 3])).await?;
        loop {
            match self.0.recv_msg().await {
                Ok(Message::Add(numbers)) => {
                    let sum = numbers.iter().fold(0, |sum: u64, number| sum.saturating_add(*number));
                    self.0.send_msg(&Message::Sum(sum)).await?;
                }
                Ok(Message::Sum(sum)) => println!("{} says that 1 + 2 + 3 is {sum}", self.0.peer_id().short()),
                // Bytes that are no message. The next message can be received all the same; enough of these are a ban.
                Err(Error::Decode(_)) => self.0.report(Offence::Invalid),
                Err(error) => return Err(error),
            }
        }
    }

    fn id() -> ProtocolId {
        "/sums/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.2.0, >=0.1.0".parse() // this is 0.2.0, and it gets along with 0.1.0 and what follows
    }

    fn kind() -> ProtocolKind {
        ProtocolKind::Mandatory
    }
}

/// Sends back what comes in on a raw stream, in capitals. Used by those who have it.
struct Shout(PeerConn);

#[async_trait]
impl Protocol for Shout {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            let stream = self.0.accept_stream().await?;
            // Ends with the peer, at the latest; meanwhile the next stream can come.
            self.0.spawn(async move {
                let (mut reader, mut writer) = stream.into_split();
                let mut buffer = [0; 1024];
                loop {
                    match reader.read(&mut buffer).await? {
                        0 => return writer.shutdown().await, // the end, and not a reset
                        len => writer.write_all(&buffer[..len].to_ascii_uppercase()).await?,
                    }
                }
            });
        }
    }

    fn id() -> ProtocolId {
        "/shout/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }
}

async fn node(protocols: impl FnOnce(&Node) -> Result<(), Error>) -> Result<Arc<Node>, Error> {
    let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config::loopback())?;
    protocols(&node)?;
    node.run().await?;
    Ok(node)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let both = |node: &Node| {
        node.attach_protocol(Sums)?;
        node.attach_protocol(Shout)
    };
    let (ada, bob) = (node(both).await?, node(both).await?);
    // The optional protocol alone: without the mandatory one nobody talks to it.
    let cyd = node(|node| node.attach_protocol(Shout)).await?;

    let there = ada.listen_endpoints()[0].clone().with_peer_id(ada.peer_id());
    let peer = bob.connect(&there).await?;
    println!("bob and ada both speak {:?}", bob.peer_protocols(&peer).unwrap_or_default());
    match cyd.connect(&there).await {
        Ok(_) => return Err(Error::app("cyd was let in without the mandatory protocol")),
        Err(error) => println!("cyd: {error}"),
    }

    let mut stream = bob.open_stream(&peer, &Shout::id()).await?;
    stream.write_all(b"is anybody there?").await?;
    stream.shutdown().await?;
    let (mut answer, mut rest) = (String::new(), stream.take(1024));
    let read = rest.read_to_string(&mut answer);
    bob.runtime().timeout(Duration::from_secs(60), read).await.map_err(Error::app)??;
    println!("ada shouts: {answer}");
    for node in [&bob, &cyd, &ada] {
        node.shutdown().await; // what was sent arrives before
    }
    Ok(())
}
