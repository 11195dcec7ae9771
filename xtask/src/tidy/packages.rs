//! What each crate brings along: README, changelog, description, no unsafe code.

use cargo_metadata::{Metadata, Package};

use super::{File, Report};
use crate::tasks;

/// What is known about a crate of `crates/`.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    name: &'a str,
    /// Its folder, from the root of the repository.
    folder: String,
    description: Option<&'a str>,
    lib: Option<&'a File>,
    readme: bool,
    changelog: bool,
}

pub(super) fn facts<'a>(metadata: &'a Metadata, files: &'a [File]) -> Vec<Facts<'a>> {
    let one = |package: &'a Package| {
        let folder = package.manifest_path.parent().unwrap_or(&package.manifest_path);
        let folder = folder.strip_prefix(&metadata.workspace_root).unwrap_or(folder).as_str().replace('\\', "/");
        let file = |name: &str| files.iter().find(|file| file.path == format!("{folder}/{name}"));
        Facts {
            name: package.name.as_str(),
            description: package.description.as_deref(),
            lib: file("src/lib.rs"),
            readme: file("README.md").is_some(),
            changelog: file("CHANGELOG.md").is_some(),
            folder,
        }
    };
    tasks::layers(metadata).map(one).collect()
}

pub(super) fn check(crates: &[Facts<'_>], report: &mut Report) {
    for Facts { name, folder, description, lib, readme, changelog } in crates {
        if description.is_none_or(|text| text.trim().is_empty()) {
            report.problem(format!("{name} has no description in its Cargo.toml"));
        }
        if !readme {
            report.problem(format!("{folder}/README.md is missing"));
        }
        if !changelog {
            report.problem(format!("{folder}/CHANGELOG.md is missing"));
        }
        let Some(lib) = lib else { continue };
        let mut demand = |line: &str, why: &str| {
            if !lib
                .text
                .lines()
                .any(|found| found.trim() == line || found.contains(line) && line.starts_with("include"))
            {
                report.problem(format!("{}: `{line}` is missing: {why}", lib.path));
            }
        };
        demand("#![forbid(unsafe_code)]", "no crate has unsafe code of its own");
        demand("include_str!(\"../README.md\")", "the examples of a README are compiled as doc tests");
        if *name == "p2p" {
            demand(
                "include_str!(\"../../../README.md\")",
                "the examples of the root README are compiled by the facade",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "//! Docs.\n#![doc = include_str!(\"../README.md\")]\n#![forbid(unsafe_code)]\n";

    fn problems(change: impl FnOnce(&mut Facts<'_>), text: &str) -> Vec<String> {
        let lib = File { path: "crates/x/src/lib.rs".into(), text: text.into() };
        let folder = "crates/x".into();
        let mut facts =
            Facts { name: "x", folder, description: Some("Text"), lib: Some(&lib), readme: true, changelog: true };
        change(&mut facts);
        let mut report = Report::default();
        check(&[facts], &mut report);
        report.problems
    }

    #[test]
    fn a_crate_with_everything_is_fine() {
        assert_eq!(problems(|_| {}, GOOD), [""; 0]);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(problems(|x| x.readme = false, GOOD)[0].contains("crates/x/README.md"));
        assert!(problems(|x| x.changelog = false, GOOD)[0].contains("crates/x/CHANGELOG.md"));
        assert!(problems(|x| x.description = Some(" "), GOOD)[0].contains("description"));
        assert!(problems(|_| {}, &GOOD.replace("#![forbid", "// #![forbid"))[0].contains("unsafe"));
        assert!(problems(|_| {}, &GOOD.replace("README", "OTHER"))[0].contains("README"));
    }

    #[test]
    fn the_facade_compiles_the_root_readme() {
        assert!(problems(|x| x.name = "p2p", GOOD)[0].contains("../../../README.md"));
        let both = format!("{GOOD}#[cfg(doctest)]\n#[doc = include_str!(\"../../../README.md\")]\nstruct Readme;\n");
        assert_eq!(problems(|x| x.name = "p2p", &both), [""; 0]);
    }
}
