//! A DHT node without anything else: stores and finds values among those that run the same program.
//!
//! ```text
//! cargo run -p p2p-kademlia --example interactive -- quic://0.0.0.0:9001
//! cargo run -p p2p-kademlia --example interactive -- quic://0.0.0.0:9002 quic://127.0.0.1:9001
//! ```
//!
//! Then type `put WORDS`, `get KEY`, `peers`, `joined` or `quit`.

use std::error::Error;

use p2p_identity::{KeyPair, KeyPairType};
use p2p_kademlia::{Dht, KademliaConfig};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut endpoints = std::env::args().skip(1).map(|text| text.parse());
    let listen = endpoints.next().unwrap_or_else(|| "quic://127.0.0.1:0".parse())?;
    let config = KademliaConfig {
        discovery_endpoints: vec![listen],
        bootstrap_peers: endpoints.collect::<Result<_, _>>()?,
        ..KademliaConfig::loopback()
    };
    let dht = Dht::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
    dht.run().await?;
    println!("peer {} at {}", dht.peer_id(), dht.endpoints()[0]);
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match command {
            "put" => match dht.put(rest.to_string()).await {
                Ok(put) => println!("{} is kept by {} nodes", put.key, put.stored),
                Err(error) => println!("{error}"),
            },
            "get" => match rest.parse() {
                Ok(key) => match dht.get(&key).await? {
                    Some(value) => println!("{}", String::from_utf8_lossy(&value)),
                    None => println!("nobody has it"),
                },
                Err(error) => println!("{error}"),
            },
            "peers" => {
                println!("{} of about {:.0}", dht.contacts().len(), dht.network_size().map_or(0.0, |size| size.nodes));
            }
            "joined" => match dht.joined().await {
                Ok(joined) => println!("{joined}"),
                Err(error) => println!("{error}"),
            },
            "quit" => break,
            _ => println!("put WORDS, get KEY, peers, joined, or quit"),
        }
    }
    dht.shutdown().await;
    Ok(())
}
