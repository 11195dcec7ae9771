//! A chat in the terminal. Whoever knows the address of one who is there finds all others through the DHT.
//!
//! ```sh
//! chat --name ada                                      # prints quic://PEERID@192.0.2.7:41234
//! chat --name bob quic://PEERID@192.0.2.7:41234        # in another terminal, or on another machine
//! ```
//! Lines are sent to everybody; `/peers` lists who is there; `/quit` leaves, and so do Ctrl-C and the end of the input.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lexopt::prelude::*;
use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, PeerId, async_trait};
use p2p_examples::printable;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Every message says who speaks, so that no order of things can leave a line without a name.
#[derive(Serialize, Deserialize)]
struct Message {
    name: String,
    /// `None`: only saying hello.
    text: Option<String>,
}

/// Who is there. Shared by the protocols of all peers and by `main`.
type Names = Arc<Mutex<BTreeMap<PeerId, String>>>;

fn lock(names: &Names) -> MutexGuard<'_, BTreeMap<PeerId, String>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Chat {
    conn: PeerConn,
    name: String,
    names: Names,
}

#[async_trait]
impl Protocol for Chat {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let peer = self.conn.peer_id();
        let talk = async {
            let greeting = self.conn.send_msg(&Message { name: self.name.clone(), text: None }).await;
            // Who has said all and is leaving can no more be greeted, but still be heard.
            greeting.or_else(|error| if matches!(error, Error::PeerShutdown) { Ok(()) } else { Err(error) })?;
            loop {
                let Message { name, text } = self.conn.recv_msg().await?;
                // The text is a stranger's: nothing in it may move the cursor.
                let name: String = printable(&name).chars().take(32).collect();
                if lock(&self.names).insert(peer, name.clone()).is_none() {
                    println!("* {name} has joined");
                }
                text.iter().for_each(|text| println!("{name}: {}", printable(text)));
            }
        };
        let end: Result<(), Error> = talk.await;
        lock(&self.names).remove(&peer).iter().for_each(|name| println!("* {name} has left"));
        end
    }

    fn id() -> ProtocolId {
        "/chat/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// The lines of standard input. One thread reads it, because reading a terminal blocks.
#[expect(clippy::disallowed_methods, reason = "nothing else can leave a read; it ends with the program")]
fn input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

#[tokio::main]
async fn main() -> ExitCode {
    p2p_examples::exit("chat", run().await)
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (mut name, mut listen, mut dial) = (None::<String>, Vec::new(), Vec::new());
    let mut args = lexopt::Parser::from_env();
    while let Some(arg) = args.next()? {
        match arg {
            Long("name") => name = Some(args.value()?.parse()?),
            Long("listen") => listen.push(args.value()?.parse()?),
            Value(endpoint) => dial.push(endpoint.parse::<Endpoint>()?),
            _ => return Err("Usage: chat [--name NAME] [--listen ENDPOINT]... [ENDPOINT]...".into()),
        }
    }
    if listen.is_empty() {
        listen.push("quic://0.0.0.0:0".parse()?);
    }
    let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
    let name = name.unwrap_or_else(|| key_pair.public().peer_id().short());
    let names = Names::default();

    let config = Config {
        network: "chat".into(),
        discovery_endpoints: p2p_examples::dht_beside(&listen),
        listen_endpoints: listen,
        bootstrap_peers: dial.clone(),
        ..Config::default()
    };
    let node = Node::new(&key_pair, config)?;
    let mut interrupted = p2p_examples::interrupted();
    let shared = (name.clone(), names.clone());
    node.attach_protocol(move |conn| Chat { conn, name: shared.0.clone(), names: shared.1.clone() })?;
    node.run().await?;
    for endpoint in node.dialable_endpoints() {
        println!("* this is {name}; others join with: chat {endpoint}");
    }
    for endpoint in &dial {
        node.connect(endpoint).await?;
    }
    p2p_examples::say_what_came_of_joining(&node);
    let mut lines = input();
    while let Some(line) = tokio::select! { line = lines.recv() => line, () = &mut interrupted => None } {
        match line.trim() {
            "" => {}
            "/quit" => break,
            "/peers" => lock(&names).iter().for_each(|(peer, name)| println!("* {name} is {peer}")),
            command if command.starts_with('/') => println!("* there is /peers and /quit"),
            line => {
                let sent = node.broadcast_msg(&Chat::id(), &Message { name: name.clone(), text: Some(line.into()) })?;
                if !sent.busy.is_empty() {
                    println!("* {} did not get it: too slow", sent.busy.len());
                }
            }
        }
    }
    // Says good-bye to everybody, after what was said has arrived.
    node.shutdown().await;
    Ok(())
}
