//! Whose turn it is, and that nobody waits for a task that is gone.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use p2p_core::TaskGroup;
use proptest::prelude::*;

use super::shares::{MIN_TURN, Shares};
use super::{Shaper, Shapers};

/// A connection that always has something to move, in pieces of its own size, and no faster than `most`.
#[derive(Debug, Clone)]
struct Hungry {
    piece: u64,
    /// Bytes per second.
    most: Option<u64>,
}

fn hungry(piece: u64) -> Hungry {
    Hungry { piece, most: None }
}

struct World {
    shares: Shares,
    begin: Instant,
    now: Instant,
    all: Vec<(u64, Hungry, u64)>,
}

impl World {
    fn new(rate: u64, all: Vec<Hungry>) -> Self {
        let begin = crate::mux::start();
        let mut shares = Shares::new(rate, begin);
        let all = all.into_iter().map(|hungry| (shares.join(), hungry, 0)).collect();
        Self { shares, begin, now: begin, all }
    }

    /// Lets all move what they may, then lets `time` pass.
    fn step(&mut self, time: Duration) {
        let passed = (self.now - self.begin).as_secs_f64();
        for (id, hungry, used) in &mut self.all {
            let wants = |used: u64| hungry.most.is_none_or(|most| (used as f64) < most as f64 * passed);
            while wants(*used) && self.shares.credit(*id) > 0 {
                self.shares.used(*id, hungry.piece, self.now);
                *used += hungry.piece;
            }
            if wants(*used) { self.shares.ask(*id) } else { self.shares.give_back(*id) }
        }
        self.now += time;
        self.shares.serve(self.now);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            // As a timer would: at the next turn. Or somewhat later, when somebody has more to move.
            let next = self.shares.next_turn().unwrap_or(self.now) - self.now;
            self.step(next.clamp(Duration::from_micros(100), Duration::from_millis(20)));
        }
    }

    fn used(&self) -> Vec<u64> {
        self.all.iter().map(|(.., used)| *used).collect()
    }

    fn total(&self) -> u64 {
        self.used().iter().sum()
    }
}

/// Jain's index: 1 where all have the same.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|&share| (share as f64).powi(2)).sum::<f64>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn all_who_want_much_get_the_same_and_together_the_rate(
        rate in 20_000u64..20_000_000,
        pieces in proptest::collection::vec(prop_oneof![1_000u64..3_000, 20_000u64..64_000], 1..12),
    ) {
        let most_at_once = *pieces.iter().max().unwrap();
        let count = pieces.len() as u64;
        let mut world = World::new(rate, pieces.into_iter().map(hungry).collect());
        // So long that a piece is little of what each gets.
        let secs = 1 + 20 * most_at_once * count / rate;
        world.run(Duration::from_secs(secs));
        let used = world.used();
        prop_assert!(jain(&used) >= 0.95, "{used:?}");
        let slack = rate / 20 + count * (most_at_once + 2 * (rate / 500).clamp(MIN_TURN, 64 << 10));
        prop_assert!(world.total() <= rate * secs + slack, "{} in {secs} s", world.total());
        prop_assert!(world.total() + slack >= rate * secs, "{} in {secs} s", world.total());
    }

    #[test]
    fn what_one_leaves_goes_to_the_others(
        rate in 200_000u64..5_000_000, others in 1usize..6, part in 2u64..10,
    ) {
        let modest = rate / (others as u64 + 1) / part;
        let mut all = vec![Hungry { piece: 1_000, most: Some(modest) }];
        all.extend((0..others).map(|_| hungry(8_000)));
        let mut world = World::new(rate, all);
        world.run(Duration::from_secs(10));
        let used = world.used();
        prop_assert!(used[0] as f64 >= 0.97 * 10.0 * modest as f64, "{used:?} of {modest}");
        prop_assert!(world.total() as f64 >= 0.97 * 10.0 * rate as f64, "{used:?}");
        prop_assert!(jain(&used[1..]) >= 0.95, "{used:?}");
    }

    /// Any order of calls.
    #[test]
    fn the_rate_holds_and_nobody_waits_while_there_is_something(
        rate in 10_000u64..1_000_000,
        ops in proptest::collection::vec((0u8..6, 0usize..4, 1u64..40_000), 1..400),
    ) {
        let begin = crate::mux::start();
        let mut now = begin;
        let mut shares = Shares::new(rate, begin);
        let mut ids: Vec<u64> = (0..4).map(|_| shares.join()).collect();
        let (mut used, mut joined) = (0, 4);
        for (op, which, amount) in ops {
            let id = ids[which];
            match op {
                0 | 1 => shares.ask(id),
                2 if shares.credit(id) > 0 || shares.goes_ahead(id) => {
                    shares.used(id, amount, now);
                    used += amount;
                }
                3 => shares.give_back(id),
                4 => now += Duration::from_micros(amount),
                5 if amount < 4_000 => {
                    shares.leave(id);
                    ids[which] = shares.join();
                    joined += 1;
                }
                _ => {}
            }
            shares.serve(now);
            prop_assert!(shares.next_turn().is_none_or(|next| next > now));
            let quantum = shares.quantum();
            // What each may have beyond: a turn's worth, two ahead of its turn, and the last piece.
            let slack = rate / 20 + 2 * quantum + joined * (3 * quantum + 2 * 40_000);
            let most = slack as f64 + rate as f64 * (now - begin).as_secs_f64();
            prop_assert!(used as f64 <= most, "{used} of {most}");
        }
        ids.into_iter().for_each(|id| shares.leave(id));
        prop_assert!(shares.next_turn().is_none());
        prop_assert_eq!(shares.members(), 0);
    }
}

