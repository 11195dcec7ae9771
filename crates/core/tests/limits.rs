//! Back-off, token bucket and byte budget keep their bounds, whatever they are given.
#![allow(clippy::disallowed_methods, reason = "a bucket is given the time, so any instant will do")]

use std::time::{Duration, Instant};

use p2p_core::{Backoff, ByteBudget, Reservation, TokenBucket};
use proptest::prelude::*;

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..1_000_000_000u64).prop_map(Duration::from_nanos),
        (0..100_000u64).prop_map(Duration::from_secs),
        (any::<u64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        Just(Duration::MAX),
    ]
}

proptest! {
    #[test]
    fn a_wait_is_in_the_upper_half_of_its_step(base in any_duration(), max in any_duration(), draws in prop::collection::vec(any::<u64>(), 1..80)) {
        let mut backoff = Backoff::new(base, max);
        let (max, mut step) = (max.max(base), base);
        for (failures, random) in draws.into_iter().enumerate() {
            prop_assert_eq!(backoff.failures() as usize, failures);
            let wait = backoff.next_wait(random);
            prop_assert!(wait <= step, "{:?} is above the step {:?}", wait, step);
            prop_assert!(wait >= step / 2, "{:?} is below half of the step {:?}", wait, step);
            step = step.saturating_mul(2).min(max);
        }
        backoff.reset();
        prop_assert_eq!(backoff.failures(), 0);
        prop_assert!(backoff.next_wait(u64::MAX) <= base);
    }

    #[test]
    fn a_larger_draw_is_a_longer_wait(base in any_duration(), a in any::<u64>(), b in any::<u64>()) {
        let wait = |random| Backoff::new(base, base).next_wait(random);
        prop_assert_eq!(wait(a.min(b)).min(wait(a.max(b))), wait(a.min(b)));
    }

    /// Against a model that counts whole tokens in whole milliseconds.
    #[test]
    fn a_bucket_agrees_with_its_model(
        burst in 0..50u32,
        per_milli in 0..5u32,
        steps in prop::collection::vec((0..20u32, 0..60u32), 1..100),
    ) {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(burst, per_milli * 1000, start);
        let (mut millis, mut level) = (0, burst);
        for (pause, wanted) in steps {
            millis += u64::from(pause);
            level = (level + pause * per_milli).min(burst);
            let now = start + Duration::from_millis(millis);
            prop_assert_eq!(bucket.is_full(now), level == burst);
            prop_assert_eq!(bucket.ready_in(now).is_zero(), level >= 1);
            let taken = bucket.take_many(wanted, now);
            prop_assert_eq!(taken, level >= wanted);
            if taken {
                level -= wanted;
            }
        }
    }

    /// `ready_in` is exact to the nanosecond at any rate, and no split of time gains or loses a token.
    #[test]
    fn a_bucket_is_ready_when_it_says(burst in 1..9u32, per_second in 1..u32::MAX, pauses in prop::collection::vec(0..2_000_000_000u64, 1..40)) {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(burst, per_second, start);
        let (mut now, mut taken) = (start, 0u128);
        for pause in pauses {
            now += Duration::from_nanos(pause);
            let wait = bucket.ready_in(now);
            if !wait.is_zero() {
                prop_assert!(!bucket.clone().take(now + wait - Duration::from_nanos(1)), "not a nanosecond sooner");
            }
            now += wait;
            prop_assert!(bucket.take(now), "ready when it says");
            taken += 1;
            let elapsed = (now - start).as_nanos();
            prop_assert!(taken <= u128::from(burst) + elapsed * u128::from(per_second) / 1_000_000_000, "never above the rate");
        }
    }

    #[test]
    fn a_budget_adds_up(limit in 0..1000usize, steps in prop::collection::vec((any::<bool>(), 0..400usize), 0..60)) {
        let budget = ByteBudget::new(limit);
        let mut held = Vec::new();
        let mut expected = 0;
        for (grow, bytes) in steps {
            if grow {
                let reserved = budget.try_reserve(bytes);
                prop_assert_eq!(reserved.is_some(), expected + bytes <= limit);
                expected += reserved.as_ref().map_or(0, |r| r.bytes());
                held.extend(reserved);
            } else if let Some(last) = held.last_mut() {
                let back = bytes.min(last.bytes());
                last.shrink(bytes);
                expected -= back;
                prop_assert!(!last.try_grow(usize::MAX), "no overflow");
            }
            prop_assert_eq!(budget.used(), expected);
            prop_assert!(budget.used() <= limit);
        }
        held.clear();
        prop_assert_eq!(budget.used(), 0);
    }
}

