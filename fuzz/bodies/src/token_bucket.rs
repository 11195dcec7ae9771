//! The token bucket: never above its rate, and ready exactly when it says, at any pace of time.

use std::time::Duration;

use p2p_core::TokenBucket;

use crate::input::{Input, start};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let burst = if input.flag() { u32::from(input.byte()) } else { input.any() };
    let per_second = if input.flag() { u32::from(input.byte()) } else { input.any() };
    let mut now = start();
    let mut bucket = TokenBucket::new(burst, per_second, now);
    assert!(bucket.is_full(now));
    // In billionths of a token, as far as they were ever there and not taken.
    let mut level = u128::from(burst) * 1_000_000_000;
    while !input.is_empty() {
        let wait = input.wait();
        let before = now;
        now += wait;
        level = (level + wait.as_nanos() * u128::from(per_second)).min(u128::from(burst) * 1_000_000_000);
        let ready_in = bucket.ready_in(now);
        assert_eq!(ready_in.is_zero(), level >= 1_000_000_000);
        if !ready_in.is_zero() && ready_in < Duration::from_secs(1 << 33) {
            assert!(!bucket.clone().take(now + ready_in - Duration::from_nanos(1)), "not a nanosecond sooner");
            assert!(bucket.clone().take(now + ready_in), "ready when it says");
        }
        let wanted = if input.flag() { u32::from(input.byte()) } else { input.any() };
        // A time before the last one gives nothing and takes nothing.
        let asked = if input.flag() { before } else { now };
        let taken = bucket.take_many(wanted, asked);
        assert_eq!(taken, level >= u128::from(wanted) * 1_000_000_000);
        if taken {
            level -= u128::from(wanted) * 1_000_000_000;
        }
        assert_eq!(bucket.is_full(now), level == u128::from(burst) * 1_000_000_000);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![[1, 3, 1, 10].into_iter().chain([5, 7, 1, 2, 0].into_iter().cycle().take(40)).collect()]
}
