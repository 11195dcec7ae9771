//! Sizes of files, and words that must not stay in them.

use super::{File, Report};

/// A file with more lines than this is worth a look; tests do not count.
const LONG: usize = 300;

/// A file with more lines than this is two ideas.
const TOO_LONG: usize = 500;

// Each is written in two parts so that this file does not find itself.
/// Marks of unfinished work.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!(")];

/// Beginnings of words as they are spelled elsewhere than in America.
const BRITISH: [(&str, &str); 9] = [
    (concat!("dial", "ler"), "dialer"),
    (concat!("dial", "ling"), "dialing"),
    (concat!("dial", "led"), "dialed"),
    (concat!("neigh", "bour"), "neighbor"),
    (concat!("judge", "ment"), "judgment"),
    (concat!("behav", "iour"), "behavior"),
    (concat!("col", "our"), "color"),
    (concat!("lic", "ence"), "license"),
    (concat!("seri", "alis"), "serializ"),
];

/// Somebody else's name, which is spelled as they spell it.
const FOREIGN: &str = concat!("NetworkBehav", "iour");

/// Where such names are used.
const ABROAD: &str = "bench/libp2p/";

/// Where a path of somebody's machine begins.
const MACHINES: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!(":\\Us", "ers\\")];

/// `root` is where the repository is on this machine.
pub(super) fn check(files: &[File], root: &str, report: &mut Report) {
    for file in files {
        if file.path.ends_with(".rs") {
            size(file, report);
        }
        for (number, line) in file.text.lines().enumerate() {
            let place = || format!("{}:{}", file.path, number + 1);
            if is_code(&file.path) {
                for word in UNFINISHED.into_iter().filter(|word| has_word(line, word)) {
                    report.problem(format!("{}: {word} is in the code: do it or open an issue", place()));
                }
            }
            if is_prose_or_code(&file.path) {
                let line = line.replace(FOREIGN, "").to_lowercase();
                for (word, spelled) in BRITISH.into_iter().filter(|(word, _)| line.contains(word)) {
                    report.problem(format!("{}: {word}: we spell {spelled}", place()));
                }
            }
            if MACHINES.into_iter().chain([root]).any(|path| is_machine_path(line, path)) {
                report.problem(format!("{}: a path of one machine", place()));
            }
        }
    }
}

fn size(file: &File, report: &mut Report) {
    if is_test(&file.path) {
        return;
    }
    let lines = lines_without_tests(&file.text);
    if lines > TOO_LONG {
        report.problem(format!("{}: {lines} lines, at most {TOO_LONG} (tests aside): split it", file.path));
    } else if lines > LONG {
        report.note(format!("{}: {lines} lines", file.path));
    }
}

fn is_code(path: &str) -> bool {
    [".rs", ".toml", ".sh"].iter().any(|ending| path.ends_with(ending)) || path.starts_with(".ci/")
}

fn is_prose_or_code(path: &str) -> bool {
    (path.ends_with(".rs") || path.ends_with(".md")) && !path.starts_with(ABROAD)
}

pub(super) fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches") || path.ends_with("tests.rs")
}

/// Lines up to the test module at the end of a file.
pub(super) fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    let begins_tests = |pair: &[&str]| {
        pair[0].starts_with("#[cfg(")
            && pair[0].contains("test")
            && pair[1].starts_with("mod ")
            && pair[1].ends_with('{')
    };
    lines.windows(2).position(begins_tests).unwrap_or(lines.len())
}

/// Whether `word` is in `line` and no part of a longer word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(is_letter) && (word.ends_with('(') || !line[at + word.len()..].starts_with(is_letter))
    })
}

/// Whether `path` begins a path in `line`: not the middle of a URL or of a relative one.
fn is_machine_path(line: &str, path: &str) -> bool {
    let before = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '~' | '}');
    let found = |(at, _): (usize, &str)| path.starts_with(':') || !line[..at].ends_with(before);
    path.len() > 1 && line.match_indices(path).any(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(path: &str, text: &str) -> Report {
        let mut report = Report::default();
        check(&[File { path: path.into(), text: text.into() }], "/srv/checkout", &mut report);
        report
    }

    #[test]
    fn a_long_file_is_noted_and_a_longer_one_found() {
        let fine = report("crates/x/src/a.rs", &"x\n".repeat(LONG));
        assert!(fine.notes.is_empty() && fine.problems.is_empty());
        let long = report("crates/x/src/a.rs", &"x\n".repeat(TOO_LONG));
        assert!(long.notes[0].contains("a.rs: 500 lines") && long.problems.is_empty());
        let too_long = report("crates/x/src/a.rs", &"x\n".repeat(TOO_LONG + 1));
        assert!(too_long.problems[0].contains("a.rs: 501 lines"));
    }

    #[test]
    fn tests_do_not_count() {
        let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(LONG), "y\n".repeat(900));
        let counted = report("crates/x/src/a.rs", &with_tests);
        assert!(counted.notes.is_empty() && counted.problems.is_empty(), "{counted:?}");
        for path in ["crates/x/tests/a.rs", "crates/x/src/a/tests.rs", "crates/x/README.md"] {
            assert!(report(path, &"x\n".repeat(900)).problems.is_empty(), "{path}");
        }
    }

    #[test]
    fn unfinished_work_is_found_where_it_is() {
        for word in UNFINISHED {
            let found = report("crates/x/src/a.rs", &format!("fine\nx {word} y\n"));
            assert!(found.problems[0].starts_with("crates/x/src/a.rs:2: "), "{found:?}");
            assert!(report("crates/x/src/a.rs", &format!("x_{word}")).problems.is_empty());
        }
        assert!(report("docs/src/style.md", UNFINISHED[0]).problems.is_empty(), "a text may speak of it");
    }

    #[test]
    fn words_are_spelled_as_in_america() {
        for (word, spelled) in BRITISH {
            for path in ["crates/x/src/a.rs", "docs/a.md"] {
                assert_eq!(report(path, &format!("fn {}s()", word.to_uppercase())).problems.len(), 1, "{word}");
                assert!(report(path, &format!("{spelled}s")).problems.is_empty());
            }
            assert!(report("bench/libp2p/src/main.rs", word).problems.is_empty());
        }
        assert!(report("docs/a.md", FOREIGN).problems.is_empty());
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        for path in MACHINES {
            let found = report("docs/a.md", &format!("see `{path}me/key`"));
            assert_eq!(found.problems.len(), 1, "{path}");
        }
        assert_eq!(report("a.toml", "path = \"/srv/checkout/crates\"").problems.len(), 1);
        let elsewhere = format!("https://example.org{0}x and ..{0}y and $HOME{0}z", MACHINES[0]);
        assert!(report("docs/a.md", &elsewhere).problems.is_empty());
    }
}
