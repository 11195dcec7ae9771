//! Why a world does not go on.

use std::time::Duration;

/// Why a world does not go on although the future it runs has not ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// No task is ready, no timer is set and no packet is under way, so nothing will ever happen.
    #[error("the world is stuck at {at:?}: the future waits, nothing is ready and nothing is to come{paused}")]
    Idle {
        /// Virtual time since the world began.
        at: Duration,
        /// A remark on hosts that are paused, or nothing.
        paused: String,
    },
    /// Tasks wake each other without end while time stands still.
    #[error("the world spins at {at:?}: {steps} steps without time going on; the last task polled is of host {host}")]
    Spinning {
        /// Virtual time since the world began.
        at: Duration,
        /// Polls and events at this moment.
        steps: u64,
        /// The host of the task that was polled last.
        host: String,
    },
    /// [`Settings::time_limit`](crate::Settings::time_limit) is over.
    #[error("the future has not ended after {at:?} of virtual time")]
    TimeLimit {
        /// Virtual time since the world began.
        at: Duration,
    },
}
