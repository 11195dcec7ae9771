//! The programs of the stacks.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::stack::Stack;

/// Builds the program of a stack by itself: built together, each would have the features that any of them asks for.
///
/// # Errors
/// When it does not build; cargo has said why.
pub fn build(bench: &Path, stack: Stack) -> Result<PathBuf> {
    let package = stack.package();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(bench).args(["build", "--release", "--quiet", "--package", &package]);
    // What the cargo around us says of this package; build scripts that watch it would run again for nothing.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    if !cargo.status()?.success() {
        return Err(format!("{package} does not build").into());
    }
    // Beside this program.
    let mut program = env::current_exe()?;
    program.set_file_name(format!("{package}{}", env::consts::EXE_SUFFIX));
    Ok(program)
}

/// Thousands of connections with both ends in a process need more open files than most shells allow.
pub fn allow_many_files() -> Result {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if most < FILES {
        eprintln!("this system allows {most} open files: scenarios with thousands of connections need {FILES}");
    }
    Ok(())
}

/// What the widest scenario takes: two for each of its connections, and some.
const FILES: u64 = 11_000;
