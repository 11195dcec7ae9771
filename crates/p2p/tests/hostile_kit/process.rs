//! The other side of [`node`](crate::node): starts the process of a node, gives it orders, and looks at what it takes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p::PeerId;
use p2p::endpoint::{Endpoint, Transport};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cases::{CASES, Case};
use crate::common::wire::Key;
use crate::common::{in_time, peer_id};

/// What has not happened after so long does not happen, on whatever machine.
const ENOUGH: Duration = Duration::from_secs(30);

/// A node in a process of its own; stopped when dropped.
pub(crate) struct NodeProcess {
    pub(crate) id: PeerId,
    endpoints: Vec<Endpoint>,
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    answers: tokio::sync::Mutex<UnboundedReceiver<String>>,
    pid: u32,
    at_first: Used,
}

/// What a process has taken so far, where the system tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// Of the processors, by it and for it.
    pub(crate) cpu: Duration,
    /// The most memory it had, in KiB.
    pub(crate) memory: u64,
}

/// How a node ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) took: Duration,
    /// Tasks that it left.
    pub(crate) tasks: u64,
}

impl NodeProcess {
    pub(crate) async fn start(case: &Case, dials: &[Endpoint]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a test knows its own program"));
        let place = CASES.iter().position(|one| std::ptr::eq(one, case)).expect("it is in the table");
        command.args(["--node", &place.to_string()]);
        for endpoint in dials {
            command.args(["--dials", &endpoint.to_string()]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a node's process");
        let input = Mutex::new(child.stdin.take().expect("piped"));
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, mut answers) = unbounded_channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let pid = child.id();
        let child = Mutex::new(child);
        let ready = in_time("the start of a node", answers.recv()).await.expect("a node that starts");
        let mut words = ready.strip_prefix("ready ").expect("ready").split(' ');
        let id = words.next().expect("an id").parse().expect("an id");
        let endpoints = words.map(|endpoint| endpoint.parse().expect("an endpoint")).collect();
        let answers = tokio::sync::Mutex::new(answers);
        Self { id, endpoints, child, input, answers, pid, at_first: used(pid) }
    }

    /// Where it listens over `transport`, first for peers, and for lookups.
    pub(crate) fn endpoint(&self, transport: Transport) -> &Endpoint {
        self.endpoints.iter().find(|endpoint| endpoint.transport() == transport).expect("it listens there")
    }

    pub(crate) fn addr(&self, transport: Transport) -> SocketAddr {
        self.endpoint(transport).socket_addr().expect("an address")
    }

    /// Where it serves lookups over `transport`: at a port of the DHT's own, or where peers connect.
    pub(crate) fn lookups(&self, transport: Transport) -> SocketAddr {
        let there = self.endpoints.iter().rfind(|endpoint| endpoint.transport() == transport);
        there.and_then(Endpoint::socket_addr).expect("it serves there")
    }

    /// Gives an order, and waits for the answer; `None` if the process has ended.
    pub(crate) async fn order(&self, order: &str) -> Option<String> {
        let mut answers = self.answers.lock().await;
        lock(&self.input).write_all(format!("{order}\n").as_bytes()).ok()?;
        in_time(order, answers.recv()).await
    }

    /// What has happened there, by name.
    pub(crate) async fn counts(&self) -> BTreeMap<String, u64> {
        let told = self.order("counts").await.expect("the node lives");
        let pairs = told.split(' ').filter_map(|word| word.split_once('='));
        pairs.map(|(name, count)| (name.to_owned(), count.parse().expect("a number"))).collect()
    }

    pub(crate) async fn count(&self, what: &str) -> u64 {
        self.counts().await.get(what).copied().unwrap_or(0)
    }

    /// How often some of these things have happened, once that is `wanted` times or enough time has passed for it.
    pub(crate) async fn sum(&self, what: &[&str], wanted: u64) -> u64 {
        let begin = Instant::now();
        loop {
            let counts = self.counts().await;
            let sum = what.iter().filter_map(|what| counts.get(*what)).sum();
            if sum >= wanted || begin.elapsed() > ENOUGH {
                return sum;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until something has happened so many times.
    pub(crate) async fn has(&self, what: &str, times: u64) {
        self.until(what, |count| count >= times).await;
    }

    /// Waits until somebody is a peer of it.
    pub(crate) async fn knows(&self, key: &Key) {
        let order = format!("has {}", peer_id(key.id()));
        in_time("a peer", async {
            while self.order(&order).await.as_deref() == Some("no") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// How often somebody was removed.
    pub(crate) async fn removals(&self, key: &Key) -> u64 {
        let told = self.order(&format!("removals {}", peer_id(key.id()))).await;
        told.and_then(|told| told.parse().ok()).expect("a number")
    }

    /// Waits until a count is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(u64) -> bool) {
        in_time(what, async {
            while !wanted(self.count(what).await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// What it has taken since it was ready; the memory is that which it had at most.
    pub(crate) fn used(&self) -> Used {
        let now = used(self.pid);
        Used { cpu: now.cpu.saturating_sub(self.at_first.cpu), memory: now.memory }
    }

    /// Shuts it down, and waits for its end.
    pub(crate) async fn end(&self) -> Ended {
        let told = self.order("end").await.expect("an orderly end");
        let mut words = told.strip_prefix("ended ").expect("ended").split(' ').map(str::parse);
        let mut next = || words.next().expect("a figure").expect("a number");
        Ended { took: Duration::from_millis(next()), tasks: next() }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        // It may have ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As Linux tells it: other systems show nothing.
fn used(pid: u32) -> Used {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may have anything in it: the 12th and 13th are the time in hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Used { cpu: Duration::from_millis(10 * ticks), memory: most.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0) }
}
