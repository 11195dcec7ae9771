//! Whole nodes in the simulator: each scenario is a world with faults, run with many seeds and held to the rules of
//! `model`. `cargo xtask sim` runs it at length; as an ordinary test it runs a few seeds of each scenario.
#![allow(missing_docs, clippy::disallowed_methods, reason = "a program of tests, which measures real time")]

mod args;
#[path = "../shared/components.rs"]
mod components;
mod memory;
mod model;
mod report;
mod scenarios;
mod talk;
mod town;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use p2p_sim::Difference;

use self::args::{Action, Args};
use self::report::{Failure, Progress, Summary};
use self::scenarios::{SCENARIOS, Scenario};

/// Lines of the trace that are compared to find where two runs part.
const COMPARED_LINES: usize = 1 << 20;

/// Runs that are made to find where two of them part.
const ATTEMPTS: usize = 8;

/// One run of one scenario.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) scenario: &'static Scenario,
    pub(crate) seed: u64,
    /// Run twice, and once more in another process: all three traces must be the same.
    pub(crate) twice: bool,
}

fn main() -> ExitCode {
    let args = match Args::parse(lexopt::Parser::from_env()) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("sim: {error}; see --help");
            return ExitCode::FAILURE;
        }
    };
    match args.action {
        Action::Help => print!("{}", args::HELP),
        Action::List => SCENARIOS.iter().for_each(|scenario| println!("{:<16} {}", scenario.name, scenario.about)),
        Action::Hash => {
            for job in args.jobs() {
                let (outcome, lines) = job.scenario.run_traced(job.seed, args.trace);
                lines.iter().for_each(|line| println!("{line}"));
                println!("{:016x}", outcome.hash);
            }
        }
        Action::Run => return run(&args),
    }
    ExitCode::SUCCESS
}

fn run(args: &Args) -> ExitCode {
    let jobs: Vec<Job> = args.jobs().collect();
    if args.memory {
        memory::watch();
    }
    let (next, started) = (AtomicUsize::new(0), Instant::now());
    let progress = Progress::new(jobs.len());
    let summary = Mutex::new(Summary::default());
    // What a scenario prints when it fails is in its panic's message, which is reported below with the seed.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|threads| {
        for _ in 0..if args.memory { 1 } else { args.threads.min(jobs.len()) } {
            threads.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let result = catch_unwind(AssertUnwindSafe(|| perform(*job, args.trace)));
                    let result = result.map_err(|panic| Failure::new(*job, &*panic));
                    if let Err(failure) = &result {
                        progress.print(&failure.to_string());
                    }
                    progress.done(job);
                    let mut summary = summary.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    summary.add(job, result, started.elapsed());
                }
            });
        }
    });
    drop(std::panic::take_hook());
    progress.finish();
    let summary = summary.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{}", summary.table(started.elapsed()));
    if summary.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn perform(job: Job, trace: usize) -> town::Outcome {
    let outcome = job.scenario.run(job.seed, trace);
    if job.twice {
        let again = job.scenario.run(job.seed, trace);
        if again.hash != outcome.hash {
            panic!("the same seed took another course: {again:?}, then {outcome:?}\n{}", parting(job));
        }
        assert_eq!(elsewhere(job), format!("{:016x}", outcome.hash), "another process took another course");
    }
    outcome
}

/// Runs a seed that does not repeat itself until two runs differ, and says where.
fn parting(job: Job) -> String {
    let (_, first) = job.scenario.run_traced(job.seed, COMPARED_LINES);
    let others = (0..ATTEMPTS).map(|_| job.scenario.run_traced(job.seed, COMPARED_LINES).1);
    match others.filter_map(|other| Difference::between(&first, &other)).next() {
        Some(difference) => difference.to_string(),
        None => format!("{ATTEMPTS} more runs were alike"),
    }
}

/// The hash of the same run in a process of its own.
fn elsewhere(job: Job) -> String {
    let program = std::env::current_exe().expect("a test knows its own program");
    let seed = job.seed.to_string();
    let run = Command::new(program).args(["--scenario", job.scenario.name, "--seed", &seed, "--hash"]).output();
    let output = run.expect("a test can run its own program");
    assert!(output.status.success(), "in another process: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
