//! A protocol that is not read leaves the others of its connection their rate. Time is virtual: what is compared is what the
//! line is used for, and no other program of the machine has a part in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "shared/held.rs"]
mod held;

use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{PeerConn, Protocol, ProtocolInfo, ProtocolKind};
use p2p::{Config, Error, Node};
use p2p_sim::{Host, Latency, Link, Sim};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::held::Held;

const MBIT: u64 = 1_000_000;
/// The line drops packets where a queue is full: a single round may have to send again what was lost.
const ROUNDS: usize = 9;
const WORLDS: u64 = 3;
const MESSAGES: u32 = 400;
const LEN: usize = 4096;

/// A node that speaks `/slow` beside `/x`, and where its connections come.
struct Speaker {
    node: Arc<Node>,
    slow: UnboundedReceiver<PeerConn>,
    x: UnboundedReceiver<PeerConn>,
}

impl Speaker {
    async fn new(host: &Host, n: u8, transport: Transport) -> Self {
        let listen_endpoints = vec![Endpoint::new(transport, host.ipv4(), 4001)];
        let config = Config { listen_endpoints, ..Config::default() };
        let node = Node::builder(&KeyPair::from_seed([n; 32])).config(config).runtime(host.runtime()).build().unwrap();
        let hold = |name: &str| {
            let info = ProtocolInfo {
                id: name.parse().unwrap(),
                version: "0.1.0".parse().unwrap(),
                kind: ProtocolKind::Optional,
            };
            let (tell, conns) = unbounded_channel();
            node.attach_dyn(info, move |conn| Arc::new(Held(conn, tell.clone())) as Arc<dyn Protocol>).unwrap();
            conns
        };
        let (slow, x) = (hold("/slow"), hold("/x"));
        node.run().await.unwrap();
        Self { node, slow, x }
    }
}

/// Two nodes on a line of their own.
struct Pair {
    nodes: [Arc<Node>; 2],
    slow: [PeerConn; 2],
    x: [PeerConn; 2],
}

impl Pair {
    async fn new(sim: &Sim, n: u8, transport: Transport) -> Self {
        let hosts = [n, n + 1].map(|n| sim.host(format!("host {n}")));
        let mut a = Speaker::new(&hosts[0], n, transport).await;
        let mut b = Speaker::new(&hosts[1], n + 1, transport).await;
        a.node.connect(&b.node.listen_endpoints()[0]).await.unwrap();
        Self {
            slow: [a.slow.recv().await.unwrap(), b.slow.recv().await.unwrap()],
            x: [a.x.recv().await.unwrap(), b.x.recv().await.unwrap()],
            nodes: [a.node, b.node],
        }
    }

    /// Sends what is not read until nothing more is taken, however long one waits. Gives the number of messages.
    async fn fill(&self, sim: &Sim) -> u32 {
        self.fill_from(sim, 0).await
    }

