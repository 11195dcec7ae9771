//! What libFuzzer prints.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::MetadataCommand;

use crate::Result;
use crate::run::Runner;

/// What came of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) executions: u64,
    /// Places in the code that the inputs reached before and after.
    pub(super) covered: (u64, u64),
    /// Inputs that reached something new.
    pub(super) new_inputs: u64,
    /// Inputs that broke a promise: it stops at the first.
    pub(super) findings: u64,
}

impl Stats {
    /// Reads the log of a process that ended with `success` or without.
    pub(super) fn read(log: &str, success: bool) -> Self {
        let mut stats = Self { findings: u64::from(!success), ..Self::default() };
        for line in log.lines() {
            if let Some(number) = after(line, "stat::number_of_executed_units:") {
                stats.executions = number;
            } else if let Some(number) = after(line, "stat::new_units_added:") {
                stats.new_inputs = number;
            } else if let Some(covered) = after(line, " cov:").filter(|_| line.starts_with('#')) {
                let first = if line.contains("INITED") { covered } else { stats.covered.0 };
                stats.covered = (first, covered);
            }
        }
        stats
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { executions, covered: (before, after), new_inputs, findings } = self;
        let gained = after.saturating_sub(*before);
        write!(
            f,
            "{executions:>12} executions, {after:>5} places reached ({gained} new), {new_inputs:>4} new inputs, "
        )?;
        write!(f, "{findings} findings")
    }
}

/// The number that follows `label`.
fn after(line: &str, label: &str) -> Option<u64> {
    let (_, rest) = line.split_once(label)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The end of a log that tells of a finding: from the panic on.
pub(super) fn finding(log: &str) -> &str {
    log.find("panicked at").or_else(|| log.find("ERROR: libFuzzer")).map_or(log, |at| &log[at..])
}

/// The folder of the programs that `cargo fuzz build` makes.
pub(super) fn programs(run: &Runner, fuzz: &Path) -> Result<PathBuf> {
    let metadata = MetadataCommand::new().cargo_path(run.cargo()).current_dir(fuzz).no_deps().exec()?;
    // It always names the platform that it builds for.
    let rustc = run.output(Command::new("rustc").arg("-vV")).ok_or("cannot run rustc")?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
    Ok(metadata.target_directory.join(host).join("release").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
#21\tINITED cov: 40 ft: 60 corp: 20/3kb exec/s: 0 rss: 27Mb
#8388608\tpulse  cov: 52 ft: 147 corp: 38/1641b lim: 256 exec/s: 262144 rss: 27Mb
#10000000\tDONE   cov: 53 ft: 147 corp: 38/1641b lim: 256 exec/s: 250000 rss: 27Mb
stat::number_of_executed_units: 10000000
stat::new_units_added:          14
";

    #[test]
    fn the_figures_are_those_of_the_log() {
        let stats = Stats::read(LOG, true);
        let expected = Stats { executions: 10_000_000, covered: (40, 53), new_inputs: 14, findings: 0 };
        assert_eq!(stats, expected);
        assert!(stats.to_string().contains("10000000 executions,    53 places reached (13 new),   14 new inputs"));
    }

    #[test]
    fn a_process_that_failed_has_found_something() {
        let log = format!("{LOG}thread 'main' panicked at x.rs:1:\noh\n");
        assert_eq!(Stats::read(&log, false).findings, 1);
        assert_eq!(finding(&log), "panicked at x.rs:1:\noh\n");
    }
}
