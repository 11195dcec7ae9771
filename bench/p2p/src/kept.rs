//! Peers that come back: after they were killed, and at another address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bench_common::line::{FAR_HOST, listen_ip};
use bench_common::{Measured, Transport};
use bytes::Bytes;
use p2p::endpoint::Endpoint;
use p2p::{Config, Node, PeerId};
use tokio::time::sleep;

use crate::nodes::{Manual, client_config, config, node, protocol_id};
use crate::remote::Remote;

/// Who is not back by then does not come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The DHT may take longer.
const DHT_PATIENCE: Duration = Duration::from_secs(120);

/// How often it is looked whether somebody is back.
const LOOK: Duration = Duration::from_millis(5);

/// A node that has got a peer, and whether it sends to it.
struct Survivor {
    node: Arc<Node>,
    peer: PeerId,
    sends: Arc<AtomicBool>,
}

impl Survivor {
    async fn new(config: Config) -> Self {
        let node = node(config);
        node.attach_protocol(Manual).unwrap();
        node.run().await.unwrap();
        Self { node, peer: Remote::peer_id(), sends: Arc::default() }
    }

    /// The connection that answers, other than the one of that number; none when it takes too long.
    async fn connected(&self, before: Option<p2p::ConnectionId>) -> Option<p2p::ConnectionId> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(conn) = self.node.conn(&self.peer, &protocol_id())
                && Some(conn.connection_id()) != before
                && conn.send(Bytes::from(vec![7; 64])).await.is_ok()
                && conn.recv().await.is_ok()
            {
                return Some(conn.connection_id());
            }
            sleep(LOOK).await;
        }
        None
    }

    /// Sends to the peer from now on, so often, whatever comes of it; what it answers is thrown away.
    fn send(&self, every: Duration) {
        self.sends.store(true, Ordering::Relaxed);
        let (node, peer, sends) = (self.node.clone(), self.peer, self.sends.clone());
        tokio::spawn(async move {
            while sends.load(Ordering::Relaxed) {
                if let Some(conn) = node.conn(&peer, &protocol_id()) {
                    // Does not wait for one that does not answer.
                    let _ = tokio::time::timeout(every, ask_once(conn)).await;
                }
                sleep(every).await;
            }
        });
    }
}

async fn ask_once(conn: p2p::protocol::PeerConn) -> Option<()> {
    conn.send(Bytes::from(vec![7; 64])).await.ok()?;
    conn.recv().await.ok()?;
    Some(())
}

/// A peer is killed and starts anew on the same port: seconds until a kept peer has it again, which dials it and goes on sending.
/// Beside, when the one that starts anew dials, and the survivor is silent.
pub async fn restart(transport: Transport) -> Measured {
    let listen = |port: u16| Config {
        listen_endpoints: vec![format!("{}://{}:{port}", transport.name(), listen_ip()).parse().unwrap()],
        ..config(transport)
    };
    let remote = Remote::start(&listen(0), None);
    let endpoint = remote.endpoints[0].clone();
    let survivor = Survivor::new(Config { dial_peers: vec![endpoint.clone()], ..client_config(transport) }).await;
    let before = survivor.connected(None).await.expect("a connection");
    survivor.send(Duration::from_millis(50));
    remote.kill();
    let restarted = Remote::start(&listen(endpoint.port()), None);
    let start = Instant::now();
    survivor.connected(Some(before)).await;
    let kept = start.elapsed().as_secs_f64();
    survivor.sends.store(false, Ordering::Relaxed);
    drop(restarted);
    survivor.node.shutdown().await;

    let survivor = Survivor::new(config(transport)).await;
    let dials = Config { dial_peers: survivor.node.listen_endpoints(), ..listen(0) };
    let remote = Remote::start(&dials, None);
    let before = survivor.connected(None).await.expect("a connection");
    let dials = Config { listen_endpoints: remote.endpoints.clone(), ..dials };
    remote.kill();
    let _restarted = Remote::start(&dials, None);
    let start = Instant::now();
    survivor.connected(Some(before)).await;
    Measured::new(kept).beside("restarted one dials s", start.elapsed().as_secs_f64())
}

/// Nodes of the DHT that stay.
const STAYING: usize = 5;

