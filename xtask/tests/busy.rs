//! Busy loops beside the tests end with whoever started them.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and looks at processes")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "never: {what}");
        // Real time: it is only looked at again.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The time that a process has computed, in ticks of the system; `None` if it has ended.
fn computed(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    // One that has ended and that nobody has asked for yet is no process any more.
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(10)?.parse().ok())?
}

/// `cargo xtask test --busy 2` with this in place of cargo, when it is to run what it has built; what it prints, and the ids of
/// its busy loops.
fn busy(folder: &Path, cargo: &str) -> (Child, BufReader<ChildStdout>, Vec<u32>) {
    let script = folder.join("cargo");
    std::fs::write(&script, format!("#!/bin/sh\ncase \"$*\" in *--no-run) exit 0;; esac\n{cargo}\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["test", "--busy", "2"]).env("CARGO", script).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut line, mut printed) = (String::new(), BufReader::new(child.stdout.take().unwrap()));
    while !line.contains('[') {
        line.clear();
        assert!(printed.read_line(&mut line).unwrap() > 0, "no busy loops");
    }
    let ids = line.split(['[', ']']).nth(1).expect("their ids").split(", ").map(|id| id.parse().unwrap());
    (child, printed, ids.collect())
}

#[test]
fn busy_loops_compute_while_the_tests_run_and_end_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let wait = format!("while [ ! -e '{}' ]; do sleep 0.05; done; exit 3", go.display());
    let (mut child, _printed, ids) = busy(folder.path(), &wait);
    assert_eq!(ids.len(), 2);
    for id in &ids {
        eventually("it computes", || computed(*id).expect("it runs") > 5);
    }
    std::fs::write(go, "").unwrap();
    assert!(!child.wait().unwrap().success(), "the tests failed");
    assert!(ids.iter().all(|id| computed(*id).is_none()), "they have ended before it has");
}

#[test]
fn busy_loops_end_when_whoever_started_them_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    // It ends with the folder.
    let wait = format!("while [ -e '{}' ]; do sleep 0.05; done", folder.path().display());
    let (mut child, _printed, ids) = busy(folder.path(), &wait);
    assert!(ids.iter().all(|id| computed(*id).is_some()));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("they have ended", || ids.iter().all(|id| computed(*id).is_none()));
}
