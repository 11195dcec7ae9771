//! The tasks that are a few commands each.
//!
//! Warnings are denied through the arguments of clippy and rustdoc, never through `RUSTFLAGS`, which would build every
//! dependency a second time.

use std::process::Command;

use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::busy::Busy;
use crate::run::{self, Runner};
use crate::tools::{self, CARGO_DENY, MDBOOK};
use crate::{Result, tidy};

pub(crate) fn ci(run: &Runner) -> Result {
    run::all(&[
        ("fmt", &|| fmt(run, true)),
        ("lint", &|| lint(run)),
        ("test", &|| test(run, 0, &[])),
        ("features", &|| features(run)),
        ("sim", &|| sim(run, &[])),
        ("hostile", &|| hostile(run, &["--short".into()])),
        ("docs", &|| docs(run)),
        ("deny", &|| deny(run)),
        ("tidy", &|| tidy::tidy(run)),
    ])
}

/// All tests. With `busy` busy loops beside them, they show what depends on the speed of the machine.
pub(crate) fn test(run: &Runner, busy: usize, more: &[String]) -> Result {
    // Cargo looks at no package by name where it is told to take all.
    let all = if names_a_package(more) { "" } else { "--workspace " };
    let tests = format!("test {all}--all-features --no-fail-fast");
    if busy == 0 {
        return run.cargo_step(&tests, more);
    }
    // What the tests do is watched, not what the compiler does.
    let of_cargo: Vec<_> = more.iter().take_while(|arg| *arg != "--").cloned().collect();
    run.cargo_step(&format!("{tests} --no-run"), &of_cargo)?;
    let loops = Busy::start(busy)?;
    println!("  {busy} busy loops beside the tests, the processes {:?}", loops.ids());
    run.cargo_step(&tests, more)
}

/// Whether the arguments of cargo, before those of the tests, say which package is meant.
fn names_a_package(args: &[String]) -> bool {
    let mut of_cargo = args.iter().take_while(|arg| *arg != "--");
    of_cargo.any(|arg| arg.starts_with("-p") || arg.starts_with("--package") || arg == "--workspace")
}

pub(crate) fn fmt(run: &Runner, check: bool) -> Result {
    tools::component(run, "rustfmt", "fmt")?;
    let checked = run.cargo_step(if check { "fmt --all --check" } else { "fmt --all" }, &[]);
    let programs = "fmt --manifest-path fuzz/Cargo.toml";
    let programs = run.cargo_step(&if check { format!("{programs} --check") } else { programs.into() }, &[]);
    let checked = checked.and(programs);
    checked.map_err(|error| if check { format!("{error}: `cargo xtask fmt` formats the code").into() } else { error })
}

pub(crate) fn lint(run: &Runner) -> Result {
    tools::component(run, "clippy", "clippy")?;
    run.cargo_step("clippy --workspace --all-targets --all-features -- -D warnings", &[])
}

/// Whole nodes in the simulator, built with optimizations: a second of its time is worth many of an ordinary test's.
pub(crate) fn sim(run: &Runner, more: &[String]) -> Result {
    run.cargo_step("test --release --quiet -p p2p --features testing --test sim --", more)
}

/// Attacks on real nodes in processes of their own, built as for the simulator.
pub(crate) fn hostile(run: &Runner, more: &[String]) -> Result {
    run.cargo_step("test --release --quiet -p p2p --features testing --test hostile_kit --", more)
}

pub(crate) fn docs(run: &Runner) -> Result {
    let deny = [("RUSTDOCFLAGS", "-D warnings")];
    run.cargo_step_with("doc --workspace --no-deps --all-features", &[], &deny)
}

pub(crate) fn book(run: &Runner) -> Result {
    let mut command = Command::new(MDBOOK.program(run)?);
    command.args(["build", "docs"]);
    run.step(command, "mdbook build docs")
}

