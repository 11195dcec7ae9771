//! Sleeping, time-outs and intervals over any runtime's timers.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Runtime, Timer};

/// Far enough away to mean "never", near enough to be added to any instant.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

impl dyn Runtime {
    /// Waits for `duration`.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration.min(FOREVER))
    }

    /// Waits until `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep { timer: self.timer(deadline), deadline }
    }

    /// Runs `future` for at most `duration`, counted from the first poll; it is dropped when the time is over. A future
    /// that is ready wins over a time that is over.
    ///
    /// # Errors
    /// [`Elapsed`] when the time was over first.
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        self.limit(future, || self.sleep(duration)).await
    }

    /// As `timeout`, until `deadline`.
    ///
    /// # Errors
    /// [`Elapsed`] when the time was over first.
    pub async fn timeout_at<F: Future>(&self, deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
        self.limit(future, || self.sleep_until(deadline)).await
    }

    /// A future that is ready at once costs no timer and no look at the clock.
    async fn limit<F: Future>(&self, future: F, limit: impl Fn() -> Sleep) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut sleep = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(sleep.get_or_insert_with(&limit)).poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Fires every `period`, first after one period. A tick that was missed is not made up for: after a pause the next
    /// comes at once and the one after it a whole period later.
    pub fn interval(self: &Arc<Self>, period: Duration) -> Interval {
        let period = period.clamp(Duration::from_nanos(1), FOREVER);
        Interval { sleep: self.sleep(period), period, runtime: self.clone() }
    }
}

/// A future that is ready at its deadline; made by `Runtime::sleep`.
pub struct Sleep {
    timer: Pin<Box<dyn Timer>>,
    deadline: Instant,
}

impl Sleep {
    /// When it is ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline.
    pub fn reset(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.timer.as_mut().reset(deadline);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Fires again and again; made by `Runtime::interval`.
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    runtime: Arc<dyn Runtime>,
}

impl Interval {
    /// Waits for the next tick. Cancel-safe.
    pub async fn tick(&mut self) {
        poll_fn(|cx| self.poll_tick(cx)).await;
    }

    /// As [`tick`](Self::tick), for hand-written futures.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(Pin::new(&mut self.sleep).poll(cx));
        let (now, next) = (self.runtime.now(), self.sleep.deadline() + self.period);
        // On time, ticks keep their phase; late by a period or more, they start anew instead of coming in a burst.
        self.sleep.reset(if next > now { next } else { now + self.period });
        Poll::Ready(())
    }
}

/// The time given to `Runtime::timeout` was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;
