//! `results.json`: every run, from which all else is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bench_common::{Scenario, Transport};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::machine::Machine;
use crate::stack::Stack;

/// Which runs are medians of each other.
pub type Cell = (Scenario, Transport, Stack);

/// One run of one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which of [`Results::sessions`] it was in.
    pub session: usize,
    pub repetition: usize,
    pub scenario: Scenario,
    pub transport: Transport,
    pub stack: Stack,
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Figure(Figure),
    /// What the stack lacks.
    Incomparable(String),
    Failed(String),
}

/// As [`bench_common::Figure`], without what a [`Run`] says already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    pub cpu_us: f64,
    pub peak_kib: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, f64>,
}

impl Run {
    pub fn cell(&self) -> Cell {
        (self.scenario, self.transport, self.stack)
    }

    pub fn figure(&self) -> Option<&Figure> {
        match &self.outcome {
            Outcome::Figure(figure) => Some(figure),
            _ => None,
        }
    }
}

/// Runs, and the circumstances of each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub sessions: Vec<Machine>,
    pub runs: Vec<Run>,
}

impl Results {
    /// Those in a file; none if there is no file.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn load(file: &Path) -> Result<Self> {
        if !file.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()).into())
    }

    /// The text of the file: a line for each session and for each run.
    pub fn to_json(&self) -> Result<String> {
        let lines = |items: Vec<serde_json::Result<String>>| -> Result<String> {
            Ok(items.into_iter().collect::<serde_json::Result<Vec<_>>>()?.join(",\n"))
        };
        let sessions = lines(self.sessions.iter().map(serde_json::to_string).collect())?;
        let runs = lines(self.runs.iter().map(serde_json::to_string).collect())?;
        Ok(format!("{{\"sessions\":[\n{sessions}\n],\"runs\":[\n{runs}\n]}}\n"))
    }

    /// Takes in newer results. They replace older runs of the same cells, unless all that was new of a cell has failed.
    pub fn merge(&mut self, newer: Self) {
        let told: BTreeSet<Cell> =
            newer.runs.iter().filter(|run| !matches!(run.outcome, Outcome::Failed(_))).map(Run::cell).collect();
        let known: BTreeSet<Cell> = self.runs.iter().map(Run::cell).collect();
        self.runs.retain(|run| !told.contains(&run.cell()));
        let first = self.sessions.len();
        self.sessions.extend(newer.sessions);
        let wanted = newer.runs.into_iter().filter(|run| told.contains(&run.cell()) || !known.contains(&run.cell()));
        self.runs.extend(wanted.map(|run| Run { session: run.session + first, ..run }));
        self.runs.sort_by_key(|run| (run.cell(), run.session, run.repetition));
        self.forget_unused_sessions();
    }

    fn forget_unused_sessions(&mut self) {
        let used: BTreeSet<usize> = self.runs.iter().map(|run| run.session).collect();
        let numbers: BTreeMap<usize, usize> = used.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        self.sessions = used.iter().filter_map(|number| self.sessions.get(*number).cloned()).collect();
        self.runs.iter_mut().for_each(|run| run.session = numbers[&run.session]);
    }

    /// Whether there is a run of the scenario that says something.
    pub fn has(&self, scenario: Scenario) -> bool {
        self.runs.iter().any(|run| run.scenario == scenario)
    }

    /// The figures of a cell with their runs.
    pub fn figures(&self, cell: Cell) -> impl Iterator<Item = (&Run, &Figure)> {
        self.runs.iter().filter(move |run| run.cell() == cell).filter_map(|run| Some((run, run.figure()?)))
    }
}

#[cfg(test)]
mod tests;