    /// As [`fill`](Self::fill), where so many have been sent already.
    async fn fill_from(&self, sim: &Sim, mut sent: u32) -> u32 {
        let mut refused = 0;
        while refused < 3 {
            match self.slow[0].try_send(message(sent, 60_000)) {
                Ok(()) => (sent, refused) = (sent + 1, 0),
                Err(Error::Busy) => {
                    refused += 1;
                    sim.sleep(Duration::from_secs(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        sent
    }

    /// How long a number of messages takes.
    async fn burst(&self, sim: &Sim) -> Duration {
        let [from, to] = &self.x;
        let began = sim.now();
        let send = async {
            for n in 0..MESSAGES {
                from.send(message(n, LEN)).await.unwrap();
            }
        };
        let recv = async {
            for n in 0..MESSAGES {
                assert_eq!(number(&to.recv().await.unwrap()), n);
            }
        };
        tokio::join!(send, recv);
        sim.now() - began
    }

    async fn shutdown(self) {
        for node in self.nodes {
            node.shutdown().await;
        }
    }
}

/// A message that carries a number.
fn message(n: u32, len: usize) -> Vec<u8> {
    let mut message = vec![0xa5; len];
    message[..4].copy_from_slice(&n.to_le_bytes());
    message
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

fn number(message: &[u8]) -> u32 {
    u32::from_le_bytes(message[..4].try_into().unwrap())
}

/// How long the rounds take without and beside what is not read, in one world.
fn world(seed: u64, transport: Transport, (bandwidth, ms): (u64, u64), what: &str) -> [Vec<Duration>; 2] {
    let sim = Sim::new(seed);
    let latency = Latency::Fixed(Duration::from_millis(ms));
    sim.network().set_default_link(Link::LAN.latency(latency).bandwidth(bandwidth));
    sim.block_on(async {
        let (free, beside) = (Pair::new(&sim, 1, transport).await, Pair::new(&sim, 3, transport).await);
        let stuck = beside.fill(&sim).await;
        assert!(stuck > 0, "{what}");
        let (mut alone, mut with) = (Vec::new(), Vec::new());
        // A first round of each widens the windows.
        for round in 0..=ROUNDS {
            let took = (free.burst(&sim).await, beside.burst(&sim).await);
            if round > 0 {
                alone.push(took.0);
                with.push(took.1);
            }
        }
        let [a, b] = &beside.nodes;
        assert_eq!(a.peer_protocols(&b.peer_id()).unwrap().len(), 2, "{what}");
        for n in 0..stuck {
            assert_eq!(number(&beside.slow[1].recv().await.unwrap()), n, "{what}");
        }
        free.shutdown().await;
        beside.shutdown().await;
        [alone, with]
    })
}

/// For far longer than a stalled connection lives, and than a silent peer is waited for.
#[test]
fn a_protocol_that_is_not_read_keeps_its_messages_and_its_peer() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Quic] {
        let sim = Sim::new(1);
        sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(Duration::from_millis(1))));
        sim.clone().block_on(async {
            let pair = Pair::new(&sim, 1, transport).await;
            let mut stuck = pair.fill(&sim).await;
            let [a, b] = &pair.nodes;
            let until =
                sim.now() + 10 * (a.config().stall_timeout + a.config().ping_interval + a.config().ping_timeout);
            while sim.now() < until {
                pair.burst(&sim).await;
                // Over quic the window grows by a few steps, so that the others have theirs.
                stuck = pair.fill_from(&sim, stuck).await;
            }
            let rtt = pair.x[0].rtt().expect("pings are answered");
            assert!(rtt < Duration::from_millis(100), "{transport}: {rtt:?}");
            assert_eq!((a.peers(), b.peers()), (1, 1), "{transport}");
            for n in 0..stuck {
                assert_eq!(number(&pair.slow[1].recv().await.unwrap()), n, "{transport}");
            }
            pair.shutdown().await;
        });
    }
}

#[test]
fn a_protocol_that_is_not_read_leaves_the_others_their_rate() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Quic] {
        // On the fastest line it is chance which packets a full queue drops over quic: of two connections that are the same in
        // all else one has a tenth more than the other.
        let chance = if transport == Transport::Quic { 0.1 } else { 0.0 };
        for (line, chance) in [((10 * MBIT, 20), 0.0), ((100 * MBIT, 5), 0.0), ((1000 * MBIT, 1), chance)] {
            let what = format!("{transport} at {} Mbit/s, {} ms", line.0 / MBIT, line.1);
            let (mut alone, mut with) = (Vec::new(), Vec::new());
            for seed in 1..=WORLDS {
                let [one, other] = world(seed, transport, line, &what);
                alone.extend(one);
                with.extend(other);
            }
            let rate = median(alone).as_secs_f64() / median(with).as_secs_f64();
            println!("{what}: {:.0} % of the rate", rate * 100.0);
            assert!(rate >= 0.95 - chance, "{what}: {rate}");
        }
    }
}
