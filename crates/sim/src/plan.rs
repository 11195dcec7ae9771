//! Plans of faults, as data.

use std::time::Duration;

use crate::fault::Fault;

/// Faults and when they happen, counted from the moment at which the plan is [scheduled](crate::Sim::schedule).
///
/// ```
/// use p2p_sim::{Fault, Plan, Sim};
/// use std::time::Duration;
///
/// let sim = Sim::new(1);
/// let (a, b) = (sim.host("a"), sim.host("b"));
/// let plan = Plan::new()
///     .at(Duration::from_secs(10), Fault::Partition(vec![vec![a.id()], vec![b.id()]]))
///     .at(Duration::from_secs(70), Fault::Heal)
///     .at(Duration::from_secs(80), Fault::Crash(b.id()))
///     .at(Duration::from_secs(90), Fault::Restart(b.id()));
/// sim.schedule(&plan);
/// sim.run_for(Duration::from_secs(100));
/// assert!(sim.trace_lines().iter().any(|line| line.to_string().contains("#2: crashed")));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Plan(Vec<(Duration, Fault)>);

impl Plan {
    /// A plan of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more fault. Those of one time happen in the order in which they were added.
    pub fn at(mut self, after: Duration, fault: Fault) -> Self {
        self.0.push((after, fault));
        self
    }

    /// The faults, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &(Duration, Fault)> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// When the last one happens.
    pub fn end(&self) -> Duration {
        self.0.iter().map(|(after, _)| *after).max().unwrap_or_default()
    }
}
