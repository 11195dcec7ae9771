//! A node that wants to end something while eight peers send it messages without end, and hold streams that it does not accept.
//! Time is virtual.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, PeerConn};
use p2p_sim::{Latency, Link, Sim};

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];
const FLOODERS: u8 = 8;
/// Nearly as many as a peer may open.
const STREAMS: usize = 100;
const SECOND: Duration = Duration::from_secs(1);

/// What one side does with the other.
#[derive(Clone)]
enum Role {
    /// Opens streams that nobody accepts, and sends messages without end.
    Floods,
    /// Reads messages and counts them; accepts no stream.
    Reads(Arc<AtomicUsize>),
}

struct Flood(PeerConn, Role);

#[p2p::async_trait]
impl Protocol for Flood {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        match &self.1 {
            Role::Reads(count) => loop {
                self.0.recv().await?;
                count.fetch_add(1, Ordering::Relaxed);
            },
            Role::Floods => {
                let mut streams = Vec::new();
                for _ in 0..STREAMS {
                    let mut stream = self.0.open_stream().await?;
                    stream.send_msg(&vec![0u8; 1000]).await?;
                    streams.push(stream);
                }
                loop {
                    self.0.send(vec![0; 1000]).await?;
                }
            }
        }
    }

    fn id() -> ProtocolId {
        "/flood/1".parse().unwrap()
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

/// Eight flooders and who they flood, for a moment; and how many messages that one has read.
async fn flooded(sim: &Sim, transport: Transport) -> (Arc<Node>, Vec<Arc<Node>>, Arc<AtomicUsize>) {
    sim.network().set_default_link(Link::LAN.latency(Latency::Fixed(Duration::from_millis(10))));
    let read = Arc::new(AtomicUsize::new(0));
    let mut nodes = Vec::new();
    for n in 0..=FLOODERS {
        let host = sim.host(format!("host{n}"));
        let listen_endpoints = vec![Endpoint::new(transport, host.ipv4(), 4001)];
        let config = Config { listen_endpoints, ..Config::default() };
        let node = Node::builder(&KeyPair::from_seed([n + 1; 32])).config(config).runtime(host.runtime());
        let node = node.build().unwrap();
        let role = if n == 0 { Role::Reads(read.clone()) } else { Role::Floods };
        node.attach_protocol(move |conn| Flood(conn, role.clone())).unwrap();
        node.run().await.unwrap();
        nodes.push(node);
    }
    let victim = nodes.remove(0);
    for flooder in &nodes {
        flooder.connect(&victim.listen_endpoints()[0]).await.unwrap();
    }
    sim.sleep(SECOND / 5).await;
    assert_eq!(victim.peers(), nodes.len());
    assert!(read.load(Ordering::Relaxed) > 100, "{transport}: there is no flood");
    (victim, nodes, read)
}

#[test]
fn a_shutdown_under_the_flood_of_eight_peers_takes_the_drain_timeout_and_a_little() {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        sim.clone().block_on(async {
            let (victim, flooders, _) = flooded(&sim, transport).await;
            let began = sim.now();
            victim.shutdown().await;
            let (took, most) = (sim.now() - began, victim.config().drain_timeout + SECOND);
            assert!(took <= most, "{transport}: {took:?}");
            assert_eq!(victim.tasks(), 0);
            for flooder in flooders {
                flooder.shutdown().await;
            }
        });
    }
}

#[test]
fn a_ban_under_flood_ends_the_connection_at_once() {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        sim.clone().block_on(async {
            let (victim, flooders, read) = flooded(&sim, transport).await;
            for flooder in &flooders {
                let began = sim.now();
                victim.ban(&flooder.peer_id(), 600 * SECOND);
                assert!(sim.eventually(SECOND, || victim.peer(&flooder.peer_id()).is_none()).await, "{transport}");
                let took = sim.now() - began;
                assert!(took <= Duration::from_millis(50), "{transport}: {took:?}");
            }
            assert_eq!(victim.peers(), 0);
            let left = read.load(Ordering::Relaxed);
            sim.sleep(10 * SECOND).await;
            assert_eq!(read.load(Ordering::Relaxed), left, "{transport}: something is read of who is banned");
            for node in flooders.into_iter().chain([victim]) {
                node.shutdown().await;
            }
        });
    }
}
