//! Tools that a task needs: found, or installed at a pinned version, or the way to get them said in one line.

use std::path::PathBuf;
use std::process::Command;

use crate::Result;
use crate::run::Runner;

/// A program from the registry.
pub(crate) struct Tool {
    /// Its package and the file it installs.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

/// Checks licenses, bans, sources and advisories.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

/// Runs targets under libFuzzer.
pub(crate) const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// Builds the book.
pub(crate) const MDBOOK: Tool = Tool { name: "mdbook", version: "0.5.4" };

impl Tool {
    /// The program, installed first if the machine lacks it. One that is there is used whatever its version.
    pub(crate) fn program(&self, run: &Runner) -> Result<PathBuf> {
        if let Some(program) = self.find(run) {
            return Ok(program);
        }
        let install = format!("install {} --version {} --locked", self.name, self.version);
        run.cargo_step(&install, &[])
            .map_err(|error| format!("{} is needed: try `cargo {install}` ({error})", self.name))?;
        self.find(run).ok_or_else(|| format!("{} was installed, yet is not found", self.name).into())
    }

    fn find(&self, run: &Runner) -> Option<PathBuf> {
        // cargo's own folder need not be on the path.
        let installed = cargo_bin().map(|bin| bin.join(self.name));
        let mut places = [Some(PathBuf::from(self.name)), installed].into_iter().flatten();
        places.find(|program| run.output(Command::new(program).arg("--version")).is_some())
    }
}

fn cargo_bin() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    Some(home.or_else(|| Some(std::env::home_dir()?.join(".cargo")))?.join("bin"))
}

/// Makes sure that a component of the toolchain is there, such as `clippy`; `command` is the cargo command it brings.
pub(crate) fn component(run: &Runner, component: &str, command: &str) -> Result {
    if run.output(Command::new(run.cargo()).args([command, "--version"])).is_some() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", component]);
    run.step(rustup, &format!("rustup component add {component}"))
        .map_err(|error| format!("{component} is needed: try `rustup component add {component}` ({error})").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_not() {
        let run = Runner::new(&crate::root());
        assert!(Tool { name: "git", version: "" }.find(&run).is_some());
        assert!(Tool { name: "p2p-no-such-tool", version: "" }.find(&run).is_none());
    }
}
