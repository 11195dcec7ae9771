//! Back-off: each wait is in the upper half of its step, and steps double up to their bound.

use std::time::Duration;

use p2p_core::Backoff;

use crate::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let duration = |input: &mut Input<'_>| match input.below(4) {
        0 => Duration::MAX,
        1 => Duration::new(input.any(), input.any::<u32>() % 1_000_000_000),
        _ => input.wait(),
    };
    let (base, max) = (duration(&mut input), duration(&mut input));
    let mut backoff = Backoff::new(base, max);
    let (mut step, mut failures) = (base, 0);
    while !input.is_empty() {
        if input.below(16) == 0 {
            backoff.reset();
            (step, failures) = (base, 0);
        }
        let wait = backoff.next_wait(input.any());
        failures += 1;
        assert!(wait <= step && wait >= step / 2, "{wait:?} of the step {step:?}");
        assert_eq!(backoff.failures(), failures);
        step = step.saturating_mul(2).min(max.max(base));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![[2, 200, 6, 2, 60, 9].into_iter().chain((0..90).map(|n: u8| n.wrapping_mul(37))).collect()]
}
