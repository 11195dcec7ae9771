//! Tables in Markdown: for the terminal and for `RESULTS.md`.

use bench_common::{Against, Place, Scenario, Transport};
use comfy_table::{Table, presets};

use crate::goals::{Goal, Judged, Judgment};
use crate::results::{Figure, Outcome, Results, Run};
use crate::stack::Stack;

/// Scenarios that have a table together.
pub const GROUPS: [(&str, &[Scenario]); 10] = [
    ("Messages", &[Scenario::Rtt, Scenario::Small, Scenario::Bulk]),
    ("Connecting", &[Scenario::Connect, Scenario::Connect64, Scenario::SlowHandshake]),
    ("One to many", &[Scenario::Fanout, Scenario::Fanout500, Scenario::Fanout2000]),
    ("Idle connections", &[Scenario::Conns, Scenario::Conns5000]),
    ("In each other's way", &[Scenario::Hol, Scenario::Busy, Scenario::Stalled]),
    ("The DHT", &[Scenario::Lookup]),
    ("Connecting on a long line", &[Scenario::Dial, Scenario::Find]),
    ("Bulk on long lines", &[Scenario::Fill, Scenario::Hundredth, Scenario::LongFat, Scenario::Gigabit]),
    ("Lines that are thin or lose packets", &[Scenario::Thin, Scenario::Lossy, Scenario::Uplink]),
    ("Outages and changes", &[Scenario::Outage, Scenario::Restart, Scenario::Moved]),
];

/// The name under which a program tells the CPU time of its measured part alone.
const CPU: &str = "CPU µs";
/// The name of the slowest operation.
const SLOWEST: &str = "slowest ms";

const NOTHING: &str = "–";

/// What each stack reaches, for scenarios of which there is anything.
pub fn figures(results: &Results, scenarios: &[Scenario]) -> String {
    let mut table = table(&["scenario", "stack", "tcp", "tls", "quic"]);
    let scenarios = scenarios.iter().filter(|&&scenario| results.has(scenario));
    for judgment in scenarios.flat_map(|&scenario| Judgment::all(scenario)) {
        let mut title = judgment.name();
        let mut add = |stack: &str, cells: [String; 3]| {
            if cells.iter().any(|cell| cell != NOTHING) {
                table.add_row([std::mem::take(&mut title), stack.to_owned()].into_iter().chain(cells));
            }
        };
        for stack in Stack::ALL {
            add(stack.name(), Transport::ALL.map(|transport| shown(results, judgment, transport, stack)));
            if stack == Stack::P2p {
                add("goal of p2p", Transport::ALL.map(|transport| goal(results, judgment, transport)));
                add("p2p ahead of all", Transport::ALL.map(|transport| ahead(results, judgment, transport)));
            }
        }
    }
    table.to_string()
}

/// The CPU time of an operation in µs.
pub fn cpu(figure: &Figure) -> f64 {
    figure.beside.get(CPU).copied().unwrap_or(figure.cpu_us)
}

/// What raw and p2p need for it.
pub fn costs(results: &Results, scenarios: &[Scenario]) -> String {
    let mut table = table(&["scenario", "", "CPU/op raw", "p2p", "peak memory raw", "p2p", "slowest op raw", "p2p"]);
    for &scenario in scenarios.iter().filter(|&&scenario| results.has(scenario)) {
        for transport in Transport::ALL {
            let cells = |get: fn(&Figure) -> Option<f64>, unit: &str| {
                [Stack::Raw, Stack::P2p].map(|stack| {
                    let value = results.median_of((scenario, transport, stack), get);
                    value.map_or(NOTHING.to_owned(), |value| format!("{} {unit}", figure(value)))
                })
            };
            let cpu = cells(|figure| Some(cpu(figure)), "µs");
            let peak = cells(|figure| Some(figure.peak_kib as f64 / 1024.0), "MiB");
            let slowest = cells(|figure| figure.beside.get(SLOWEST).copied(), "ms");
            let cells = [cpu, peak, slowest].concat();
            if cells.iter().any(|cell| cell != NOTHING) {
                let name = [format!("`{}`", scenario.name()), transport.name().to_owned()];
                table.add_row(name.into_iter().chain(cells));
            }
        }
    }
    table.to_string()
}

