//! Streams that are finished when a connection ends: each is delivered, or its sender is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::protocol::{PeerConn, Protocol, ProtocolId, Version};
use p2p::{Config, Error, Node, Runtime, Stream, async_trait};
use p2p_sim::{Latency, Link, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::town::Outcome;

/// Connections in one world.
const ROUNDS: u64 = 8;

/// The most streams that a side opens on one of them.
const STREAMS: u64 = 12;

/// The longest stream, and the longest wait of a reader for each of its pieces.
const LONGEST: u64 = 100_000;
const SLOWEST: u64 = 30_000;

/// What is known of each stream.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<u64, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    len: usize,
    /// The end was queued before anybody left.
    in_time: bool,
    /// What `finish` gave, if it was called.
    told: Option<Result<(), String>>,
    asked: bool,
    /// What the reader found up to the end.
    read: Option<usize>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // It is valid after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: u64, note: impl FnOnce(&mut Entry)) {
        note(self.lock().entry(id).or_default());
    }

    /// Finished means delivered or told.
    fn check(&self, what: &str) {
        for (id, entry) in &*self.lock() {
            let delivered = entry.read == Some(entry.len);
            assert!(entry.read.is_none() || delivered, "{what}: stream {id} ended early: {entry:?}");
            assert!(!entry.asked || entry.told.is_some(), "{what}: stream {id} was told nothing: {entry:?}");
            assert!(entry.told != Some(Ok(())) || delivered, "{what}: stream {id} was not read: {entry:?}");
            assert!(!entry.in_time || delivered, "{what}: stream {id} is lost: {entry:?}");
        }
    }
}

struct Reads {
    conn: PeerConn,
    ledger: Ledger,
}

#[async_trait]
impl Protocol for Reads {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        loop {
            let stream = self.conn.accept_stream().await?;
            self.conn.spawn(read(stream, self.conn.runtime().clone(), self.ledger.clone()));
        }
    }

    fn id() -> ProtocolId {
        // A fixed form.
        "/reads/1".parse().expect("a protocol id")
    }

    fn version() -> Result<Version, Error> {
        "0.1.0".parse()
    }
}

fn draw(runtime: &dyn Runtime, below: u64) -> u64 {
    runtime.random_u64() % below
}

/// Reads a stream to its end, more or less slowly.
async fn read(mut stream: Stream, runtime: Arc<dyn Runtime>, ledger: Ledger) {
    let Ok(id) = stream.read_u64().await else { return };
    let pause = if draw(&*runtime, 2) == 0 { 0 } else { draw(&*runtime, SLOWEST) };
    let (mut piece, mut len) = ([0; 4096], 0);
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => return ledger.note(id, |entry| entry.read = Some(len)),
            Ok(read) => {
                assert!(piece[..read].iter().all(|byte| *byte == id as u8), "bytes of another stream");
                len += read;
            }
            Err(_) => return,
        }
        if pause > 0 {
            runtime.sleep(Duration::from_micros(pause)).await;
        }
    }
}

/// Opens a stream and queues all of it; gives the stream if somebody is to wait for the receipt.
async fn write(conn: &PeerConn, id: u64, ledger: &Ledger) -> Option<Stream> {
    let runtime = conn.runtime();
    let len = if draw(&**runtime, 3) == 0 { draw(&**runtime, LONGEST) } else { draw(&**runtime, 100) } as usize;
    let mut stream = conn.open_stream().await.ok()?;
    stream.write_u64(id).await.ok()?;
    stream.write_all(&vec![id as u8; len]).await.ok()?;
    stream.shutdown().await.ok()?;
    let asked = draw(&**runtime, 2) == 0;
    ledger.note(id, |entry| (entry.len, entry.asked) = (len, asked));
    asked.then_some(stream)
}

async fn finish(stream: Stream, id: u64, ledger: Ledger) {
    let mut stream = stream;
    let told = stream.finish().await.map_err(|error| error.to_string());
    ledger.note(id, |entry| entry.told = Some(told));
}

