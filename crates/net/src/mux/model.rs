//! The multiplexer's core against a model: two sides, any order of calls, any cut of the bytes between them; or one
//! side, and whatever bytes a remote may send. For tests and fuzzing: a promise that is not kept is a panic.

mod lone;
mod task;

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use self::lone::Lone;
use self::task::Task;
use super::Side;
use super::clock::Clock;
use super::core::{Core, Limits};
use super::decoder::Decoder;
use super::frame::{HEADER_LEN, Header, Violation};
use crate::{CloseReason, Error};

/// The most bytes of one [`Op::Write`].
pub const MAX_WRITE: usize = 1 << 17;

/// The codes that the model resets, stops and closes with.
const RESET: u32 = 9;
const STOP: u32 = 8;
const CLOSE: u32 = 7;

/// The bounds of one side, in streams and bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Streams that the other side may have open.
    pub inbound_streams: u32,
    /// The same until [`Op::Trust`]; `None` where that is said from the beginning.
    pub early_streams: Option<u32>,
    /// What may be sent on a new stream at once. The same on both sides.
    pub initial_credit: u32,
    /// What a stream may always receive unread, at least `initial_credit`.
    pub stream_window: u32,
    /// By how much all windows together may exceed that.
    pub shared_window: u32,
}

/// What one side does. A stream is given as its place among those that the side has seen, counted round.
#[derive(Debug, Clone)]
pub enum Op {
    /// Opens a stream.
    Open,
    /// Takes a stream that the other side opened.
    Accept,
    /// Writes so many bytes, at most [`MAX_WRITE`].
    Write { stream: usize, len: usize },
    /// Reads once.
    Read { stream: usize },
    /// Ends the sending direction.
    Finish { stream: usize },
    /// Gives the sending direction up.
    Reset { stream: usize },
    /// Reads no more.
    Stop { stream: usize },
    /// Lets the stream go ahead of others, or not.
    Urgent { stream: usize, urgent: bool },
    /// Accepts the remote: the bounds for early data end.
    Trust,
    /// Lets time pass.
    Pass { ms: u64 },
    /// Ends the connection.
    Close,
    /// Puts all frames on their way.
    Transmit,
    /// Lets so many of the bytes arrive that are on their way to this side.
    Arrive { len: usize },
}

/// Reads a frame header and writes it again; `None` for one that no side sends.
pub fn rewrite_header(bytes: [u8; HEADER_LEN]) -> Option<[u8; HEADER_LEN]> {
    Header::decode(bytes).ok().map(Header::encode)
}

/// One side with the bytes on their way to it.
pub(super) struct Peer {
    pub(super) core: Core,
    decoder: Decoder,
    pub(super) incoming: BytesMut,
}

impl Peer {
    pub(super) fn new(side: Side, bounds: Bounds) -> Self {
        let Bounds { inbound_streams, early_streams, initial_credit, stream_window, shared_window } = bounds;
        let stream_window = stream_window.max(initial_credit);
        let limits = Limits {
            inbound_streams,
            early_streams: early_streams.unwrap_or(0),
            initial_credit,
            stream_window,
            shared_window,
        };
        let mut core = Core::new(side, limits, Clock::manual());
        if early_streams.is_none() {
            core.accepted();
        }
        Self { core, decoder: Decoder::new(), incoming: BytesMut::new() }
    }

    #[cfg(test)]
    pub(super) fn decoder(&mut self) -> &mut Decoder {
        &mut self.decoder
    }

    /// Takes what this side has to send.
    pub(super) fn output(&mut self) -> VecDeque<Bytes> {
        let mut batch = VecDeque::new();
        self.core.out.take(&mut batch);
        self.core.on_room();
        batch
    }

    /// Lets `len` of the bytes on their way arrive, as the driver would read them.
    pub(super) fn arrive(&mut self, len: usize) -> Result<(), Violation> {
        let mut bytes = self.incoming.split_to(len.min(self.incoming.len()));
        // The driver of a connection that has ended reads no more.
        while bytes.has_remaining() && self.core.end().is_none() {
            let Some(mut target) = self.decoder.target() else {
                return self.decoder.decode(&mut self.core, &bytes);
            };
            let part = bytes.len().min(target.remaining_mut());
            target.put_slice(&bytes[..part]);
            bytes.advance(part);
            self.decoder.on_target(&mut self.core)?;
        }
        Ok(())
    }

