//! The orderly end of a connection: who has said good-bye, and what is still missing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use p2p_identity::DisconnectReason;

/// A connection that ends in good order, from the first good-bye on, or from the wish to say one.
pub(super) struct Drain {
    pub(super) reason: DisconnectReason,
    /// When it ends, whatever is missing.
    deadline: Instant,
    /// Until when the good-bye waits for streams that the remote has not read to the end.
    patience: Instant,
    /// What this side's good-bye is to say.
    goodbye: Option<DisconnectReason>,
    reading: Reading,
    said_here: bool,
    said_there: bool,
    acked_here: bool,
    acked_there: bool,
}

/// The remote's message streams.
enum Reading {
    /// Nobody has said good-bye: protocols read them.
    NotYet,
    ToTheEnd(Pin<Box<dyn Future<Output = ()> + Send>>),
    Done,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing but wait.
    Wait,
    /// Say good-bye.
    Leave(DisconnectReason),
    /// Say that everything has been received.
    Acknowledge,
    /// Close the connection.
    Close,
}

impl Drain {
    /// An end that takes at most `longest`. Half of it is for streams that the remote has not read.
    pub(super) fn new(reason: DisconnectReason, now: Instant, longest: Duration) -> Self {
        Self {
            reason,
            deadline: now + longest,
            patience: now + longest / 2,
            goodbye: None,
            reading: Reading::NotYet,
            said_here: false,
            said_there: false,
            acked_here: false,
            acked_there: false,
        }
    }

    /// This side wants to say good-bye.
    pub(super) fn wants_to_leave(&mut self, reason: DisconnectReason) {
        if !self.said_here {
            self.goodbye.get_or_insert(reason);
        }
    }

    /// Somebody says good-bye: from now on `reading` reads all message streams to their end. Once.
    pub(super) fn begin(&mut self, reading: impl FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>>) {
        if let Reading::NotYet = self.reading {
            self.reading = Reading::ToTheEnd(reading());
        }
    }

    /// Whether somebody has said good-bye.
    pub(super) fn has_begun(&self) -> bool {
        self.said_here || self.said_there
    }

    /// The remote has said good-bye; `false` when it had before.
    pub(super) fn said_there(&mut self) -> bool {
        !std::mem::replace(&mut self.said_there, true)
    }

    /// The remote has received everything; `None` when nobody asked, `Some(false)` when it has said so before.
    pub(super) fn acked_there(&mut self) -> Option<bool> {
        self.said_here.then(|| !std::mem::replace(&mut self.acked_there, true))
    }

    /// Ready once when all message streams have been read to their end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Reading::ToTheEnd(reading) = &mut self.reading else { return Poll::Pending };
        let read = reading.as_mut().poll(cx);
        if read.is_ready() {
            self.reading = Reading::Done;
        }
        read
    }

    /// When time alone changes what is due.
    pub(super) fn deadline(&self) -> Instant {
        if self.goodbye.is_some() { self.patience } else { self.deadline }
    }

    /// What is due. `delivered` says that the remote has read, or given up, every stream that has ended here. Who said good-bye
    /// first closes the connection, so that its acknowledgement has been read.
    pub(super) fn next(&mut self, now: Instant, delivered: bool) -> Next {
        let read = matches!(self.reading, Reading::Done);
        if now >= self.deadline {
            return Next::Close;
        }
        if (delivered || now >= self.patience)
            && let Some(reason) = self.goodbye.take()
        {
            self.said_here = true;
            return Next::Leave(reason);
        }
        if self.said_there && read && delivered && !self.acked_here {
            self.acked_here = true;
            return Next::Acknowledge;
        }
        if self.said_here && self.acked_there && read && delivered { Next::Close } else { Next::Wait }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(5);

    fn drain(now: Instant) -> Drain {
        Drain::new(DisconnectReason::LocalShutdown, now, LONGEST)
    }

    fn leaving(now: Instant) -> Drain {
        let mut drain = drain(now);
        drain.wants_to_leave(DisconnectReason::LocalShutdown);
        drain
    }

    fn begin(drain: &mut Drain) {
        drain.begin(|| Box::pin(async {}));
    }

    fn read(drain: &mut Drain) {
        begin(drain);
        assert!(drain.poll_read(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    const LEAVE: Next = Next::Leave(DisconnectReason::LocalShutdown);

    #[test]
    fn who_leaves_waits_for_the_acknowledgement_and_for_what_the_remote_sent() {
        let now = crate::clock::now();
        let mut drain = leaving(now);
        assert_eq!(drain.next(now, true), LEAVE);
        begin(&mut drain);
        assert_eq!(drain.next(now, true), Next::Wait);
        assert_eq!((drain.acked_there(), drain.acked_there()), (Some(true), Some(false)));
        assert_eq!(drain.next(now, true), Next::Wait);
        read(&mut drain);
        assert_eq!(drain.next(now, true), Next::Close);
    }

    #[test]
    fn who_is_left_acknowledges_once_all_is_read_and_leaves_closing_to_the_other() {
        let now = crate::clock::now();
        let mut drain = drain(now);
        assert!(drain.said_there());
        begin(&mut drain);
        assert_eq!(drain.next(now, true), Next::Wait);
        read(&mut drain);
        assert_eq!(drain.next(now, false), Next::Wait, "the remote has yet to read what was finished here");
        assert_eq!(drain.next(now, true), Next::Acknowledge);
        assert_eq!(drain.next(now, true), Next::Wait);
        assert_eq!(drain.next(now + LONGEST, true), Next::Close);
    }

    #[test]
    fn when_both_leave_at_once_both_acknowledge() {
        let now = crate::clock::now();
        let mut drain = leaving(now);
        assert_eq!(drain.next(now, true), LEAVE);
        assert!(drain.said_there());
        read(&mut drain);
        assert_eq!(drain.next(now, true), Next::Acknowledge);
        assert_eq!(drain.next(now, true), Next::Wait);
        assert_eq!(drain.acked_there(), Some(true));
        assert_eq!(drain.next(now, true), Next::Close);
    }

    #[test]
    fn the_good_bye_waits_for_streams_that_are_not_read_but_not_for_ever() {
        let now = crate::clock::now();
        let mut drain = leaving(now);
        assert_eq!(drain.next(now, false), Next::Wait);
        assert!(!drain.has_begun() && drain.acked_there().is_none());
        let later = drain.deadline();
        assert_eq!(later, now + LONGEST / 2);
        assert_eq!(drain.next(later, false), LEAVE);
        // The rest of the time is theirs, too.
        read(&mut drain);
        assert_eq!(drain.next(later, false), Next::Wait);
        assert_eq!(drain.next(drain.deadline(), false), Next::Close);
    }

    #[test]
    fn who_wants_to_leave_and_is_left_meanwhile_says_so_and_acknowledges() {
        let now = crate::clock::now();
        let mut drain = leaving(now);
        assert_eq!(drain.next(now, false), Next::Wait);
        assert!(drain.said_there());
        read(&mut drain);
        assert_eq!(drain.next(now, false), Next::Wait);
        assert_eq!(drain.next(now, true), LEAVE);
        assert_eq!(drain.next(now, true), Next::Acknowledge);
    }
}
