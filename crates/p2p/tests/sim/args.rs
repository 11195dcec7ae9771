//! What the program is asked to do.

use std::num::NonZero;

use lexopt::{Arg, ValueExt};

use crate::Job;
use crate::scenarios::{SCENARIOS, Scenario};

pub(crate) const HELP: &str = "\
Whole nodes in the simulator.

Usage: cargo xtask sim [--seeds N] [--first S] [--scenario NAME] [--seed X] [--threads T] [--memory] [--list]

  --seeds N         run each scenario with N seeds (20)
  --first S         the first of them (1)
  --scenario NAME   only this scenario
  --seed X          only this seed: replays a failure
  --trace LINES     show so many of the last lines of the trace of a failure
  --threads T       worlds at the same time (as many as there are processors)
  --memory          one run at a time; those that last show what memory they take
  --list            the scenarios
  --hash            print the trace's hash and nothing else; with --trace, the lines before it
";

/// Seeds of each scenario unless told otherwise; an unoptimized build, as among all other tests, has time for few.
const SEEDS: u64 = if cfg!(debug_assertions) { 2 } else { 20 };

/// Of so many seeds of each scenario it is tried that the same seed takes the same course.
const TWICE: u64 = if cfg!(debug_assertions) { 1 } else { 2 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Run,
    List,
    Hash,
    Help,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) action: Action,
    pub(crate) threads: usize,
    /// So many of the last lines of the trace are shown with a failure.
    pub(crate) trace: usize,
    /// Watch the memory of each run.
    pub(crate) memory: bool,
    scenario: Option<&'static Scenario>,
    first: u64,
    seeds: u64,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let mut args =
            Self { action: Action::Run, threads, trace: 0, memory: false, scenario: None, first: 1, seeds: SEEDS };
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("seeds") => args.seeds = parser.value()?.parse()?,
                Arg::Long("first") => args.first = parser.value()?.parse()?,
                Arg::Long("seed") => (args.first, args.seeds) = (parser.value()?.parse()?, 1),
                Arg::Long("trace") => args.trace = parser.value()?.parse()?,
                Arg::Long("threads") => args.threads = parser.value()?.parse::<usize>()?.max(1),
                Arg::Long("scenario") => {
                    let name = parser.value()?.string()?;
                    let known = SCENARIOS.iter().find(|scenario| scenario.name == name);
                    args.scenario = Some(known.ok_or_else(|| format!("there is no scenario {name:?}"))?);
                }
                Arg::Long("memory") => args.memory = true,
                Arg::Long("list") => args.action = Action::List,
                Arg::Long("hash") => args.action = Action::Hash,
                Arg::Short('h') | Arg::Long("help") => args.action = Action::Help,
                other => return Err(other.unexpected()),
            }
        }
        Ok(args)
    }

    /// All runs: seed by seed through all scenarios, so that a run that is cut short has seen each of them.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = Job> {
        let (chosen, memory) = (self.scenario, self.memory);
        let (first, end) = (self.first, self.first.saturating_add(self.seeds));
        (first..end).flat_map(move |seed| {
            let scenarios = SCENARIOS.iter().filter(move |it| chosen.is_none_or(|chosen| std::ptr::eq(chosen, *it)));
            let due = scenarios.filter(move |it| chosen.is_some() || (seed - first) % it.every == 0);
            due.map(move |scenario| Job { scenario, seed, twice: !memory && seed - first < TWICE })
        })
    }
}
