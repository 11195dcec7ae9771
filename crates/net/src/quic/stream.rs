//! The halves of a QUIC stream.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use quinn::{ReadError, VarInt, WriteError};

use super::connection::Shared;
use super::send_window::Excess;
use crate::message::Flusher;
use crate::receipt::Receipt;
use crate::shaper::Share;
use crate::{Error, Result};

/// The sending half. Dropping it unfinished resets the stream with code 0.
#[derive(Debug)]
pub(crate) struct QuicSend {
    stream: quinn::SendStream,
    /// Finished or reset on this side.
    ended: bool,
    receipt: Option<Arc<Receipt>>,
    excess: Excess,
    // Dropped after the stream: what the stream says at its end is said before the connection closes.
    connection: Arc<Shared>,
}

impl QuicSend {
    pub(super) fn new(stream: quinn::SendStream, connection: Arc<Shared>) -> Self {
        Self { stream, ended: false, receipt: None, excess: Excess::new(connection.send_window()), connection }
    }

    pub(crate) fn poll_write_chunks(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<usize>> {
        // quinn's future keeps nothing between polls: what it registers is in the connection.
        let written = pin!(self.stream.write_chunks(chunks)).poll(cx);
        if written.is_pending() {
            let Some(first) = chunks.iter_mut().find(|chunk| !chunk.is_empty()) else { return Poll::Pending };
            let written = ready!(self.exceed(cx, first));
            first.advance(written);
            return Poll::Ready(Ok(written));
        }
        let written = ready!(written).map(|written| written.bytes);
        self.on_written(written.as_ref().map_or(0, |written| *written));
        Poll::Ready(written.map_err(|error| self.error(error)))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        let written = pin!(self.stream.write(buf)).poll(cx);
        if written.is_pending() {
            return self.exceed(cx, buf).map(Ok);
        }
        let written = ready!(written);
        self.on_written(written.as_ref().map_or(0, |written| *written));
        Poll::Ready(written.map_err(|error| self.error(error)))
    }

    /// Queues the end; nobody waits for what becomes of it.
    pub(crate) fn finish_silently(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        if let Some(reason) = self.connection.close_reason() {
            return Err(Error::Closed(reason));
        }
        self.end();
        self.stream.finish().map_err(|_| Error::Finished)
    }

    /// Nobody waits for what becomes of it.
    fn end(&mut self) {
        self.ended = true;
        self.connection.receipts().close(self.stream.id());
    }

    /// Queues the end. The [`receipt`](Self::receipt) says what becomes of it.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.receipt.is_some() {
            return Ok(());
        }
        if self.ended {
            return Err(Error::Finished);
        }
        if let Some(reason) = self.connection.close_reason() {
            return Err(Error::Closed(reason));
        }
        self.receipt = Some(self.connection.receipts().expect(self.stream.id())?);
        self.ended = true;
        self.stream.finish().map_err(|_| Error::Finished)
    }

    /// What became of the end, once it was queued.
    pub(crate) fn receipt(&self) -> Option<&Arc<Receipt>> {
        self.receipt.as_ref()
    }

    pub(crate) fn reset(&mut self, code: u32) {
        if !self.ended {
            self.end();
            // Fails only where nothing is left to give up.
            let _ = self.stream.reset(VarInt::from_u32(code));
        }
    }

    pub(crate) fn set_priority(&mut self, priority: i32) {
        // Fails only where nothing is left to send.
        let _ = self.stream.set_priority(priority);
    }

    /// Nothing to do: a write has woken the connection's task.
    pub(crate) fn flush_now(&self) {}

    pub(crate) fn write_now(&self) {}

    pub(crate) fn flusher(&self) -> &Arc<Flusher> {
        self.connection.flusher()
    }

    fn on_written(&mut self, bytes: usize) {
        self.connection.send_window().on_written(&mut self.excess, bytes);
    }

    /// The stream takes nothing more now: what it may write all the same, if that is why. An error shows with the next write.
    fn exceed(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<usize> {
        let Self { stream, excess, connection, .. } = self;
        let mut written = 0;
        connection.on_full(excess, |most| {
            if let Poll::Ready(Ok(taken)) = pin!(stream.write(&buf[..buf.len().min(most)])).poll(cx) {
                written = taken;
            }
            written
        });
        if written > 0 { Poll::Ready(written) } else { Poll::Pending }
    }

    fn error(&self, error: WriteError) -> Error {
        match error {
            WriteError::Stopped(stopped) => Error::Stopped(code(stopped)),
            WriteError::ConnectionLost(error) => Error::Closed(self.connection.reason_of(&error)),
            // 0-RTT is never used.
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Error::Finished,
        }
    }
}

impl Drop for QuicSend {
    fn drop(&mut self) {
        // quinn would finish the stream, and half a message would look like a whole one.
        self.reset(0);
    }
}

/// Chunks, one from each packet, that are taken out of quinn at once where many come: each visit takes the lock that quinn's
/// driver works under.
const CHUNKS_PER_READ: usize = 32;

