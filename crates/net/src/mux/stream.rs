//! The two directions of one stream.

use std::task::Waker;

use super::frame::MAX_DATA;
use super::inbox::Inbox;
use super::out::Out;
use crate::{Error, Result};

/// A window in which both sides are always busy: while the reader works on half of it, the other half is on its way.
const FRAMES_UNDER_WAY: u32 = 8 * MAX_DATA as u32;

/// The direction from this side to the remote.
#[derive(Debug)]
pub(super) struct Send {
    /// Bytes that the remote still accepts.
    pub(super) credit: u32,
    /// Is to go ahead of other streams.
    pub(super) urgent: bool,
    /// The round of `out` in which data was last queued behind that of other streams.
    behind: Option<u64>,
    /// Finished, reset or dropped on this side.
    pub(super) done: bool,
    /// The remote reads no more, and says why.
    pub(super) stopped: Option<u32>,
    /// The remote did not accept the stream.
    pub(super) refused: bool,
    pub(super) waker: Option<Waker>,
}

impl Send {
    pub(super) fn new(credit: u32) -> Self {
        Self { credit, urgent: false, behind: None, done: false, stopped: None, refused: false, waker: None }
    }

    /// Whether what is queued next goes ahead of other streams: not before what this one has waiting behind them.
    pub(super) fn goes_ahead(&mut self, out: &Out) -> bool {
        if self.urgent && self.behind != Some(out.round()) {
            return true;
        }
        self.behind = Some(out.round());
        false
    }

    /// Whether something may be written.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self { refused: true, .. } => Err(Error::Refused),
            Self { stopped: Some(code), .. } => Err(Error::Stopped(*code)),
            Self { done: true, .. } => Err(Error::Finished),
            _ => Ok(()),
        }
    }
}

/// The direction from the remote to this side.
#[derive(Debug)]
pub(super) struct Recv {
    pub(super) inbox: Inbox,
    /// What the remote may have outstanding: sent and unread, or not yet sent.
    window: u32,
    /// The part of `window` that comes from the connection's shared window.
    pub(super) borrowed: u32,
    /// Bytes that the remote may still send.
    pub(super) credit: u32,
    /// Bytes read since credit was last granted.
    read: u32,
    /// The reader found nothing since then: it keeps up.
    pub(super) waited: bool,
    /// The remote's end of the stream: a code if it was reset.
    pub(super) end: Option<Option<u32>>,
    /// This side has seen the end, or dropped its handle.
    pub(super) done: bool,
    pub(super) refused: bool,
    pub(super) waker: Option<Waker>,
}

impl Recv {
    pub(super) fn new(window: u32) -> Self {
        Self {
            inbox: Inbox::default(),
            window,
            borrowed: 0,
            credit: window,
            read: 0,
            waited: false,
            end: None,
            done: false,
            refused: false,
            waker: None,
        }
    }

    /// `len` bytes were read: the credit to grant now, if it is worth a frame.
    ///
    /// Where the reader keeps up, and the remote had used most of the window or that is smaller than what keeps a few
    /// frames under way, the window limits the speed: it grows, by its own size, out of `shared`. It takes half of what is
    /// left at most, so that streams which then stall never use all of it up.
    pub(super) fn on_read(&mut self, len: usize, shared: &mut u32) -> Option<u32> {
        // What is read was within the window, which is a u32.
        self.read += len as u32;
        if self.read < self.window / 2 || self.end.is_some() {
            return None;
        }
        let mut grant = std::mem::take(&mut self.read);
        let limits = self.credit < self.window / 4 || self.window < FRAMES_UNDER_WAY;
        if std::mem::take(&mut self.waited) && limits {
            let growth = self.window.min(*shared / 2).min(u32::MAX - self.window);
            *shared -= growth;
            self.borrowed += growth;
            self.window += growth;
            grant += growth;
        }
        self.credit += grant;
        Some(grant)
    }

    /// Panics if the remote could have more outstanding than the window.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn check(&self, guaranteed: u32) {
        assert_eq!(self.window, guaranteed + self.borrowed, "a window and its parts");
        let outstanding = self.inbox.bytes() as u64 + u64::from(self.credit) + u64::from(self.read);
        assert!(outstanding <= u64::from(self.window), "{outstanding} bytes of a window of {}", self.window);
    }
}
