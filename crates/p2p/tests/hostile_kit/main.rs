//! Attacks on real nodes in processes of their own, each beside its control: the same attack on another node.
//!
//! `cargo xtask hostile` runs them all and shows what an honest peer of the attacked node notices; as an ordinary test the
//! program runs the short form of a few.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "a program of tests, on tokio only")]

mod args;
mod attacks;
mod cases;
#[path = "../hostile/common/mod.rs"]
mod common;
mod field;
mod honest;
mod node;
mod process;
mod report;
mod run;

use std::process::ExitCode;

use self::args::{Action, Args};
use self::cases::CASES;

fn main() -> ExitCode {
    let args = match Args::parse(lexopt::Parser::from_env()) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("hostile: {error}; see --help");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match args.action {
        Action::Help => print!("{}", args::HELP),
        Action::List => CASES.iter().for_each(|case| println!("{}", report::listed(case))),
        Action::Node => runtime.block_on(node::serve(args.case(), args.dials.clone())),
        Action::Run => {
            let failed = runtime.block_on(run::all(&args));
            runtime.shutdown_background();
            return if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    }
    ExitCode::SUCCESS
}
