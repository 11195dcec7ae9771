use super::*;

fn run(session: usize, stack: Stack, repetition: usize, outcome: Outcome) -> Run {
    Run { session, repetition, scenario: Scenario::Rtt, transport: Transport::Tcp, stack, outcome }
}

fn figure(value: f64) -> Outcome {
    Outcome::Figure(Figure { value, cpu_us: 2.5, peak_kib: 9, beside: BTreeMap::new() })
}

fn on(date: &str) -> Vec<Machine> {
    vec![Machine { date: date.into(), ..Machine::default() }]
}

#[test]
fn what_is_written_is_read() {
    let mut second = figure(2.0);
    if let Outcome::Figure(figure) = &mut second {
        figure.beside.insert("slowest ms".into(), 3.5);
    }
    let runs = vec![
        run(0, Stack::Raw, 1, figure(1.0)),
        run(0, Stack::P2p, 1, second),
        run(0, Stack::Iroh, 1, Outcome::Incomparable("no tcp".into())),
        run(0, Stack::Libp2p, 1, Outcome::Failed("a \"panic\"\nof two lines".into())),
    ];
    let results = Results { sessions: on("today"), runs };
    let json = results.to_json().unwrap();
    assert_eq!(json.lines().count(), 3 + 1 + 4);
    assert_eq!(serde_json::from_str::<Results>(&json).unwrap(), results);
    assert_eq!(serde_json::from_str::<Results>(&Results::default().to_json().unwrap()).unwrap(), Results::default());
}

#[test]
fn newer_runs_replace_those_of_their_cell_only() {
    let runs = vec![run(0, Stack::Raw, 1, figure(1.0)), run(0, Stack::P2p, 1, figure(2.0))];
    let mut results = Results { sessions: on("yesterday"), runs };
    results.merge(Results { sessions: on("today"), runs: vec![run(0, Stack::P2p, 1, figure(3.0))] });
    let values: Vec<_> = results.runs.iter().map(|run| (run.session, run.figure().unwrap().value)).collect();
    assert_eq!(values, [(0, 1.0), (1, 3.0)]);

    results.merge(Results { sessions: on("tonight"), runs: vec![run(0, Stack::Raw, 1, figure(4.0))] });
    let dates: Vec<_> = results.sessions.iter().map(|session| session.date.as_str()).collect();
    assert_eq!(dates, ["today", "tonight"], "nothing is left of yesterday");
    assert_eq!(results.runs[0].session, 1);
}

#[test]
fn a_failure_does_not_replace_a_figure() {
    let failed = || Outcome::Failed("late".into());
    let mut results = Results { sessions: on("yesterday"), runs: vec![run(0, Stack::Raw, 1, figure(1.0))] };
    let newer = vec![run(0, Stack::Raw, 1, failed()), run(0, Stack::P2p, 1, failed())];
    results.merge(Results { sessions: on("today"), runs: newer });
    assert_eq!(results.runs.iter().filter_map(Run::figure).count(), 1);
    assert_eq!(results.runs[1], run(1, Stack::P2p, 1, failed()));
}