pub(crate) fn deny(run: &Runner) -> Result {
    CARGO_DENY.program(run)?;
    run.cargo_step("deny --all-features check --hide-inclusion-graph licenses bans sources", &[])?;
    // Without a network the database cannot be had, which says nothing about the dependencies.
    if run.output(Command::new(run.cargo()).args(["deny", "--log-level", "off", "fetch", "db"])).is_none() {
        println!("  advisories are not checked: their database cannot be fetched from here");
        return Ok(());
    }
    run.cargo_step("deny --all-features check --disable-fetch advisories", &[])
}

/// Where the figures of the DHT are in the book.
const DHT_FIGURES: &str = "docs/src/dht-figures.md";

/// Measures the DHT in simulation; with `--write` into the book.
pub(crate) fn dht_sim(run: &Runner, args: &[String]) -> Result {
    let mut args = args.to_vec();
    if let Some(at) = args.iter().position(|arg| arg == "--write") {
        args.insert(at + 1, run.root().join(DHT_FIGURES).display().to_string());
    }
    run.cargo_step("run --release --quiet -p p2p-kademlia --all-features --example dht_sim --", &args)
}

/// The benchmarks, which are a workspace of their own and have a runner of their own.
pub(crate) fn bench(run: &Runner, args: &[String]) -> Result {
    run.cargo_instead("run --release --quiet --manifest-path bench/Cargo.toml --package bench-run --", args)
}

/// Each crate compiles with any one feature, its tests too; it compiles for others, who do not have the dependencies of its
/// tests; and both runtimes pass alone. (All features together are what `lint` and `test` build.)
pub(crate) fn features(run: &Runner) -> Result {
    tools::component(run, "clippy", "clippy")?;
    let metadata = metadata(run)?;
    let mut failed = Vec::new();
    for package in layers(&metadata) {
        for features in feature_sets(package) {
            let args = format!("clippy --quiet --no-deps -p {} --all-targets {features} -- -D warnings", package.name);
            failed.extend(run.cargo_step(&args, &[]).err());
        }
        failed.extend(run.cargo_step(&format!("check --quiet -p {} --lib", package.name), &[]).err());
    }
    // The examples ask for every feature, which would be turned on for the crates as well.
    let crates: Vec<_> = layers(&metadata).map(|package| format!("-p {}", package.name)).collect();
    for runtime in ["tokio", "smol"] {
        let args =
            format!("test --quiet --no-fail-fast {} --no-default-features --features {runtime}", crates.join(" "));
        failed.extend(run.cargo_step(&args, &[]).err());
    }
    match failed.as_slice() {
        [] => Ok(()),
        [first, ..] => Err(format!("{} commands failed, the first: {first}", failed.len()).into()),
    }
}

/// The arguments for no features and each one alone.
fn feature_sets(package: &Package) -> Vec<String> {
    let names = package.features.keys().filter(|name| *name != "default");
    let alone = names.map(|name| format!("--no-default-features --features {name}"));
    std::iter::once("--no-default-features".into()).chain(alone).collect()
}

/// The members of the workspace, without their dependencies.
pub(crate) fn metadata(run: &Runner) -> Result<Metadata> {
    Ok(MetadataCommand::new().cargo_path(run.cargo()).current_dir(run.root()).no_deps().exec()?)
}

/// The packages in `crates/`.
pub(crate) fn layers(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let folder = metadata.workspace_root.join("crates");
    metadata.packages.iter().filter(move |package| package.manifest_path.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_is_named_is_the_only_one() {
        let names = |args: &[&str]| names_a_package(&args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>());
        assert!(names(&["-p", "p2p-core"]) && names(&["-pp2p-core"]) && names(&["--package=p2p-core", "task"]));
        assert!(!names(&[]) && !names(&["--test", "nodes"]) && !names(&["--", "-p"]));
    }

    #[test]
    fn each_feature_is_tried_alone() {
        let metadata = metadata(&Runner::new(&crate::root())).unwrap();
        let core = layers(&metadata).find(|package| package.name.as_str() == "p2p-core").unwrap();
        let sets = feature_sets(core);
        assert_eq!(sets[0], "--no-default-features");
        assert!(sets.contains(&"--no-default-features --features smol".into()));
        assert!(!sets.iter().any(|set| set.ends_with("features default")));
        assert!(layers(&metadata).all(|package| package.name.as_str() != "xtask"));
    }
}
