//! The scenarios on long lines, for any stack that gives a [`Channel`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until, timeout};

use crate::line::{Control, is_quick};
use crate::{Channel, Measured, Times};

/// Bulk takes so long.
const BULK: Duration = Duration::from_secs(20);

/// How often the rate is looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// The share of a line that counts as all of it.
const FULL: f64 = 0.9;

/// Small messages beside bulk are sent for so long.
const BUSY: Duration = Duration::from_secs(60);

/// Connects in one run.
pub const CONNECTS: usize = 12;

/// A connect that takes longer has failed.
pub const IN_TIME: Duration = Duration::from_secs(10);

/// Bulk on a lossy line; five repetitions are five minutes.
const LOSSY: Duration = Duration::from_secs(60);

/// Messages of 1 KiB that a hub sends to each peer.
pub const ROUNDS: usize = 200;

/// A hub that is not done by then does not get done.
const DELIVERY: Duration = Duration::from_secs(60);

/// After an outage, bytes flow again within this or never. TCP may try 18 s after the line is back.
const RECOVERY: Duration = Duration::from_secs(40);

/// A silence that nothing outlasts but sockets that nobody watches.
const SILENCE: Duration = Duration::from_secs(75);

/// `long`, or the shorter time when runs are to be quick.
fn time(long: Duration, quick_s: u64) -> Duration {
    if is_quick() { Duration::from_secs(quick_s) } else { long }
}

fn connects() -> usize {
    if is_quick() { 4 } else { CONNECTS }
}

fn message(len: usize) -> Bytes {
    vec![7; len].into()
}

/// Dials somebody new, and then the same again; each gives the time to the first echo.
pub async fn dial(mut both: impl AsyncFnMut() -> [Duration; 2]) -> Measured {
    let [mut new, mut known] = [Times::default(), Times::default()];
    for _ in 0..connects() {
        let [first, again] = both().await;
        new.push(first);
        known.push(again);
    }
    let slowest = new.slowest_ms();
    Measured::new(new.median_ms()).beside("known peer ms", known.median_ms()).beside("slowest ms", slowest)
}

/// Feeds messages of 64 KiB until the connection ends.
fn pour<C: Channel>(mut near: C) -> JoinHandle<C> {
    tokio::spawn(async move {
        let message = message(64 << 10);
        while near.feed(message.clone()).await {}
        near
    })
}

