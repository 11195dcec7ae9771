//! One session of measuring.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bench_common::{Scenario, Transport};

use crate::child::{Children, Ended};
use crate::options::Options;
use crate::place::Place;
use crate::progress::Progress;
use crate::results::{Cell, Figure, Outcome, Run};
use crate::stack::Stack;
use crate::{Result, table};

/// Runs every program with every scenario and transport, the stacks right after each other, all of it again for each
/// repetition: what changes on the machine meanwhile meets all of them, and what is there when it is interrupted is of
/// all scenarios. What fails is not tried again.
pub fn measure(options: &Options, programs: &BTreeMap<Stack, PathBuf>, children: &mut Children) -> Result<Vec<Run>> {
    let plan = plan(options, programs);
    let mut progress = Progress::new(plan.len())?;
    let mut runs: Vec<Run> = Vec::new();
    // What a stack lacks it lacks in each repetition.
    let mut incomparable: BTreeSet<Cell> = BTreeSet::new();
    for (repetition, cell) in plan {
        let (scenario, transport, stack) = cell;
        let name = format!("{} {} {}", scenario.name(), transport.name(), stack.name());
        if incomparable.contains(&cell) {
            progress.end(&name, "nothing to compare");
            continue;
        }
        if children.is_interrupted() {
            break;
        }
        progress.begin(&name);
        let seed = repetition as u64;
        let place = Place::make(scenario, seed, options.quick);
        let outcome = match place {
            Ok(place) => {
                let Some(outcome) = run(&programs[&stack], scenario, transport, None, &place, children) else { break };
                if let Some(remark) = place.leave() {
                    progress.say(&format!("{name}: {remark}"));
                }
                outcome
            }
            Err(error) => Outcome::Failed(error.to_string()),
        };
        match &outcome {
            Outcome::Figure(figure) => {
                progress.end(&name, &format!("{} {}", table::figure(figure.value), scenario.unit()));
            }
            Outcome::Incomparable(why) => {
                incomparable.insert(cell);
                progress.end(&name, why);
            }
            Outcome::Failed(why) => {
                progress.say(&format!("FAILED {name}: {why}"));
                progress.end(&name, "failed");
            }
        }
        runs.push(Run { session: 0, repetition, scenario, transport, stack, outcome });
    }
    progress.finish();
    Ok(runs)
}

/// What is run when.
fn plan(options: &Options, programs: &BTreeMap<Stack, PathBuf>) -> Vec<(usize, Cell)> {
    let mut plan = Vec::new();
    for repetition in 1..=options.repetitions {
        for &scenario in &options.scenarios {
            for &transport in &options.transports {
                plan.extend(programs.keys().map(|&stack| (repetition, (scenario, transport, stack))));
            }
        }
    }
    plan
}

/// One run; `None` when it was interrupted. `further` is what the program is told beside the scenario and the transport.
pub fn run(
    program: &Path,
    scenario: Scenario,
    transport: Transport,
    further: Option<&str>,
    place: &Place,
    children: &mut Children,
) -> Option<Outcome> {
    let mut command = place.command(program);
    command.args([scenario.name(), transport.name()]).args(further);
    let limit = scenario.limit();
    Some(match children.run(command, limit) {
        Ok(Ended::Interrupted) => return None,
        Ok(Ended::TooLong) => Outcome::Failed(format!("it took more than {} s", limit.as_secs())),
        Ok(Ended::Itself { status, stderr, .. }) if !status.success() => {
            Outcome::Failed(format!("{status}: {}", last_words(&stderr)))
        }
        Ok(Ended::Itself { stdout, .. }) => told(&stdout),
        Err(error) => Outcome::Failed(error.to_string()),
    })
}

/// What a program has printed.
fn told(stdout: &str) -> Outcome {
    match serde_json::from_str(stdout) {
        Ok(bench_common::Outcome::Figure(figure)) if figure.value.is_finite() => {
            let bench_common::Figure { value, cpu_us, peak_kib, beside, .. } = figure;
            Outcome::Figure(Figure { value, cpu_us, peak_kib, beside })
        }
        Ok(bench_common::Outcome::Figure(figure)) => Outcome::Failed(format!("its figure is {}", figure.value)),
        Ok(bench_common::Outcome::Incomparable(why)) => Outcome::Incomparable(why),
        Err(error) => Outcome::Failed(format!("what it printed cannot be read: {error}")),
    }
}

/// The lines of a panic, without the backtrace.
fn last_words(stderr: &str) -> String {
    let from = stderr.find("thread '").unwrap_or(0);
    let lines =
        stderr[from..].lines().take_while(|line| !line.starts_with("stack backtrace") && !line.starts_with("note:"));
    let words = lines.map(str::trim).filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join(" ");
    if words.is_empty() { "it said nothing".into() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_take_turns() {
        let args = ["bench", "rtt,bulk", "--transport", "tcp", "--repetitions", "2"];
        let options = Options::parse(args).unwrap().unwrap();
        let programs = [Stack::Raw, Stack::P2p].map(|stack| (stack, PathBuf::new())).into();
        let plan = plan(&options, &programs);
        let cell = |scenario, stack| (scenario, Transport::Tcp, stack);
        let once = [
            cell(Scenario::Rtt, Stack::Raw),
            cell(Scenario::Rtt, Stack::P2p),
            cell(Scenario::Bulk, Stack::Raw),
            cell(Scenario::Bulk, Stack::P2p),
        ];
        let twice: Vec<_> = [1, 2].into_iter().flat_map(|n| once.map(|cell| (n, cell))).collect();
        assert_eq!(plan, twice);
    }

    #[test]
    fn what_programs_print_is_understood() {
        assert_eq!(told("{\"incomparable\":\"not yet\"}\n"), Outcome::Incomparable("not yet".into()));
        let figure =
            r#"{"figure":{"scenario":"rtt","transport":"tcp","value":2.5,"cpu_us":1.0,"peak_kib":7,"beside":{}}}"#;
        let Outcome::Figure(figure) = told(figure) else { panic!("a figure") };
        assert_eq!((figure.value, figure.cpu_us, figure.peak_kib), (2.5, 1.0, 7));
        assert!(matches!(told("hello"), Outcome::Failed(why) if why.contains("cannot be read")));
    }

    #[test]
    fn a_panic_is_told_in_a_line() {
        let stderr = "noise\nthread 'main' panicked at src/x.rs:1:2:\ncalled unwrap\nnote: run with\nmore\n";
        assert_eq!(last_words(stderr), "thread 'main' panicked at src/x.rs:1:2: called unwrap");
        assert_eq!(last_words(""), "it said nothing");
    }
}
