//! What is told of results: on the terminal, and as `RESULTS.md`.

use std::collections::BTreeMap;

use bench_common::{Place, Scenario, Transport};

use crate::machine::Machine;
use crate::plot::Plot;
use crate::results::{Outcome, Results};
use crate::stack::Stack;
use crate::table::{self, GROUPS};

const METHOD: &str = "\
Written by `cargo xtask bench` from `results.json`, which has every run; [the README](README.md) says what each scenario
measures and how to read this. Both ends are in one process on a tokio runtime with two workers, over loopback or on long
lines (`--line`); the stacks run one right after the other, again and again. `raw` is in the unit of the scenario, and what
is marked × is against it: the median of the ratios within each repetition. `conns` and `conns5000` are in KiB, and the
scenarios on lines and those without raw in their own unit.";

/// The tables and notes of all scenarios of which there is anything.
pub fn tables(results: &Results) -> String {
    let mut text = String::new();
    for (title, scenarios) in GROUPS {
        if !scenarios.iter().any(|&scenario| results.has(scenario)) {
            continue;
        }
        text += &format!("## {title}\n\n{}\n\n", table::figures(results, scenarios));
        text += &format!("{}\n\n", table::costs(results, scenarios));
        if let Some(beside) = table::beside(results, scenarios) {
            text += &format!("{beside}\n\n");
        }
    }
    text + &notes(results)
}

/// The page.
pub fn page(results: &Results, plots: &[Plot]) -> String {
    let mut text = format!("# Measured\n\n{METHOD}\n\n");
    for (number, machine) in results.sessions.iter().enumerate() {
        text += &session(results, number, machine);
    }
    text += "\n";
    text += &tables(results);
    if !plots.is_empty() {
        text += "\n## Plots\n\n";
        text += &plots.iter().map(|plot| format!("![{}](plots/{})\n", plot.title, plot.file)).collect::<String>();
    }
    text
}

/// The circumstances of one session, and which scenarios are of it if there are others.
fn session(results: &Results, number: usize, machine: &Machine) -> String {
    let Machine { date, cpu, cores, kernel, compiler, commit, .. } = machine;
    let mut text = format!("- {date}: {cpu}, {cores} cores, {kernel}; {compiler}; this repository at {commit}\n");
    if results.sessions.len() > 1 {
        let is_of =
            |scenario: &Scenario| results.runs.iter().any(|run| run.session == number && run.scenario == *scenario);
        let names: Vec<_> =
            Scenario::ALL.into_iter().filter(is_of).map(|scenario| format!("`{}`", scenario.name())).collect();
        text += &format!("  - scenarios: {}\n", names.join(", "));
    }
    for (stack, versions) in &machine.stacks {
        text += &format!("  - {}: {}\n", stack.name(), versions.join(", "));
    }
    text
}

/// What could not be compared, what failed, and what was not measured side by side.
fn notes(results: &Results) -> String {
    let mut lacking: BTreeMap<(Stack, &str), BTreeMap<Scenario, Vec<Transport>>> = BTreeMap::new();
    let mut failed: BTreeMap<(Stack, Scenario, Transport), (usize, &str)> = BTreeMap::new();
    for run in &results.runs {
        match &run.outcome {
            Outcome::Incomparable(why) => {
                let transports = lacking.entry((run.stack, why)).or_default().entry(run.scenario).or_default();
                transports.push(run.transport);
                transports.dedup();
            }
            Outcome::Failed(why) => {
                failed.entry((run.stack, run.scenario, run.transport)).or_insert((0, why)).0 += 1;
            }
            Outcome::Figure(_) => {}
        }
    }
    let mut notes = Vec::new();
    for ((stack, why), scenarios) in &lacking {
        let scenarios: Vec<_> =
            scenarios.iter().map(|(scenario, transports)| with_transports(*scenario, transports)).collect();
        notes.push(format!("- {} has no {}: {why}", stack.name(), scenarios.join(", ")));
    }
    for ((stack, scenario, transport), (count, why)) in &failed {
        notes.push(format!(
            "- FAILED: {} `{}` over {}, {count} of {} runs: {why}",
            stack.name(),
            scenario.name(),
            transport.name(),
            results.runs.iter().filter(|run| run.cell() == (*scenario, *transport, *stack)).count(),
        ));
    }
    if results.runs.iter().any(|run| is_unpaired(results, run.cell())) {
        notes.push(
            "- ~: raw was measured at another time; the ratio is of medians and has in it what had changed".into(),
        );
    }
    if notes.is_empty() { String::new() } else { format!("## Not compared\n\n{}\n", notes.join("\n")) }
}

fn with_transports(scenario: Scenario, transports: &[Transport]) -> String {
    if transports.len() == Transport::ALL.len() {
        return format!("`{}`", scenario.name());
    }
    let names: Vec<_> = transports.iter().map(|transport| transport.name()).collect();
    format!("`{}` ({})", scenario.name(), names.join(", "))
}

fn is_unpaired(results: &Results, (scenario, transport, stack): (Scenario, Transport, Stack)) -> bool {
    let has_ratio = stack != Stack::Raw && scenario.place() == Place::Loopback;
    has_ratio && results.ratio(scenario, transport, stack).is_some_and(|ratio| !ratio.paired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Run;

    fn run(scenario: Scenario, transport: Transport, stack: Stack, outcome: Outcome) -> Run {
        Run { session: 0, repetition: 1, scenario, transport, stack, outcome }
    }

    #[test]
    fn reasons_are_told_once() {
        let none = || Outcome::Incomparable("one stream".into());
        let mut runs: Vec<Run> =
            Transport::ALL.map(|transport| run(Scenario::Hol, transport, Stack::Raw, none())).into();
        runs.push(run(Scenario::Stalled, Transport::Tcp, Stack::Raw, none()));
        runs.push(run(Scenario::Rtt, Transport::Tls, Stack::Iroh, Outcome::Failed("late".into())));
        let notes = notes(&Results { sessions: Vec::new(), runs });
        assert!(notes.contains("- raw has no `hol`, `stalled` (tcp): one stream\n"), "{notes}");
        assert!(notes.contains("- FAILED: iroh `rtt` over tls, 1 of 1 runs: late\n"), "{notes}");
    }

    #[test]
    fn the_page_says_where_it_was_measured() {
        let machine = |date: &str, stack| Machine {
            date: date.into(),
            cpu: "Fast 9000".into(),
            cores: 2,
            stacks: [(stack, vec!["quinn 0.11.12".into()])].into(),
            ..Machine::default()
        };
        let none = || Outcome::Incomparable("not yet".into());
        let mut results = Results {
            sessions: vec![machine("2026-11-01", Stack::Raw)],
            runs: vec![run(Scenario::Rtt, Transport::Tcp, Stack::Raw, none())],
        };
        let text = page(&results, &[]);
        assert!(text.contains("- 2026-11-01: Fast 9000, 2 cores"), "{text}");
        assert!(text.contains("raw: quinn 0.11.12") && !text.contains("scenarios: `"), "{text}");

        results.sessions.push(machine("2026-11-02", Stack::P2p));
        results.runs.push(Run { session: 1, ..run(Scenario::Bulk, Transport::Tcp, Stack::P2p, none()) });
        let text = page(&results, &[]);
        assert!(text.contains("- scenarios: `rtt`\n") && text.contains("- scenarios: `bulk`\n"), "{text}");
    }
}
