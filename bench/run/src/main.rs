//! Runs the stacks' programs in turn, again and again, and tells what came of it.

mod child;
mod goals;
mod machine;
mod options;
mod place;
mod plot;
mod programs;
mod progress;
mod report;
mod results;
mod session;
mod setting;
mod stack;
mod stats;
mod table;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use self::child::Children;
use self::machine::Machine;
use self::options::Options;
use self::results::{Outcome, Results};
use self::stack::Stack;

type Result<T = (), E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let options = match Options::parse(env::args_os()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::help());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::from(2);
        }
    };
    bench(&options).unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::FAILURE
    })
}

fn bench(options: &Options) -> Result<ExitCode> {
    if options.line {
        let lacking = bench_line::lacking();
        if !lacking.is_empty() {
            println!("skipped: long lines need {}, which is lacking here", lacking.join(", "));
            return Ok(ExitCode::SUCCESS);
        }
    }
    if options.selftest {
        return selftest();
    }
    let bench = folder();
    let mut children = Children::new();
    children.heed_ctrl_c()?;
    if let Err(error) = programs::allow_many_files() {
        eprintln!("the limit of open files stays as it is: {error}");
    }
    if let Some(setting) = &options.setting {
        let program = programs::build(&bench, Stack::P2p)?;
        println!("{}", setting::measure(setting, options, &program, &mut children)?);
        return Ok(if children.is_interrupted() { ExitCode::from(130) } else { ExitCode::SUCCESS });
    }
    let mut built = BTreeMap::new();
    for &stack in options.stacks.iter().take_while(|_| !children.is_interrupted()) {
        eprintln!("building {}", stack.package());
        match programs::build(&bench, stack) {
            Ok(program) => drop(built.insert(stack, program)),
            Err(error) => eprintln!("{} is left out: {error}", stack.name()),
        }
    }
    let stacks: Vec<_> = built.keys().copied().collect();
    let mut complete = stacks.len() == options.stacks.len();
    // What was built is what is told, whatever changes while it runs.
    let machine = Machine::here(&bench, &stacks);
    let runs = session::measure(options, &built, &mut children)?;
    complete &= !runs.iter().any(|run| matches!(run.outcome, Outcome::Failed(_)));

    let mut results = Results::default();
    results.merge(Results { sessions: vec![machine], runs });
    println!("{}", report::tables(&results));
    let interrupted = children.is_interrupted();
    if options.write || (options.is_everything() && !interrupted) {
        write(&bench, results)?;
    }
    Ok(match (interrupted, complete) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// Looks whether lines are what they are asked to be.
fn selftest() -> Result<ExitCode> {
    let good = bench_line::selftest(|check| {
        let mark = if check.is_good() { "ok  " } else { "FAIL" };
        println!("{mark} {}: {:.4} (expected {} to {})", check.what, check.value, check.from, check.to);
    })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds to `results.json` and makes the page and the plots from all that it has then.
fn write(bench: &Path, newer: Results) -> Result {
    let file = bench.join("results.json");
    let mut results = Results::load(&file)?;
    results.merge(newer);
    let plots = plot::all(&results)?;
    let folder = bench.join("plots");
    fs::create_dir_all(&folder)?;
    for plot in &plots {
        fs::write(folder.join(&plot.file), &plot.svg)?;
    }
    fs::write(&file, results.to_json()?)?;
    fs::write(bench.join("RESULTS.md"), report::page(&results, &plots))?;
    eprintln!("written: {} and what is made from it: RESULTS.md, plots/", file.display());
    Ok(())
}

/// The folder of the benchmarks: this package's parent.
fn folder() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    // Outside of cargo, the place it was built at.
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
