//! From runs to figures.

use bench_common::{Scenario, Transport};

use crate::goals::{Judgment, Over};
use crate::results::{Cell, Figure, Results};
use crate::stack::Stack;

/// The one in the middle, or between the two in the middle; `None` without values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// A figure against that of raw sockets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    pub value: f64,
    /// Whether raw was measured beside it. If not, the ratio has in it how the machine differed between the two.
    pub paired: bool,
}

impl Results {
    /// The median of what `get` takes from each figure of a cell.
    pub fn median_of(&self, cell: Cell, get: impl Fn(&Figure) -> Option<f64>) -> Option<f64> {
        median(self.figures(cell).filter_map(|(_, figure)| get(figure)))
    }

    pub fn value(&self, cell: Cell) -> Option<f64> {
        self.median_of(cell, |figure| Some(figure.value))
    }

    /// What all repetitions say of something that is judged.
    pub fn overall(&self, judgment: Judgment, transport: Transport, stack: Stack) -> Option<f64> {
        let figures = self.figures((judgment.scenario, transport, stack));
        let values = figures.filter_map(|(_, figure)| match judgment.beside {
            None => Some(figure.value),
            Some(name) => figure.beside.get(name).copied(),
        });
        match judgment.over() {
            Over::Median => median(values),
            Over::Sum => values.reduce(|sum, value| sum + value),
            Over::Worst if judgment.less_is_better() => values.reduce(f64::max),
            Over::Worst => values.reduce(f64::min),
        }
    }

    /// The median of the ratios to raw within each repetition; when no repetition has both, the ratio of medians.
    pub fn ratio(&self, scenario: Scenario, transport: Transport, stack: Stack) -> Option<Ratio> {
        let (cell, raw) = ((scenario, transport, stack), (scenario, transport, Stack::Raw));
        let beside = |session, repetition| {
            let same = self.figures(raw).find(|(run, _)| (run.session, run.repetition) == (session, repetition));
            same.map(|(_, figure)| figure.value)
        };
        let ratios =
            self.figures(cell).filter_map(|(run, figure)| Some(figure.value / beside(run.session, run.repetition)?));
        if let Some(value) = median(ratios) {
            return Some(Ratio { value, paired: true });
        }
        Some(Ratio { value: self.value(cell)? / self.value(raw)?, paired: false })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::results::{Outcome, Run};

    fn run(session: usize, repetition: usize, stack: Stack, value: f64) -> Run {
        let figure = Figure { value, cpu_us: value * 2.0, peak_kib: 0, beside: BTreeMap::new() };
        let (scenario, transport) = (Scenario::Rtt, Transport::Tcp);
        Run { session, repetition, scenario, transport, stack, outcome: Outcome::Figure(figure) }
    }

    fn ratio(runs: Vec<Run>) -> Option<Ratio> {
        Results { sessions: Vec::new(), runs }.ratio(Scenario::Rtt, Transport::Tcp, Stack::P2p)
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn a_ratio_is_of_what_was_measured_side_by_side() {
        let raw = [10.0, 20.0, 40.0].into_iter().enumerate().map(|(n, value)| run(0, n, Stack::Raw, value));
        // A machine that gets slower: the medians would say 3.
        let ours = [20.0, 60.0, 80.0].into_iter().enumerate().map(|(n, value)| run(0, n, Stack::P2p, value));
        let runs: Vec<_> = raw.chain(ours).collect();
        assert_eq!(ratio(runs.clone()), Some(Ratio { value: 2.0, paired: true }));

        let without_the_first = runs[1..].to_vec();
        assert_eq!(ratio(without_the_first), Some(Ratio { value: 2.5, paired: true }));
        assert_eq!(ratio(runs[..3].to_vec()), None);
    }

    #[test]
    fn another_session_is_not_side_by_side() {
        let runs = vec![run(0, 1, Stack::Raw, 10.0), run(1, 1, Stack::P2p, 15.0)];
        assert_eq!(ratio(runs), Some(Ratio { value: 1.5, paired: false }));
    }

    #[test]
    fn once_is_too_often_where_it_is() {
        let figure = |value, disconnects| {
            let beside = BTreeMap::from([("disconnects".to_owned(), disconnects)]);
            Outcome::Figure(Figure { value, cpu_us: 0.0, peak_kib: 0, beside })
        };
        let runs = [(100.0, 0.0), (92.0, 1.0), (100.0, 2.0)].into_iter().enumerate();
        let runs = runs.map(|(n, (value, disconnects))| Run {
            scenario: Scenario::Lossy,
            outcome: figure(value, disconnects),
            ..run(0, n, Stack::P2p, 0.0)
        });
        let results = Results { sessions: Vec::new(), runs: runs.collect() };
        let overall: Vec<_> = Judgment::all(Scenario::Lossy)
            .into_iter()
            .map(|judgment| results.overall(judgment, Transport::Tcp, Stack::P2p))
            .collect();
        assert_eq!(overall, [Some(92.0), Some(3.0)]);
    }

    #[test]
    fn further_figures_have_medians_of_their_own() {
        let runs = [1.0, 3.0, 2.0].into_iter().enumerate().map(|(n, value)| run(0, n, Stack::Raw, value)).collect();
        let results = Results { sessions: Vec::new(), runs };
        let cell = (Scenario::Rtt, Transport::Tcp, Stack::Raw);
        assert_eq!(results.median_of(cell, |figure| Some(figure.cpu_us)), Some(4.0));
        assert_eq!(results.median_of(cell, |figure| figure.beside.get("slowest ms").copied()), None);
    }
}