/// Where the hosts are, and where the second goes.
const HERE: &str = "10.77.0.1";
const THERE: &str = "10.77.0.2/24";
const ELSEWHERE: &str = "10.77.0.3/24";

/// A peer that was dialed gets another address: seconds until who dialed it has it again, when nobody tells it. Beside, seconds until
/// the DHT has the new address first, and both when the node is told.
pub async fn moved(transport: Transport) -> Measured {
    let (back, dht, _) = move_once(transport, false).await;
    let measured = Measured::new(back).beside("DHT has the new address first s", dht);
    match move_once(transport, true).await {
        (back, dht, true) => measured.beside("told: s", back).beside("told: DHT s", dht),
        // This version cannot be told.
        (_, _, false) => measured,
    }
}

/// The same once; whether the node could be told.
async fn move_once(transport: Transport, told: bool) -> (f64, f64, bool) {
    let there = std::env::var(FAR_HOST).expect("the runner makes two hosts for this scenario");
    let at = |ip: &str, bootstrap: Vec<Endpoint>| Config {
        listen_endpoints: vec![format!("{}://{ip}:0", transport.name()).parse().unwrap()],
        discovery_endpoints: vec![format!("udp://{ip}:0").parse().unwrap()],
        bootstrap_peers: bootstrap,
        ..config(transport)
    };
    let mut staying: Vec<Arc<Node>> = Vec::new();
    for _ in 0..STAYING {
        let bootstrap = staying.first().map(|first| first.listen_endpoints()).unwrap_or_default();
        let node = node(at(HERE, bootstrap));
        node.attach_protocol(Manual).unwrap();
        node.run().await.unwrap();
        staying.push(node);
    }
    let first = staying[0].listen_endpoints();
    let mut remote = Remote::start(&at("0.0.0.0", first), Some(&there));
    let port = remote.endpoints[0].port();
    let endpoint: Endpoint = format!("{}://{}:{port}", transport.name(), address(THERE)).parse().unwrap();
    let peer = Remote::peer_id();
    let survivor = Survivor { node: staying[1].clone(), peer, sends: Arc::default() };
    survivor.node.connect(&endpoint).await.unwrap();
    let before = survivor.connected(None).await.expect("a connection");
    assert!(finds(&staying[2], address(THERE), Instant::now()).await, "the DHT knows where a peer is");
    survivor.send(Duration::from_secs(1));

    // The second would go with the first.
    ip(&there, &["address", "delete", THERE]);
    ip(&there, &["address", "add", ELSEWHERE]);
    let start = Instant::now();
    let could_be_told = told && remote.network_changed();
    let (mut back, mut dht) = (0.0, 0.0);
    if could_be_told || !told {
        let again = async {
            survivor.connected(Some(before)).await;
            back = start.elapsed().as_secs_f64();
        };
        let found = async {
            finds(&staying[2], address(ELSEWHERE), start).await;
            dht = start.elapsed().as_secs_f64();
        };
        tokio::join!(again, found);
    }
    survivor.sends.store(false, Ordering::Relaxed);
    drop(remote);
    ip(&there, &["address", "delete", ELSEWHERE]);
    ip(&there, &["address", "add", THERE]);
    for node in staying {
        node.shutdown().await;
    }
    (back, dht, could_be_told)
}

/// The address without the length of its net.
fn address(of: &str) -> &str {
    of.split('/').next().unwrap_or(of)
}

/// Whether the DHT comes to tell this address of the peer first.
async fn finds(node: &Node, address: &str, since: Instant) -> bool {
    let dht = node.dht().expect("a DHT");
    while since.elapsed() < DHT_PATIENCE {
        let found = dht.find_peer(&Remote::peer_id()).await.ok().flatten();
        let first = found.and_then(|record| record.addrs().first()?.endpoint.addr().ip());
        if first.is_some_and(|ip| ip.to_string() == address) {
            return true;
        }
        sleep(Duration::from_millis(200)).await;
    }
    false
}

/// Runs `ip` for the cable of a host.
fn ip(namespace: &str, args: &[&str]) {
    let status = std::process::Command::new("ip").args(["-n", namespace]).args(args).args(["dev", "cable"]).status();
    assert!(status.is_ok_and(|status| status.success()), "ip {args:?} fails");
}
