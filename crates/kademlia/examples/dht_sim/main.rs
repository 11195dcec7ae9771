//! Measures the DHT in simulation: the production routing table, lookups and stores in networks of up to a million nodes, in
//! virtual time. `cargo xtask dht-sim` runs it; the figures are in the book (`docs/src/dht-figures.md`).
#![allow(clippy::disallowed_methods, reason = "a program for developers writes its file directly")]

mod drive;
mod live;
mod random;
mod report;
mod rows;
#[cfg(test)]
mod tests;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use self::report::page;
use self::rows::{ROWS, Scale};

const USAGE: &str = "usage: dht_sim [--nodes 1000,10000] [--rows static,dead] [--seed N] [--quick] [--write FILE]";

/// The seed of the figures in the book.
const SEED: u64 = 20_261_122;

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

#[derive(Debug)]
struct Args {
    scale: Scale,
    /// Empty: all.
    rows: Vec<String>,
    write: Option<PathBuf>,
}

fn parse(args: impl IntoIterator<Item = String>) -> Result<Args, String> {
    let scale = Scale { seed: SEED, nodes: SIZES.to_vec(), quick: false };
    let mut parsed = Args { scale, rows: Vec::new(), write: None };
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        if flag == "--quick" {
            parsed.scale = Scale { nodes: SIZES[..1].to_vec(), quick: true, ..parsed.scale };
            continue;
        }
        let value = args.next().ok_or(USAGE)?;
        match flag.as_str() {
            "--nodes" => {
                let nodes: Result<Vec<usize>, _> = value.split(',').map(str::parse).collect();
                parsed.scale.nodes = nodes.ok().filter(|nodes| nodes.iter().all(|nodes| *nodes >= 2)).ok_or(USAGE)?;
            }
            "--seed" => parsed.scale.seed = value.parse().map_err(|_| USAGE)?,
            "--rows" => parsed.rows = value.split(',').map(str::to_owned).collect(),
            "--write" => parsed.write = Some(value.into()),
            _ => return Err(USAGE.into()),
        }
    }
    let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = parsed.rows.iter().find(|row| !names.contains(&row.as_str())) {
        return Err(format!("there is no row {unknown}, only {}", names.join(", ")));
    }
    let partial = !parsed.rows.is_empty() || parsed.scale.nodes != SIZES || parsed.scale.quick;
    if parsed.write.is_some() && partial {
        return Err("what is written is the whole page: no --rows, --nodes or --quick".into());
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let mut sections = Vec::new();
    for (name, measure) in ROWS {
        if args.rows.is_empty() || args.rows.iter().any(|row| row == name) {
            for section in measure(&args.scale) {
                println!("{}", section.markdown());
                sections.push(section);
            }
        }
    }
    let missed: Vec<&str> = sections.iter().filter(|section| !section.is_met()).map(|section| section.title).collect();
    match missed.as_slice() {
        [] => eprintln!("dht-sim: all that is required is met"),
        missed => eprintln!("dht-sim: something required is not met in: {}", missed.join(", ")),
    }
    let Some(file) = &args.write else { return Ok(()) };
    std::fs::write(file, page(&args.scale, &sections)).map_err(|error| format!("{}: {error}", file.display()))
}
