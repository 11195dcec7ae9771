//! A plain node from the command line: listens, finds others through the DHT, and says who comes and goes.
//!
//! ```sh
//! peer --listen quic://0.0.0.0:9000 --listen tls://0.0.0.0:9000 --key node.key
//! peer --listen quic://0.0.0.0:0 --bootstrap quic://PEERID@192.0.2.7:9000
//! ```

use std::path::PathBuf;
use std::process::ExitCode;

use lexopt::Arg;
use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::{Config, Error, Node, PeerEvent, RecvError};

const HELP: &str = "\
Usage: peer [--listen ENDPOINT]... [--bootstrap ENDPOINT]... [--peer ENDPOINT]... [--key FILE]

  --listen ENDPOINT     where to accept connections, such as quic://0.0.0.0:9000 (port 0: any free one)
  --bootstrap ENDPOINT  a node of the DHT to find all others from, such as quic://PEERID@192.0.2.7:9000
  --peer ENDPOINT       whom to dial and to stay connected with, found or not
  --key FILE            keeps this node's key, and so its name, from one run to the next";

#[derive(Default)]
struct Flags {
    listen: Vec<Endpoint>,
    bootstrap: Vec<Endpoint>,
    peers: Vec<Endpoint>,
    key: Option<PathBuf>,
}

impl Flags {
    /// `None` when help was asked for.
    fn parse(mut args: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        use lexopt::ValueExt;
        let mut flags = Self::default();
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Long("listen") => flags.listen.push(args.value()?.parse()?),
                Arg::Long("bootstrap") => flags.bootstrap.push(args.value()?.parse()?),
                Arg::Long("peer") => flags.peers.push(args.value()?.parse()?),
                Arg::Long("key") => flags.key = Some(args.value()?.into()),
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Some(flags))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    // RUST_LOG=p2p=debug shows what the node does.
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let flags = match Flags::parse(lexopt::Parser::from_env()) {
        Ok(Some(flags)) => flags,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("peer: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    p2p_examples::exit("peer", run(flags).await)
}

async fn run(flags: Flags) -> Result<(), Error> {
    let key_pair = match flags.key {
        Some(path) => KeyPair::load_or_generate(path)?,
        None => KeyPair::generate(&KeyPairType::Ed25519),
    };
    let config = Config {
        discovery_endpoints: p2p_examples::dht_beside(&flags.listen),
        listen_endpoints: flags.listen,
        bootstrap_peers: flags.bootstrap,
        dial_peers: flags.peers,
        ..Config::default()
    };
    let node = Node::new(&key_pair, config)?;
    // Registered before `run`, so that no peer is missed.
    let mut events = node.register_peer_events();
    let mut interrupted = p2p_examples::interrupted();
    node.run().await?;

    println!("this is {}", node.peer_id());
    for endpoint in node.dialable_endpoints() {
        println!("listening on {endpoint}");
    }
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            event = events.recv() => match event {
                Ok(PeerEvent::Added { peer }) => println!("connected: {} at {}", peer.peer_id, peer.endpoint),
                Ok(PeerEvent::Removed { peer, reason }) => println!("disconnected: {}: {reason}", peer.peer_id),
                Ok(PeerEvent::HandshakeFailed { endpoint, reason, .. }) => println!("refused: {endpoint}: {reason}"),
                Ok(_) => {}
                // Only this program was slow; the node has gone on.
                Err(RecvError::Lagged(missed)) => println!("({missed} events missed)"),
                Err(_) => break,
            },
        }
    }
    println!("leaving");
    node.shutdown().await;
    Ok(())
}
