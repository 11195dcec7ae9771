//! What a program prints: one line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Scenario, Transport};

/// What came of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Figure(Figure),
    /// The stack has no such thing: what it lacks.
    Incomparable(String),
}

/// One figure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figure {
    pub scenario: Scenario,
    pub transport: Transport,
    /// In the unit of the scenario.
    pub value: f64,
    /// CPU time of the process during the scenario, per operation.
    pub cpu_us: f64,
    /// The most memory that the process had at any time.
    pub peak_kib: u64,
    /// Further figures of the run by name, the unit in it: `slowest ms`.
    pub beside: BTreeMap<String, f64>,
}
