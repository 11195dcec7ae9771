//! What is measured: one file for each group of conditions.

mod churn;
mod collusion;
mod dead;
mod floods;
mod replay;
mod static_tables;
mod sybils;

use crate::random::Random;
use crate::report::Section;

/// How much of it.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) seed: u64,
    /// The sizes of the static networks.
    pub(crate) nodes: Vec<usize>,
    /// Everything as small as it can be and still show what it is to show: for tests.
    pub(crate) quick: bool,
}

impl Scale {
    pub(crate) fn random(&self, of: u64) -> Random {
        Random::new(self.seed).fork(of)
    }

    /// Enough lookups for the quantiles that are wanted.
    pub(crate) fn lookups(&self, nodes: usize) -> usize {
        match nodes {
            _ if self.quick => 60,
            0..=20_000 => 4_000,
            _ => 2_000,
        }
    }

    /// `full`, or `quick` in a test.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn progress(&self, text: &str) {
        if !self.quick {
            eprintln!("dht-sim: {text}");
        }
    }
}

/// A group of conditions and how it is measured.
pub(crate) type Row = (&'static str, fn(&Scale) -> Vec<Section>);

/// All there are.
pub(crate) const ROWS: &[Row] = &[
    ("static", static_tables::run),
    ("dead", dead::run),
    ("churn", churn::churn),
    ("partition", churn::partition),
    ("collusion", collusion::run),
    ("sybils", sybils::run),
    ("floods", floods::run),
    ("replay", replay::run),
];
