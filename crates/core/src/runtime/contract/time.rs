use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{PATIENCE, within};
use crate::runtime::{Elapsed, Runtime, Timer};

const STEP: Duration = Duration::from_millis(10);

/// The monotonic clock never goes back and moves with sleeps; the wall clock is there.
pub async fn clocks(runtime: &Arc<dyn Runtime>) {
    let wall = runtime.system_time();
    let mut last = runtime.now();
    for _ in 0..1000 {
        let now = runtime.now();
        assert!(now >= last, "the monotonic clock goes forward");
        last = now;
    }
    runtime.sleep(STEP).await;
    assert!(runtime.now() >= last + STEP, "a sleep moves the monotonic clock by its length at least");
    // Somebody may set the wall clock meanwhile, but not to before this was written.
    let written = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert!(wall >= written && runtime.system_time() >= written, "the wall clock is set");
}

/// Timers fire in the order of their deadlines, not early, stay ready, and can be moved either way, fired or not.
pub async fn timers(runtime: &Arc<dyn Runtime>) {
    order(runtime).await;

    let start = runtime.now();
    let mut past = runtime.timer(start);
    within(runtime, "a timer of the past fires at once", fired(&mut past)).await;

    let mut timer = runtime.timer(start + 10 * PATIENCE);
    assert!(poll_once(&mut timer).is_pending(), "a timer does not fire early");
    let near = runtime.now() + STEP;
    timer.as_mut().reset(near);
    within(runtime, "a timer moved to an earlier deadline fires then", fired(&mut timer)).await;
    assert!(runtime.now() >= near, "a timer does not fire early");
    assert!(poll_once(&mut timer).is_ready(), "a timer that fired stays ready");

    timer.as_mut().reset(runtime.now() + 10 * PATIENCE);
    assert!(poll_once(&mut timer).is_pending(), "a timer that fired can be set again");
    timer.as_mut().reset(runtime.now() + STEP);
    // Registers it there; whether it has fired already is up to the machine.
    let _ = poll_once(&mut timer);
    let far = runtime.now() + 3 * STEP;
    timer.as_mut().reset(far);
    within(runtime, "a timer moved to a later deadline fires", fired(&mut timer)).await;
    assert!(runtime.now() >= far, "a timer moved to a later deadline does not fire at the old one");

    moved_while_waiting(runtime).await;
    let mut never = runtime.sleep(Duration::MAX);
    assert!(pin!(&mut never).poll(&mut Context::from_waker(Waker::noop())).is_pending(), "the longest sleep is long");
}

/// Waits of different lengths, begun in another order, end in the order of their deadlines.
async fn order(runtime: &Arc<dyn Runtime>) {
    let start = runtime.now();
    let deadlines = [5, 1, 3, 2, 4].map(|step| start + step * 3 * STEP);
    let mut timers = deadlines.map(|deadline| Some(runtime.timer(deadline)));
    let all = poll_fn(|cx| {
        let mut latest = None;
        for (slot, deadline) in timers.iter_mut().zip(deadlines) {
            if slot.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                *slot = None;
                assert!(runtime.now() >= deadline, "a timer does not fire early");
                latest = latest.max(Some(deadline));
            }
        }
        // Those that were asked before it may have fired since.
        for (slot, deadline) in timers.iter_mut().zip(deadlines).filter(|&(_, deadline)| Some(deadline) < latest) {
            let has_fired = slot.as_mut().is_none_or(|timer| timer.as_mut().poll(cx).is_ready());
            assert!(has_fired, "timers fire in the order of their deadlines: {:?} is late", deadline - start);
            *slot = None;
        }
        if timers.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    });
    within(runtime, "timers fire", all).await;
}

/// A timer that a task waits on can be moved by a reset that comes after the poll.
async fn moved_while_waiting(runtime: &Arc<dyn Runtime>) {
    let mut timer = runtime.timer(runtime.now() + 10 * PATIENCE);
    let mut polls = 0;
    let waited = poll_fn(|cx| {
        polls += 1;
        let state = timer.as_mut().poll(cx);
        if polls == 1 {
            timer.as_mut().reset(runtime.now() + STEP);
            // As the trait asks: polled after it was moved.
            return timer.as_mut().poll(cx);
        }
        state
    });
    within(runtime, "a timer moved while a task waits on it wakes the task", waited).await;
}

/// `timeout` gives the future's output or [`Elapsed`]; an interval keeps its distance and does not burst after a pause.
pub async fn timeouts(runtime: &Arc<dyn Runtime>) {
    assert_eq!(runtime.timeout(Duration::ZERO, async { 7 }).await, Ok(7), "what is ready wins over no time at all");
    assert_eq!(runtime.timeout(Duration::MAX, async { 7 }).await, Ok(7), "the longest time-out does not overflow");
    let start = runtime.now();
    assert_eq!(runtime.timeout(STEP, std::future::pending::<()>()).await, Err(Elapsed));
    assert!(runtime.now() >= start + STEP, "a time-out does not end early");

    let period = 2 * STEP;
    let start = runtime.now();
    let mut interval = runtime.interval(period);
    for tick in 1..=3 {
        within(runtime, "an interval ticks", interval.tick()).await;
        assert!(runtime.now() >= start + tick * period, "tick {tick} does not come early");
    }
    runtime.sleep(5 * period).await;
    let late = runtime.now();
    within(runtime, "a late tick comes", interval.tick()).await;
    within(runtime, "an interval goes on", interval.tick()).await;
    assert!(runtime.now() >= late + period, "missed ticks are not made up for in a burst");
}

async fn fired(timer: &mut Pin<Box<dyn Timer>>) {
    poll_fn(|cx| timer.as_mut().poll(cx)).await;
}

fn poll_once(timer: &mut Pin<Box<dyn Timer>>) -> Poll<()> {
    timer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
