//! Five nodes in one process meet over tcp, tls and quic, prove who they are, and speak a protocol of their own.
//!
//! This version has no DHT, so each node is told of those before it (`dial_peers`). Exits with 0 only if everything that
//! it prints has happened.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Direction, DisconnectReason, Error, Node, PeerEvent, PeerInfo, async_trait, runtime};
use p2p_examples::check;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

const NAMES: [&str; 5] = ["ada", "bob", "cyd", "dan", "eve"];
const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// What the nodes say to each other. Any type with serde's traits will do.
#[derive(Serialize, Deserialize)]
enum Message {
    Greeting { from: String },
    Answer { from: String },
}

/// The protocol: one value for each node and peer.
struct Greet {
    conn: PeerConn,
    name: &'static str,
    heard: mpsc::UnboundedSender<(&'static str, Message)>,
}

#[async_trait]
impl Protocol for Greet {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            // When the peer leaves, `recv_msg` gives an error that ends the protocol in good order.
            let message = self.conn.recv_msg().await?;
            if let Message::Greeting { .. } = &message {
                self.conn.send_msg(&Message::Answer { from: self.name.into() }).await?;
            }
            // Nobody listens any more once the story is over.
            let _ = self.heard.send((self.name, message));
        }
    }

    fn id() -> ProtocolId {
        "/greet/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let told = async { runtime::current()?.timeout(Duration::from_secs(10), story()).await.map_err(Error::app)? };
    p2p_examples::exit("quickstart", told.await)
}

async fn story() -> Result<(), Error> {
    let clock = runtime::current()?;
    let started = clock.now();
    let (heard, mut hearing) = mpsc::unbounded_channel();

    println!("Five nodes in this process, each with a key of its own:");
    let mut nodes: Vec<Arc<Node>> = Vec::new();
    for (number, name) in NAMES.into_iter().enumerate() {
        // Each pair of nodes has its turn of the three transports. The endpoints name who must answer there.
        let earlier = nodes.iter().enumerate();
        let dial_peers = earlier.filter_map(|(other, node)| endpoint(node, TRANSPORTS[(number + other) % 3])).collect();
        let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), Config { dial_peers, ..Config::loopback() })?;
        let heard = heard.clone();
        node.attach_protocol(move |conn| Greet { conn, name, heard: heard.clone() })?;
        node.run().await?;
        let ports: Vec<_> = node.listen_endpoints().iter().map(|e| format!("{} {}", e.transport(), e.port())).collect();
        println!("  {name} is {}… and listens on {}", node.peer_id().short(), ports.join(", "));
        nodes.push(node);
    }

    println!("\nEach dials those before it (static peers: this version has no DHT), and both prove their keys:");
    let mut used = BTreeSet::new();
    for (node, name) in nodes.iter().zip(NAMES) {
        for peer in everybody(node).await.iter().filter(|peer| peer.direction == Direction::Outbound) {
            let other = nodes.iter().zip(NAMES).find(|(node, _)| node.peer_id() == peer.peer_id);
            let (_, other) = other.ok_or_else(|| Error::app("a stranger has connected"))?;
            let (transport, rtt) = (peer.endpoint.transport(), peer.rtt.unwrap_or_default());
            println!("  {name} → {other} over {transport}, there and back in {rtt:.0?}");
            used.insert(transport);
        }
    }
    check(used.len() == TRANSPORTS.len(), "a transport was not used")?;

    println!("\nEach greets all others with one broadcast, and each greeting is answered:");
    let sent_at = clock.now();
    for (node, name) in nodes.iter().zip(NAMES) {
        let broadcast = node.broadcast_msg(&Greet::id(), &Message::Greeting { from: name.into() })?;
        check(broadcast.sent == NAMES.len() - 1, "a broadcast did not go to everybody")?;
    }
    let pairs = NAMES.len() * (NAMES.len() - 1);
    let (mut greetings, mut answers) = (BTreeSet::new(), BTreeSet::new());
    while greetings.len() + answers.len() < 2 * pairs {
        let (by, message) = hearing.recv().await.ok_or_else(|| Error::app("a protocol has ended"))?;
        let new = match message {
            Message::Greeting { from } => greetings.insert((by, from)),
            Message::Answer { from } => answers.insert((by, from)),
        };
        check(new, "a message came twice")?;
    }
    let took = clock.now() - sent_at;
    println!("  {} greetings and {} answers delivered in {took:.1?}", greetings.len(), answers.len());

    let mut events = nodes[4].register_peer_events();
    nodes[0].shutdown().await;
    let told = matches!(events.recv().await, Ok(PeerEvent::Removed { peer, reason: DisconnectReason::RemoteShutdown })
        if peer.peer_id == nodes[0].peer_id());
    check(told, "eve was not told that ada left")?;
    for node in &nodes {
        node.shutdown().await;
        check(node.peers() == 0, "a peer is left")?;
    }
    println!("\nada left and eve was told so; then all others left. It took {:.1?}.", clock.now() - started);
    Ok(())
}

/// Where a node listens with a transport, and that it is the node itself that must answer there.
fn endpoint(node: &Node, transport: Transport) -> Option<Endpoint> {
    let found = node.listen_endpoints().into_iter().find(|endpoint| endpoint.transport() == transport);
    found.map(|endpoint| endpoint.with_peer_id(node.peer_id()))
}

/// All others, once they are connected and ping has measured the way to them.
async fn everybody(node: &Node) -> Vec<PeerInfo> {
    let mut looks = node.runtime().interval(Duration::from_millis(10));
    loop {
        let peers = node.peer_ids().into_iter().filter_map(|id| node.peer(&id));
        let measured: Vec<_> = peers.filter(|peer| peer.rtt.is_some()).collect();
        if measured.len() == NAMES.len() - 1 {
            return measured;
        }
        looks.tick().await;
    }
}
