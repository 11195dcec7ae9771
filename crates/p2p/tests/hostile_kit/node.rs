//! The node under attack, in a process of its own: it takes orders on standard input, a line each, and answers on standard
//! output.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use p2p::endpoint::Endpoint;
use p2p::keypair::{KeyPair, KeyPairType};
use p2p::layers::core::RecvError;
use p2p::{Config, ConnectionEvent, ConnectionEventKind, DisconnectReason, Node, PeerEvent, PeerId};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cases::Case;
use crate::common::{ECHO, Target};

/// What has happened, by name; and how often each peer was removed.
type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;
type Removals = Arc<Mutex<BTreeMap<PeerId, u64>>>;

fn count(counts: &Counts, what: &'static str) {
    *counts.lock().unwrap().entry(what).or_default() += 1;
}

/// Runs the node of a case until it is told to end, or until whoever started it is gone.
pub(crate) async fn serve(case: &Case, dials: Vec<Endpoint>) {
    let key = KeyPair::generate(&KeyPairType::Ed25519);
    let target = Target::with_config(&key, Config::loopback(), |config| {
        config.dial_peers = dials;
        (case.node)(config);
    })
    .await;
    let counts = Counts::default();
    let removals = Removals::default();
    watch(&target.node, &counts, removals.clone());
    let mut ready = format!("ready {}", target.node.peer_id());
    let dht = target.node.dht().into_iter().flat_map(|dht| dht.endpoints());
    for endpoint in target.node.listen_endpoints().into_iter().chain(dht) {
        ready += &format!(" {endpoint}");
    }
    println!("{ready}");
    let mut orders = orders();
    while let Some(order) = orders.recv().await {
        let (verb, rest) = order.split_once(' ').unwrap_or((&order, ""));
        match verb {
            "counts" => println!("counts{}", told(&target.node, &counts)),
            "ban" => {
                target.node.ban(&rest.parse().expect("an id"), Duration::from_secs(600));
                println!("banned");
            }
            "has" => {
                let there = target.node.peer(&rest.parse().expect("an id")).is_some();
                println!("{}", if there { "yes" } else { "no" });
            }
            "removals" => {
                let of = rest.parse::<PeerId>().expect("an id");
                println!("{}", removals.lock().unwrap().get(&of).copied().unwrap_or(0));
            }
            "broadcast" => println!("sent {}", broadcast(&target.node, rest.parse().expect("a number"))),
            "end" => {
                let begin = Instant::now();
                let node = target.node.clone();
                target.shutdown().await;
                println!("ended {} {}", begin.elapsed().as_millis(), node.tasks());
                return;
            }
            other => panic!("no order {other:?}"),
        }
    }
}

/// Sends so many messages of 16 KiB to everybody; gives how many were taken for anybody.
fn broadcast(node: &Node, messages: usize) -> usize {
    let (protocol, message) = (ECHO.parse().expect("an id"), p2p::Bytes::from(vec![7; 16 << 10]));
    (0..messages).filter(|_| node.broadcast(&protocol, message.clone()).is_ok()).count()
}

/// The lines of standard input.
fn orders() -> UnboundedReceiver<String> {
    let (sender, orders) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    orders
}

fn watch(node: &Arc<Node>, counts: &Counts, removals: Removals) {
    let (mut peers, mut monitor) = (node.register_peer_events(), node.monitor().register::<ConnectionEvent>());
    let (of_peers, of_connections) = (counts.clone(), counts.clone());
    tokio::spawn(async move {
        loop {
            match peers.recv().await {
                Ok(PeerEvent::Added { .. }) => count(&of_peers, "added"),
                Ok(PeerEvent::Removed { peer, reason }) => {
                    *removals.lock().unwrap().entry(peer.peer_id).or_default() += 1;
                    match reason {
                        DisconnectReason::ProtocolViolation(_) => count(&of_peers, "violations"),
                        DisconnectReason::Banned => count(&of_peers, "banned"),
                        DisconnectReason::Stalled | DisconnectReason::PingTimeout => count(&of_peers, "silent"),
                        _ => {}
                    }
                }
                Ok(PeerEvent::HandshakeFailed { .. }) => count(&of_peers, "failed"),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {}
                Err(_) => return,
            }
        }
    });
    tokio::spawn(async move {
        loop {
            match monitor.recv().await {
                Ok(event) => match event.kind {
                    ConnectionEventKind::AcceptFailed { .. } => count(&of_connections, "refused"),
                    ConnectionEventKind::ConnectFailed { .. } => count(&of_connections, "unreached"),
                    _ => {}
                },
                Err(RecvError::Lagged(_)) => {}
                Err(_) => return,
            }
        }
    });
}

fn told(node: &Node, counts: &Counts) -> String {
    let now = [("peers", node.peers() as u64), ("tasks", node.tasks() as u64)];
    let so_far = counts.lock().unwrap().clone();
    now.into_iter().chain(so_far).map(|(name, count)| format!(" {}={count}", name)).collect()
}
