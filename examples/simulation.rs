//! A protocol of one's own in the simulator: a network is torn for ten minutes and heals, and the talk goes on. Time is
//! virtual, so it takes no ten minutes; and what has happened once happens again for the same seed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, async_trait};
use p2p_examples::check;
use p2p_sim::{Link, Sim};

const SECOND: Duration = Duration::from_secs(1);

/// Says its name each second. It knows of no simulator: what it needs of the world, it takes from its connection.
struct Talk {
    conn: PeerConn,
    name: String,
    /// How many messages have arrived, such as "bob to ada".
    heard: Arc<tokio::sync::watch::Sender<BTreeMap<String, u64>>>,
}

#[async_trait]
impl Protocol for Talk {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let speak = async {
            loop {
                self.conn.send_msg(&self.name).await?;
                self.conn.runtime().sleep(SECOND).await;
            }
        };
        let listen = async {
            loop {
                let from: String = self.conn.recv_msg().await?;
                let way = format!("{from} to {}", self.name);
                self.heard.send_modify(|heard| *heard.entry(way).or_default() += 1);
            }
        };
        // `biased`: otherwise tokio would draw which one is looked at first, and no two runs would be alike.
        tokio::select! { biased; end = speak => end, end = listen => end }
    }

    fn id() -> ProtocolId {
        "/talk/1".parse().expect("a valid id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

fn main() -> ExitCode {
    let sim = Sim::new(7);
    p2p_examples::exit("simulation", sim.block_on(story(sim.clone())))
}

async fn story(sim: Sim) -> Result<(), Error> {
    sim.network().set_default_link(Link::WAN.loss(0.01));
    let hosts = ["ada", "bob", "cyd"].map(|name| sim.host(name));
    let counts = Arc::new(tokio::sync::watch::Sender::default());
    let (mut nodes, mut earlier) = (Vec::new(), Vec::new());
    for (host, seed) in hosts.iter().zip(1..) {
        let at = Endpoint::new(Transport::Tls, host.ipv4(), 4000);
        let config = Config { listen_endpoints: vec![at.clone()], dial_peers: earlier.clone(), ..Config::default() };
        let node = Node::builder(&KeyPair::from_seed([seed; 32])).config(config).runtime(host.runtime()).build()?;
        let (name, heard) = (host.name().to_owned(), counts.clone());
        node.attach_protocol(move |conn| Talk { conn, name: name.clone(), heard: heard.clone() })?;
        node.run().await?;
        earlier.push(at.with_peer_id(node.peer_id()));
        nodes.push(node);
    }
    let heard = || counts.borrow().clone();
    check(sim.eventually(60 * SECOND, || heard().len() == 6).await, "not everybody hears everybody")?;
    println!("{:>7.1?}  everybody hears everybody", sim.now());

    sim.network().partition(&[&[&hosts[0]], &[&hosts[1], &hosts[2]]]);
    check(sim.eventually(60 * SECOND, || nodes[0].peers() == 0).await, "ada has not noticed")?;
    println!("{:>7.1?}  ada is cut off, and has noticed", sim.now());
    let before = heard();
    sim.sleep(600 * SECOND).await;
    let torn = heard();
    check(torn["bob to ada"] == before["bob to ada"], "a message has crossed the gap")?;
    check(torn["bob to cyd"] > before["bob to cyd"] + 500, "bob and cyd have stopped")?;
    println!("{:>7.1?}  bob and cyd have talked on, ada has heard nothing", sim.now());

    sim.network().heal();
    let resumed = || heard().iter().all(|(way, messages)| *messages > torn[way] + 10);
    check(sim.eventually(150 * SECOND, resumed).await, "the talk has not gone on")?;
    println!("{:>7.1?}  healed, and everybody hears everybody again", sim.now());
    for node in nodes {
        node.shutdown().await;
        check(node.tasks() == 0, "a task is left")?;
    }
    println!("seed {}, trace {:016x}", sim.seed(), sim.report().hash);
    Ok(())
}