/// What a side does on one connection: some streams are finished in time, others are under way when somebody leaves.
async fn send(conn: PeerConn, first: u64, ledger: Ledger) -> impl Future<Output = ()> {
    let count = draw(&**conn.runtime(), STREAMS);
    let ids = first..first + count;
    let streams = join_all(ids.clone().map(|id| write(&conn, id, &ledger))).await;
    ledger.lock().range_mut(ids.clone()).for_each(|(_, entry)| entry.in_time = true);
    let finishing = ids.zip(streams).filter_map(|(id, stream)| Some(finish(stream?, id, ledger.clone())));
    let finishing: Vec<_> = finishing.collect();
    async move {
        let late = async {
            let id = first + STREAMS;
            if let Some(stream) = write(&conn, id, &ledger).await {
                finish(stream, id, ledger.clone()).await;
            }
        };
        join(join_all(finishing), late).await;
    }
}

fn node(sim: &Sim, index: u8, ledger: &Ledger) -> (Arc<Node>, p2p_sim::Host) {
    let host = sim.host(format!("node{index}"));
    let listen = [(Transport::Tcp, 4001), (Transport::Tls, 4002), (Transport::Quic, 4003)];
    let config = Config {
        listen_endpoints: listen.map(|(transport, port)| Endpoint::new(transport, host.ipv4(), port)).into(),
        // Half of it is for streams that are slow to be read.
        drain_timeout: Duration::from_secs(120),
        ping_timeout: Duration::from_secs(120),
        stall_timeout: Duration::from_secs(120),
        handshake_timeout: Duration::from_secs(60),
        dial_timeout: Duration::from_secs(60),
        ..Config::default()
    };
    let key = KeyPair::from_seed([index + 1; 32]);
    let node = Node::builder(&key).config(config).runtime(host.runtime()).build();
    let node = node.unwrap_or_else(|error| panic!("node {index} cannot be made: {error}"));
    let ledger = ledger.clone();
    let attached = node.attach_protocol(move |conn| Reads { conn, ledger: ledger.clone() });
    attached.unwrap_or_else(|error| panic!("node {index} cannot be taught: {error}"));
    (node, host)
}

/// The connection at one side, once it is there.
async fn conn(sim: &Sim, from: &Node, to: &Node) -> PeerConn {
    let there = || from.conn(&to.peer_id(), &Reads::id()).is_some();
    assert!(sim.eventually(Duration::from_secs(60), there).await, "they are connected");
    from.conn(&to.peer_id(), &Reads::id()).expect("it was there")
}

pub(super) fn goodbye(sim: Sim) -> Outcome {
    let ledger = Ledger::default();
    let ((a, a_host), (b, b_host)) = (node(&sim, 0, &ledger), node(&sim, 1, &ledger));
    let random = |below: u64| draw(&*sim.runtime(), below);
    let one_way = Duration::from_millis(random(200));
    let jitter = Duration::from_millis(random(30));
    let latency = Latency::Uniform { base: one_way, jitter };
    sim.network().set_default_link(Link::WAN.latency(latency).loss(random(6) as f64 / 100.0));
    sim.block_on(async {
        let started = join(a.run(), b.run()).await;
        assert!(started.0.is_ok() && started.1.is_ok(), "both start");
        for round in 0..ROUNDS {
            let endpoints = b.listen_endpoints();
            let endpoint = endpoints[random(3) as usize].clone().with_peer_id(b.peer_id());
            a.connect(&endpoint).await.unwrap_or_else(|error| panic!("round {round}: {endpoint}: {error}"));
            let conns = [conn(&sim, &a, &b).await, conn(&sim, &b, &a).await];
            let first = round * 1000;
            let sends = conns
                .iter()
                .enumerate()
                .map(|(at, conn)| send(conn.clone(), first + 100 * at as u64, ledger.clone()).boxed());
            let told: Vec<_> = join_all(sends).await;
            let leaves = |at: usize| {
                let conn = conns[at].clone();
                async move { conn.disconnect(7, "until next time").await }
            };
            let leaving = async {
                match random(3) {
                    0 => leaves(0).await,
                    1 => leaves(1).await,
                    _ => drop(join(leaves(0), leaves(1)).await),
                }
            };
            join(leaving, join_all(told)).await;
            let alone = || a.peers() == 0 && b.peers() == 0;
            assert!(sim.eventually(Duration::from_secs(130), alone).await, "round {round}: both are alone");
            ledger.check(&format!("round {round} over {}", endpoint.transport()));
        }
        join(a.shutdown(), b.shutdown()).await;
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(a_host.live_tasks() + b_host.live_tasks(), 0, "tasks are left");
    });
    let messages = ledger.lock().len() as u64;
    let report = sim.report();
    assert_eq!(report.panics, 0, "tasks panicked");
    Outcome { hash: report.hash, events: report.events, packets: report.packets, messages, simulated: report.time }
}