    fn wake(&mut self) {
        self.core.take_wakers().into_iter().for_each(Waker::wake);
    }
}

/// The bytes of a stream's direction from a place on: any mix-up of streams, sides or order shows.
fn content(side: usize, id: u32, at: usize, len: usize) -> Bytes {
    const PERIOD: usize = 4093;
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| {
        // Xorshift (Marsaglia 2003): no stretch is like another.
        let mut state = 0x9e37_79b9_u32;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        });
        let period: Vec<u8> = noise.take(PERIOD).collect();
        period.into_iter().cycle().take(PERIOD + MAX_WRITE).collect()
    });
    let start = (at + id as usize * 389 + side * 1571) % PERIOD;
    pattern.slice(start..start + len)
}

/// What one side has done with, and seen of, a stream.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) written: usize,
    pub(super) read: usize,
    finished: bool,
    reset: bool,
    stopped: bool,
    /// How the other side's direction ended: with a code if it was given up.
    end: Option<Option<u32>>,
    pub(super) refused: bool,
    reader: Task,
    writer: Task,
}

/// Both sides of a connection, side 0 the dialer. Tasks that wait are asked again only when they are woken, as a real
/// one would be: a wake-up that is lost shows as bytes that never arrive.
pub struct World {
    pub(super) peers: [Peer; 2],
    /// By side and stream.
    pub(super) seen: [BTreeMap<u32, Seen>; 2],
    closed: [bool; 2],
}

impl World {
    /// Two sides with their bounds, and nothing open.
    pub fn new(bounds: [Bounds; 2]) -> Self {
        let [dialer, listener] = bounds;
        let peers = [Peer::new(Side::Dialer, dialer), Peer::new(Side::Listener, listener)];
        Self { peers, seen: Default::default(), closed: [false; 2] }
    }

    fn nth(&self, side: usize, nth: usize) -> Option<u32> {
        let streams = &self.seen[side];
        streams.keys().nth(nth % streams.len().max(1)).copied()
    }

    /// Lets `side` do something.
    pub fn step(&mut self, side: usize, op: &Op) {
        let core = &mut self.peers[side].core;
        let over = core.end().is_some();
        match *op {
            Op::Open => match core.open() {
                Ok(id) => assert!(self.seen[side].insert(id, Seen::default()).is_none(), "opened twice"),
                Err(error) => assert!(over && matches!(error, Error::Closed(_)), "{error}"),
            },
            Op::Accept => match core.accept() {
                Ok(Some(id)) => {
                    let opened = self.seen[1 - side].contains_key(&id);
                    assert!(opened, "the other side has not opened stream {id}");
                    assert!(self.seen[side].insert(id, Seen::default()).is_none(), "accepted twice");
                }
                Ok(None) => {}
                Err(error) => assert!(over && matches!(error, Error::Closed(_)), "{error}"),
            },
            Op::Trust => core.accepted(),
            Op::Pass { ms } => {
                self.peers.iter_mut().for_each(|peer| peer.core.clock.advance(Duration::from_millis(ms)))
            }
            Op::Close => {
                core.close(CLOSE, "enough");
                self.closed[side] = true;
            }
            Op::Transmit => {
                let chunks = self.peers[side].output();
                chunks.iter().for_each(|chunk| self.peers[1 - side].incoming.extend_from_slice(chunk));
            }
            Op::Arrive { len } => {
                if let Err(Violation(what)) = self.peers[side].arrive(len) {
                    panic!("an honest side breaks no rule: {what}");
                }
            }
            Op::Write { stream, .. }
            | Op::Read { stream }
            | Op::Finish { stream }
            | Op::Reset { stream }
            | Op::Stop { stream }
            | Op::Urgent { stream, .. } => {
                if let Some(id) = self.nth(side, stream) {
                    self.step_stream(side, id, op);
                }
            }
        }
        self.peers[side].wake();
        self.peers[side].core.check();
    }

