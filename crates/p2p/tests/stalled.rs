//! A hub with fifty peers: what it broadcasts has the lines for itself, and goes on when one of them has stopped altogether.
//! Time is virtual: what is compared is what the hub's line is used for, and no other program of the machine has a part in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "shared/held.rs"]
mod held;

use std::sync::Arc;
use std::time::Duration;

use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{PeerConn, Protocol};
use p2p::{Config, DisconnectReason, Node, PeerEvent};
use p2p_sim::{Host, Latency, Link, Sim};
use tokio::sync::mpsc::unbounded_channel;

use self::held::Held;

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];
const PEERS: u8 = 50;
const LEN: usize = 5_000;
const MBIT: u64 = 1_000_000;
/// Between rounds.
const PAUSE: Duration = Duration::from_millis(200);
/// Rounds before the one stops.
const ROUNDS: usize = 25;

async fn node(host: &Host, n: u8, transport: Transport) -> (Arc<Node>, impl AsyncFnMut() -> PeerConn + use<>) {
    let listen_endpoints = vec![Endpoint::new(transport, host.ipv4(), 4001)];
    let config = Config { listen_endpoints, ..Config::default() };
    let node = Node::builder(&KeyPair::from_seed([n; 32])).config(config).runtime(host.runtime()).build().unwrap();
    let (tell, mut conns) = unbounded_channel();
    node.attach_protocol(move |conn| Held(conn, tell.clone())).unwrap();
    node.run().await.unwrap();
    (node, async move || conns.recv().await.unwrap())
}

/// One message to everybody, and back when all readers have it. Gives the time, and how many were skipped.
async fn round(sim: &Sim, hub: &Node, n: usize, len: usize, readers: &[PeerConn]) -> (Duration, usize) {
    let began = sim.now();
    let mut message = vec![0xa5; len];
    message[..8].copy_from_slice(&n.to_le_bytes());
    let broadcast = hub.broadcast(&Held::id(), message.clone()).unwrap();
    for reader in readers {
        assert_eq!(reader.recv().await.unwrap(), message);
    }
    (sim.now() - began, broadcast.busy.len())
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

#[test]
fn forty_nine_keep_their_rate_beside_one_that_has_stopped() {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        let latency = Latency::Fixed(Duration::from_millis(1));
        sim.network().set_default_link(Link::LAN.latency(latency).bandwidth(1000 * MBIT));
        sim.clone().block_on(async {
            let (hub, mut at_hub) = node(&sim.host("hub"), 1, transport).await;
            let (mut hosts, mut nodes, mut readers, mut to_last) = (Vec::new(), Vec::new(), Vec::new(), None);
            for n in 0..PEERS {
                let host = sim.host(format!("peer{n}"));
                let (peer, mut conn) = node(&host, 10 + n, transport).await;
                peer.connect(&hub.listen_endpoints()[0]).await.unwrap();
                readers.push(conn().await);
                to_last = Some(at_hub().await);
                hosts.push(host);
                nodes.push(peer);
            }
            assert!(sim.eventually(Duration::from_secs(1), || hub.peers() == usize::from(PEERS)).await, "{transport}");
            let mut events = hub.register_peer_events();
            let (_unread, stopped) = (readers.pop(), nodes.last().unwrap().peer_id());
            let (mut n, mut before, mut beside) = (0, Vec::new(), Vec::new());
            while before.len() < ROUNDS {
                before.push(round(&sim, &hub, n, LEN, &readers).await.0);
                n += 1;
                sim.sleep(PAUSE).await;
            }
            hosts.last().unwrap().pause();
            let (began, to_it) = (sim.now(), to_last.unwrap());
            assert_eq!(to_it.peer_id(), stopped);
            let mut skipped = 0;
            let reason = loop {
                // It is sent more than all that lies between takes.
                while to_it.try_send(vec![0; 100_000]).is_ok() {}
                let (took, busy) = round(&sim, &hub, n, LEN, &readers).await;
                beside.push(took);
                skipped += busy;
                n += 1;
                match events.try_recv() {
                    Some(Ok(PeerEvent::Removed { peer, reason })) if peer.peer_id == stopped => break reason,
                    None => {}
                    other => panic!("{transport}: {other:?}"),
                }
                sim.sleep(PAUSE).await;
            };
            let took = sim.now() - began;
            let rate = median(before.clone()).as_secs_f64() / median(beside).as_secs_f64();
            println!("{transport}: {:.0} % of the rate, gone after {took:?}: {reason}", rate * 100.0);
            assert!(skipped > 0, "{transport}: nobody was named");
            assert!(rate >= 0.95, "{transport}: {rate}");
            // It is silent, unless its kernel says that the socket is full.
            assert!(
                matches!(reason, DisconnectReason::Stalled | DisconnectReason::PingTimeout),
                "{transport}: {reason}"
            );
            let Config { stall_timeout, ping_interval, ping_timeout, .. } = *hub.config();
            let (least, most) = (stall_timeout.min(ping_interval + ping_timeout), 2 * (ping_interval + ping_timeout));
            assert!(took >= least && took <= most, "{transport}: {took:?}");
            assert_eq!(hub.peers(), usize::from(PEERS) - 1, "{transport}");
            hosts.last().unwrap().resume();
            hub.shutdown().await;
            for node in nodes {
                node.shutdown().await;
            }
        });
    }
}

/// Each message fills its socket for a moment. That is no full uplink, which all would have to share.
#[test]
fn a_broadcast_now_and_then_has_the_lines_for_itself() {
    for transport in TRANSPORTS {
        let sim = Sim::new(1);
        let latency = Latency::Fixed(Duration::from_millis(1));
        sim.network().set_default_link(Link::LAN.latency(latency).bandwidth(1000 * MBIT));
        sim.clone().block_on(async {
            let (hub, _at_hub) = node(&sim.host("hub"), 1, transport).await;
            let (mut nodes, mut readers) = (Vec::new(), Vec::new());
            for n in 0..PEERS {
                let (peer, mut conn) = node(&sim.host(format!("peer{n}")), 10 + n, transport).await;
                peer.connect(&hub.listen_endpoints()[0]).await.unwrap();
                readers.push(conn().await);
                nodes.push(peer);
            }
            assert!(sim.eventually(Duration::from_secs(1), || hub.peers() == usize::from(PEERS)).await, "{transport}");
            let mut times = Vec::new();
            for n in 0..40 {
                times.push(round(&sim, &hub, n, 50_000, &readers).await.0);
                sim.sleep(PAUSE).await;
            }
            // Not more than what a lost packet costs.
            let slowest = times.iter().max().unwrap();
            println!("{transport}: at most {slowest:?}");
            assert!(*slowest <= Duration::from_millis(20), "{transport}: {times:?}");
            hub.shutdown().await;
            for node in nodes {
                node.shutdown().await;
            }
        });
    }
}
