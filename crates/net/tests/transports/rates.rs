//! A hub with a rate: the rate holds, each peer gets the same of it, and what is small and urgent does not wait. In virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use p2p_core::{Runtime, TaskGroup};
use p2p_net::{CloseReason, Connection, Endpoint, NetConfig, RecvStream, SendStream, Transport, Transports};
use p2p_sim::{Link, Settings, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{connect, stream, tls_configs};

const PEERS: usize = 8;
/// Small messages: how long, and how often.
const PING: usize = 150;
const PAUSE: Duration = Duration::from_millis(400);
const RATE: u64 = 1_000_000;
/// For the windows to fill, and then to measure in.
const BEFORE: Duration = Duration::from_secs(4);
const SPELL: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    Upload,
    Download,
}

/// What one peer has got, and how long its echoes took.
#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    echoes: AtomicU64,
    slowest_micros: AtomicU64,
}

impl Seen {
    fn reset(&self) {
        self.echoes.store(0, Ordering::Relaxed);
        self.slowest_micros.store(0, Ordering::Relaxed);
    }
}

async fn bulk(mut send: SendStream, piece: usize) {
    let piece = Bytes::from(vec![7; piece]);
    while send.write_all_bytes(piece.clone()).await.is_ok() {}
}

async fn count(mut recv: RecvStream, seen: Arc<Seen>) {
    while let Ok(Some(chunk)) = recv.read_chunk().await {
        seen.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
}

async fn ask(mut recv: RecvStream, mut send: SendStream, runtime: Arc<dyn Runtime>, seen: Arc<Seen>) {
    loop {
        let begin = runtime.now();
        if send.write_all(&[1; PING]).await.is_err() || recv.read_exact(&mut [0; PING]).await.is_err() {
            return;
        }
        let took = runtime.now() - begin;
        seen.slowest_micros.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
        seen.echoes.fetch_add(1, Ordering::Relaxed);
        runtime.sleep(PAUSE).await;
    }
}

async fn answer(mut recv: RecvStream, mut send: SendStream) {
    let mut ping = [0; PING];
    while recv.read_exact(&mut ping).await.is_ok() && send.write_all(&ping).await.is_ok() {}
}

/// Starts what goes over one connection: bulk in one direction, beside it small messages and their answers. Or
/// those alone.
async fn talk(from: Connection, to: Connection, piece: Option<usize>, tasks: &TaskGroup, seen: &Arc<Seen>) {
    let (near, far) = stream(&from, &to).await;
    let (kept_near, send) = near.into_split();
    let (recv, kept_far) = far.into_split();
    let (near, far) = stream(&from, &to).await;
    let (recv_answer, mut send_ask) = near.into_split();
    let (recv_ask, mut send_answer) = far.into_split();
    send_ask.set_priority(1);
    send_answer.set_priority(1);
    tasks.spawn("bulk", async move {
        match piece {
            Some(piece) => bulk(send, piece).await,
            None => drop(from.closed().await),
        }
        drop((kept_near, from));
    });
    tasks.spawn("count", {
        let seen = seen.clone();
        async move {
            count(recv, seen).await;
            drop((kept_far, to));
        }
    });
    tasks.spawn("ask", ask(recv_answer, send_ask, tasks.runtime().clone(), seen.clone()));
    tasks.spawn("answer", answer(recv_ask, send_answer));
}

fn config() -> NetConfig {
    let mut config = NetConfig::default();
    config.tls = Some(tls_configs());
    config
}

/// What was seen in [`SPELL`].
struct Measured {
    bytes: Vec<u64>,
    /// Of all peers, the fewest and the slowest.
    echoes: u64,
    slowest: Duration,
    /// The same for a peer that is sent nothing else.
    quiet: Duration,
}

fn measure(transport: Transport, direction: Direction, rate: Option<u64>, peers: usize, streams: usize) -> Measured {
    let sim = Sim::with(3, Settings::default());
    sim.network().set_default_link(Link { bandwidth: Some(80_000_000), ..Link::WAN });
    sim.block_on(async {
        let mut hub_config = config();
        match direction {
            Direction::Upload => hub_config.upload = rate,
            Direction::Download => hub_config.download = rate,
        }
        let host = sim.host("hub");
        let hub = Transports::new(host.runtime(), hub_config);
        let endpoint = Endpoint::from_socket_addr(transport, (host.ipv4(), 9000).into());
        let listener = hub.listen(&endpoint).await.unwrap();
        let tasks = TaskGroup::new(sim.runtime());
        let (mut nodes, mut all) = (Vec::new(), Vec::new());
        for n in 0..=peers {
            let node = Transports::new(sim.host(format!("peer {n}")).runtime(), config());
            let (peer_end, hub_end) = connect(&node, &listener).await;
            // Some write much at once, some little, and the last one nothing.
            let piece = (n < peers).then_some(if n % 2 == 0 { 64 << 10 } else { 2_000 });
            let (from, to) = match direction {
                Direction::Upload => (hub_end, peer_end),
                Direction::Download => (peer_end, hub_end),
            };
            let seen = Arc::new(Seen::default());
            for _ in 0..streams {
                talk(from.clone(), to.clone(), piece, &tasks, &seen).await;
            }
            all.push(seen);
            nodes.push(node);
        }
        let quiet = all.pop().unwrap();
        let bytes = || all.iter().map(|seen| seen.bytes.load(Ordering::Relaxed)).collect::<Vec<_>>();
        sim.sleep(BEFORE).await;
        let before = bytes();
        all.iter().chain([&quiet]).for_each(|seen| seen.reset());
        sim.sleep(SPELL).await;
        let got = bytes().iter().zip(before).map(|(after, before)| after - before).collect();
        let of_all = |figure: fn(&Seen) -> u64| all.iter().map(move |seen| figure(seen));
        let echoes = of_all(|seen| seen.echoes.load(Ordering::Relaxed)).min().unwrap();
        let slowest = of_all(|seen| seen.slowest_micros.load(Ordering::Relaxed)).max().unwrap();
        let quiet = quiet.slowest_micros.load(Ordering::Relaxed);
        hub.shutdown().await;
        assert!(hub.tasks().is_empty());
        tasks.shutdown().await;
        Measured { bytes: got, echoes, slowest: Duration::from_micros(slowest), quiet: Duration::from_micros(quiet) }
    })
}

/// Jain's index: 1 where all have the same.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|&share| (share as f64).powi(2)).sum::<f64>())
}