#[test]
fn what_cannot_wait_goes_ahead_by_a_little_and_is_made_up_for() {
    let start = crate::mux::start();
    let mut shares = Shares::new(1_000_000, start);
    let (one, other) = (shares.join(), shares.join());
    // Somebody uses all there is.
    shares.used(other, 100_000, start);
    let mut ahead = 0;
    while shares.goes_ahead(one) {
        shares.used(one, 100, start);
        ahead += 100;
    }
    assert_eq!(ahead, 2 * shares.quantum());
    // What was ahead counts: three of its turns are worth one, and none of them waits for bytes.
    shares.ask(one);
    assert!(shares.serve(start).is_empty());
    let next = shares.next_turn().unwrap();
    assert_eq!(shares.serve(next), [one]);
    assert_eq!(shares.credit(one), shares.quantum());
    assert!(shares.goes_ahead(one));
}

#[test]
fn who_only_owes_pays_and_keeps_nothing_for_later() {
    let start = crate::mux::start();
    let mut shares = Shares::new(1_000_000, start);
    let id = shares.join();
    shares.used(id, 50_000 + 2 * shares.quantum(), start);
    assert!(!shares.goes_ahead(id));
    // It did not ask, and needs 27 turns.
    let next = shares.next_turn().unwrap();
    assert!(shares.serve(next).is_empty());
    assert_eq!((shares.next_turn(), shares.credit(id)), (None, 0));
    assert!(shares.goes_ahead(id));
}

#[test]
fn who_was_idle_has_one_burst_and_no_more() {
    let start = crate::mux::start();
    let mut shares = Shares::new(1_000_000, start);
    for hour in 0..3 {
        let now = start + Duration::from_secs(3_600 * hour);
        let id = shares.join();
        let mut used = 0;
        loop {
            shares.ask(id);
            if shares.serve(now).is_empty() {
                break;
            }
            used += shares.credit(id);
            shares.used(id, shares.credit(id), now);
        }
        assert_eq!(used, 50_000, "a twentieth of a second's worth");
        shares.leave(id);
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn world() -> (p2p_sim::Sim, p2p_sim::Host) {
    let sim = p2p_sim::Sim::with(1, p2p_sim::Settings::default());
    let host = sim.host("host");
    (sim, host)
}

fn shaper(tasks: &Arc<TaskGroup>, rate: u64) -> Arc<Shaper> {
    let Shapers { upload, download } = Shapers::start(Some(rate), None, tasks);
    assert!(download.is_none());
    upload.unwrap()
}

#[test]
fn who_waits_is_woken_at_its_turn_and_nothing_runs_when_nobody_does() {
    let (sim, host) = world();
    sim.block_on(async {
        let tasks = Arc::new(TaskGroup::new(host.runtime()));
        let share = shaper(&tasks, 10_000).join();
        // The task is asleep.
        sim.sleep(Duration::from_secs(1)).await;
        share.used(20_000);
        let begin = sim.now();
        std::future::poll_fn(|cx| share.poll(cx)).await;
        // 20,000 bytes, less the 3,000 that were there.
        assert!((1.69..1.71).contains(&(sim.now() - begin).as_secs_f64()), "{:?}", sim.now() - begin);
        share.rest();
        // Our own sleep is over then.
        sim.sleep(Duration::from_secs(10)).await;
        assert_eq!((sim.scheduled(), tasks.len()), (0, 1));
    });
}

#[test]
fn who_goes_on_and_on_lets_others_run_between_two_turns() {
    let (sim, host) = world();
    sim.block_on(async move {
        let tasks = Arc::new(TaskGroup::new(host.runtime()));
        // Holds 50 kB, which are 25 turns.
        let share = shaper(&tasks, 1_000_000).join();
        let woken = Arc::new(Woken::default());
        let waker: Waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        for turn in 0..3 {
            if turn > 0 {
                assert!(share.poll(&mut cx).is_pending());
            }
            assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), turn);
            assert_eq!(share.poll(&mut cx), Poll::Ready(2_000));
            share.used(2_000);
        }
    });
}

