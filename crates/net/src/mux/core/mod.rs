//! The multiplexer without its socket: calls and received frames in; frames to send and wakers out.

mod incoming;
#[cfg(any(test, feature = "fuzzing"))]
mod invariants;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

pub(super) use self::incoming::Delivery;
use super::Side;
use super::clock::Clock;
use super::frame::{EARLY_BYTES, Kind, MAX_DATA, Violation};
use super::out::Out;
use super::rtt::Rtt;
use super::stream::{Recv, Send};
use crate::error::VIOLATION_CODE;
use crate::message::MAX_LENGTH_BYTES;
use crate::receipt::{Idle, Owed, Receipt};
use crate::{CloseReason, Error, Result};

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Streams that the remote may have open.
    pub(super) inbound_streams: u32,
    /// The same until the remote is [accepted](Core::accepted).
    pub(super) early_streams: u32,
    /// Bytes that each side may send on a new stream at once. The same on both sides.
    pub(super) initial_credit: u32,
    /// Bytes that a stream may always receive unread, at least `initial_credit`.
    pub(super) stream_window: u32,
    /// Bytes by which all windows together may exceed that.
    pub(super) shared_window: u32,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Core {
    side: Side,
    limits: Limits,
    pub(super) clock: Clock,
    rtt: Rtt,
    /// The remote was accepted here: it may have all that `limits` allow.
    accepted: bool,
    /// The remote has accepted this side.
    accepted_there: bool,
    /// Bytes that may be sent, and that may come, before that.
    early_left: u32,
    early_left_there: u32,
    /// Boxed: the map makes room for many at once.
    streams: BTreeMap<u32, Box<State>>,
    /// Streams that have ended here and that the remote has yet to read to the end.
    owed: Owed,
    next_local: u32,
    last_remote: u32,
    inbound: u32,
    /// Streams that the remote opened and nobody has taken.
    unaccepted: VecDeque<u32>,
    /// What is left of the shared window.
    shared_window: u32,
    /// Bytes received and not read, over all streams, and the memory that they take.
    unread: usize,
    held: usize,
    pub(super) out: Out,
    /// Writers that found `out` full.
    blocked: Vec<Waker>,
    end: Option<CloseReason>,
    /// To be woken once the lock is released.
    wake: Vec<Waker>,
}

#[derive(Debug)]
struct State {
    send: Send,
    recv: Recv,
}

impl Core {
    pub(super) fn new(side: Side, limits: Limits, clock: Clock) -> Self {
        Self {
            side,
            limits,
            clock,
            rtt: Rtt::default(),
            accepted: false,
            accepted_there: false,
            early_left: EARLY_BYTES,
            early_left_there: EARLY_BYTES,
            streams: BTreeMap::new(),
            owed: Owed::default(),
            next_local: side.first_stream(),
            last_remote: 0,
            inbound: 0,
            unaccepted: VecDeque::new(),
            shared_window: limits.shared_window,
            unread: 0,
            held: 0,
            out: Out::default(),
            blocked: Vec::new(),
            end: None,
            wake: Vec::new(),
        }
    }

    // --- what this side does ---

    /// Opens a stream.
    pub(super) fn open(&mut self) -> Result<u32> {
        self.check_alive()?;
        let id = self.next_local;
        self.next_local = id.checked_add(2).ok_or(Error::Refused)?;
        self.out.control(Kind::Open, id, &[]);
        self.insert(id);
        Ok(id)
    }

    /// Takes a stream that the remote opened.
    pub(super) fn accept(&mut self) -> Result<Option<u32>> {
        match self.unaccepted.pop_front() {
            Some(id) => Ok(Some(id)),
            None => self.check_alive().map(|()| None),
        }
    }

