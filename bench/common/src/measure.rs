//! How figures are taken.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::time::{Duration, Instant};

use crate::{Figure, Outcome, Scenario, Transport};

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

/// The median of what `op` takes, `count` times, in µs.
pub async fn median_us<F: Future<Output = ()>>(count: usize, mut op: impl FnMut() -> F) -> f64 {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        op().await;
        times.push(start.elapsed());
    }
    times.sort();
    times[count / 2].as_secs_f64() * 1e6
}

/// Runs `op` `count` times, `in_flight` at once: how many per second, and the slowest.
pub async fn rate<F>(count: usize, in_flight: usize, op: impl Fn() -> F + Clone + Send + 'static) -> Measured
where
    F: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let op = op.clone();
            tokio::spawn(async move {
                let mut worst = Duration::ZERO;
                for _ in 0..count / in_flight {
                    let start = Instant::now();
                    op().await;
                    worst = worst.max(start.elapsed());
                }
                worst
            })
        })
        .collect();
    let mut worst = Duration::ZERO;
    for worker in workers {
        worst = worst.max(worker.await.unwrap());
    }
    let done = (count / in_flight * in_flight) as f64;
    Measured::new(done / start.elapsed().as_secs_f64()).beside("slowest ms", worst.as_secs_f64() * 1e3)
}
