//! Measures the DHT in simulation: the production routing table, lookups and stores in networks of up to a million nodes, in
//! virtual time. `cargo xtask dht-sim` runs it; the figures are in the book (`docs/src/dht-figures.md`).
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

mod drive;
mod random;
mod report;
mod rows;
mod world;

use std::process::ExitCode;

use self::rows::{ROWS, Scale};

const USAGE: &str = "usage: dht_sim [--nodes 1000,10000] [--rows static,dead] [--seed N] [--quick]";

/// The seed of the figures in the book.
const SEED: u64 = 20_261_122;

fn parse(args: impl IntoIterator<Item = String>) -> Result<(Scale, Vec<String>), String> {
    let nodes = vec![1_000, 10_000, 100_000, 1_000_000];
    let mut scale = Scale { seed: SEED, nodes, quick: false };
    let mut rows = Vec::new();
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        if flag == "--quick" {
            scale = Scale { nodes: vec![1_000], quick: true, ..scale };
            continue;
        }
        let value = args.next().ok_or(USAGE)?;
        let numbers = || value.split(',').map(str::parse).collect::<Result<Vec<_>, _>>().map_err(|_| USAGE.to_owned());
        match flag.as_str() {
            "--nodes" => scale.nodes = numbers()?,
            "--seed" => scale.seed = value.parse().map_err(|_| USAGE)?,
            "--rows" => rows = value.split(',').map(str::to_owned).collect(),
            _ => return Err(USAGE.into()),
        }
    }
    match rows.iter().find(|row| ROWS.iter().all(|(name, _)| name != row)) {
        Some(unknown) => {
            Err(format!("there is no row {unknown}: {:?}", ROWS.iter().map(|(name, _)| *name).collect::<Vec<_>>()))
        }
        None => Ok((scale, rows)),
    }
}

fn main() -> ExitCode {
    let (scale, rows) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut met = true;
    for (_, run) in ROWS.iter().filter(|(name, _)| rows.is_empty() || rows.iter().any(|row| row == name)) {
        for section in run(&scale) {
            met &= section.is_met();
            println!("{}", section.markdown());
        }
    }
    eprintln!("dht-sim: {}", if met { "all that is required is met" } else { "something required is not met" });
    ExitCode::SUCCESS
}
