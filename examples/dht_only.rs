//! The DHT alone, without a `Node`: values, values that their publisher replaces, providers, and peers by their names.
//!
//! Six nodes on this machine. All but the first know one address to begin with.

use std::process::ExitCode;
use std::time::Duration;

use p2p::endpoint::Endpoint;
use p2p::kademlia::{Dht, KademliaConfig, Key};
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::{Error, runtime};
use p2p_examples::check;

/// Nodes beside each.
const OTHERS: usize = 5;

#[tokio::main]
async fn main() -> ExitCode {
    let told = async { runtime::current()?.timeout(Duration::from_secs(60), story()).await.map_err(Error::app)? };
    p2p_examples::exit("dht_only", told.await)
}

async fn story() -> Result<(), Error> {
    let first = start(Vec::new()).await?;
    let bootstrap = vec![first.endpoints()[0].clone()];
    println!("the first node is at {}", bootstrap[0]);
    let mut nodes = vec![first];
    for _ in 0..OTHERS {
        nodes.push(start(bootstrap.clone()).await?);
    }
    let (writer, reader) = (&nodes[1], &nodes[5]);
    // Calls wait by themselves until a node has found somebody; a network of six is soon known whole.
    let known = || [writer, reader].iter().all(|dht| dht.contacts().len() == OTHERS).then_some(());
    p2p_examples::until(writer.runtime(), known).await;

    // A value that never changes is found under its hash, so nobody can pass off another one.
    let put = writer.put("the tide is at six").await?;
    let value = reader.get(&put.key).await?;
    check(value.as_deref() == Some(b"the tide is at six"), "the value was not found")?;
    println!("put and get: a value that {} other nodes keep, found under {}", put.stored, put.key);

    // One that is replaced is found under its publisher's key and a name. Whoever reads checks the signature.
    writer.put_mutable("status", "at sea", None).await?;
    let publisher = writer.peer_id().into();
    let before = reader.get_mutable(&publisher, "status").await?.ok_or_else(|| Error::app("there is no status"))?;
    // Only if nobody else with this key has replaced it meanwhile.
    writer.put_mutable("status", "ashore", Some(before.seq)).await?;
    let after = reader.get_mutable(&publisher, "status").await?.ok_or_else(|| Error::app("the status is gone"))?;
    check((&*before.value, &*after.value) == (b"at sea", b"ashore"), "the status was not replaced")?;
    check(writer.put_mutable("status", "lost", Some(before.seq)).await.is_err(), "an old status was replaced")?;
    println!("put_mutable: number {} was replaced by number {}", before.seq, after.seq);

    // What is large stays where it is; the DHT says who has it, for as long as `providing` is held.
    let chart = Key::of_value(b"chart of the bay");
    let providing = writer.provide(chart).await?;
    let mut providers = reader.providers(&chart)?;
    let record = providers.next().await.ok_or_else(|| Error::app("nobody provides the chart"))?;
    check(record.peer_id() == writer.peer_id(), "somebody else provides the chart")?;
    println!("provide: the chart is with {}…", record.peer_id().short());
    drop(providing);

    let found = reader.find_peer(&nodes[3].peer_id()).await?;
    let found = found.ok_or_else(|| Error::app("the peer was not found"))?;
    check(found.peer_id() == nodes[3].peer_id() && !found.discovery_addrs().is_empty(), "its record is wrong")?;
    println!("find_peer: {}… is at {}", found.peer_id().short(), found.discovery_addrs()[0].endpoint);

    for node in &nodes {
        node.shutdown().await;
        check(node.tasks() == 0, "a task is left")?;
    }
    Ok(())
}

/// A node of the DHT with a key of its own, on free ports of 127.0.0.1.
async fn start(bootstrap_peers: Vec<Endpoint>) -> Result<Dht, Error> {
    let key_pair = KeyPair::generate(&KeyPairType::Ed25519);
    let dht = Dht::new(&key_pair, KademliaConfig { bootstrap_peers, ..KademliaConfig::loopback() })?;
    dht.run().await?;
    Ok(dht)
}
