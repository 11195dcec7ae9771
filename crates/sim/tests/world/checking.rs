//! What `check` finds and prints. Each failing check runs in a process of its own, whose output is read.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use p2p_sim::{Checker, SEED_VARIABLE};

use super::*;

/// Which failing check a process is to run.
const WANTED: &str = "P2P_SIM_TEST_WANTED";

/// Runs the test `failing` below in another process.
fn fails(wanted: &str, seed: Option<&str>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["checking::failing", "--exact", "--nocapture"]).env(WANTED, wanted).env_remove(SEED_VARIABLE);
    if let Some(seed) = seed {
        command.env(SEED_VARIABLE, seed);
    }
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (!status.success(), text)
}

#[test]
fn failing() {
    let Ok(wanted) = std::env::var(WANTED) else { return };
    static RUNS: AtomicU64 = AtomicU64::new(0);
    p2p_sim::check(3..6, |sim| {
        let wanted = wanted.clone();
        async move {
            let host = sim.host("host");
            println!("ran seed {}", sim.seed());
            host.trace("begins");
            sim.sleep(SECOND).await;
            match wanted.as_str() {
                "panics" => assert_ne!(sim.seed(), 4, "the fourth fails"),
                "differs" if sim.seed() == 5 => host.trace(format!("run {}", RUNS.fetch_add(1, Ordering::Relaxed))),
                "task" => host.runtime().spawn(Box::pin(async { panic!("on purpose") })),
                "waits" => std::future::pending().await,
                _ => {}
            }
            sim.sleep(SECOND).await;
        }
    });
}

#[test]
fn a_failing_seed_is_printed_with_its_replay_and_its_trace() {
    let (failed, text) = fails("panics", None);
    assert!(failed && text.contains("the fourth fails"), "{text}");
    assert!(text.contains("ran seed 3") && !text.contains("ran seed 5"), "{text}");
    assert!(text.contains("replay: P2P_SIM_SEED=4 cargo test -p p2p-sim checking::failing -- --exact"), "{text}");
    assert!(text.contains("hosts: #0 test, #1 host") && text.contains("#1: begins"), "{text}");
}

#[test]
fn a_replay_runs_its_seed_alone() {
    for seed in ["4", "0x4"] {
        let (failed, text) = fails("panics", Some(seed));
        assert!(failed && text.contains("ran seed 4") && !text.contains("ran seed 3"), "{text}");
    }
    let (failed, text) = fails("none", Some("12345"));
    assert!(!failed && text.contains("ran seed 12345"), "{text}");
    let (failed, text) = fails("none", Some("many"));
    assert!(failed && text.contains("is not a number"), "{text}");
}

#[test]
fn what_does_not_come_from_the_simulator_is_found_and_shown() {
    let (failed, text) = fails("differs", None);
    assert!(failed && text.contains("seed 5: two runs differ"), "{text}");
    assert!(text.contains("the traces differ from line 1:"), "{text}");
    assert!(text.contains("one run:      1.000000000 #1: run 2") && text.contains("#1: run 3"), "{text}");
}

#[test]
fn a_panic_that_nobody_caught_fails_the_check_unless_it_is_tolerated() {
    let (failed, text) = fails("task", None);
    assert!(failed && text.contains("1 tasks of seed 3 panicked"), "{text}");
    let reports = Checker::default().once().tolerate_panics().check([1], |sim| async move {
        sim.runtime().spawn(Box::pin(async { panic!("on purpose") }));
        sim.sleep(SECOND).await;
    });
    assert_eq!(reports[0].panics, 1);
}

#[test]
fn a_scenario_that_cannot_end_fails() {
    let (failed, text) = fails("waits", None);
    assert!(failed && text.contains("the world is stuck at 1s"), "{text}");
}