/// Counts the bytes that come.
#[derive(Clone, Default)]
struct Sink {
    bytes: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Sink {
    fn of<C: Channel>(mut far: C) -> Self {
        let sink = Self::default();
        let counted = sink.clone();
        tokio::spawn(async move {
            while let Some(message) = far.recv().await {
                counted.bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
            }
            counted.ended.store(true, Ordering::Relaxed);
        });
        sink
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// 64 KiB one way: Mbit/s over all the time, and how long it takes until the line of `mbit` is full: never counts as the whole
/// time.
///
/// # Panics
/// When the connection ends.
pub async fn fill<C: Channel>(near: C, far: C, mbit: f64) -> Measured {
    let (all, start) = (time(BULK, 6), Instant::now());
    let sink = Sink::of(far);
    let _pouring = pour(near);
    let (mut before, mut full) = (0, None);
    let mut mark = start;
    while start.elapsed() < all {
        sleep_until((mark + SAMPLE).into()).await;
        let (now, bytes) = (Instant::now(), sink.bytes());
        let rate = (bytes - before) as f64 * 8.0 / (now - mark).as_secs_f64();
        if rate >= FULL * mbit * 1e6 {
            full.get_or_insert(now - start);
        }
        (mark, before) = (now, bytes);
    }
    assert!(!sink.has_ended(), "the connection has ended");
    let rate = sink.bytes() as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e6;
    Measured::new(rate).beside("s to 90 %", full.unwrap_or(all).as_secs_f64())
}

/// 64 B there and back on one channel, one in flight, while another one is full: the median in ms.
///
/// # Panics
/// When the connection ends.
pub async fn thin<C: Channel>(full: C, end: C, mut near: C, mut far: C) -> Measured {
    tokio::spawn(async move {
        while let Some(message) = far.recv().await {
            far.send(message).await;
        }
    });
    let sink = Sink::of(end);
    let _pouring = pour(full);
    let (all, start, message) = (time(BUSY, 12), Instant::now(), message(64));
    let mut times = Times::default();
    while start.elapsed() < all {
        let asked = Instant::now();
        let ask = async { near.send(message.clone()).await && near.recv().await.is_some() };
        match timeout(all.saturating_sub(start.elapsed()), ask).await {
            Ok(answered) => {
                assert!(answered, "the connection has ended");
                times.add(asked);
            }
            // One that never came takes what was waited, at least; one that was cut short says nothing.
            Err(_) if asked.elapsed().as_secs_f64() * 1e3 > times.slowest_ms() => times.add(asked),
            Err(_) => {}
        }
    }
    let bulk = sink.bytes() as f64 * 8.0 / start.elapsed().as_secs_f64() / 1e6;
    let slowest = times.slowest_ms();
    Measured::new(times.median_ms()).beside("slowest ms", slowest).beside("bulk Mbit/s", bulk)
}

/// How many of a hundred connects give an echo in time; beside, how often bulk is disconnected. `pair` connects again.
pub async fn lossy<C: Channel, H>(
    mut connect: impl AsyncFnMut(),
    mut pair: impl AsyncFnMut() -> (C, C, H),
) -> Measured {
    let mut done = 0;
    for _ in 0..connects() {
        done += usize::from(timeout(IN_TIME, connect()).await.is_ok());
    }
    let (all, mut disconnects) = (time(LOSSY, 15), 0);
    let (mut poured, mut bytes) = (Duration::ZERO, 0);
    while poured < all {
        let (near, far, _held) = pair().await;
        let (start, sink) = (Instant::now(), Sink::of(far));
        let pouring = pour(near);
        let ended = timeout(all - poured, pouring).await.is_ok();
        disconnects += usize::from(ended);
        poured += start.elapsed();
        bytes += sink.bytes();
    }
    let rate = bytes as f64 * 8.0 / poured.as_secs_f64() / 1e6;
    Measured::new(100.0 * done as f64 / connects() as f64)
        .beside("disconnects", disconnects as f64)
        .beside("bulk Mbit/s", rate)
}

/// What came of a hub's messages at each peer.
#[derive(Default)]
pub struct Deliveries {
    readers: Vec<JoinHandle<Vec<Instant>>>,
}

impl Deliveries {
    /// Reads at a peer from now on.
    pub fn read<C: Channel>(&mut self, mut peer: C) {
        self.readers.push(tokio::spawn(async move {
            let mut arrivals = Vec::with_capacity(ROUNDS);
            let _ = timeout(DELIVERY, async {
                while arrivals.len() < ROUNDS && peer.recv().await.is_some() {
                    arrivals.push(Instant::now());
                }
            })
            .await;
            arrivals
        }));
    }

    /// How many peers have got everything, of what began at `start`; and how evenly they were served when half the time was over.
    pub async fn measure(self, start: Instant) -> Measured {
        let mut peers = Vec::new();
        for reader in self.readers {
            peers.push(reader.await.unwrap());
        }
        let left = peers.iter().filter(|arrivals| arrivals.len() == ROUNDS).count();
        let last =
            peers.iter().filter_map(|arrivals| arrivals.last()).max().map_or(Duration::ZERO, |last| *last - start);
        let half = start + last / 2;
        let by_half: Vec<f64> =
            peers.iter().map(|arrivals| arrivals.iter().filter(|at| **at <= half).count() as f64).collect();
        Measured::new(left as f64).beside("Jain's index", jain(&by_half)).beside("s for all", last.as_secs_f64())
    }
}

/// A hub gives each peer its messages, with a task for each; the hub's end comes first.
pub async fn uplink<C: Channel>(peers: Vec<(C, C)>) -> Measured {
    let (mut deliveries, mut hubs) = (Deliveries::default(), Vec::new());
    for (hub, peer) in peers {
        deliveries.read(peer);
        hubs.push(hub);
    }
    let start = Instant::now();
    for mut hub in hubs {
        tokio::spawn(async move {
            for _ in 0..ROUNDS {
                hub.send(message(1024)).await;
            }
            // A channel that is dropped may end before its last message is there.
            sleep(DELIVERY).await;
        });
    }
    deliveries.measure(start).await
}

/// Jain's index of fairness: 1 when all have the same, 1/n when one has everything (Jain, Chiu and Hawe, 1984).
fn jain(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// How long nothing passes, in s; and whether quick runs have it too.
const OUTAGES: [(u64, bool); 2] = [(8, true), (20, false)];

/// Nothing passes for a while during bulk: how many connections of a hundred live on, at least; and when a silence without end ends
/// the last of them. `pairs` makes new connections and what must live as long.
pub async fn outage<C: Channel, H>(mut pairs: impl AsyncFnMut() -> (Vec<(C, C)>, H)) -> Measured {
    let mut control = Control::here();
    let (mut fewest, mut beside) = (100.0_f64, Vec::new());
    for (seconds, _) in OUTAGES.into_iter().filter(|(_, quick)| *quick || !is_quick()) {
        let (pairs, _held) = pairs().await;
        let (survive, back) = survive(&mut control, pairs, Duration::from_secs(seconds)).await;
        fewest = fewest.min(survive);
        beside.push((format!("{seconds} s: survive %"), survive));
        beside.push((format!("{seconds} s: back after s"), back.as_secs_f64()));
    }
    if !is_quick() {
        let (pairs, _held) = pairs().await;
        beside.push(("silence ends it after s".to_owned(), silence(&mut control, pairs).await.as_secs_f64()));
    }
    beside.into_iter().fold(Measured::new(fewest), |measured, (name, value)| measured.beside(&name, value))
}

/// Begins bulk on each connection; returns when there is something on the way.
async fn begin<C: Channel>(pairs: Vec<(C, C)>) -> Vec<(Sink, JoinHandle<C>)> {
    let flows = pairs.into_iter().map(|(near, far)| (Sink::of(far), pour(near))).collect();
    sleep(Duration::from_secs(3)).await;
    flows
}

/// How many of a hundred connections carry something after an outage, and when the last of them did first.
async fn survive<C: Channel>(control: &mut Control, pairs: Vec<(C, C)>, outage: Duration) -> (f64, Duration) {
    let flows = begin(pairs).await;
    control.set_out(true);
    sleep(outage).await;
    let before: Vec<u64> = flows.iter().map(|(sink, _)| sink.bytes()).collect();
    control.set_out(false);
    let (start, mut last) = (Instant::now(), Duration::ZERO);
    let mut live = vec![false; flows.len()];
    while start.elapsed() < RECOVERY {
        sleep(SAMPLE).await;
        for (n, (sink, _)) in flows.iter().enumerate() {
            if !live[n] && sink.bytes() > before[n] {
                (live[n], last) = (true, start.elapsed());
            }
        }
        let is_settled = |n: usize| live[n] || flows[n].0.has_ended() || flows[n].1.is_finished();
        if (0..flows.len()).all(is_settled) {
            break;
        }
    }
    for (_, pouring) in &flows {
        pouring.abort();
    }
    (100.0 * live.iter().filter(|live| **live).count() as f64 / live.len() as f64, last)
}

/// How long it takes until a silence has ended all connections at both ends.
async fn silence<C: Channel>(control: &mut Control, pairs: Vec<(C, C)>) -> Duration {
    let flows = begin(pairs).await;
    control.set_out(true);
    let start = Instant::now();
    let is_over = || flows.iter().all(|(sink, pouring)| sink.has_ended() && pouring.is_finished());
    while start.elapsed() < SILENCE && !is_over() {
        sleep(SAMPLE).await;
    }
    control.set_out(false);
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index_is_one_when_all_have_the_same() {
        assert!((jain(&[3.0; 50]) - 1.0).abs() < 1e-12);
        assert!((jain(&[5.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
        assert!((jain(&[0.0; 3])).abs() < 1e-12);
    }
}
