//! What `cargo xtask fuzz` can be told.

use lexopt::{Arg, ValueExt};

use crate::Result;

pub(super) const HELP: &str = "\
Runs fuzz targets under libFuzzer; see fuzz/README.md.

Usage: cargo xtask fuzz [target...] [--minutes M | --runs N] [--jobs J]
       cargo xtask fuzz [target...] --list
       cargo xtask fuzz [target...] --minimize

  --minutes M   how long each target runs (1)
  --runs N      how many executions of each target, instead
  --jobs J      processes at the same time (1)
  --list        the targets, and what each is about
  --minimize    replace fuzz/corpus with the fewest inputs that reach as much as all that was found
";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// All of them if there is none.
    pub(super) targets: Vec<String>,
    pub(super) minutes: u64,
    pub(super) runs: Option<u64>,
    pub(super) jobs: usize,
    pub(super) list: bool,
    pub(super) minimize: bool,
    pub(super) help: bool,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Self> {
        let mut options =
            Self { targets: Vec::new(), minutes: 1, runs: None, jobs: 1, list: false, minimize: false, help: false };
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("minutes") => options.minutes = at_least_one(parser.value()?.parse()?, "minutes")?,
                Arg::Long("runs") => options.runs = Some(at_least_one(parser.value()?.parse()?, "runs")?),
                Arg::Long("jobs") => options.jobs = at_least_one(parser.value()?.parse()?, "jobs")?,
                Arg::Long("list") => options.list = true,
                Arg::Long("minimize") => options.minimize = true,
                Arg::Short('h') | Arg::Long("help") => options.help = true,
                Arg::Value(target) => options.targets.push(target.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

fn at_least_one<N: Default + PartialEq>(number: N, name: &str) -> Result<N> {
    if number == N::default() { Err(format!("--{name} is at least 1").into()) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        Options::parse(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn each_option_is_taken() {
        let options = parse(&["record", "--minutes", "5", "--jobs=2", "pem", "--runs", "1000"]).unwrap();
        assert_eq!(options.targets, ["record", "pem"]);
        assert_eq!((options.minutes, options.runs, options.jobs), (5, Some(1000), 2));
        assert!(parse(&["--list"]).unwrap().list && parse(&["--minimize"]).unwrap().minimize);
        assert!(parse(&["-h"]).unwrap().help && parse(&["--help"]).unwrap().help);
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in [&["--minutes"][..], &["--minutes", "0"], &["--jobs", "0"], &["--runs", "x"], &["--fast"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn help_names_each_option() {
        for option in ["--minutes", "--runs", "--jobs", "--list", "--minimize"] {
            assert!(HELP.contains(&format!("\n  {option} ")), "{option}");
        }
    }
}
