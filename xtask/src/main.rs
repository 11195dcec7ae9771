//! The chores of this workspace: `cargo xtask` lists them.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a program for developers uses files, processes and the clock directly")]

mod busy;
mod fuzz;
mod machines;
mod micro;
mod run;
mod tasks;
mod tidy;
mod tools;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::{Arg, ValueExt};

use self::run::Runner;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// What `cargo xtask` can be asked to do, in the order in which it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Ci,
    Test,
    Fmt,
    Lint,
    Features,
    Sim,
    Hostile,
    Docs,
    Book,
    Deny,
    Tidy,
    Fuzz,
    DhtSim,
    Bench,
    Micro,
    Machines,
}

impl Task {
    const ALL: [Task; 16] = [
        Task::Ci,
        Task::Test,
        Task::Fmt,
        Task::Lint,
        Task::Features,
        Task::Sim,
        Task::Hostile,
        Task::Docs,
        Task::Book,
        Task::Deny,
        Task::Tidy,
        Task::Fuzz,
        Task::DhtSim,
        Task::Bench,
        Task::Micro,
        Task::Machines,
    ];

    fn name(self) -> &'static str {
        match self {
            Task::Ci => "ci",
            Task::Test => "test",
            Task::Fmt => "fmt",
            Task::Lint => "lint",
            Task::Features => "features",
            Task::Sim => "sim",
            Task::Hostile => "hostile",
            Task::Docs => "docs",
            Task::Book => "book",
            Task::Deny => "deny",
            Task::Tidy => "tidy",
            Task::Fuzz => "fuzz",
            Task::DhtSim => "dht-sim",
            Task::Bench => "bench",
            Task::Micro => "micro",
            Task::Machines => "machines",
        }
    }

    /// Whether what follows it is for the program that it runs.
    fn has_options(self) -> bool {
        matches!(self, Task::Fuzz | Task::Sim | Task::Hostile | Task::DhtSim | Task::Bench | Task::Micro)
    }

    fn about(self) -> &'static str {
        match self {
            Task::Ci => "all that CI runs: fmt --check, lint, test, features, sim, hostile, docs, deny, tidy",
            Task::Test => {
                "all tests with all features, doc tests too; what follows `--` goes to cargo test; --busy 16: beside busy loops"
            }
            Task::Fmt => "format the code; with --check, only say whether it is",
            Task::Lint => "clippy on everything, warnings denied",
            Task::Features => {
                "each crate as others build it, with no feature and each one alone; tests with tokio alone and smol alone"
            }
            Task::Sim => "whole nodes in the simulator, 20 seeds of each scenario; --help says what else",
            Task::Hostile => {
                "attacks on real nodes, each beside its control; --short: what CI runs; --help says what else"
            }
            Task::Docs => "API documentation, warnings denied",
            Task::Book => "build the book in docs/ (installs mdbook if missing: some minutes)",
            Task::Deny => "licenses, bans and sources of dependencies; advisories if their database can be had",
            Task::Tidy => "the rules of the repository: layers, sizes, links, and what people forget",
            Task::Fuzz => "coverage-guided fuzzing (installs cargo-fuzz if missing); see fuzz --help",
            Task::DhtSim => {
                "figures of the DHT; --nodes 1000 --rows static,dead --seed 1 --quick; --write: into the book"
            }
            Task::Bench => "what it costs, against raw sockets and other stacks; see bench --help",
            Task::Micro => "the micro-benchmarks in instructions, which valgrind counts; see micro --help",
            Task::Machines => {
                "the README's programs on several machines, behind boxes and firewalls; root, iproute2, nftables"
            }
        }
    }
}

/// One call of this program.
#[derive(Debug, PartialEq, Eq)]
enum Invocation {
    Help,
    /// To be a busy loop.
    Spin,
    /// `busy`: how many busy loops there are beside it.
    Run {
        task: Task,
        check: bool,
        busy: usize,
        passed_on: Vec<String>,
    },
}

