//! The rules of the repository that no compiler knows.
//!
//! A rule looks at data (packages, files) and gives problems; only this file knows where the data comes from.

mod book;
mod cases;
mod clock;
mod figures;
mod layers;
mod links;
mod offences;
mod packages;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::run::Runner;
use crate::{Result, tasks};

/// What the rules found.
#[derive(Debug, Default)]
struct Report {
    /// What must change.
    problems: Vec<String>,
    /// What is worth a look.
    notes: Vec<String>,
}

impl Report {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// A text file of the repository.
#[derive(Debug)]
struct File {
    /// From the root of the repository, with `/` on every system.
    path: String,
    text: String,
}

pub(crate) fn tidy(run: &Runner) -> Result {
    println!("$ cargo xtask tidy");
    let started = Instant::now();
    let files = files(run)?;
    let metadata = tasks::metadata(run)?;
    let mut report = Report::default();
    layers::check(&layers::edges(&metadata), &mut report);
    packages::check(&packages::facts(&metadata, &files), &mut report);
    text::check(&files, &run.root().to_string_lossy(), &mut report);
    links::check(&files, &|path| run.root().join(path).exists(), &mut report);
    book::check(&files, &mut report);
    cases::check(&files, &mut report);
    clock::check(&files, &mut report);
    figures::check(&files, &mut report);
    offences::check(&files, &mut report);
    lockfile(run, &mut report);

    report.notes.iter().for_each(|note| println!("  note: {note}"));
    report.problems.iter().for_each(|problem| println!("  problem: {problem}"));
    println!("  {} files in {:.1} s", files.len(), started.elapsed().as_secs_f64());
    match report.problems.len() {
        0 => Ok(()),
        count => Err(format!("the repository is not tidy: {count} problems, the first: {}", report.problems[0]).into()),
    }
}

/// `Cargo.lock` is committed and fits the manifests.
fn lockfile(run: &Runner, report: &mut Report) {
    if run.output(Command::new("git").args(["ls-files", "--error-unmatch", "Cargo.lock"])).is_none() {
        report.problem("Cargo.lock is not committed");
    }
    if run.output(Command::new(run.cargo()).args(["metadata", "--locked", "--format-version=1"])).is_none() {
        report.problem("Cargo.lock does not fit the manifests: run `cargo check` and commit it");
    }
}

/// Every text file that is committed or about to be.
fn files(run: &Runner) -> Result<Vec<File>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = run.output(&mut git).ok_or("`git ls-files` failed: tidy looks at what git knows")?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();
    // A file that is deleted but not yet staged, or is not text, has nothing to read.
    let read = |path: &str| {
        let text = std::fs::read_to_string(run.root().join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    Ok(paths.into_iter().filter_map(read).collect())
}

/// The path that `link` means in a file at `from`, both from the root of the repository; `None` if it leads out of it.
fn resolve(from: &str, link: &str) -> Option<String> {
    let start = if link.starts_with('/') { Path::new("") } else { Path::new(from).parent()? };
    let mut resolved = PathBuf::from(start);
    for part in link.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part != ".." {
            resolved.push(part);
        } else if !resolved.pop() {
            return None;
        }
    }
    Some(resolved.to_string_lossy().replace('\\', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_from_their_file() {
        let resolved = |from, link| resolve(from, link).unwrap();
        assert_eq!(resolved("docs/src/a.md", "b.md"), "docs/src/b.md");
        assert_eq!(resolved("docs/src/a.md", "../../README.md"), "README.md");
        assert_eq!(resolved("README.md", "./docs/src/../x"), "docs/x");
        assert_eq!(resolved("docs/a.md", "/LICENSE-MIT"), "LICENSE-MIT");
        assert_eq!(resolve("README.md", "../elsewhere"), None);
    }
}
