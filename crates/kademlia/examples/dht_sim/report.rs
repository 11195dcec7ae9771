//! What is printed, and written into the book.

use crate::rows::Scale;

/// One line: a condition, what is required of it, what was measured, and whether that is enough.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) cells: Vec<String>,
    /// `None`: for comparison, nothing is required.
    pub(crate) met: Option<bool>,
    /// Whether it would be met without the defence that the line is about.
    pub(crate) met_without: Option<bool>,
}

/// A table with its heading and what is to know of it.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) lines: Vec<Line>,
}

impl Section {
    pub(crate) fn new(title: &'static str, about: &'static str, columns: &[&'static str]) -> Self {
        Self { title, about, columns: columns.to_vec(), lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, met: impl Into<Option<bool>>, cells: impl IntoIterator<Item = String>) {
        self.lines.push(Line { cells: cells.into_iter().collect(), met: met.into(), met_without: None });
    }

    /// Whether what the last line is about would be met without the defence.
    pub(crate) fn without(&mut self, met: bool) {
        if let Some(line) = self.lines.last_mut() {
            line.met_without = Some(met);
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n| {} | met |\n", self.title, self.about, self.columns.join(" | "));
        text.push_str(&"|---".repeat(self.columns.len() + 1));
        text.push_str("|\n");
        for Line { cells, met, .. } in &self.lines {
            let met = match met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            text.push_str(&format!("| {} | {met} |\n", cells.join(" | ")));
        }
        text
    }

    /// Whether all that is required is met.
    pub(crate) fn is_met(&self) -> bool {
        self.lines.iter().all(|line| line.met != Some(false))
    }
}

/// The page of the book.
pub(crate) fn page(scale: &Scale, sections: &[Section]) -> String {
    let tables: Vec<String> = sections.iter().map(Section::markdown).collect();
    format!("{}\nSeed {}.\n\n{}", INTRODUCTION, scale.seed, tables.join("\n"))
}

const INTRODUCTION: &str = "\
# Figures of the DHT

This page is written by `cargo xtask dht-sim --write`, which takes one core about 12 minutes; without `--write` it prints, and
`--nodes`, `--rows` and `--seed` choose what. The same seed gives the same page. It is a simulation in virtual time over the
production state machines: [`Table`, `Lookup`, `RegionLookup`, `SizeEstimator` and `Store`](kademlia.md) decide exactly as
in a node; only sockets, clock and other nodes are made up. Each question takes a round trip of its own, lognormally
distributed with a median of 80 ms and σ 0.6; k = 20.

\"Met\" says whether what the design requires is reached; a line without it is there for comparison. Every attack is
measured a second time with its defence switched off. A small version of all of it is part of the test suite.
Whole nodes with a DHT go through churn, partitions, NAT boxes and attacks in [the simulator](simulator.md).
";

/// A share as a percentage, with as many digits as say something.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The value below which this share of all values is; they are sorted for it.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A count with a space between thousands.
pub(crate) fn count(n: usize) -> String {
    match n {
        0..1_000 => n.to_string(),
        _ => format!("{} {:03}", count(n / 1_000), n % 1_000),
    }
}