    fn step_stream(&mut self, side: usize, id: u32, op: &Op) {
        let core = &mut self.peers[side].core;
        let over = core.end().is_some();
        let Some(seen) = self.seen[side].get_mut(&id) else { return };
        match *op {
            Op::Write { len, .. } => self.write(side, id, len),
            Op::Read { .. } => drop(self.read(side, id)),
            Op::Finish { .. } => {
                seen.writer = Task::default();
                match core.finish(id) {
                    Ok(()) => seen.finished |= !seen.reset,
                    Err(Error::Refused) => seen.refused = true,
                    Err(Error::Stopped(code)) => assert_eq!(code, STOP),
                    Err(error) => assert!(over && matches!(error, Error::Closed(_)), "{error}"),
                }
            }
            Op::Reset { .. } => {
                seen.writer = Task::default();
                seen.reset |= !seen.finished;
                core.reset(id, RESET);
            }
            Op::Stop { .. } => {
                seen.reader = Task::default();
                seen.stopped = true;
                core.stop(id, STOP);
            }
            Op::Urgent { urgent, .. } => core.set_urgent(id, urgent),
            _ => {}
        }
    }

    fn write(&mut self, side: usize, id: u32, len: usize) {
        let stopped = self.seen[1 - side].get(&id).is_some_and(|other| other.stopped);
        let core = &mut self.peers[side].core;
        let over = core.end().is_some();
        let Some(seen) = self.seen[side].get_mut(&id) else { return };
        // In two chunks, one of which may be taken in part.
        let mut two = content(side, id, seen.written, len.min(MAX_WRITE));
        let len = two.len();
        let mut chunks = [two.split_to(len / 3), two];
        let Some(result) = seen.writer.poll(|cx| core.write(cx, id, &mut chunks)) else { return };
        let left: usize = chunks.iter().map(Bytes::len).sum();
        match result {
            Poll::Ready(Ok(taken)) => {
                assert_eq!(taken + left, len);
                assert!(!seen.finished && !seen.reset && !seen.refused && !over, "written to a stream that is over");
                seen.written += taken;
                return;
            }
            Poll::Ready(Err(Error::Refused)) => seen.refused = true,
            Poll::Ready(Err(Error::Stopped(code))) => assert!(stopped && code == STOP, "nobody has stopped it"),
            Poll::Ready(Err(Error::Finished)) => assert!(seen.finished || seen.reset),
            Poll::Ready(Err(error)) => assert!(over && matches!(error, Error::Closed(_)), "{error}"),
            Poll::Pending => assert!(!over),
        }
        assert_eq!(left, len, "what was not written stays");
    }

    /// Reads once; gives whether something was there.
    pub(super) fn read(&mut self, side: usize, id: u32) -> bool {
        let other = self.seen[1 - side].get(&id).map(|other| (other.written, other.finished, other.reset));
        let core = &mut self.peers[side].core;
        let over = core.end().is_some();
        let Some(seen) = self.seen[side].get_mut(&id) else { return false };
        if seen.stopped || seen.end.is_some() || seen.refused {
            return false;
        }
        let Some(result) = seen.reader.poll(|cx| core.read(cx, id, usize::MAX)) else { return false };
        match result {
            Poll::Ready(Ok(Some(chunk))) => {
                for piece in chunk.chunks(MAX_WRITE) {
                    assert!(content(1 - side, id, seen.read, piece.len()) == piece, "bytes of another place");
                    seen.read += piece.len();
                }
                assert!(other.is_some_and(|(written, ..)| seen.read <= written), "more than was written");
            }
            Poll::Ready(Ok(None)) => {
                assert_eq!(other, Some((seen.read, true, false)), "an end too early");
                seen.end = Some(None);
            }
            Poll::Ready(Err(Error::Reset(code))) => {
                assert!(code == RESET && other.is_some_and(|(.., reset)| reset), "nobody has reset it");
                seen.end = Some(Some(code));
            }
            Poll::Ready(Err(Error::Refused)) => {
                assert_eq!(other, None, "it was accepted");
                seen.refused = true;
            }
            Poll::Ready(Err(error)) => {
                assert!(over && matches!(error, Error::Closed(_)), "{error}");
                return false;
            }
            Poll::Pending => {
                assert!(!over);
                return false;
            }
        }
        self.peers[side].wake();
        self.peers[side].core.check();
        true
    }

