//! Moves bytes between the core and the socket.

mod run;
mod upload;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use p2p_core::runtime::UnsentLimit;
use p2p_core::{ByteBudget, Reservation, Runtime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

pub(super) use self::run::{Driven, run};
use super::clock::Clock;
use super::core::{Core, Limits};
use super::decoder::Decoder;
use super::frame::{INITIAL_CREDIT, Violation};
use super::pace::Pace;
use super::{MuxIo, Side};
use crate::message::Flusher;
use crate::shaper::{Shaper, Share};
use crate::{CloseReason, EarlyStreams, NetConfig};

/// Reads in one turn of the driver, so that one connection does not keep a thread to itself.
const READS_PER_TURN: usize = 16;

/// Bytes of one read. The buffer belongs to the thread, not to the connection: an idle connection holds none.
const READ_BYTES: usize = 64 << 10;

/// Pieces of one vectored write.
const WRITE_PIECES: usize = 64;

/// The step in which received bytes are charged to the budget.
const RESERVE_STEP: usize = 64 << 10;

/// An idle connection keeps a queue of so many pieces, and no longer one.
const IDLE_BATCH: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// What handles and the driver share. Lock order: a message queue, `io`, `core`.
pub(super) struct Shared {
    core: Mutex<Core>,
    io: Mutex<Io>,
    pub(super) flusher: Arc<Flusher>,
    /// Streams were opened by the remote, or the connection has ended.
    pub(super) opened: Notify,
    pub(super) ended: Notify,
    runtime: Arc<dyn Runtime>,
    /// When this side began, and how long after that the remote last showed that it lives, in nanoseconds.
    began: Instant,
    heard: AtomicU64,
    received: AtomicU64,
    /// How often the remote's system has answered, seen by other means than bytes that came.
    answers: AtomicU64,
    /// The driver reads no more until something is read out of the streams, or the budget has room.
    paused: AtomicBool,
    budget: ByteBudget,
    /// Connections of the same node that say good-bye now.
    lingering: Arc<AtomicUsize>,
}

/// Which call found the socket full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    Write,
    Flush,
}

