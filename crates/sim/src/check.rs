//! Running a scenario over many seeds, each twice.

use std::env;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::settings::Settings;
use crate::sim::Sim;
use crate::trace::{Difference, Report};

/// The environment variable that replaces the seeds of every check: one number, decimal or hexadecimal with `0x`.
pub const SEED_VARIABLE: &str = "P2P_SIM_SEED";

/// Lines of the trace that are shown of a run that failed.
const SHOWN_LINES: usize = 60;

/// Lines of the trace that are compared to find where two runs part.
const COMPARED_LINES: usize = 1 << 20;

/// Runs a scenario in a world of each seed, twice, and demands the same trace both times. Returns what each run came to.
///
/// ```
/// use std::time::Duration;
///
/// p2p_sim::check(0..3, |sim| async move {
///     let (alice, bob) = (sim.host("alice"), sim.host("bob"));
///     let listener = bob.runtime().tcp_listen((bob.ipv4(), 80).into()).unwrap();
///     let dialed = alice.runtime().tcp_connect(listener.local_addr()).await;
///     assert!(dialed.is_ok() && sim.now() < Duration::from_secs(1));
/// });
/// ```
///
/// # Panics
/// If the scenario panics, or a task of it that nothing catches, or if the two runs of a seed differ. Before that it prints the
/// seed, the command that runs this seed alone (see [`SEED_VARIABLE`]), and the end of the trace.
pub fn check<F, Fut>(seeds: impl IntoIterator<Item = u64>, scenario: F) -> Vec<Report>
where
    F: Fn(Sim) -> Fut,
    Fut: Future<Output = ()>,
{
    Checker::default().check(seeds, scenario)
}

/// [`check`] with other settings.
#[derive(Debug, Clone)]
#[must_use = "call `check`"]
pub struct Checker {
    settings: Settings,
    runs: usize,
    is_strict: bool,
}

impl Default for Checker {
    fn default() -> Self {
        Self { settings: Settings::default(), runs: 2, is_strict: true }
    }
}

impl Checker {
    /// With these settings for each world.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// With each seed run once only: half the time, and nothing is said about determinism.
    pub fn once(mut self) -> Self {
        self.runs = 1;
        self
    }

    /// Without a failure when a task panics that nothing catches; [`Report::panics`] counts them.
    pub fn tolerate_panics(mut self) -> Self {
        self.is_strict = false;
        self
    }

    /// As [`check`].
    ///
    /// # Panics
    /// As [`check`].
    pub fn check<F, Fut>(&self, seeds: impl IntoIterator<Item = u64>, scenario: F) -> Vec<Report>
    where
        F: Fn(Sim) -> Fut,
        Fut: Future<Output = ()>,
    {
        match chosen_seed() {
            Some(seed) => vec![self.seed(seed, &scenario)],
            None => seeds.into_iter().map(|seed| self.seed(seed, &scenario)).collect(),
        }
    }

    fn seed<F, Fut>(&self, seed: u64, scenario: &F) -> Report
    where
        F: Fn(Sim) -> Fut,
        Fut: Future<Output = ()>,
    {
        let first = self.run(seed, scenario, &self.settings).report();
        for _ in 1..self.runs {
            let again = self.run(seed, scenario, &self.settings).report();
            if first != again {
                self.differ(first, again, scenario);
            }
        }
        first
    }

    /// One run. The world is given back as it was left.
    fn run<F, Fut>(&self, seed: u64, scenario: &F, settings: &Settings) -> Sim
    where
        F: Fn(Sim) -> Fut,
        Fut: Future<Output = ()>,
    {
        let sim = Sim::with(seed, settings.clone());
        let outcome = catch_unwind(AssertUnwindSafe(|| sim.block_on(scenario(sim.clone()))));
        let panics = sim.report().panics;
        if let Err(panic) = outcome {
            tell_failure(&sim);
            resume_unwind(panic);
        }
        if self.is_strict && panics > 0 {
            tell_failure(&sim);
            panic!("{panics} tasks of seed {seed} panicked");
        }
        sim
    }

    /// Runs the seed twice more, to show where the runs part.
    fn differ<F, Fut>(&self, first: Report, again: Report, scenario: &F) -> !
    where
        F: Fn(Sim) -> Fut,
        Fut: Future<Output = ()>,
    {
        let settings = Settings { trace_lines: COMPARED_LINES, ..self.settings.clone() };
        let traces = [(); 2].map(|()| self.run(first.seed, scenario, &settings).trace_lines());
        eprintln!("{first}\n{again}\n{}", replay(first.seed));
        match Difference::between(&traces[0], &traces[1]) {
            Some(difference) => eprintln!("{difference}"),
            None => eprintln!("two more runs had equal traces: run it again to see where they part"),
        }
        panic!("seed {}: two runs differ, so something in them does not come from the simulator", first.seed);
    }
}

/// Prints what is needed to look into a failure.
fn tell_failure(sim: &Sim) {
    let hosts: Vec<_> = sim.hosts().iter().map(|host| format!("{} {}", host.id(), host.name())).collect();
    eprintln!("{} failed\n{}\nhosts: {}", sim.report(), replay(sim.seed()), hosts.join(", "));
    let lines = sim.trace_lines();
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        eprintln!("  {line}");
    }
}

/// The command that runs a seed alone.
fn replay(seed: u64) -> String {
    let package = env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}")).unwrap_or_default();
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").map(|name| format!(" {name} -- --exact"));
    format!("replay: {SEED_VARIABLE}={seed} cargo test{package}{}", test.unwrap_or_default())
}

fn chosen_seed() -> Option<u64> {
    let text = env::var(SEED_VARIABLE).ok()?;
    let seed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(seed.unwrap_or_else(|_| panic!("{SEED_VARIABLE} is not a number: {text:?}")))
}
