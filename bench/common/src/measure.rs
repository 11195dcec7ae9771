//! How figures are taken.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::{Figure, Outcome, Scenario, Transport};

/// Whatever takes longer is stopped, and what was done until then counts.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Delivery to the peers of a hub that takes longer has stopped.
pub const DELIVERY: Duration = Duration::from_secs(3);

/// An honest connect that takes longer has failed.
pub const HONEST: Duration = Duration::from_secs(5);

/// Where nothing came for so long, nothing comes any more.
pub const STOPPED: Duration = Duration::from_secs(2);

/// What a scenario gives back.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    value: f64,
    beside: BTreeMap<String, f64>,
}

impl Measured {
    /// A figure in the unit of its scenario.
    pub fn new(value: f64) -> Self {
        Self { value, beside: BTreeMap::new() }
    }

    /// The figure.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// A further figure of the same run.
    #[must_use]
    pub fn beside(mut self, name: &str, value: f64) -> Self {
        self.beside.insert(name.to_owned(), value);
        self
    }
}

/// Runs the scenario and transport named on the command line and prints what came of it as a line of JSON. `Err` of
/// `measure` says what the stack lacks for it; whatever else goes wrong panics.
pub fn run<F: Future<Output = Result<Measured, String>>>(measure: impl FnOnce(Scenario, Transport) -> F) {
    let mut args = std::env::args().skip(1);
    let scenario = args.next().as_deref().and_then(Scenario::named);
    let transport = args.next().as_deref().and_then(Transport::named);
    let (Some(scenario), Some(transport)) = (scenario, transport) else {
        let names = Scenario::ALL.map(Scenario::name).join("|");
        eprintln!("usage: PROGRAM {names} tcp|tls|quic");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cpu = cpu_time();
    let outcome = match runtime.block_on(measure(scenario, transport)) {
        Ok(Measured { value, beside }) => {
            let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / scenario.count(transport) as f64;
            Outcome::Figure(Figure { scenario, transport, value, cpu_us, peak_kib: peak_kib(), beside })
        }
        Err(why) => Outcome::Incomparable(why),
    };
    println!("{}", serde_json::to_string(&outcome).unwrap());
    // What the scenario left open ends with the process; closing thousands of connections is not measured.
    std::process::exit(0);
}

/// User and system time of this process.
pub fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // Fields 14 and 15, counted from behind the command, which may contain anything, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

/// The most resident memory that this process had.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Resident memory of this process in bytes.
pub fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// What something took, each time it was done.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Does `op` `count` times.
    pub async fn of<F: Future<Output = ()>>(count: usize, mut op: impl FnMut() -> F) -> Self {
        let mut times = Self(Vec::with_capacity(count));
        for _ in 0..count {
            let start = Instant::now();
            op().await;
            times.add(start);
        }
        times
    }

    /// Does `op` `count` times, or as often as it can in [`LIMIT`].
    pub async fn within_limit<F: Future<Output = ()>>(count: usize, mut op: impl FnMut() -> F) -> Self {
        let (mut times, begun) = (Self(Vec::with_capacity(count)), Instant::now());
        while times.0.len() < count && begun.elapsed() < LIMIT {
            let start = Instant::now();
            let _ = timeout(LIMIT, op()).await;
            times.add(start);
        }
        times
    }

    /// Does `op`, an honest connect, `count` times; ends early with one that takes too long, which counts as what was
    /// waited.
    pub async fn honest<F: Future>(count: usize, mut op: impl FnMut() -> F) -> Self {
        let mut times = Self(Vec::with_capacity(count));
        for _ in 0..count {
            let start = Instant::now();
            let done = timeout(HONEST, op()).await;
            times.add(start);
            if done.is_err() {
                break;
            }
        }
        times
    }

    /// What began then has ended.
    pub fn add(&mut self, start: Instant) {
        self.push(start.elapsed());
    }

    /// Something has taken so long.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The slowest in ms; 0 without any.
    pub fn slowest_ms(&self) -> f64 {
        self.0.iter().max().map_or(0.0, |slowest| slowest.as_secs_f64() * 1e3)
    }

    /// The median in ms.
    pub fn median_ms(self) -> f64 {
        self.median_us() / 1e3
    }

    /// The median in µs.
    pub fn median_us(mut self) -> f64 {
        self.0.sort();
        self.0[self.0.len() / 2].as_secs_f64() * 1e6
    }

    /// The 99th percentile in ms.
    pub fn late_ms(mut self) -> Measured {
        self.0.sort();
        let ms = |index: usize| self.0[index].as_secs_f64() * 1e3;
        let count = self.0.len();
        Measured::new(ms(count * 99 / 100)).beside("median ms", ms(count / 2)).beside("slowest ms", ms(count - 1))
    }
}

/// The rate of the second against that of the first, in %: the median of nine turns. None if the second once is none.
pub async fn turns(mut first: impl AsyncFnMut() -> f64, mut second: impl AsyncFnMut() -> f64) -> Measured {
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let before = first().await;
        let rate = second().await;
        if rate == 0.0 {
            return Measured::new(0.0);
        }
        ratios.push(rate / before);
    }
    ratios.sort_by(f64::total_cmp);
    Measured::new(ratios[ratios.len() / 2] * 100.0)
}

/// Runs `op` `count` times, `in_flight` at once, or as often as it can in [`LIMIT`]: how many per second, and the slowest.
pub async fn rate<F>(count: usize, in_flight: usize, op: impl Fn() -> F + Clone + Send + 'static) -> Measured
where
    F: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let op = op.clone();
            tokio::spawn(async move {
                let (mut done, mut worst) = (0, Duration::ZERO);
                while done < count / in_flight && start.elapsed() < LIMIT {
                    let start = Instant::now();
                    op().await;
                    worst = worst.max(start.elapsed());
                    done += 1;
                }
                (done, worst)
            })
        })
        .collect();
    let (mut all, mut slowest) = (0, Duration::ZERO);
    for worker in workers {
        let (done, worst) = worker.await.unwrap();
        (all, slowest) = (all + done, slowest.max(worst));
    }
    Measured::new(all as f64 / start.elapsed().as_secs_f64()).beside("slowest ms", slowest.as_secs_f64() * 1e3)
}
