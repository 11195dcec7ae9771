use std::collections::BTreeMap;

use super::*;

fn run(scenario: Scenario, stack: Stack, outcome: Outcome) -> Run {
    Run { session: 0, repetition: 1, scenario, transport: Transport::Tcp, stack, outcome }
}

fn value(value: f64) -> Outcome {
    let beside = BTreeMap::from([(SLOWEST.into(), 2.5), ("opened per s".into(), 900.0)]);
    Outcome::Figure(Figure { value, cpu_us: 7.0, peak_kib: 2048, beside })
}

fn results(scenario: Scenario, values: &[(Stack, f64)]) -> Results {
    let runs = values.iter().map(|&(stack, of)| run(scenario, stack, value(of))).collect();
    Results { sessions: Vec::new(), runs }
}

/// The cells of the first row of a table that has `name` in it.
fn row<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in\n{table}"));
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn ratios_goals_and_who_is_ahead() {
    let figures_of = |iroh| {
        let values = [(Stack::Raw, 10.0), (Stack::P2p, 12.0), (Stack::Karyon, 40.0), (Stack::Iroh, iroh)];
        figures(&results(Scenario::Rtt, &values), &[Scenario::Rtt, Scenario::Bulk])
    };
    let table = figures_of(20.0);
    assert_eq!(row(&table, " raw "), ["`rtt` µs", "raw", "10.0", "–", "–"]);
    assert_eq!(row(&table, " p2p "), ["", "p2p", "×1.20", "–", "–"]);
    assert_eq!(row(&table, "goal"), ["", "goal of p2p", "≤ ×1.5: met", "–", "–"]);
    assert_eq!(row(&table, "ahead"), ["", "p2p ahead of all", "yes", "–", "–"]);
    assert_eq!(row(&table, "karyon")[2], "×4.00");
    assert!(!table.contains("bulk") && !table.contains("libp2p"), "{table}");
    assert_eq!(row(&figures_of(11.0), "ahead")[2], "**no**: iroh");
}

#[test]
fn memory_is_judged_as_it_is() {
    let table = figures(&results(Scenario::Conns, &[(Stack::Raw, 20.0), (Stack::P2p, 25.0)]), &[Scenario::Conns]);
    assert_eq!(row(&table, " p2p ")[2], "25.0 (×1.25)");
    assert_eq!(row(&table, "goal")[2], "≤ 24: **missed**");
}

#[test]
fn none_is_ahead_of_those_who_lose_nothing() {
    let ahead = |p2p, iroh| {
        ahead(&results(Scenario::Hol, &[(Stack::P2p, p2p), (Stack::Iroh, iroh)]), Scenario::Hol.into(), Transport::Tcp)
    };
    assert_eq!(ahead(99.0, 101.0), "level");
    assert_eq!(ahead(99.0, 0.0), "yes");
    assert_eq!(ahead(50.0, 99.0), "**no**: iroh");
}

#[test]
fn what_failed_or_lacks_something_has_no_figure() {
    let runs = vec![
        run(Scenario::Hol, Stack::Raw, Outcome::Incomparable("one stream".into())),
        run(Scenario::Hol, Stack::P2p, Outcome::Failed("panic".into())),
    ];
    let table = figures(&Results { sessions: Vec::new(), runs }, &[Scenario::Hol]);
    assert_eq!(row(&table, "p2p"), ["`hol` %", "p2p", "failed", "–", "–"]);
    assert!(!table.contains("raw"));
}

#[test]
fn costs_and_the_rest_are_told() {
    let results = results(Scenario::Conns, &[(Stack::Raw, 20.0), (Stack::P2p, 25.0)]);
    let costs = costs(&results, &[Scenario::Conns]);
    let expected = ["`conns`", "tcp", "7.00 µs", "7.00 µs", "2.00 MiB", "2.00 MiB", "2.50 ms", "2.50 ms"];
    assert_eq!(row(&costs, "conns"), expected);
    let beside = beside(&results, &[Scenario::Conns]).unwrap();
    assert_eq!(row(&beside, "p2p"), ["`conns`", "opened per s", "p2p", "900", "–", "–"]);
    assert!(!beside.contains(SLOWEST));
}

#[test]
fn what_is_judged_beside_has_rows_of_its_own() {
    let beside = BTreeMap::from([("s to 90 %".into(), 1.25), ("further".into(), 7.0)]);
    let outcome = Outcome::Figure(Figure { value: 92.0, cpu_us: 7.0, peak_kib: 2048, beside });
    let runs = vec![run(Scenario::Fill, Stack::Raw, value(93.0)), run(Scenario::Fill, Stack::P2p, outcome)];
    let results = Results { sessions: Vec::new(), runs };
    let table = figures(&results, &[Scenario::Fill]);
    assert_eq!(row(&table, "fill"), ["`fill` Mbit/s", "raw", "93.0", "–", "–"]);
    assert_eq!(row(&table, "goal"), ["", "goal of p2p", "≥ 91: met", "–", "–"]);
    assert_eq!(row(&table, "90 %"), ["`fill` s to 90 %", "p2p", "1.25", "–", "–"]);
    assert!(table.contains("≤ 1.5: met"), "{table}");
    let beside = super::beside(&results, &[Scenario::Fill]).unwrap();
    assert!(beside.contains("further") && !beside.contains("90 %"), "{beside}");
}

#[test]
fn figures_are_short() {
    let shown = [8_250_000.0, 82_500.0, 8_250.0, 825.0, 82.5, 8.25, 0.825, 0.0825, 0.0].map(figure);
    assert_eq!(shown, ["8.25 M", "82.5 k", "8250", "825", "82.5", "8.25", "0.82", "0.083", "0.00"]);
}

#[test]
fn each_scenario_is_in_a_group() {
    let mut grouped: Vec<Scenario> = GROUPS.iter().flat_map(|(_, scenarios)| scenarios.iter().copied()).collect();
    grouped.sort_unstable();
    assert_eq!(grouped, Scenario::ALL);
}