impl Invocation {
    fn parse(mut args: lexopt::Parser) -> Result<Self> {
        let (mut task, mut check, mut busy, mut passed_on) = (None, false, 0, Vec::new());
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Short('h') | Arg::Long("help") => return Ok(Self::Help),
                Arg::Long("check") if task == Some(Task::Fmt) => check = true,
                // What is the default may be said.
                Arg::Long("write") if task == Some(Task::Fmt) => check = false,
                Arg::Long("busy") if task == Some(Task::Test) => {
                    busy = args.value()?.parse()?;
                    if busy > busy::MOST {
                        return Err(format!("--busy {busy}: at most {}", busy::MOST).into());
                    }
                }
                Arg::Value(name) if task.is_none() && name == busy::LOOP => return Ok(Self::Spin),
                Arg::Value(name) if task.is_none() => {
                    let known = Task::ALL.into_iter().find(|task| name == task.name());
                    task = Some(known.ok_or_else(|| format!("there is no task {name:?}: see cargo xtask --help"))?);
                    if task.is_some_and(Task::has_options) {
                        // They have options of their own.
                        let rest =
                            args.raw_args()?.map(|arg| arg.into_string().map_err(|_| "an argument is not UTF-8"));
                        passed_on = rest.collect::<Result<_, _>>()?;
                    }
                }
                Arg::Value(value) if task == Some(Task::Test) => {
                    passed_on.push(value.into_string().map_err(|_| "an argument is not UTF-8")?);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(task.map_or(Self::Help, |task| Self::Run { task, check, busy, passed_on }))
    }
}

fn main() -> ExitCode {
    let done = Invocation::parse(lexopt::Parser::from_env()).and_then(|invocation| match invocation {
        Invocation::Help => {
            print!("{}", help());
            Ok(())
        }
        Invocation::Spin => busy::spin(),
        Invocation::Run { task, check, busy, passed_on } => perform(task, check, busy, &passed_on),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task, check: bool, busy: usize, passed_on: &[String]) -> Result {
    let run = Runner::new(&root());
    match task {
        Task::Ci => tasks::ci(&run),
        Task::Test => tasks::test(&run, busy, passed_on),
        Task::Fmt => tasks::fmt(&run, check),
        Task::Lint => tasks::lint(&run),
        Task::Features => tasks::features(&run),
        Task::Sim => tasks::sim(&run, passed_on),
        Task::Hostile => tasks::hostile(&run, passed_on),
        Task::Docs => tasks::docs(&run),
        Task::Book => tasks::book(&run),
        Task::Deny => tasks::deny(&run),
        Task::Tidy => tidy::tidy(&run),
        Task::Fuzz => fuzz::fuzz(&run, passed_on),
        Task::DhtSim => tasks::dht_sim(&run, passed_on),
        Task::Bench => tasks::bench(&run, passed_on),
        Task::Micro => micro::micro(&run, passed_on),
        Task::Machines => machines::machines(&run),
    }
}

fn help() -> String {
    let tasks = Task::ALL.map(|task| format!("  {:<9} {}\n", task.name(), task.about())).concat();
    format!("The chores of this workspace.\n\nUsage: cargo xtask <task>\n\n{tasks}")
}

/// The folder of the workspace: this package's parent.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    // Outside of cargo, the place it was built at.
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Invocation> {
        Invocation::parse(lexopt::Parser::from_args(args))
    }

    fn run(task: Task, check: bool, passed_on: &[&str]) -> Invocation {
        Invocation::Run { task, check, busy: 0, passed_on: passed_on.iter().map(|&arg| arg.to_owned()).collect() }
    }

    #[test]
    fn every_task_has_its_name_and_a_line_of_help() {
        for task in Task::ALL {
            assert_eq!(parse(&[task.name()]).unwrap(), run(task, false, &[]));
            assert!(help().contains(&format!("\n  {:<9} {}\n", task.name(), task.about())));
        }
    }

    #[test]
    fn without_a_task_there_is_help() {
        for args in [&[][..], &["--help"], &["ci", "-h"]] {
            assert_eq!(parse(args).unwrap(), Invocation::Help);
        }
    }

    #[test]
    fn flags_belong_to_their_task() {
        assert_eq!(parse(&["fmt", "--check"]).unwrap(), run(Task::Fmt, true, &[]));
        assert_eq!(parse(&["fmt", "--write"]).unwrap(), run(Task::Fmt, false, &[]));
        assert_eq!(parse(&["test", "--", "-p", "p2p-core"]).unwrap(), run(Task::Test, false, &["-p", "p2p-core"]));
        let core = vec!["-p".into(), "p2p-core".into()];
        let busy = Invocation::Run { task: Task::Test, check: false, busy: 16, passed_on: core };
        assert_eq!(parse(&["test", "--busy", "16", "--", "-p", "p2p-core"]).unwrap(), busy);
        assert_eq!(parse(&["busy-loop"]).unwrap(), Invocation::Spin);
        let replay = ["--scenario", "mesh", "--seed", "7", "--help"];
        assert_eq!(parse(&[&["sim"][..], &replay].concat()).unwrap(), run(Task::Sim, false, &replay));
        let hostile = ["--case", "24", "--short"];
        assert_eq!(parse(&[&["hostile"][..], &hostile].concat()).unwrap(), run(Task::Hostile, false, &hostile));
        let fuzz = ["record", "--minutes", "5", "--list"];
        assert_eq!(parse(&[&["fuzz"][..], &fuzz].concat()).unwrap(), run(Task::Fuzz, false, &fuzz));
        let sim = ["--nodes", "1000", "--write"];
        assert_eq!(parse(&[&["dht-sim"], &sim[..]].concat()).unwrap(), run(Task::DhtSim, false, &sim));
        let bench = ["rtt", "--stack", "raw,p2p", "--help"];
        assert_eq!(parse(&[&["bench"], &bench[..]].concat()).unwrap(), run(Task::Bench, false, &bench));
        assert_eq!(parse(&["micro", "--write"]).unwrap(), run(Task::Micro, false, &["--write"]));
        for wrong in [&["lint", "--check"][..], &["fmt", "--chekc"], &["dance"], &["ci", "test"], &["--check"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
        for wrong in
            [&["lint", "--busy", "1"][..], &["test", "--busy"], &["test", "--busy", "-1"], &["test", "--busy", "1025"]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