/// The same where few come: room for more costs time in each visit.
const FEW_CHUNKS: usize = 2;

/// The receiving half. Dropping it asks the remote to stop, with code 0.
#[derive(Debug)]
pub(crate) struct QuicRecv {
    stream: quinn::RecvStream,
    /// The code of the reset that was read; quinn would report it once and the end of the stream from then on.
    reset: Option<u32>,
    /// Chunks that were taken out of quinn and not yet read.
    taken: std::vec::IntoIter<Bytes>,
    /// There were as many as were asked for.
    many: bool,
    /// It may hold data that its reader has not taken.
    behind: bool,
    /// The remote was told what became of its end of the stream, or does not wait to hear that.
    told: bool,
    stopped: bool,
    // Dropped after the stream, as in `QuicSend`.
    connection: Arc<Shared>,
}

impl QuicRecv {
    pub(super) fn new(stream: quinn::RecvStream, connection: Arc<Shared>) -> Self {
        connection.credit().behind();
        Self {
            stream,
            reset: None,
            taken: Vec::new().into_iter(),
            many: false,
            behind: true,
            told: false,
            stopped: false,
            connection,
        }
    }

    /// A chunk is what one packet carried, whatever `most` is.
    pub(crate) fn poll_read_chunk(&mut self, cx: &mut Context<'_>, _most: usize) -> Poll<Result<Option<Bytes>>> {
        if let Some(chunk) = self.taken.next() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        if let Some(code) = self.reset {
            return Poll::Ready(Err(Error::Reset(code)));
        }
        if self.many { self.poll_read_chunks::<CHUNKS_PER_READ>(cx) } else { self.poll_read_chunks::<FEW_CHUNKS>(cx) }
    }

    fn poll_read_chunks<const MOST: usize>(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let mut chunks = [const { Bytes::new() }; MOST];
        // As with writing, the future keeps nothing between polls.
        let Poll::Ready(read) = pin!(self.stream.read_chunks(&mut chunks)).poll(cx) else {
            self.set_behind(false);
            return Poll::Pending;
        };
        self.many = matches!(read, Ok(Some(count)) if count >= FEW_CHUNKS);
        if let Ok(Some(count)) = read {
            self.set_behind(true);
            self.connection.on_read(chunks[..count].iter().map(Bytes::len).sum());
        }
        match read {
            Ok(None) => {
                self.tell(None);
                Poll::Ready(Ok(None))
            }
            Ok(Some(1)) => Poll::Ready(Ok(Some(std::mem::take(&mut chunks[0])))),
            Ok(Some(count)) => {
                self.taken = chunks[..count].iter_mut().map(std::mem::take).collect::<Vec<_>>().into_iter();
                Poll::Ready(Ok(self.taken.next()))
            }
            Err(ReadError::Reset(reset)) => {
                let code = code(reset);
                self.reset = Some(code);
                self.told = true;
                Poll::Ready(Err(Error::Reset(code)))
            }
            Err(ReadError::ConnectionLost(error)) => Poll::Ready(Err(Error::Closed(self.connection.reason_of(&error)))),
            // Neither unordered reads nor 0-RTT are ever used.
            Err(ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => {
                Poll::Ready(Ok(None))
            }
        }
    }

    /// What the connection has of the node's download rate, if there is one.
    pub(crate) fn download(&self) -> Option<&Arc<Share>> {
        self.connection.download()
    }

    fn set_behind(&mut self, behind: bool) {
        if std::mem::replace(&mut self.behind, behind) != behind {
            let credit = self.connection.credit();
            if behind { credit.behind() } else { credit.caught_up() }
        }
    }

    /// Tells the remote what became of its end of the stream, once: it was read, or given up with a code.
    fn tell(&mut self, stopped: Option<u32>) {
        if !std::mem::replace(&mut self.told, true) {
            self.connection.receipts().give(self.stream.id(), stopped);
        }
    }

    /// The remote waits for no receipt.
    pub(crate) fn set_silent(&mut self) {
        self.told = true;
    }

    /// `consumed` says that everything that was taken out of the stream has been used.
    pub(crate) fn stop(&mut self, code: u32, consumed: bool) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        if !self.told && consumed && self.taken.len() == 0 {
            // The end may be there although nobody has looked.
            let _ = self.poll_read_chunks::<1>(&mut Context::from_waker(Waker::noop()));
        }
        self.tell(Some(code));
        // Fails only where nothing more would come.
        let _ = self.stream.stop(VarInt::from_u32(code));
    }

    pub(crate) fn flusher(&self) -> &Arc<Flusher> {
        self.connection.flusher()
    }
}

impl Drop for QuicRecv {
    fn drop(&mut self) {
        self.set_behind(false);
    }
}

/// A code of the remote's. QUIC allows 62 bits, we send 32: what does not fit is not from one of ours.
pub(super) fn code(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}
