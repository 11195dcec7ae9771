//! What the programs of all stacks share: scenarios, their sizes, and how a figure is reported.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// 64 B there and back, one in flight: p50 in µs.
    Rtt,
    /// 64 B one way: messages/s.
    Small,
    /// 64 KiB one way: MiB/s.
    Bulk,
    /// Connect, first message, close, one after another: per second.
    Connect,
    /// The same, 64 in flight.
    Connect64,
    /// Idle connections: KiB of memory for each pair.
    Conns,
    /// One protocol stops reading: the rate of another on the same connection, in % of its rate alone.
    Hol,
    /// One of 50 peers stops reading: what a hub delivers to the others, in % of before.
    Stalled,
}

impl Scenario {
    pub const ALL: [Self; 8] =
        [Self::Rtt, Self::Small, Self::Bulk, Self::Connect, Self::Connect64, Self::Conns, Self::Hol, Self::Stalled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rtt => "rtt",
            Self::Small => "small",
            Self::Bulk => "bulk",
            Self::Connect => "connect",
            Self::Connect64 => "connect64",
            Self::Conns => "conns",
            Self::Hol => "hol",
            Self::Stalled => "stalled",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Rtt => "µs",
            Self::Small => "messages/s",
            Self::Bulk => "MiB/s",
            Self::Connect | Self::Connect64 => "connections/s",
            Self::Conns => "KiB/pair",
            Self::Hol | Self::Stalled => "%",
        }
    }

    /// Whether the scenario compares a stack with itself: raw has nothing to show.
    pub fn stands_alone(self) -> bool {
        matches!(self, Self::Hol | Self::Stalled)
    }

    /// Whether a smaller figure is the better one.
    pub fn less_is_better(self) -> bool {
        matches!(self, Self::Rtt | Self::Conns)
    }

    /// How often the scenario does its thing in one run.
    pub fn count(self, transport: Transport) -> usize {
        let quic = transport == Transport::Quic;
        match self {
            Self::Rtt => 50_000,
            Self::Small => {
                if quic {
                    2_000_000
                } else {
                    4_000_000
                }
            }
            Self::Bulk => {
                if quic {
                    8_000
                } else {
                    30_000
                }
            }
            Self::Connect => {
                if transport == Transport::Tcp {
                    4_000
                } else {
                    1_000
                }
            }
            Self::Connect64 => {
                if transport == Transport::Tcp {
                    6_000
                } else {
                    2_000
                }
            }
            Self::Conns => 1_000,
            Self::Hol => 400_000,
            Self::Stalled => 4_000,
        }
    }
}

/// What carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Tls,
    Quic,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::Quic];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }
}

/// One figure, as a program prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub scenario: Scenario,
    pub transport: Transport,
    pub value: f64,
    /// The slowest single operation, where the scenario times each.
    pub worst_ms: Option<f64>,
    /// CPU time of the process during the scenario, per operation.
    pub cpu_us: f64,
}

/// Runs the scenario and transport named on the command line and prints the figure as a line of JSON.
pub fn run<F: Future<Output = (f64, Option<Duration>)>>(measure: impl FnOnce(Scenario, Transport) -> F) {
    let mut args = std::env::args().skip(1);
    let (scenario, transport) = (args.next().unwrap_or_default(), args.next().unwrap_or_default());
    let scenario = Scenario::ALL.into_iter().find(|known| known.name() == scenario);
    let transport = Transport::ALL.into_iter().find(|known| known.name() == transport);
    let (Some(scenario), Some(transport)) = (scenario, transport) else {
        eprintln!("usage: PROGRAM rtt|small|bulk|connect|connect64|conns|hol|stalled tcp|tls|quic");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let cpu = cpu_time();
    let (value, worst) = runtime.block_on(measure(scenario, transport));
    let cpu_us = (cpu_time() - cpu).as_secs_f64() * 1e6 / scenario.count(transport) as f64;
    let worst_ms = worst.map(|worst| worst.as_secs_f64() * 1e3);
    println!("{}", serde_json::to_string(&Figure { scenario, transport, value, worst_ms, cpu_us }).unwrap());
    // What the scenario left open ends with the process; closing thousands of connections is not measured.
    std::process::exit(0);
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Fields 14 and 15, counted from behind the command, which may contain anything, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    Duration::from_millis(10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()))
}

/// Resident memory of this process in bytes.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
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
pub async fn rate<F>(
    count: usize,
    in_flight: usize,
    op: impl Fn() -> F + Clone + Send + 'static,
) -> (f64, Option<Duration>)
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
    (count as f64 / start.elapsed().as_secs_f64(), Some(worst))
}