/// Over each connection go so many streams of bulk, and as many of echoes, that take no longer than `patience`.
fn check(transport: Transport, direction: Direction, rate: u64, peers: usize, streams: usize, patience: Duration) {
    let Measured { bytes, echoes, slowest, quiet } = measure(transport, direction, Some(rate), peers, streams);
    let (total, jain) = (bytes.iter().sum::<u64>(), jain(&bytes));
    println!(
        "{transport} {direction:?} {rate}: {total} bytes, Jain {jain:.3}, {echoes} echoes, slowest {slowest:?}, {quiet:?}"
    );
    let whole = rate * SPELL.as_secs();
    // What the bucket holds, and a frame for each.
    let burst = rate / 20 + peers as u64 * (64 << 10);
    assert!(total <= whole + burst, "{transport}: {total} bytes");
    assert!(total >= whole * 17 / 20, "{transport}: {total} bytes");
    assert!(jain >= 0.95, "{transport}: {bytes:?}");
    assert!(slowest < patience, "{transport}: an answer took {slowest:?}");
    // A round trip, and somewhat more.
    assert!(quiet < Duration::from_millis(100), "{transport}: an answer of who gets nothing else took {quiet:?}");
    let least = SPELL.as_millis() / (PAUSE + patience).as_millis();
    assert!(u128::from(echoes) >= least, "{transport}: {echoes} answers");
}

const ALL: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

const QUICK: Duration = Duration::from_millis(150);

#[test]
fn a_hub_sends_at_its_rate_and_each_peer_gets_the_same() {
    for transport in ALL {
        check(transport, Direction::Upload, RATE, PEERS, 1, QUICK);
    }
}

#[test]
fn a_hub_receives_at_its_rate_and_each_peer_sends_the_same() {
    for transport in ALL {
        check(transport, Direction::Download, RATE, PEERS, 1, QUICK);
    }
}

#[test]
fn many_streams_of_each_peer_keep_answers_quick() {
    for transport in ALL {
        // Over quic they fill the window of the connection too.
        let patience = if transport == Transport::Quic { Duration::from_secs(1) } else { QUICK };
        check(transport, Direction::Download, RATE, 4, 8, patience);
    }
}

#[test]
fn a_thin_rate_for_many_peers_keeps_answers_quick() {
    for transport in ALL {
        // Over quic a packet that was made waits for its turn, whatever comes behind it.
        let patience = if transport == Transport::Quic { Duration::from_millis(500) } else { QUICK };
        check(transport, Direction::Upload, 250_000, 25, 1, patience);
    }
}

/// A rate at which one frame takes a second.
#[test]
fn a_connection_that_is_closed_says_so_at_once() {
    for transport in ALL {
        let sim = Sim::with(4, Settings::default());
        sim.block_on(async {
            let host = sim.host("hub");
            let mut slow = config();
            slow.upload = Some(1_500);
            let hub = Transports::new(host.runtime(), slow);
            let endpoint = Endpoint::from_socket_addr(transport, (host.ipv4(), 9000).into());
            let listener = hub.listen(&endpoint).await.unwrap();
            let node = Transports::new(sim.host("peer").runtime(), config());
            let (peer_end, hub_end) = connect(&node, &listener).await;
            let (near, _far) = stream(&hub_end, &peer_end).await;
            let (_recv, send) = near.into_split();
            let tasks = TaskGroup::new(sim.runtime());
            tasks.spawn("bulk", bulk(send, 64 << 10));
            sim.sleep(Duration::from_secs(10)).await;
            let begin = sim.now();
            hub_end.close(7, "enough");
            let reason = peer_end.closed().await;
            assert!(matches!(reason, CloseReason::Remote { code: 7, .. }), "{transport}: {reason:?}");
            let took = sim.now() - begin;
            assert!(took < Duration::from_millis(1500), "{transport}: {took:?}");
        });
    }
}

#[test]
fn without_a_rate_nothing_is_held_back() {
    for (transport, direction) in ALL.into_iter().zip([Direction::Upload, Direction::Download, Direction::Upload]) {
        let Measured { bytes, .. } = measure(transport, direction, None, 2, 1);
        // Nearly what their lines carry.
        let total: u64 = bytes.iter().sum();
        assert!(total > 2 * 9_000_000 * SPELL.as_secs(), "{transport}: {total} bytes");
    }
}