/// What programs tell beside their figures; nothing if they tell nothing.
pub fn beside(results: &Results, scenarios: &[Scenario]) -> Option<String> {
    let mut table = table(&["scenario", "beside", "stack", "tcp", "tls", "quic"]);
    let mut names: Vec<(Scenario, &str)> = Vec::new();
    for run in results.runs.iter().filter(|run| scenarios.contains(&run.scenario)) {
        let told = run.figure().into_iter().flat_map(|figure| figure.beside.keys());
        names.extend(
            // What is judged has been shown.
            told.filter(|name| ![CPU, SLOWEST].contains(&name.as_str()))
                .filter(|name| !Judgment::all(run.scenario).iter().any(|one| one.beside == Some(name.as_str())))
                .map(|name| (run.scenario, name.as_str())),
        );
    }
    names.sort_unstable();
    names.dedup();
    for (scenario, name) in &names {
        for stack in Stack::ALL {
            let cells = Transport::ALL.map(|transport| {
                let value =
                    results.median_of((*scenario, transport, stack), |figure| figure.beside.get(*name).copied());
                value.map_or(NOTHING.to_owned(), figure)
            });
            if cells.iter().any(|cell| cell != NOTHING) {
                let title = [format!("`{}`", scenario.name()), (*name).to_owned(), stack.name().to_owned()];
                table.add_row(title.into_iter().chain(cells));
            }
        }
    }
    (!names.is_empty()).then(|| table.to_string())
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.iter().copied());
    table
}

/// What is judged, of a stack.
pub fn judged(results: &Results, judgment: Judgment, transport: Transport, stack: Stack) -> Option<f64> {
    match judgment.judged() {
        Judged::Ratio => results.ratio(judgment.scenario, transport, stack).map(|ratio| ratio.value),
        Judged::Value => results.overall(judgment, transport, stack),
    }
}

fn shown(results: &Results, judgment: Judgment, transport: Transport, stack: Stack) -> String {
    let scenario = judgment.scenario;
    let cell = (scenario, transport, stack);
    let Some(value) = results.overall(judgment, transport, stack) else {
        let failed = |run: &&Run| run.cell() == cell && matches!(run.outcome, Outcome::Failed(_));
        return if results.runs.iter().any(|run| failed(&run)) { "failed".into() } else { NOTHING.into() };
    };
    let ratio = || match results.ratio(scenario, transport, stack)? {
        ratio if ratio.paired => Some(format!("×{}", figure(ratio.value))),
        ratio => Some(format!("~×{}", figure(ratio.value))),
    };
    let has_ratio = stack != Stack::Raw && scenario.place() == Place::Loopback;
    match (judgment.judged(), if has_ratio { ratio() } else { None }) {
        (_, None) => figure(value),
        (Judged::Ratio, Some(ratio)) => ratio,
        (Judged::Value, Some(ratio)) => format!("{} ({ratio})", figure(value)),
    }
}

fn goal(results: &Results, judgment: Judgment, transport: Transport) -> String {
    let Some(goal) = Goal::of(judgment, transport) else { return NOTHING.into() };
    let Some(reached) = judged(results, judgment, transport, Stack::P2p) else { return NOTHING.into() };
    let times = if goal.judged == Judged::Ratio { "×" } else { "" };
    let met = if goal.is_met(reached) { "met" } else { "**missed**" };
    format!("{} {times}{}: {met}", goal.sign(), goal.bound)
}

/// Whether p2p does better than each of the other libraries, and who does better than it.
fn ahead(results: &Results, judgment: Judgment, transport: Transport) -> String {
    let Some(ours) = judged(results, judgment, transport, Stack::P2p) else { return NOTHING.into() };
    let others: Vec<(Stack, f64)> = [Stack::Karyon, Stack::Libp2p, Stack::Iroh]
        .into_iter()
        .filter_map(|stack| Some((stack, judged(results, judgment, transport, stack)?)))
        .collect();
    let is_better = |theirs: f64| if judgment.less_is_better() { theirs < ours } else { theirs > ours };
    // Of those who lose nothing, none is ahead.
    let is_level = |theirs: f64| {
        let bounded = judgment.scenario.against() == Against::Itself || judgment.scenario.place() != Place::Loopback;
        let goal = Goal::of(judgment, transport).filter(|_| bounded);
        goal.is_some_and(|goal| goal.is_met(ours) && goal.is_met(theirs))
    };
    let better: Vec<&str> = others
        .iter()
        .filter(|(_, theirs)| is_better(*theirs) && !is_level(*theirs))
        .map(|(stack, _)| stack.name())
        .collect();
    match better.as_slice() {
        [] if others.is_empty() => NOTHING.into(),
        [] if others.iter().any(|(_, theirs)| is_level(*theirs)) => "level".into(),
        [] => "yes".into(),
        better => format!("**no**: {}", better.join(", ")),
    }
}

/// Three digits, in thousands and millions where that is shorter.
pub fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 || v <= 0.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

#[cfg(test)]
mod tests;