#[test]
fn nobody_waits_once_its_task_is_gone() {
    let (sim, host) = world();
    sim.block_on(async move {
        let tasks = Arc::new(TaskGroup::new(host.runtime()));
        let shaper = shaper(&tasks, 10_000);
        let share = shaper.join();
        share.used(1 << 30);
        let woken = Arc::new(Woken::default());
        let waker: Waker = woken.clone().into();
        let mut cx = Context::from_waker(&waker);
        assert!(share.poll(&mut cx).is_pending());
        tasks.shutdown().await;
        assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(share.poll(&mut cx), Poll::Ready(usize::MAX));
        // And one that never ran.
        let late = self::shaper(&tasks, 10_000).join();
        late.used(1 << 30);
        assert_eq!(late.poll(&mut cx), Poll::Ready(usize::MAX));
    });
}

#[test]
fn a_connection_that_ends_is_forgotten() {
    let (sim, host) = world();
    sim.block_on(async move {
        let tasks = Arc::new(TaskGroup::new(host.runtime()));
        let shaper = shaper(&tasks, 10_000);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            let share = shaper.join();
            share.used(1_000);
            let _ = share.poll(&mut cx);
        }
        let left = |state: &super::State| (state.shares.members(), state.wakers.len());
        assert_eq!(left(&shaper.lock()), (0, 0));
        tasks.shutdown().await;
        assert!(tasks.is_empty());
    });
}

#[test]
fn who_was_ahead_waits_for_the_others_as_long_as_they_use_the_rate() {
    let mut world = World::new(1_000_000, vec![hungry(1_000), hungry(1_000), hungry(1_000)]);
    let ids: Vec<u64> = world.all.iter().map(|(id, ..)| *id).collect();
    let moved = [(ids[0], 200_000), (ids[1], 0), (ids[2], 50_000)].into_iter().collect();
    // The bucket is empty, as where the rate was just found.
    world.shares.used(u64::MAX, 50_000, world.now);
    world.shares.even_out(&moved, world.now);
    (0..1_000).for_each(|_| world.step(Duration::from_millis(1)));
    let used = world.used();
    let all = [used[0] + 200_000, used[1], used[2] + 50_000];
    assert!(jain(&all) > 0.98, "{all:?}");
    assert!(world.total() >= 900_000, "{used:?}");
}

#[test]
fn who_was_ahead_goes_on_when_the_others_do_not_use_the_rate() {
    let start = crate::mux::start();
    let mut shares = Shares::new(1_000_000, start);
    let (ahead, other) = (shares.join(), shares.join());
    shares.used(u64::MAX, 50_000, start);
    shares.even_out(&[(ahead, 500_000), (other, 0)].into_iter().collect(), start);
    shares.ask(ahead);
    assert!(shares.serve(start).is_empty());
    let next = shares.next_turn().unwrap();
    assert!(next - start <= Duration::from_millis(51), "when the bucket is full");
    assert_eq!(shares.serve(next), [ahead]);
    assert_eq!(shares.credit(ahead), shares.quantum());
    shares.leave(ahead);
    assert_eq!(shares.next_turn(), None);
}

#[test]
fn a_rate_is_found_when_lines_hold_many_back_and_is_given_up_later() {
    let (sim, host) = world();
    sim.block_on(async {
        let tasks = Arc::new(TaskGroup::new(host.runtime()));
        let shaper = Shapers::start(None, None, &tasks).upload.unwrap();
        let shares: Vec<_> = (0..10).map(|_| shaper.join()).collect();
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!((shares[0].poll(&mut cx), tasks.len()), (Poll::Ready(usize::MAX), 0));
        for _ in 0..100 {
            shares.iter().for_each(|share| share.took(1_000, Some(Duration::from_millis(50))));
            sim.sleep(Duration::from_millis(10)).await;
        }
        assert_eq!((shares[0].is_active(), tasks.len()), (true, 1));
        shares[0].used(1 << 30);
        assert!(shares[0].poll(&mut cx).is_pending());
        // A remote that is near is not behind the uplink.
        shares[0].set_near(true);
        assert_eq!((shares[0].is_active(), shares[0].poll(&mut cx)), (false, Poll::Ready(usize::MAX)));
        shares[0].set_near(false);
        assert!(shares[0].poll(&mut cx).is_pending());
        sim.sleep(Duration::from_secs(5)).await;
        assert_eq!((shares[0].poll(&mut cx), tasks.len()), (Poll::Ready(usize::MAX), 0));
        // And found again.
        for _ in 0..100 {
            shares.iter().for_each(|share| share.took(1_000, Some(Duration::from_millis(50))));
            sim.sleep(Duration::from_millis(10)).await;
        }
        shares[0].used(1 << 30);
        assert!(shares[0].poll(&mut cx).is_pending());
        tasks.shutdown().await;
        assert_eq!(shares[0].poll(&mut cx), Poll::Ready(usize::MAX));
    });
}

#[test]
fn a_rate_that_was_set_concerns_near_remotes_too() {
    let (sim, host) = world();
    sim.block_on(async {
        let tasks = Arc::new(TaskGroup::new(host.runtime()));
        let share = shaper(&tasks, 1_000).join();
        share.set_near(true);
        share.used(1 << 30);
        assert!(share.is_active() && share.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tasks.shutdown().await;
    });
}
