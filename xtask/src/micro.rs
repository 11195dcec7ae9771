//! The micro-benchmarks in instructions: unlike times, they are the same on a busy machine.
//!
//! Callgrind counts a whole process. A benchmark runs as such with one iteration and with some more; the difference is
//! theirs, for all else (the start, the setting up) is in both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_metadata::Message;
use lexopt::{Arg, ValueExt};

use crate::Result;
use crate::run::Runner;

const HELP: &str = "\
Instructions for each iteration of the micro-benchmarks, counted by valgrind.

Usage: cargo xtask micro [NAME ...] [--write]

  NAME      only benchmarks with this in their name
  --write   also into bench/MICRO.md, with all of them
";

/// Where the figures are kept.
const FIGURES: &str = "bench/MICRO.md";

/// Iterations of the first look, and instructions that the difference of the second shall have about. What else a process does
/// varies by some 10,000.
const FIRST_LOOK: u64 = 5;
const ENOUGH: u64 = 20_000_000;

/// No more iterations than that: what takes less than a hundred instructions is known well enough.
const MOST: u64 = 100_000;

pub(crate) fn micro(run: &Runner, args: &[String]) -> Result {
    let (mut names, mut write) = (Vec::new(), false);
    let mut args = lexopt::Parser::from_args(args);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            Arg::Long("write") => write = true,
            Arg::Value(name) => names.push(name.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    if write && !names.is_empty() {
        return Err("--write is for all benchmarks at once: leave out the names".into());
    }
    let valgrind = run.output(Command::new("valgrind").arg("--version"));
    let valgrind = valgrind.ok_or("valgrind is needed: on Debian, `apt-get install valgrind`")?;
    let rustc = run.output(Command::new("rustc").arg("--version")).ok_or("rustc cannot be asked for its version")?;

    let mut figures = BTreeMap::new();
    for program in programs(run)? {
        for name in benchmarks(run, &program)? {
            if names.is_empty() || names.iter().any(|part| name.contains(part.as_str())) {
                let each = instructions(|iterations| count(run, &program, &name, iterations))?;
                println!("  {name:<40} {:>14}", grouped(each));
                figures.insert(name, each);
            }
        }
    }
    if figures.is_empty() {
        return Err("no benchmark has such a name".into());
    }
    if write {
        std::fs::write(run.root().join(FIGURES), document(&figures, valgrind.trim(), rustc.trim()))?;
    }
    Ok(())
}

/// The benchmarks' programs, built.
fn programs(run: &Runner) -> Result<Vec<PathBuf>> {
    let args = "bench --no-run --workspace --bench * --message-format=json-render-diagnostics";
    println!("$ cargo {args}");
    let output = run.cargo_command(args, &[]).current_dir(run.root()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the benchmarks do not build".into());
    }
    let mut programs = Vec::new();
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerArtifact(artifact) = message? {
            programs.extend(artifact.executable.map(PathBuf::from));
        }
    }
    programs.sort();
    Ok(programs)
}

/// The names of a program's benchmarks, each with its argument.
fn benchmarks(run: &Runner, program: &Path) -> Result<Vec<String>> {
    let mut list = Command::new(program);
    // The list that test runners read.
    list.env("NEXTEST", "1").args(["--list", "--format", "terse"]);
    let list = run.output(&mut list).ok_or_else(|| format!("{} gives no list", program.display()))?;
    let mut names: Vec<_> =
        list.lines().filter_map(|line| line.strip_suffix(": benchmark")).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// Instructions of one iteration, where `count` has those of a process with so many.
fn instructions(count: impl Fn(u64) -> Result<u64>) -> Result<u64> {
    let one = count(1)?;
    let more =
        |iterations: u64| Ok::<_, Box<dyn std::error::Error>>(count(1 + iterations)?.saturating_sub(one) / iterations);
    let about = more(FIRST_LOOK)?.max(1);
    if about * FIRST_LOOK >= ENOUGH {
        return Ok(about);
    }
    more((ENOUGH / about).clamp(FIRST_LOOK, MOST))
}

/// Instructions of the whole process that runs a benchmark so many times.
fn count(run: &Runner, program: &Path, name: &str, iterations: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--bench", "--exact", name]);
    valgrind.args(["--sample-count", "1", "--sample-size", &iterations.to_string()]);
    let output = valgrind.current_dir(run.root()).stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    collected(&text)
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("{name} cannot be counted:\n{text}").into())
}

/// What callgrind says that it counted.
fn collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected :"))?.1.trim().parse().ok()
}

fn document(figures: &BTreeMap<String, u64>, valgrind: &str, rustc: &str) -> String {
    let mut text = format!(
        "# Micro-benchmarks, in instructions\n\n\
         Written by `cargo xtask micro --write`: instructions of one iteration, counted by {valgrind}; {rustc}. Two runs differ by less\n\
         than a hundredth. What an iteration is says the comment of the benchmark; `cargo bench` gives times.\n\n\
         | benchmark | instructions |\n|---|---:|\n"
    );
    for (name, each) in figures {
        let _ = writeln!(text, "| `{name}` | {} |", grouped(*each));
    }
    text
}

/// With a comma at each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_iterations_add_counts() {
        for each in [3, 999, 140_000, 90_000_000] {
            let asked = std::cell::RefCell::new(Vec::new());
            let count = |iterations| {
                asked.borrow_mut().push(iterations);
                Ok(92_000_000 + iterations * each)
            };
            assert_eq!(instructions(count).unwrap(), each);
            assert!(asked.borrow().iter().all(|iterations| *iterations <= MOST + 1), "{asked:?}");
        }
        assert!(instructions(|_| Err("it crashes".into())).is_err());
    }

    #[test]
    fn what_callgrind_says_is_understood() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 92500737\n==7== \n"), Some(92_500_737));
        assert_eq!(collected("==7== Collected : many"), None);
        assert_eq!(collected("error: unexpected argument"), None);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([0, 12, 123, 1_234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
        let text = document(&BTreeMap::from([("a::b".into(), 1_234)]), "valgrind-1", "rustc 1");
        assert!(text.ends_with("|---|---:|\n| `a::b` | 1,234 |\n"), "{text}");
    }
}
