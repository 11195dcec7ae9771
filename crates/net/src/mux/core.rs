//! The multiplexer without its socket: calls and received frames in; frames to send and wakers out.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::Side;
use super::frame::{Header, Kind, MAX_DATA, Violation};
use super::out::Out;
use super::stream::{Recv, Send};
use crate::error::VIOLATION_CODE;
use crate::{CloseReason, Error, Result};

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Streams that the remote may have open.
    pub(super) inbound_streams: u32,
    /// Bytes that a stream may always receive unread.
    pub(super) stream_window: u32,
    /// Bytes by which all windows together may exceed that.
    pub(super) shared_window: u32,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Core {
    side: Side,
    limits: Limits,
    streams: BTreeMap<u32, State>,
    next_local: u32,
    last_remote: u32,
    inbound: u32,
    /// Streams that the remote opened and nobody has taken.
    unaccepted: VecDeque<u32>,
    /// What is left of the shared window.
    shared_window: u32,
    /// Bytes received and not read, over all streams.
    unread: usize,
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

/// What becomes of a data frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It goes to this stream.
    Deliver,
    /// Nobody wants it any more.
    Discard,
}

impl Core {
    pub(super) fn new(side: Side, limits: Limits) -> Self {
        Self {
            side,
            limits,
            streams: BTreeMap::new(),
            next_local: side.first_stream(),
            last_remote: 0,
            inbound: 0,
            unaccepted: VecDeque::new(),
            shared_window: limits.shared_window,
            unread: 0,
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
        self.insert(id);
        self.out.control(Kind::Open, id, &[]);
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
        let Some(State { send, .. }) = self.streams.get_mut(&id) else { return Poll::Ready(Err(Error::Finished)) };
        send.check()?;
        let full = if send.urgent { self.out.is_urgent_full() } else { self.out.is_full() };
        if full {
            if !self.blocked.iter().any(|waker| waker.will_wake(cx.waker())) {
                self.blocked.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let len = chunks.iter().map(Bytes::len).sum::<usize>().min(MAX_DATA).min(send.credit as usize);
        if len == 0 {
            send.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // `len` is at most the credit.
        send.credit -= len as u32;
        self.out.data(false, send.urgent, id, chunks, len);
        Poll::Ready(Ok(len))
    }

    /// Ends the sending direction after what was written.
    pub(super) fn finish(&mut self, id: u32) -> Result<()> {
        self.check_alive()?;
        if let Some(State { send, .. }) = self.streams.get_mut(&id) {
            if send.done {
                return Ok(());
            }
            send.check()?;
            send.done = true;
            self.out.data(true, send.urgent, id, &mut [], 0);
            self.forget_if_done(id);
        }
        Ok(())
    }

    /// Gives the sending direction up.
    pub(super) fn reset(&mut self, id: u32, code: u32) {
        let alive = self.end.is_none();
        if let Some(State { send, .. }) = self.streams.get_mut(&id) {
            if !std::mem::replace(&mut send.done, true) && !send.refused && alive {
                self.out.control(Kind::Reset, id, &code.to_be_bytes());
            }
            self.forget_if_done(id);
        }
    }

    pub(super) fn set_urgent(&mut self, id: u32, urgent: bool) {
        if let Some(State { send, .. }) = self.streams.get_mut(&id) {
            send.urgent = urgent;
        }
    }

    /// The next bytes of a stream, `None` at its end. Gives the remote new credit.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, id: u32) -> Poll<Result<Option<Bytes>>> {
        let Some(State { recv, .. }) = self.streams.get_mut(&id) else { return Poll::Ready(Ok(None)) };
        if let Some(chunk) = recv.inbox.pop() {
            self.unread -= chunk.len();
            if let Some(credit) = recv.on_read(chunk.len(), &mut self.shared_window)
                && self.end.is_none()
            {
                self.out.control(Kind::Window, id, &credit.to_be_bytes());
            }
            return Poll::Ready(Ok(Some(chunk)));
        }
        if let Some(end) = recv.end {
            self.recv_done(id);
            return Poll::Ready(end.map_or(Ok(None), |code| Err(Error::Reset(code))));
        }
        if recv.refused {
            return Poll::Ready(Err(Error::Refused));
        }
        if let Some(end) = &self.end {
            return Poll::Ready(Err(Error::Closed(end.clone())));
        }
        recv.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reads no more.
    pub(super) fn stop(&mut self, id: u32, code: u32) {
        let alive = self.end.is_none();
        if let Some(State { recv, .. }) = self.streams.get_mut(&id) {
            if recv.end.is_none() && !recv.refused && !recv.done && alive {
                self.out.control(Kind::Stop, id, &code.to_be_bytes());
            }
            self.recv_done(id);
        }
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

    /// Bytes received that nobody has read.
    pub(super) fn unread(&self) -> usize {
        self.unread
    }

    /// The waker list, to be woken without the lock.
    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wake)
    }

    /// `out` was taken: writers that waited for room may go on.
    pub(super) fn on_room(&mut self) {
        self.wake.append(&mut self.blocked);
    }

    // --- what the remote does ---

    /// The header of a data frame has arrived.
    pub(super) fn on_data_header(&mut self, header: Header) -> Result<Delivery, Violation> {
        let Some(State { recv, .. }) = self.known(header.stream)? else { return Ok(Delivery::Discard) };
        recv.credit = recv.credit.checked_sub(header.len).ok_or(Violation("more data than was granted"))?;
        match recv.end {
            None => Ok(Delivery::Deliver),
            // A reset goes ahead of data that was written before it.
            Some(Some(_)) => Ok(Delivery::Discard),
            Some(None) => Err(Violation("data after the end of a stream")),
        }
    }

    /// Payload of a data frame whose header was accepted.
    pub(super) fn on_data(&mut self, id: u32, bytes: &[u8]) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).filter(|state| !state.recv.done) {
            recv.inbox.copy(bytes);
            self.unread += bytes.len();
            self.wake.extend(recv.waker.take());
        }
    }

    /// The whole payload of a data frame, in a buffer of its own.
    pub(super) fn on_data_owned(&mut self, id: u32, bytes: Bytes) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id).filter(|state| !state.recv.done) {
            self.unread += bytes.len();
            recv.inbox.push(bytes);
            self.wake.extend(recv.waker.take());
        }
    }

    /// The last data frame of a stream is complete.
    pub(super) fn on_fin(&mut self, id: u32) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id) {
            recv.end = Some(None);
            self.wake.extend(recv.waker.take());
            self.forget_if_done(id);
        }
    }

    /// A complete frame that carries no stream data.
    pub(super) fn on_control(&mut self, header: Header, payload: &[u8]) -> Result<(), Violation> {
        let id = header.stream;
        let number = payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        match header.kind {
            Kind::Open => self.on_open(id)?,
            Kind::Window => {
                if let Some(State { send, .. }) = self.known(id)? {
                    send.credit = send.credit.checked_add(number).ok_or(Violation("credit beyond 2^32"))?;
                    self.wake_sender(id);
                }
            }
            Kind::Reset => {
                if let Some(State { recv, .. }) = self.known(id)?
                    && recv.end.is_none()
                {
                    recv.end = Some(Some(number));
                    // What the remote gave up is not worth keeping.
                    let dropped = recv.inbox.clear();
                    self.unread -= dropped;
                    self.wake_receiver(id);
                    self.forget_if_done(id);
                }
            }
            Kind::Stop => {
                if let Some(State { send, .. }) = self.known(id)? {
                    send.stopped.get_or_insert(number);
                    self.wake_sender(id);
                }
            }
            Kind::Refuse => {
                if self.side.opened(id)
                    && let Some(State { send, recv }) = self.known(id)?
                {
                    send.refused = true;
                    recv.refused = true;
                    self.wake_sender(id);
                    self.wake_receiver(id);
                }
            }
            Kind::Close => {
                let reason = payload.get(4..).unwrap_or_default();
                self.fail(CloseReason::from_remote(number, reason));
            }
            Kind::Data | Kind::DataFin => debug_assert!(false, "data frames do not come here"),
        }
        if self.out.is_control_full() {
            return Err(Violation("it provokes more answers than it reads"));
        }
        Ok(())
    }

    fn on_open(&mut self, id: u32) -> Result<(), Violation> {
        if self.side.opened(id) || id <= self.last_remote {
            return Err(Violation("a stream opened out of order"));
        }
        self.last_remote = id;
        if self.inbound >= self.limits.inbound_streams || self.end.is_some() {
            self.out.control(Kind::Refuse, id, &[]);
        } else {
            self.inbound += 1;
            self.insert(id);
            self.unaccepted.push_back(id);
        }
        Ok(())
    }

    // --- helpers ---

    fn insert(&mut self, id: u32) {
        let window = self.limits.stream_window;
        self.streams.insert(id, State { send: Send::new(window), recv: Recv::new(window) });
    }

    fn check_alive(&self) -> Result<()> {
        self.end.as_ref().map_or(Ok(()), |end| Err(Error::Closed(end.clone())))
    }

    /// The stream, or `None` if it is over; refuses one that never was.
    fn known(&mut self, id: u32) -> Result<Option<&mut State>, Violation> {
        let existed = if self.side.opened(id) { id < self.next_local } else { id <= self.last_remote };
        if existed { Ok(self.streams.get_mut(&id)) } else { Err(Violation("a frame on a stream that was not opened")) }
    }

    fn wake_sender(&mut self, id: u32) {
        self.wake.extend(self.streams.get_mut(&id).and_then(|state| state.send.waker.take()));
    }

    fn wake_receiver(&mut self, id: u32) {
        self.wake.extend(self.streams.get_mut(&id).and_then(|state| state.recv.waker.take()));
    }

    /// Nobody will read the stream any more.
    fn recv_done(&mut self, id: u32) {
        if let Some(State { recv, .. }) = self.streams.get_mut(&id) {
            recv.done = true;
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
        self.end = Some(reason);
        for state in self.streams.values_mut() {
            self.wake.extend(state.send.waker.take());
            self.wake.extend(state.recv.waker.take());
        }
        self.wake.append(&mut self.blocked);
    }
}
