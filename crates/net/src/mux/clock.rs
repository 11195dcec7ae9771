//! The time that the core works with.

use std::sync::Arc;
use std::time::Instant;

use p2p_core::Runtime;

/// Asked only where a time is needed, which is for few frames.
#[derive(Debug, Clone)]
pub(super) enum Clock {
    Runtime(Arc<dyn Runtime>),
    #[cfg(any(test, feature = "fuzzing"))]
    Manual(Instant),
}

impl Clock {
    pub(super) fn now(&self) -> Instant {
        match self {
            Self::Runtime(runtime) => runtime.now(),
            #[cfg(any(test, feature = "fuzzing"))]
            Self::Manual(now) => *now,
        }
    }

    /// A time to count from.
    #[cfg(any(test, feature = "fuzzing"))]
    #[expect(clippy::disallowed_methods, reason = "any time does where only differences matter")]
    pub(super) fn manual() -> Self {
        Self::Manual(Instant::now())
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn advance(&mut self, by: std::time::Duration) {
        if let Self::Manual(now) = self {
            *now += by;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn start() -> Instant {
        Clock::manual().now()
    }
}
