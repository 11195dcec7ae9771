//! Five nodes in one process find each other through the DHT, from one address; they connect over tcp, tls and quic, prove
//! who they are, and speak a protocol of their own. Exits with 0 only if everything that it prints has happened.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Direction, DisconnectReason, Error, Node, PeerEvent, PeerInfo, async_trait, runtime};
use p2p_examples::check;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Who is there and listens where. Eve, as if behind a home router, dials all others, so every transport is used.
const NODES: [(&str, Option<&str>); 5] = [
    ("ada", Some("quic://127.0.0.1:0")),
    ("bob", Some("tls://127.0.0.1:0")),
    ("cyd", Some("tcp://127.0.0.1:0")),
    ("dan", Some("quic://127.0.0.1:0")),
    ("eve", None),
];
const OTHERS: usize = NODES.len() - 1;

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
    let told = async { runtime::current()?.timeout(Duration::from_secs(60), story()).await.map_err(Error::app)? };
    p2p_examples::exit("quickstart", told.await)
}

async fn story() -> Result<(), Error> {
    let clock = runtime::current()?;
    let started = clock.now();
    let (heard, mut hearing) = mpsc::unbounded_channel();

    println!("Five nodes in this process, each with a key of its own. All but ada are given one address, ada's:");
    let (mut nodes, mut bootstrap_peers): (Vec<Arc<Node>>, Vec<Endpoint>) = Default::default();
    for (name, listen) in NODES {
        let listen_endpoints = listen.iter().map(|text| text.parse()).collect::<Result<Vec<Endpoint>, _>>()?;
        let config = Config {
            discovery_endpoints: p2p_examples::dht_beside(&listen_endpoints),
            listen_endpoints,
            bootstrap_peers: bootstrap_peers.clone(),
            ..Config::loopback()
        };
        let node = Node::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
        let heard = heard.clone();
        node.attach_protocol(move |conn| Greet { conn, name, heard: heard.clone() })?;
        node.run().await?;
        let endpoint = node.listen_endpoints().first().map(|endpoint| endpoint.clone().with_peer_id(node.peer_id()));
        let place = endpoint.as_ref().map_or("nowhere".into(), |at| format!("over {}", at.transport()));
        println!("  {name} is {}… and listens {place}", node.peer_id().short());
        bootstrap_peers.extend(endpoint.filter(|_| nodes.is_empty()));
        nodes.push(node);
    }

    println!("\nThe DHT tells each of the others; they connect, and both sides prove their keys:");
    let mut used = Vec::new();
    for (node, (name, _)) in nodes.iter().zip(NODES) {
        for peer in everybody(node).await.iter().filter(|peer| peer.direction == Direction::Outbound) {
            let other = nodes.iter().zip(NODES).find(|(node, _)| node.peer_id() == peer.peer_id);
            let (_, (other, _)) = other.ok_or_else(|| Error::app("a stranger has connected"))?;
            let (transport, rtt) = (peer.endpoint.transport(), peer.rtt.unwrap_or_default());
            println!("  {name} → {other} over {transport}, there and back in {rtt:.0?}");
            used.push(transport);
        }
    }
    check(used.len() == NODES.len() * OTHERS / 2, "a pair is not connected exactly once")?;
    check(used.iter().collect::<BTreeSet<_>>().len() == 3, "a transport was not used")?;

    println!("\nEach greets all others with one broadcast, and each greeting is answered:");
    let sent_at = clock.now();
    for (node, (name, _)) in nodes.iter().zip(NODES) {
        let broadcast = node.broadcast_msg(&Greet::id(), &Message::Greeting { from: name.into() })?;
        check(broadcast.sent == OTHERS, "a broadcast did not go to everybody")?;
    }
    let (mut greetings, mut answers) = (BTreeSet::new(), BTreeSet::new());
    while greetings.len() + answers.len() < 2 * NODES.len() * OTHERS {
        let (by, message) = hearing.recv().await.ok_or_else(|| Error::app("a protocol has ended"))?;
        let new = match message {
            Message::Greeting { from } => greetings.insert((by, from)),
            Message::Answer { from } => answers.insert((by, from)),
        };
        check(new, "a message came twice")?;
    }
    let (greetings, answers, took) = (greetings.len(), answers.len(), clock.now() - sent_at);
    println!("  {greetings} greetings and {answers} answers delivered in {took:.1?}");

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

/// All others, once they are connected and ping has measured the way to them.
async fn everybody(node: &Node) -> Vec<PeerInfo> {
    let measured = || {
        let peers = node.peer_ids().into_iter().filter_map(|id| node.peer(&id));
        let measured: Vec<_> = peers.filter(|peer| peer.rtt.is_some()).collect();
        (measured.len() == OTHERS).then_some(measured)
    };
    p2p_examples::until(node.runtime(), measured).await
}