struct Io {
    /// `None` once the driver is gone: handles that outlive it do not keep the socket open.
    stream: Option<Box<dyn MuxIo>>,
    /// Frames that were taken from the core and not yet written.
    batch: VecDeque<Bytes>,
    /// Somebody waited for room in the core when its frames were taken.
    made_room: bool,
    /// The stream may hold written bytes back (TLS records).
    needs_flush: bool,
    /// The socket was found full.
    blocked: Option<Blocked>,
    pace: Pace,
    unsent: UnsentLimit,
    /// What the connection has of the node's upload rate, if there is one.
    upload: Option<Share>,
    /// Bytes written since the socket was found full, and since the shaper was told of them.
    taken: usize,
    /// More may lie ahead of a frame than what the system and the core were told.
    more_ahead: bool,
    /// Bytes at the beginning of `batch` that do not wait for their turn.
    urgent: usize,
    decoder: Decoder,
    reserved: Option<Reservation>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The protected states are valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        io: Box<dyn MuxIo>,
        side: Side,
        config: &NetConfig,
        unsent: UnsentLimit,
        runtime: &Arc<dyn Runtime>,
    ) -> Self {
        let early = config.early_streams.as_ref();
        let limits = Limits {
            inbound_streams: config.max_inbound_streams,
            early_streams: early.map_or(0, EarlyStreams::get),
            initial_credit: INITIAL_CREDIT,
            stream_window: config.stream_window.max(INITIAL_CREDIT),
            shared_window: config.connection_window,
        };
        let io = Io {
            stream: Some(io),
            batch: VecDeque::new(),
            made_room: false,
            needs_flush: false,
            blocked: None,
            pace: Pace::new(unsent.get()),
            unsent,
            upload: config.shapers.upload.as_ref().map(Shaper::join),
            taken: 0,
            more_ahead: false,
            urgent: 0,
            decoder: Decoder::new(),
            reserved: None,
        };
        let mut core = Core::new(side, limits, Clock::Runtime(runtime.clone()));
        if early.is_none() {
            core.accepted();
        }
        match &io.upload {
            Some(upload) if upload.is_active() => core.out.set_limit(io.longest_frame()),
            _ => core.out.begin_with_limit(io.longest_frame()),
        }
        Self {
            core: Mutex::new(core),
            io: Mutex::new(io),
            flusher: Flusher::new(),
            opened: Notify::new(),
            ended: Notify::new(),
            received: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            began: runtime.now(),
            heard: AtomicU64::new(0),
            runtime: runtime.clone(),
            paused: AtomicBool::new(false),
            budget: config.budget.clone(),
            lingering: config.lingering.clone(),
        }
    }

    /// Runs `act` on the core, then wakes whom it has made ready.
    pub(super) fn with_core<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = lock(&self.core);
        let result = act(&mut core);
        let wakers = core.take_wakers();
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    pub(super) fn bytes_received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn liveness(&self) -> u64 {
        self.bytes_received() + self.answers.load(Ordering::Relaxed)
    }

    /// The remote's system has acknowledged something, or said that it has no room.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.is_heard();
    }

    fn is_heard(&self) {
        let since = self.runtime.now().saturating_duration_since(self.began);
        self.heard.store(since.as_nanos() as u64, Ordering::Relaxed);
    }

    /// When the liveness last grew.
    pub(super) fn heard(&self) -> Instant {
        self.began + Duration::from_nanos(self.heard.load(Ordering::Relaxed))
    }

    /// A call has succeeded that found the socket full before: it takes bytes again when earlier ones were acknowledged.
    fn unblocked(&self, blocked: &mut Option<Blocked>, by: Blocked) {
        if blocked.take_if(|blocked| *blocked == by).is_some() {
            self.answered();
        }
    }

    /// Whether the socket takes nothing now.
    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.io).blocked.is_some()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Writes what waits, unless the connection is corked.
    pub(super) fn flush_now(&self) {
        if !self.flusher.hold() {
            self.write_now();
        }
    }

    /// Writes what waits from the calling task, or leaves it to the driver if that is at work.
    pub(super) fn write_now(&self) {
        let mut io = match self.io.try_lock() {
            Ok(io) => io,
            Err(TryLockError::Poisoned(io)) => io.into_inner(),
            Err(TryLockError::WouldBlock) => return self.flusher.wake(),
        };
        // The driver's waker: where this write has to wait, the driver goes on with it. Without one the driver is still to
        // begin, or is at its end and writes what is left.
        let Some(waker) = self.flusher.driver_waker() else { return };
        if let Poll::Ready(Err(_)) = self.poll_write(&mut io, &mut Context::from_waker(&waker)) {
            drop(io);
            // The driver meets the same error, and ends the connection with it.
            self.flusher.wake();
        }
    }

    /// Writes until nothing is left.
    fn poll_write(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self.poll_write_all(io, cx);
        if done.is_pending() {
            self.tell_of_line(io);
        }
        if std::mem::take(&mut io.more_ahead) {
            self.set_ahead(io);
        }
        if done.is_pending() && io.pace.on_full(self.runtime.now()) {
            self.set_ahead(io);
        }
        done
    }

    fn poll_write_all(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, batch, made_room, needs_flush, blocked, pace, upload, urgent, taken, more_ahead, .. } = io;
        let share = upload.as_ref();
        let upload = share.filter(|share| share.is_active());
        let Some(stream) = stream else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let mut stream = Pin::new(stream);
        loop {
            // Before more is written: a stream that holds written bytes back (TLS) would take them although its socket
            // is full, and nothing could overtake them there. With them held back, a line of 100 Mbit/s fills a second later.
            // A fast line takes more at once.
            if !pace.is_fast() {
                ready!(self.poll_flush(stream.as_mut(), needs_flush, blocked, cx))?;
            }
            if batch.is_empty() && !self.with_core(|core| upload::take_output(core, batch, made_room, upload, urgent)) {
                ready!(self.poll_flush(stream.as_mut(), needs_flush, blocked, cx))?;
                pace.on_empty();
                *taken = 0;
                upload.into_iter().for_each(Share::rest);
                return Poll::Ready(Ok(()));
            }
            let most = match upload {
                None => usize::MAX,
                Some(upload) => match self.poll_turn_to_write(upload, *urgent, cx) {
                    Poll::Ready(most) => most,
                    Poll::Pending => {
                        // How fast the socket sends does not show now.
                        pace.on_empty();
                        return Poll::Pending;
                    }
                },
            };
            let written = match batch.make_contiguous() {
                [first, ..] if first.len() > most => stream.as_mut().poll_write(cx, &first[..most]),
                [one] => stream.as_mut().poll_write(cx, one),
                many if stream.is_write_vectored() => {
                    let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
                    let count = many.len().min(WRITE_PIECES);
                    for (slice, chunk) in slices.iter_mut().zip(many.iter()) {
                        *slice = IoSlice::new(chunk);
                    }
                    let count = if most == usize::MAX { count } else { upload::within(&slices[..count], most) };
                    stream.as_mut().poll_write_vectored(cx, &slices[..count])
                }
                many => stream.as_mut().poll_write(cx, &many[0]),
            };
            let Poll::Ready(written) = written else {
                *blocked = Some(Blocked::Write);
                return Poll::Pending;
            };
            let mut written = written?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unblocked(blocked, Blocked::Write);
            *more_ahead |= pace.on_written(written);
            if pace.measures() {
                *taken = taken.saturating_add(written);
            }
            if let Some(share) = share.filter(|share| share.counts()) {
                share.used(written);
            }
            if let Some(upload) = upload {
                upload.took(std::mem::take(taken), None);
                *urgent = urgent.saturating_sub(written);
            }
            *needs_flush = true;
            while let Some(chunk) = batch.front_mut() {
                if chunk.len() > written {
                    chunk.advance(written);
                    break;
                }
                written -= chunk.len();
                batch.pop_front();
            }
            if batch.is_empty() && batch.capacity() > IDLE_BATCH {
                *batch = VecDeque::new();
            }
        }
    }

    /// Has what was written leave the stream's own buffers.
    fn poll_flush(
        &self,
        stream: Pin<&mut Box<dyn MuxIo>>,
        needs_flush: &mut bool,
        blocked: &mut Option<Blocked>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if *needs_flush {
            let Poll::Ready(flushed) = stream.poll_flush(cx) else {
                *blocked = Some(Blocked::Flush);
                return Poll::Pending;
            };
            flushed?;
            *needs_flush = false;
            self.unblocked(blocked, Blocked::Flush);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and gives the core what came. Ready with `Ok(false)` at the end of the byte stream.
    fn poll_read(&self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<bool, CloseReason>> {
        let Some(stream) = &mut io.stream else { return Poll::Ready(Ok(false)) };
        let mut stream = Pin::new(stream);
        if let Some(mut target) = io.decoder.target() {
            let Poll::Ready(read) = tokio_util::io::poll_read_buf(stream, cx, &mut target) else {
                io.decoder.not_read();
                return Poll::Pending;
            };
            let read = read.map_err(lost)?;
            self.received.fetch_add(read as u64, Ordering::Relaxed);
            let decoder = &mut io.decoder;
            return Poll::Ready(self.decode(read, |core| decoder.on_target(core)));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(stream.as_mut().poll_read(cx, &mut buf)).map_err(lost)?;
            self.received.fetch_add(buf.filled().len() as u64, Ordering::Relaxed);
            let decoder = &mut io.decoder;
            Poll::Ready(self.decode(buf.filled().len(), |core| decoder.decode(core, buf.filled())))
        })
    }

    fn decode(
        &self,
        read: usize,
        decode: impl FnOnce(&mut Core) -> Result<(), Violation>,
    ) -> Result<bool, CloseReason> {
        if read == 0 {
            return Ok(false);
        }
        self.is_heard();
        let (result, opened) = self.with_core(|core| (decode(core), core.has_unaccepted()));
        if opened {
            self.opened.notify_waiters();
        }
        result.map(|()| true).map_err(|Violation(what)| CloseReason::Violation(what.to_owned()))
    }

    /// Whether the node's budget allows to hold what was received; if not, nothing more is read.
    fn may_read(&self, io: &mut Io) -> bool {
        let held = lock(&self.core).held();
        let paid = self.budget.try_cover(&mut io.reserved, held, RESERVE_STEP);
        // Not for every read: giving back wakes whoever waits for the budget.
        let enough = held.next_multiple_of(RESERVE_STEP);
        match &mut io.reserved {
            held if enough == 0 => *held = None,
            Some(held) if held.bytes() > 2 * enough => held.shrink(held.bytes() - enough),
            _ => {}
        }
        self.paused.store(!paid, Ordering::Relaxed);
        paid
    }

    /// Gives back what an ended connection, which no driver watches, has reserved for bytes that nobody will read.
    pub(super) fn settle_if_ended(&self) {
        if self.flusher.is_closed() {
            self.may_read(&mut lock(&self.io));
        }
    }

    /// One turn of the driver. Ready when the connection has ended.
    fn poll_turn(&self, cx: &mut Context<'_>, freed: &mut Option<Freed>) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            self.flusher.turn(cx);
            let mut io = lock(&self.io);
            let written = self.poll_write(&mut io, cx);
            // Queues that the core had no room for have more, and now it has.
            let more = std::mem::take(&mut io.made_room) && written.is_ready();
            let ended = self.with_core(|core| core.end().is_some());
            let may_read = self.may_read(&mut io);
            let read = match written {
                _ if ended => return Poll::Ready(()),
                // What the remote said before the socket broke can still be read, and may be why it broke.
                Poll::Ready(Err(error)) => match may_read.then(|| self.poll_read(&mut io, cx)) {
                    Some(Poll::Ready(Ok(true))) => Poll::Ready(Ok(true)),
                    _ => Poll::Ready(Err(lost(error))),
                },
                _ if may_read => self.poll_read(&mut io, cx),
                _ => Poll::Pending,
            };
            drop(io);
            if may_read {
                // A registration that is kept means that readers have known of the pause since.
                *freed = None;
            }
            match read {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    self.fail(CloseReason::Lost("the remote ended the connection without a word".into()));
                    return Poll::Ready(());
                }
                Poll::Ready(Err(reason)) => {
                    self.fail(reason);
                    return Poll::Ready(());
                }
                Poll::Pending if more => {}
                Poll::Pending if may_read => {
                    self.flusher.settle(cx);
                    return Poll::Pending;
                }
                Poll::Pending => {
                    let registered = freed.is_some();
                    let budget = self.budget.clone();
                    let wait = freed.get_or_insert_with(|| Box::pin(async move { budget.freed().await }));
                    if wait.as_mut().poll(cx).is_ready() {
                        *freed = None;
                    } else if registered {
                        self.flusher.settle(cx);
                        return Poll::Pending;
                    }
                    // Newly registered: the budget may have got room just before, so it is asked once more.
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The connection has ended: wakes whoever waits for anything.
    fn announce_end(&self) {
        self.ended.notify_waiters();
        self.opened.notify_waiters();
        // Whatever still waits in queues learns of the end.
        self.flusher.close();
    }

    fn fail(&self, reason: CloseReason) {
        self.with_core(|core| core.fail(reason));
    }
}

type Freed = Pin<Box<dyn Future<Output = ()> + Send>>;

fn lost(error: io::Error) -> CloseReason {
    CloseReason::Lost(error.to_string())
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