    /// Frames the start of `chunks`, as far as credit and room allow, and gives the bytes taken.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, id: u32, chunks: &mut [Bytes]) -> Poll<Result<usize>> {
        self.check_alive()?;
        let Some(State { send, .. }) = self.streams.get_mut(&id).map(Box::as_mut) else {
            return Poll::Ready(Err(Error::Finished));
        };
        send.check()?;
        let ahead = send.goes_ahead(&self.out);
        if chunks.iter().all(Bytes::is_empty) {
            return Poll::Ready(Ok(0));
        }
        let full = if ahead { self.out.is_urgent_full() } else { self.out.is_full() };
        if full {
            if !self.blocked.iter().any(|waker| waker.will_wake(cx.waker())) {
                self.blocked.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let mut len = frame_len(chunks).min(self.out.longest_frame()).min(send.credit as usize);
        if !self.accepted_there {
            len = len.min(self.early_left as usize);
            // `len` is at most what is left.
            self.early_left -= len as u32;
        }
        if len == 0 {
            send.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // `len` is at most the credit.
        send.credit -= len as u32;
        self.out.data(false, ahead, id, chunks, len);
        Poll::Ready(Ok(len))
    }

    /// Ends the sending direction after what was written. `receipt` learns what becomes of it. A remote that has stopped with
    /// code 0 is no error then: it reads no further, and may have all that it needs.
    pub(super) fn finish(&mut self, id: u32, receipt: Option<&Arc<Receipt>>) -> Result<()> {
        self.check_alive()?;
        if let Some(State { send, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            if send.done {
                return Ok(());
            }
            let stopped = send.check();
            match (&stopped, receipt) {
                (Ok(()), Some(receipt)) => self.owed.expect(id.into(), receipt.clone()),
                (Err(Error::Stopped(0)), Some(receipt)) => drop(receipt.settle(stopped)),
                _ => stopped?,
            }
            send.done = true;
            send.finished = true;
            let ahead = send.goes_ahead(&self.out);
            self.out.data(true, ahead, id, &mut [], 0);
            self.forget_if_done(id);
        }
        Ok(())
    }

    /// Gives the sending direction up.
    pub(super) fn reset(&mut self, id: u32, code: u32) {
        let alive = self.end.is_none();
        if let Some(State { send, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            if !std::mem::replace(&mut send.done, true) && !send.refused && alive {
                self.out.control(Kind::Reset, id, &code.to_be_bytes());
            }
            self.forget_if_done(id);
        }
    }

    pub(super) fn set_urgent(&mut self, id: u32, urgent: bool) {
        if let Some(State { send, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            send.urgent = urgent;
        }
    }

    /// The next bytes of a stream, at most `most`; `None` at its end. Gives the remote new credit.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, id: u32, most: usize) -> Poll<Result<Option<Bytes>>> {
        let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut) else { return Poll::Ready(Ok(None)) };
        let before = recv.inbox.held();
        if let Some(chunk) = recv.inbox.pop(most) {
            self.unread -= chunk.len();
            self.held = self.held + recv.inbox.held() - before;
            if recv.on_read(chunk.len()) && self.end.is_none() {
                let now = self.clock.now();
                let credit = recv.grant(now, self.rtt.shortest(), &mut self.shared_window);
                self.out.control(Kind::Window, id, &credit.to_be_bytes());
                if let Some(number) = self.rtt.begin(now) {
                    self.out.control(Kind::Ping, 0, &number.to_be_bytes());
                }
            }
            return Poll::Ready(Ok(Some(chunk)));
        }
        if let Some(end) = recv.end {
            if end.is_none() && !recv.silent && !recv.done && self.end.is_none() {
                self.out.control(Kind::Read, id, &[]);
            }
            self.recv_done(id);
            return Poll::Ready(end.map_or(Ok(None), |code| Err(Error::Reset(code))));
        }
        if recv.refused {
            return Poll::Ready(Err(Error::Refused));
        }
        if let Some(end) = &self.end {
            return Poll::Ready(Err(Error::Closed(end.clone())));
        }
        recv.waited = true;
        recv.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The remote is accepted: from now on it may have all that the limits allow.
    pub(super) fn accepted(&mut self) {
        if !std::mem::replace(&mut self.accepted, true) && self.end.is_none() {
            self.out.control(Kind::Accepted, 0, &[]);
        }
    }

    /// The same, and begins a measurement if one is due.
    pub(super) fn measure_rtt(&mut self) -> Option<Duration> {
        if self.end.is_none()
            && let Some(number) = self.rtt.begin(self.clock.now())
        {
            self.out.control(Kind::Ping, 0, &number.to_be_bytes());
        }
        self.rtt()
    }

    /// The shortest round-trip time that was measured lately.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.shortest()
    }

    /// Reads no more, which the remote is told unless it has reset the stream itself. `consumed` says that everything that was
    /// taken out of the stream has been used.
    pub(super) fn stop(&mut self, id: u32, code: u32, consumed: bool) {
        let alive = self.end.is_none();
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            if !recv.refused && !recv.done && alive {
                match recv.end {
                    None => self.out.control(Kind::Stop, id, &code.to_be_bytes()),
                    Some(None) if recv.silent => {}
                    // All that was sent has been read, but for the end itself.
                    Some(None) if consumed && recv.inbox.is_empty() => self.out.control(Kind::Read, id, &[]),
                    Some(None) => self.out.control(Kind::Stop, id, &code.to_be_bytes()),
                    Some(Some(_)) => {}
                }
            }
            self.recv_done(id);
        }
    }

    /// What becomes of the end of the stream, and of what lies before it, is not told to the remote.
    pub(super) fn set_silent(&mut self, id: u32) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            recv.silent = true;
        }
    }