    /// Lets everything arrive and be read until nothing moves.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in 0..2 {
                self.step(side, &Op::Transmit);
                moved |= !self.peers[1 - side].incoming.is_empty();
                self.step(1 - side, &Op::Arrive { len: usize::MAX });
            }
            for side in 0..2 {
                let known = self.seen[side].len();
                self.step(side, &Op::Accept);
                moved |= self.seen[side].len() > known;
                let ids: Vec<u32> = self.seen[side].keys().copied().collect();
                for id in ids {
                    while self.read(side, id) {
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Settles, then checks that each side has seen all that the other did, that everybody could go on, and that
    /// nothing is left once all streams are dropped.
    pub fn finish(mut self) {
        (0..2).for_each(|side| self.step(side, &Op::Trust));
        self.settle();
        if self.closed.contains(&true) {
            return (0..2).for_each(|side| self.check_closed(side));
        }
        let everything: Vec<_> = (0..2).flat_map(|side| self.seen[side].keys().map(move |&id| (side, id))).collect();
        for &(side, id) in &everything {
            self.check_received(side, id);
        }
        for (side, id) in everything {
            self.check_sending(side, id);
        }
        self.drop_all();
        for side in 0..2 {
            assert_eq!(self.peers[side].core.open_streams(), 0, "a stream that nobody holds");
        }
    }

    fn check_closed(&self, side: usize) {
        let local = CloseReason::Local { code: CLOSE, reason: "enough".into() };
        let remote = CloseReason::Remote { code: CLOSE, reason: "enough".into() };
        let end = self.peers[side].core.end();
        let known = self.closed[side] && end == Some(&local) || self.closed[1 - side] && end == Some(&remote);
        assert!(known, "side {side} ended with {end:?}");
    }

    /// What `side` has seen of the other's direction.
    fn check_received(&self, side: usize, id: u32) {
        let seen = &self.seen[side][&id];
        let Some(other) = self.seen[1 - side].get(&id) else {
            assert!(seen.refused || seen.stopped, "stream {id} of side {side} is in the air");
            return;
        };
        assert!(!seen.refused, "a stream that was accepted is not refused");
        if seen.stopped {
            return;
        }
        if other.reset {
            assert_eq!(seen.end, Some(Some(RESET)), "stream {id} of side {side}: the reset is not seen");
        } else {
            assert_eq!(seen.read, other.written, "stream {id} of side {side}: bytes are lost");
            assert_eq!(seen.end.is_some(), other.finished, "stream {id} of side {side}: the end is not seen");
        }
    }

    /// Whether `side` can go on sending, or knows why not.
    fn check_sending(&mut self, side: usize, id: u32) {
        let other = self.seen[1 - side].get(&id).map(|other| other.stopped);
        let Some(seen) = self.seen[side].get_mut(&id) else { return };
        if seen.finished || seen.reset {
            return;
        }
        assert!(!seen.writer.is_asleep(), "stream {id} of side {side}: a writer waits for what has come");
        let mut chunks = [content(side, id, seen.written, 1)];
        let core = &mut self.peers[side].core;
        match (other, seen.writer.poll(|cx| core.write(cx, id, &mut chunks))) {
            (None, Some(Poll::Ready(Err(Error::Refused)))) => {}
            (Some(true), Some(Poll::Ready(Err(Error::Stopped(STOP))))) => {}
            (Some(false), Some(Poll::Ready(Ok(1)))) => seen.written += 1,
            (_, result) => panic!("stream {id} of side {side}: {result:?}"),
        }
    }

    fn drop_all(&mut self) {
        for side in 0..2 {
            for stream in 0..self.seen[side].len() {
                self.step(side, &Op::Reset { stream });
                self.step(side, &Op::Stop { stream });
            }
        }
        self.settle();
    }
}