#[test]
fn a_million_failures_overflow_nothing() {
    let max = Duration::from_secs(3600);
    let mut backoff = Backoff::new(Duration::from_nanos(1), max);
    for _ in 0..1_000_000 {
        assert!(backoff.next_wait(u64::MAX) <= max);
    }
    assert_eq!(backoff.failures(), 1_000_000);
    assert_eq!(backoff.next_wait(u64::MAX), max, "the steps get to the longest, however small they begin");
    let mut zero = Backoff::new(Duration::ZERO, max);
    assert_eq!((zero.next_wait(u64::MAX), zero.next_wait(u64::MAX)), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn a_bucket_survives_clocks_and_edges() {
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut bucket = TokenBucket::new(u32::MAX, u32::MAX, start + hour);
    assert!(bucket.take_many(u32::MAX, start + hour));
    assert!(!bucket.take(start), "a time before the last one gives nothing");
    assert!(bucket.is_full(start + hour + Duration::from_secs(30 * 365 * 24 * 3600)));
    assert_eq!(TokenBucket::new(0, 10, start).ready_in(start + hour), Duration::MAX);
    let mut dry = TokenBucket::new(1, 0, start);
    assert!(dry.take(start) && !dry.take(start + hour));
    assert_eq!(dry.ready_in(start + hour), Duration::MAX);
}

#[test]
fn a_budget_holds_among_threads() {
    const LIMIT: usize = 1000;
    let budget = ByteBudget::new(LIMIT);
    std::thread::scope(|scope| {
        for thread in 0..8usize {
            let budget = budget.clone();
            scope.spawn(move || {
                let mut refused = 0;
                for round in 0..5000 {
                    let Some(mut held) = budget.try_reserve(1 + (round * 7 + thread * 13) % 300) else {
                        refused += 1;
                        continue;
                    };
                    held.try_grow(round % 100);
                    assert!(budget.used() <= LIMIT);
                    held.shrink(round % 50);
                }
                refused
            });
        }
    });
    assert_eq!(budget.used(), 0, "all of it came back");
    assert_eq!(budget.limit(), LIMIT);
}

#[test]
fn nothing_is_kept_for_later_once_half_is_taken() {
    let budget = ByteBudget::new(100);
    let mut one = budget.try_reserve(50).unwrap();
    one.keep(60);
    assert_eq!(one.bytes(), 50, "it asks for nothing");
    one.keep(20);
    assert_eq!((one.bytes(), budget.used()), (20, 20));
    let mut other = budget.try_reserve(31).unwrap();
    other.keep(31);
    assert_eq!((other.bytes(), budget.used()), (0, 20));
    one.keep(20);
    assert_eq!(one.bytes(), 20);
}

#[test]
fn what_is_held_grows_in_steps() {
    let budget = ByteBudget::new(100);
    let mut held = None;
    assert!(budget.try_cover(&mut held, 0, 30) && held.is_none());
    assert!(budget.try_cover(&mut held, 1, 30));
    assert_eq!(budget.used(), 30);
    assert!(budget.try_cover(&mut held, 30, 30) && budget.try_cover(&mut held, 31, 30));
    assert_eq!(budget.used(), 60);
    // In steps it would be 120.
    assert!(!budget.try_cover(&mut held, 91, 30));
    assert_eq!((budget.used(), held.as_ref().map(Reservation::bytes)), (60, Some(60)));
    assert!(budget.try_cover(&mut held, 5, 30));
    drop(held);
    assert_eq!(budget.used(), 0);
}
