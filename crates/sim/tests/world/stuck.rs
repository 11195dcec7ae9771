use p2p_sim::Stuck;

use super::*;

#[test]
fn a_world_in_which_nothing_will_happen_says_so() {
    let (sim, alice, _) = world(steady());
    let stuck = sim.try_block_on(std::future::pending::<()>()).unwrap_err();
    assert_eq!(stuck, Stuck::Idle { at: Duration::ZERO, paused: String::new() });
    alice.pause();
    let joined = alice.spawn(async {});
    let stuck = sim.try_block_on(joined).unwrap_err().to_string();
    assert!(stuck.contains("stuck at 0ns") && stuck.ends_with("hosts that are paused: 1"), "{stuck}");
    alice.resume();
    assert_eq!(sim.block_on(async { 7 }), 7, "it can be run again");
}

#[test]
fn a_world_that_spins_says_where() {
    let settings = Settings { max_steps_at_once: 10_000, ..Settings::default() };
    let sim = Sim::with(1, settings);
    let alice = sim.host("alice");
    let spinning = alice.spawn(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        std::task::Poll::<()>::Pending
    }));
    let stuck = sim.try_block_on(async {
        sim.sleep(SECOND).await;
        spinning.await
    });
    assert_eq!(stuck.unwrap_err(), Stuck::Spinning { at: Duration::ZERO, steps: 10_000, host: "alice".into() });
}

#[test]
fn a_world_that_only_ticks_is_ended_by_the_clock() {
    let sim = Sim::with(1, Settings { time_limit: 3600 * SECOND, ..Settings::default() });
    let alice = sim.host("alice");
    let runtime = alice.runtime();
    alice.spawn(async move {
        let mut interval = runtime.interval(SECOND);
        loop {
            interval.tick().await;
        }
    });
    let stuck = sim.try_block_on(std::future::pending::<()>()).unwrap_err();
    assert_eq!(stuck, Stuck::TimeLimit { at: 3600 * SECOND });
    sim.run_for(3600 * SECOND);
    assert_eq!(sim.now(), 7200 * SECOND, "a time that is asked for is given");
}

#[test]
#[should_panic(expected = "not run from inside of itself")]
fn a_world_is_not_run_from_inside() {
    let sim = Sim::new(1);
    sim.block_on(async { sim.block_on(async {}) });
}

#[test]
fn waiting_for_a_condition_ends_when_it_holds_or_time_is_over() {
    let (sim, alice, _) = world(steady());
    let task = alice.spawn(alice.runtime().sleep(SECOND));
    assert!(sim.run_until(2 * SECOND, || alice.live_tasks() == 0));
    let now = sim.now();
    assert!((SECOND..=SECOND + MS).contains(&now), "{now:?}");
    assert!(!sim.run_until(SECOND, || false));
    assert_eq!(sim.now(), now + SECOND);
    drop(task);
}
