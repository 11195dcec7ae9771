//! Where and with what it is measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use serde::{Deserialize, Serialize};

use crate::stack::Stack;

/// The circumstances of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub cpu: String,
    pub cores: usize,
    pub kernel: String,
    pub compiler: String,
    /// Of this repository.
    pub commit: String,
    /// What each program is built from, with versions.
    pub stacks: BTreeMap<Stack, Vec<String>>,
}

impl Machine {
    /// This one, now; with what `bench/Cargo.lock` has for the stacks.
    pub fn here(bench: &Path, stacks: &[Stack]) -> Self {
        let lock = fs::read_to_string(bench.join("Cargo.lock")).unwrap_or_default();
        let lock: Lock = toml::from_str(&lock).unwrap_or_default();
        let commit = said(bench, "git", &["rev-parse", "--short", "HEAD"]);
        let changed = !said(bench, "git", &["status", "--porcelain", "--", "../crates", "."]).is_empty();
        Self {
            date: said(bench, "date", &["-u", "+%Y-%m-%d"]),
            cpu: cpu(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: said(bench, "uname", &["-sr"]),
            compiler: said(bench, "rustc", &["--version"]),
            commit: if changed { format!("{commit} with changes") } else { commit },
            stacks: stacks.iter().map(|&stack| (stack, lock.behind(&stack.package()))).collect(),
        }
    }
}

/// What a program prints; nothing if it cannot be run.
fn said(folder: &Path, program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).current_dir(folder).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpu(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    line.map_or_else(|| std::env::consts::ARCH.to_owned(), |line| line.trim_matches([' ', '\t', ':']).to_owned())
}

/// The part of a lock file that is looked at.
#[derive(Debug, Default, Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    /// What a package depends on itself, as `name version`.
    fn behind(&self, package: &str) -> Vec<String> {
        let Some(package) = self.package.iter().find(|one| one.name == package) else { return Vec::new() };
        // A dependency is named with its version only where there are several.
        let version = |dependency: &String| match dependency.split_once(' ') {
            Some((name, rest)) => format!("{name} {}", rest.split(' ').next().unwrap_or(rest)),
            None => {
                let found = self.package.iter().find(|one| one.name == *dependency);
                format!("{dependency} {}", found.map_or("?", |found| &found.version))
            }
        };
        package.dependencies.iter().filter(|name| *name != "bench-common").map(version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_the_lock_file() {
        let lock: Lock = toml::from_str(
            r#"
            version = 4
            [[package]]
            name = "bench-raw"
            version = "0.1.0"
            dependencies = ["bench-common", "quinn", "rustls 0.23.1", "tokio 1.2.3 (registry+https://example.org)"]
            [[package]]
            name = "quinn"
            version = "0.11.12"
            "#,
        )
        .unwrap();
        assert_eq!(lock.behind("bench-raw"), ["quinn 0.11.12", "rustls 0.23.1", "tokio 1.2.3"]);
        assert!(lock.behind("bench-none").is_empty());
    }

    #[test]
    fn the_processor_is_named() {
        assert_eq!(cpu("processor\t: 0\nmodel name\t: Fast 9000\nflags : x\n"), "Fast 9000");
        assert_eq!(cpu(""), std::env::consts::ARCH);
    }

    #[test]
    fn this_machine_is_known() {
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let machine = Machine::here(&bench, &[Stack::Raw]);
        assert!(machine.cores > 0 && machine.date.len() == 10, "{machine:?}");
        assert!(machine.stacks[&Stack::Raw].iter().any(|one| one.starts_with("quinn 0.")), "{machine:?}");
    }
}
