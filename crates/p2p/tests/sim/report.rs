//! What is shown of many runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use p2p::layers::core::task::panic_message;

use crate::Job;
use crate::town::Outcome;

/// A run that broke a rule.
#[derive(Debug)]
pub(crate) struct Failure {
    job: Job,
    message: String,
}

impl Failure {
    pub(crate) fn new(job: Job, panic: &(dyn Any + Send)) -> Self {
        Self { job, message: panic_message(panic).to_owned() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Job { scenario, seed, .. } = self.job;
        writeln!(f, "FAILED: {} with seed {seed}", scenario.name)?;
        for line in self.message.lines() {
            writeln!(f, "    {line}")?;
        }
        write!(f, "  replay: cargo xtask sim --scenario {} --seed {seed}", scenario.name)
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(jobs: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(jobs as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    pub(crate) fn done(&self, job: &Job) {
        self.0.set_message(format!("{} #{}", job.scenario.name, job.seed));
        self.0.inc(1);
    }

    pub(crate) fn print(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[derive(Debug, Default)]
struct Row {
    runs: u64,
    failed: u64,
    messages: u64,
    events: u64,
    packets: u64,
    simulated: Duration,
    took: Duration,
    /// Of all hashes together, in the order of the seeds.
    hashes: BTreeMap<u64, u64>,
}

/// All runs, by scenario.
#[derive(Debug, Default)]
pub(crate) struct Summary(BTreeMap<&'static str, Row>);

impl Summary {
    pub(crate) fn add(&mut self, job: &Job, result: Result<Outcome, Failure>, took: Duration) {
        let row = self.0.entry(job.scenario.name).or_default();
        row.runs += 1;
        row.took += took;
        match result {
            Err(_) => row.failed += 1,
            Ok(outcome) => {
                row.messages += outcome.messages;
                row.events += outcome.events;
                row.packets += outcome.packets;
                row.simulated += outcome.simulated;
                row.hashes.insert(job.seed, outcome.hash);
            }
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.0.values().map(|row| row.failed).sum()
    }

    /// A line for each scenario and one for all. The last column is the same whenever the same seeds are run.
    pub(crate) fn table(&self, took: Duration) -> String {
        let mut text = format!(
            "{:<16} {:>6} {:>6} {:>10} {:>11} {:>11} {:>12} {:>9} {:>7}  hash",
            "scenario", "runs", "failed", "messages", "events", "packets", "virtual s", "real s", "×"
        );
        let mut all = Row::default();
        for (name, row) in &self.0 {
            text += &format!("\n{}", row.line(name));
            all.runs += row.runs;
            all.failed += row.failed;
            all.messages += row.messages;
            all.events += row.events;
            all.packets += row.packets;
            all.simulated += row.simulated;
            let next = all.hashes.len() as u64;
            all.hashes.insert(next, fold(&row.hashes));
        }
        all.took = took;
        text + &format!("\n{}", all.line("all"))
    }
}

impl Row {
    fn line(&self, name: &str) -> String {
        let (simulated, took) = (self.simulated.as_secs_f64(), self.took.as_secs_f64());
        format!(
            "{name:<16} {:>6} {:>6} {:>10} {:>11} {:>11} {simulated:>12.0} {took:>9.1} {:>7.0}  {:016x}",
            self.runs,
            self.failed,
            self.messages,
            self.events,
            self.packets,
            simulated / took,
            fold(&self.hashes),
        )
    }
}

/// One number for many hashes (FNV-1a over them).
fn fold(hashes: &BTreeMap<u64, u64>) -> u64 {
    hashes
        .values()
        .flat_map(|hash| hash.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
