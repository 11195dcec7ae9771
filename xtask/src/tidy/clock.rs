//! Tests whose verdict could depend on how fast the machine is: those that sleep on a real clock, or measure with one.
//!
//! Each such place says why it does not, in a comment on its line or above it that begins with [`REASON`], or the file says it
//! for all of them, in its documentation. In virtual time (the simulator, or tokio's clock when it is paused) a test may sleep
//! and measure as it likes.

use super::text::{has_word, is_test, lines_without_tests};
use super::{File, Report};

const REASON: &str = "// Real time: ";

/// The same for a whole file.
const REASON_OF_ALL: &str = "//! Real time: ";

/// What waits for time to pass, or asks how much has.
const SUSPECTS: [&str; 4] = ["sleep(", "elapsed(", "now() -", "duration_since("];

/// Whoever mentions one of these has a clock that is not the machine's.
const VIRTUAL: [&str; 4] = ["p2p_sim", "start_paused", "in_virtual_time(", "simulated("];

/// And whoever mentions one of these has the machine's, too.
const REAL: [&str; 5] = ["#[tokio::test]", "#[tokio::test(flavor", "everywhere(", "smol::block_on", "thread::sleep"];

/// All of it is in virtual time, or measures and gives no verdict by that.
const APART: [&str; 4] = ["crates/sim/", "crates/p2p/tests/sim/", "crates/p2p/tests/hostile_kit/", "bench/"];

pub(super) fn check(files: &[File], report: &mut Report) {
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if APART.iter().any(|folder| file.path.starts_with(folder)) || is_virtual(&file.text) {
            continue;
        }
        let skipped = if is_test(&file.path) { 0 } else { lines_without_tests(&file.text) };
        let lines: Vec<_> = file.text.lines().collect();
        if lines.iter().any(|line| says_why(line, REASON_OF_ALL)) {
            continue;
        }
        for (n, line) in lines.iter().enumerate().skip(skipped) {
            let code = line.split("//").next().unwrap_or_default();
            let Some(suspect) = SUSPECTS.into_iter().find(|suspect| has_word(code, suspect)) else { continue };
            if !has_reason(&lines, n) {
                let (path, number) = (&file.path, n + 1);
                report.problem(format!(
                    "{path}:{number}: a test with `{suspect}` on a real clock: use virtual time or wait for a condition; else say \
                     `{REASON}..`, and why a slow machine changes nothing"
                ));
            }
        }
    }
}

fn is_virtual(text: &str) -> bool {
    let mentions = |words: &[&str]| words.iter().any(|word| text.contains(word));
    mentions(&VIRTUAL) && !mentions(&REAL)
}

/// Whether the line says why, or the comment above it does.
fn has_reason(lines: &[&str], n: usize) -> bool {
    let mut above = lines[..n].iter().rev().take_while(|line| line.trim_start().starts_with("//"));
    says_why(lines[n], REASON) || above.any(|line| says_why(line, REASON))
}

fn says_why(line: &str, reason: &str) -> bool {
    line.split_once(reason).is_some_and(|(_, why)| !why.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<String> {
        let mut report = Report::default();
        check(&[File { path: path.into(), text: text.into() }], &mut report);
        report.problems
    }

    const PATH: &str = "crates/x/tests/a.rs";

    #[test]
    fn a_test_that_sleeps_or_measures_on_a_real_clock_is_found_where_it_does() {
        for line in
            ["runtime.sleep(SECOND).await;", "assert!(began.elapsed() < SECOND);", "let took = sim.now() - began;"]
        {
            let found = problems(PATH, &format!("fine\n    {line}\n"));
            assert!(found.len() == 1 && found[0].starts_with("crates/x/tests/a.rs:2: "), "{line}: {found:?}");
            assert_eq!(problems("crates/x/src/a/tests.rs", line).len(), 1, "{line}");
        }
        assert!(problems(PATH, "// it does not sleep(), and\nfn asleep() {}\n").is_empty());
    }

    #[test]
    fn who_says_why_is_left_alone() {
        let line = "runtime.sleep(SECOND).await;";
        assert!(problems(PATH, &format!("{line} {REASON}looks again\n")).is_empty());
        assert!(problems(PATH, &format!("{REASON}looks again\n// and again\n{line}\n")).is_empty());
        assert!(problems(PATH, &format!("//! A test.\n{REASON_OF_ALL}an hour\n\n{line}\n{line}\n")).is_empty());
        for wrong in
            [format!("{REASON}\n{line}\n"), format!("{REASON}why\n\n{line}\n"), format!("// looks again\n{line}\n")]
        {
            assert_eq!(problems(PATH, &wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn in_virtual_time_a_test_may_do_as_it_likes() {
        let line = "runtime.sleep(SECOND).await;\n";
        for virtually in ["use p2p_sim::Sim;", "#[tokio::test(start_paused = true)]", "simulated(|| async {"] {
            assert!(problems(PATH, &format!("{virtually}\n{line}")).is_empty(), "{virtually}");
            // One that has both clocks says which it is.
            assert_eq!(problems(PATH, &format!("{virtually}\n#[tokio::test]\n{line}")).len(), 1, "{virtually}");
        }
        assert!(problems("crates/p2p/tests/sim/town.rs", line).is_empty());
    }

    #[test]
    fn what_is_no_test_may_sleep() {
        let line = "    runtime.sleep(SECOND).await;\n";
        assert!(problems("crates/x/src/a.rs", line).is_empty());
        let with_tests = format!("{line}#[cfg(test)]\nmod tests {{\n{line}}}\n");
        let found = problems("crates/x/src/a.rs", &with_tests);
        assert!(found.len() == 1 && found[0].starts_with("crates/x/src/a.rs:4: "), "{found:?}");
    }
}
