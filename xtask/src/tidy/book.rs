//! What the book and the READMEs show is so: programs are compiled, tables are whole, and no crate of ours is asked of the
//! public registry, where it is not.

use super::{File, Report};

/// Where a file is compiled into documentation, and so into doc tests.
const INCLUDED: &str = "include_str!(\"";

pub(super) fn check(files: &[File], report: &mut Report) {
    let included: Vec<&str> = files
        .iter()
        .filter(|file| file.path.starts_with("crates/") && file.path.ends_with("/src/lib.rs"))
        .flat_map(|file| file.text.split(INCLUDED).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let is_page = |path: &str| path.starts_with("docs/src/") || path == "README.md";
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let compiled = included.iter().any(|path| path.trim_start_matches("../") == file.path);
        if is_page(&file.path) && !compiled && file.text.lines().any(|line| line.trim_start().starts_with("```rust")) {
            report.problem(format!("{}: its programs are not compiled: include it in a crate's lib.rs", file.path));
        }
        for number in cut_tables(&file.text) {
            report
                .problem(format!("{}:{number}: a row without a head: an empty line cuts its table in two", file.path));
        }
        for (number, line) in file.text.lines().enumerate().filter(|(_, line)| is_published(line)) {
            let line = line.trim();
            report.problem(format!("{}:{}: `{line}` is not on the registry: by git or path", file.path, number + 1));
        }
    }
}

/// Lines on which a table begins without a head.
fn cut_tables(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let is_row = |line: &str| line.starts_with('|');
    let is_rule = |line: &str| is_row(line) && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '));
    let mut code = false;
    let mut cut = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        code ^= line.starts_with("```");
        let begins = is_row(line) && (number == 0 || !is_row(lines[number - 1]));
        if begins && !code && !lines.get(number + 1).is_some_and(|next| is_rule(next)) {
            cut.push(number + 1);
        }
    }
    cut
}

/// Whether a line of a manifest asks the registry for a crate of ours.
fn is_published(line: &str) -> bool {
    let Some((name, value)) = line.split_once('=') else { return false };
    let name = name.trim();
    let ours = name == "p2p"
        || name.strip_prefix("p2p-").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    ours && !value.contains("git") && !value.contains("path") && !value.contains("workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|&(path, text)| File { path: path.into(), text: text.into() }).collect();
        let mut report = Report::default();
        check(&files, &mut report);
        report.problems
    }

    #[test]
    fn a_program_that_nothing_compiles_is_found() {
        let page = ("docs/src/a.md", "text\n\n```rust,no_run\nfn main() {}\n```\n");
        assert!(problems(&[page])[0].contains("docs/src/a.md: its programs are not compiled"));
        let library = ("crates/x/src/lib.rs", "#[doc = include_str!(\"../../../docs/src/a.md\")]\nmod a {}\n");
        assert_eq!(problems(&[page, library]), [""; 0]);
        assert_eq!(problems(&[("docs/src/a.md", "```text\nx\n```\n")]), [""; 0]);
    }

    #[test]
    fn a_table_that_is_cut_in_two_is_found() {
        let whole = "| a | b |\n|---|:--|\n| 1 | 2 |\n";
        assert_eq!(problems(&[("docs/src/a.md", whole)]), [""; 0]);
        let cut = format!("{whole}\n| 3 | 4 |\n");
        assert!(problems(&[("docs/src/a.md", &cut)])[0].contains("docs/src/a.md:5:"));
        assert_eq!(problems(&[("docs/src/a.md", "```text\n| drawing\n```\n")]), [""; 0]);
    }

    #[test]
    fn a_crate_of_ours_is_not_asked_of_the_registry() {
        for bad in ["p2p = \"0.1\"", "p2p-sim = { version = \"0.1\" }"] {
            assert!(problems(&[("docs/src/a.md", &format!("```toml\n{bad}\n```\n"))])[0].contains(bad));
        }
        for good in
            ["p2p = { git = \"x\" }", "p2p-sim.workspace = true", "p2p = { path = \"../p2p\" }", "tokio = \"1\""]
        {
            assert_eq!(problems(&[("docs/src/a.md", good)]), [""; 0], "{good}");
        }
    }
}
