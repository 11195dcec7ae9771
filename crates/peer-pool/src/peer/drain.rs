//! The orderly end of a connection: who has said good-bye, and what is still missing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use p2p_identity::DisconnectReason;

/// A connection that ends in good order, from the first good-bye on.
pub(super) struct Drain {
    pub(super) reason: DisconnectReason,
    /// When it ends, whatever is missing.
    pub(super) deadline: Instant,
    /// All message streams have been read to their end.
    reading: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    said_here: bool,
    said_there: bool,
    acked_here: bool,
    acked_there: bool,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing but wait.
    Wait,
    /// Say that everything has been received.
    Acknowledge,
    /// Close the connection.
    Close,
}

impl Drain {
    pub(super) fn new(
        reason: DisconnectReason,
        deadline: Instant,
        reading: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self {
            reason,
            deadline,
            reading: Some(Box::pin(reading)),
            said_here: false,
            said_there: false,
            acked_here: false,
            acked_there: false,
        }
    }

    /// This side has said good-bye.
    pub(super) fn said_here(&mut self) {
        self.said_here = true;
    }

    /// The remote has said good-bye.
    pub(super) fn said_there(&mut self) {
        self.said_there = true;
    }

    /// The remote has received everything; `false` when nobody asked.
    pub(super) fn acked_there(&mut self) -> bool {
        self.acked_there = true;
        self.said_here
    }

    /// Ready once when all message streams have been read to their end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(reading) = &mut self.reading else { return Poll::Pending };
        let read = reading.as_mut().poll(cx);
        if read.is_ready() {
            self.reading = None;
        }
        read
    }

    /// What is due. Who said good-bye first closes the connection, so that its acknowledgement has been read.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let read = self.reading.is_none();
        if now >= self.deadline {
            return Next::Close;
        }
        if self.said_there && read && !self.acked_here {
            self.acked_here = true;
            return Next::Acknowledge;
        }
        if self.said_here && self.acked_there && read { Next::Close } else { Next::Wait }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Duration;

    use super::*;

    fn drain(now: Instant) -> Drain {
        Drain::new(DisconnectReason::LocalShutdown, now + Duration::from_secs(5), async {})
    }

    fn read(drain: &mut Drain) {
        assert!(drain.poll_read(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn who_leaves_waits_for_the_acknowledgement_and_for_what_the_remote_sent() {
        let now = crate::clock::now();
        let mut drain = drain(now);
        drain.said_here();
        assert_eq!(drain.next(now), Next::Wait);
        assert!(drain.acked_there());
        assert_eq!(drain.next(now), Next::Wait);
        read(&mut drain);
        assert_eq!(drain.next(now), Next::Close);
    }

    #[test]
    fn who_is_left_acknowledges_once_all_is_read_and_leaves_closing_to_the_other() {
        let now = crate::clock::now();
        let mut drain = drain(now);
        drain.said_there();
        assert_eq!(drain.next(now), Next::Wait);
        read(&mut drain);
        assert_eq!(drain.next(now), Next::Acknowledge);
        assert_eq!(drain.next(now), Next::Wait);
        assert_eq!(drain.next(now + Duration::from_secs(5)), Next::Close);
    }

    #[test]
    fn when_both_leave_at_once_both_acknowledge() {
        let now = crate::clock::now();
        let mut drain = drain(now);
        drain.said_here();
        drain.said_there();
        read(&mut drain);
        assert_eq!(drain.next(now), Next::Acknowledge);
        assert_eq!(drain.next(now), Next::Wait);
        assert!(drain.acked_there());
        assert_eq!(drain.next(now), Next::Close);
    }
}
