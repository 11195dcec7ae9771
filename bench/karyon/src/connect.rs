//! Connections made and closed.
//!
//! A node of which `dial_peers` lists a server many times, with one outbound slot, connects to it one time after
//! another: a slot is free again when the connection has ended, and a connection ends when a protocol does.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bench_common::silent::Silent;
use bench_common::{LIMIT, Measured, Times, Transport};
use karyon_p2p::endpoint::Endpoint;
use karyon_p2p::protocol::{PeerConn, Protocol, ProtocolID};
use karyon_p2p::{Config, Error, Node, Version};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout_at;

use crate::node::{config, endpoint, free_address, new_node};

const ID: &str = "ECHO";

/// Sends back what it gets.
struct Echo(PeerConn);

#[async_trait::async_trait]
impl Protocol for Echo {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            let message = self.0.recv().await?;
            self.0.send(message).await?;
        }
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }

    fn id() -> ProtocolID {
        ID.to_owned()
    }
}

/// What the connections of a node share.
struct Client {
    /// How many connections shall still do their thing.
    left: AtomicUsize,
    /// Connections that failed, mostly since the server had not yet noticed the end of the one before.
    failed: Arc<AtomicUsize>,
    done: mpsc::UnboundedSender<()>,
}

/// Sends a message, awaits its echo and ends the connection.
struct Once {
    conn: PeerConn,
    client: Arc<Client>,
}

#[async_trait::async_trait]
impl Protocol for Once {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        self.conn.send(vec![7; 64]).await?;
        if let Err(error) = self.conn.recv().await {
            self.client.failed.fetch_add(1, Ordering::Relaxed);
            return Err(error);
        }
        let _ = self.client.done.send(());
        if self.client.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Keeps the slot, so that the node dials no more.
            pending::<()>().await;
        }
        Ok(())
    }

    fn version() -> Result<Version, Error> {
        "1.0.0".parse()
    }

    fn id() -> ProtocolID {
        ID.to_owned()
    }
}

pub async fn echo(transport: Transport) -> (Arc<Node>, SocketAddr) {
    let address = free_address(transport);
    let server = new_node(Config { listen_endpoints: vec![endpoint(transport, address)], ..config() });
    server.attach_protocol(Echo).await.unwrap();
    server.run().await.unwrap();
    (server, address)
}

/// Starts a node that connects `count` times, and tells of each time.
pub async fn client(
    server: &Endpoint,
    count: usize,
    failed: Arc<AtomicUsize>,
) -> (Arc<Node>, mpsc::UnboundedReceiver<()>) {
    // As many as a node takes, since some of them may fail.
    let node = new_node(Config { dial_peers: vec![server.clone(); 128], outbound_slots: 1, ..config() });
    let (done, times) = mpsc::unbounded_channel();
    let client = Arc::new(Client { left: AtomicUsize::new(count), failed, done });
    node.attach_protocol(move |conn| Once { conn, client: client.clone() }).await.unwrap();
    node.run().await.unwrap();
    (node, times)
}

/// One node after another connects so often.
const PER_NODE: usize = 64;

pub async fn connect(count: usize, in_flight: usize, transport: Transport) -> Measured {
    let (_server, address) = echo(transport).await;
    let failed = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let until = tokio::time::Instant::now() + LIMIT;
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (failed, endpoint) = (failed.clone(), endpoint(transport, address));
            tokio::spawn(async move {
                let (mut done, mut nodes, mut worst, mut last) = (0, Vec::new(), Duration::ZERO, start);
                'work: while done < count / in_flight {
                    let share = (count / in_flight - done).min(PER_NODE);
                    let (node, mut times) = client(&endpoint, share, failed.clone()).await;
                    nodes.push(node);
                    for _ in 0..share {
                        if timeout_at(until, times.recv()).await.is_err() {
                            break 'work;
                        }
                        done += 1;
                        worst = worst.max(last.elapsed());
                        last = Instant::now();
                    }
                }
                (done, worst, nodes)
            })
        })
        .collect();
    let (mut all, mut slowest, mut held) = (0, Duration::ZERO, Vec::new());
    for worker in workers {
        let (done, worst, nodes) = worker.await.unwrap();
        (all, slowest) = (all + done, slowest.max(worst));
        held.push(nodes);
    }
    Measured::new(all as f64 / start.elapsed().as_secs_f64())
        .beside("slowest ms", slowest.as_secs_f64() * 1e3)
        .beside("failed", failed.load(Ordering::Relaxed) as f64)
}

/// The median of what a connect takes in µs.
async fn honest(count: usize, server: &Endpoint) -> f64 {
    let (_node, done) = client(server, count, Arc::default()).await;
    let done = Mutex::new(done);
    Times::honest(count, || async { done.lock().await.recv().await }).await.median_us()
}

pub async fn slow_handshake(count: usize, width: usize, transport: Transport) -> Measured {
    let (_server, address) = echo(transport).await;
    let endpoint = endpoint(transport, address);
    let without = honest(count, &endpoint).await;
    let _silent = Silent::begin(width, address, transport, b"karyon").await;
    let with = honest(count, &endpoint).await;
    Measured::new(with / without).beside("with µs", with).beside("without µs", without)
}