    /// Where to wait until the remote has read to the end, or given up, all streams that have ended here; `None` if it has.
    pub(super) fn awaited(&mut self) -> Option<Arc<Idle>> {
        self.owed.awaited()
    }

    /// Ends the connection, telling the remote.
    pub(super) fn close(&mut self, code: u32, reason: &str) {
        if self.end.is_none() {
            self.out.close(code, reason);
            self.ended(CloseReason::Local { code, reason: reason.to_owned() });
        }
    }

    /// The connection has ended without this side's doing.
    pub(super) fn fail(&mut self, reason: CloseReason) {
        if self.end.is_none() {
            self.out.clear();
            if let CloseReason::Violation(what) = &reason {
                self.out.close(VIOLATION_CODE, what);
            }
            self.ended(reason);
        }
    }

    pub(super) fn end(&self) -> Option<&CloseReason> {
        self.end.as_ref()
    }

    /// Whether a stream that the remote opened waits to be taken.
    pub(super) fn has_unaccepted(&self) -> bool {
        !self.unaccepted.is_empty()
    }

    /// Bytes of memory for what was received and nobody has read.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Bytes received that nobody has read.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// The waker list, to be woken without the lock.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wake)
    }

    /// `out` was taken: writers that waited for room may go on. Whether there are any.
    pub(super) fn on_room(&mut self) -> bool {
        let any = !self.blocked.is_empty();
        self.wake.append(&mut self.blocked);
        any
    }

    #[cfg(test)]
    pub(super) fn grant(&mut self, id: u32, credit: u32) {
        self.accepted_there = true;
        self.streams.get_mut(&id).expect("a stream").send.credit += credit;
    }

    // --- helpers ---

    fn insert(&mut self, id: u32) {
        let Limits { initial_credit, stream_window, .. } = self.limits;
        let state = State { send: Send::new(initial_credit), recv: Recv::new(stream_window) };
        self.streams.insert(id, Box::new(state));
        if stream_window > initial_credit {
            self.out.control(Kind::Window, id, &(stream_window - initial_credit).to_be_bytes());
        }
    }

    fn check_alive(&self) -> Result<()> {
        self.end.as_ref().map_or(Ok(()), |end| Err(Error::Closed(end.clone())))
    }

    /// The stream, or `None` if it is over; refuses one that never was.
    fn known(&mut self, id: u32) -> Result<Option<&mut State>, Violation> {
        let existed = if self.side.opened(id) { id < self.next_local } else { id <= self.last_remote };
        if existed {
            Ok(self.streams.get_mut(&id).map(Box::as_mut))
        } else {
            Err(Violation("a frame on a stream that was not opened"))
        }
    }

    fn wake_sender(&mut self, id: u32) {
        self.wake.extend(self.streams.get_mut(&id).and_then(|state| state.send.waker.take()));
    }

    fn wake_receiver(&mut self, id: u32) {
        self.wake.extend(self.streams.get_mut(&id).and_then(|state| state.recv.waker.take()));
    }

    /// Nobody will read the stream any more.
    fn recv_done(&mut self, id: u32) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).map(Box::as_mut) {
            recv.done = true;
            self.held -= recv.inbox.held();
            self.unread -= recv.inbox.clear();
            self.forget_if_done(id);
        }
    }

    fn forget_if_done(&mut self, id: u32) {
        let done = self.streams.get(&id).is_some_and(|state| state.send.done && state.recv.done);
        if let Some(state) = done.then(|| self.streams.remove(&id)).flatten() {
            self.shared_window += state.recv.borrowed;
            if !self.side.opened(id) {
                self.inbound -= 1;
            }
        }
    }

    fn ended(&mut self, reason: CloseReason) {
        self.owed.close(&reason, &mut self.wake);
        self.end = Some(reason);
        for state in self.streams.values_mut() {
            self.wake.extend(state.send.waker.take());
            self.wake.extend(state.recv.waker.take());
        }
        self.wake.append(&mut self.blocked);
    }
}

/// How much of the start of `chunks` goes into one frame: all that fits, but cut where a chunk ends if one ends there at
/// all. Messages are made of whole chunks, and one that lies in one frame is received without a copy; its length goes
/// with it.
fn frame_len(chunks: &[Bytes]) -> usize {
    let (mut len, mut before) = (0, 0);
    for chunk in chunks {
        if len + chunk.len() > MAX_DATA {
            // What was taken last may be the length of what does not fit.
            let cut = if len - before <= MAX_LENGTH_BYTES { before } else { len };
            return if cut > 0 { cut } else { MAX_DATA };
        }
        if !chunk.is_empty() {
            before = len;
            len += chunk.len();
        }
    }
    len
}
