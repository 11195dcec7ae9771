//! Sleeping, time-outs and intervals over any runtime's timers.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

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
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> Timeout<'_, F> {
        Timeout { runtime: self, limit: Limit::Duration(duration), sleep: None, future }
    }

    /// As `timeout`, until `deadline`.
    ///
    /// # Errors
    /// [`Elapsed`] when the time was over first.
    pub fn timeout_at<F: Future>(&self, deadline: Instant, future: F) -> Timeout<'_, F> {
        Timeout { runtime: self, limit: Limit::Deadline(deadline), sleep: None, future }
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

pin_project! {
    /// A future and the time that it may take; made by `Runtime::timeout` and `Runtime::timeout_at`. A future that is ready at
    /// once costs no timer and no look at the clock.
    // No async function: that would hold the future twice, as its argument and as what it waits for.
    #[must_use = "nothing happens until it is awaited"]
    pub struct Timeout<'a, F> {
        runtime: &'a dyn Runtime,
        limit: Limit,
        sleep: Option<Sleep>,
        #[pin]
        future: F,
    }
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Duration(Duration),
    Deadline(Instant),
}

impl<F: Future> Future for Timeout<'_, F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let sleep = this.sleep.get_or_insert_with(|| match *this.limit {
            Limit::Duration(duration) => this.runtime.sleep(duration),
            Limit::Deadline(deadline) => this.runtime.sleep_until(deadline),
        });
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

impl<F> fmt::Debug for Timeout<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("limit", &self.limit).finish_non_exhaustive()
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
