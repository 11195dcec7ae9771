//! Running commands: each is printed with what it took.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// Runs programs in the folder of the workspace.
pub(crate) struct Runner {
    root: PathBuf,
}

impl Runner {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo that runs this program, else the one on the path.
    pub(crate) fn cargo(&self) -> PathBuf {
        std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
    }

    /// Runs cargo with `args`, split at spaces, followed by `more`.
    pub(crate) fn cargo_step(&self, args: &str, more: &[String]) -> Result {
        self.cargo_step_with(args, more, &[])
    }

    /// As [`cargo_step`](Self::cargo_step), with variables in its environment.
    pub(crate) fn cargo_step_with(&self, args: &str, more: &[String], env: &[(&str, &str)]) -> Result {
        let mut command = self.cargo_command(args, more);
        command.envs(env.iter().copied());
        let variables: String = env.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
        self.step(command, &format!("{variables}cargo {args} {}", more.join(" ")))
    }

    /// As [`cargo_step`](Self::cargo_step), in place of this program where the system can do that: Ctrl-C is then for what
    /// runs to deal with. Returns only if that is not so or fails.
    pub(crate) fn cargo_instead(&self, args: &str, more: &[String]) -> Result {
        let shown = format!("cargo {args} {}", more.join(" "));
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;

            println!("$ {}", shown.trim_end());
            let error = self.cargo_command(args, more).current_dir(&self.root).exec();
            Err(format!("cannot run `{}`: {error}", shown.trim_end()).into())
        }
        #[cfg(not(unix))]
        {
            self.step(self.cargo_command(args, more), &shown)
        }
    }

    /// Cargo with `args`, split at spaces, followed by `more`.
    pub(crate) fn cargo_command(&self, args: &str, more: &[String]) -> Command {
        let mut command = Command::new(self.cargo());
        command.args(args.split_whitespace()).args(more);
        // What the cargo around us says of this package. Build scripts that watch these variables, such as ring's, would
        // run again each time a developer goes from `cargo` to `cargo xtask` and back.
        let ours = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
            command.env_remove(name);
        }
        command
    }

    /// Runs `command`, shown as `shown`; an error if it fails.
    pub(crate) fn step(&self, mut command: Command, shown: &str) -> Result {
        let shown = shown.trim_end();
        println!("$ {shown}");
        let started = Instant::now();
        let status =
            command.current_dir(&self.root).status().map_err(|error| format!("cannot run `{shown}`: {error}"))?;
        println!("  {} after {}", if status.success() { "done" } else { "FAILED" }, seconds(started.elapsed()));
        if status.success() { Ok(()) } else { Err(format!("`{shown}` failed ({status})").into()) }
    }

    /// What `command` prints, or `None` if it cannot run or fails.
    pub(crate) fn output(&self, command: &mut Command) -> Option<String> {
        let output = command.current_dir(&self.root).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// How one part of a task went.
pub(crate) struct Outcome {
    name: &'static str,
    took: Duration,
    error: Option<String>,
}

/// Runs every part, whatever becomes of the others, then prints a summary.
pub(crate) fn all(parts: &[(&'static str, &dyn Fn() -> Result)]) -> Result {
    let started = Instant::now();
    let mut outcomes = Vec::new();
    for (name, part) in parts {
        println!("\n== {name}");
        let started = Instant::now();
        let error = part().err().map(|error| error.to_string());
        if let Some(error) = &error {
            eprintln!("xtask: {name}: {error}");
        }
        outcomes.push(Outcome { name, took: started.elapsed(), error });
    }
    print!("\n{}", summary(&outcomes, started.elapsed()));
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| outcome.error.is_some()).map(|outcome| outcome.name).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
}

fn summary(outcomes: &[Outcome], total: Duration) -> String {
    let line = |outcome: &Outcome| {
        let state = outcome
            .error
            .as_deref()
            .map_or("ok".into(), |error| format!("FAILED: {}", error.lines().next().unwrap_or_default()));
        format!("  {:<9} {:>9}  {state}\n", outcome.name, seconds(outcome.took))
    };
    let lines: String = outcomes.iter().map(line).collect();
    format!("Summary\n{lines}  {:<9} {:>9}\n", "total", seconds(total))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_and_the_failed_ones_are_named() {
        let ran = std::cell::Cell::new(0);
        let good = || {
            ran.set(ran.get() + 1);
            Ok(())
        };
        let bad = || {
            ran.set(ran.get() + 1);
            Err("broken\nbadly".into())
        };
        let error = all(&[("one", &bad), ("two", &good), ("three", &bad)]).unwrap_err();
        assert_eq!(ran.get(), 3);
        assert_eq!(error.to_string(), "failed: one, three");
    }

    #[test]
    fn the_summary_has_a_line_for_each_part() {
        let outcome = |name, error: Option<&str>| Outcome {
            name,
            took: Duration::from_millis(1250),
            error: error.map(str::to_owned),
        };
        let text = summary(&[outcome("lint", None), outcome("tidy", Some("two\nlines"))], Duration::from_secs(3));
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            ["Summary", "lint          1.2 s  ok", "tidy          1.2 s  FAILED: two", "total         3.0 s"]
        );
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let run = Runner::new(Path::new("."));
        let error = run.cargo_step("no-such-command", &[]).unwrap_err().to_string();
        assert!(error.contains("`cargo no-such-command` failed"), "{error}");
        let missing = run.step(Command::new("no-such-program"), "no-such-program").unwrap_err().to_string();
        assert!(missing.contains("cannot run `no-such-program`"), "{missing}");
    }
}
