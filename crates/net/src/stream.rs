//! Streams: bytes in order, in both directions, with back-pressure.

mod messages;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::messages::Reading;
use crate::mux::{MuxRecv, MuxSend};
#[cfg(feature = "quic")]
use crate::quic::{QuicRecv, QuicSend};
use crate::shaper::{Metered, Share};
use crate::{Error, Result};

/// Both halves of a stream. Shutting the write half down queues the end of the stream in that direction and waits for
/// nothing; [`finish`](Self::finish) waits until the remote has read to the end. Dropping it unfinished resets it with
/// code 0.
#[derive(Debug)]
pub struct Stream {
    recv: RecvStream,
    send: SendStream,
}

impl Stream {
    /// The half that receives and the half that sends.
    pub fn into_split(self) -> (RecvStream, SendStream) {
        (self.recv, self.send)
    }

    /// Joins two halves again.
    pub fn from_split(recv: RecvStream, send: SendStream) -> Self {
        Self { recv, send }
    }

    /// From now on sets `mark` whenever bytes are read or written, also by its halves.
    pub fn mark_use(&mut self, mark: &Arc<AtomicBool>) {
        self.recv.mark_use(mark.clone());
        self.send.mark = Some(mark.clone());
    }

    /// Ends the sending direction and waits until the remote has read to the end: see [`SendStream::finish`].
    ///
    /// # Errors
    /// As [`SendStream::finish`].
    pub async fn finish(&mut self) -> Result<()> {
        self.send.finish().await
    }

    /// Gives the stream up in both directions; the remote sees `code`.
    pub fn reset(self, code: u32) {
        self.recv.stop(code);
        self.send.reset(code);
    }
}

impl From<(MuxRecv, MuxSend)> for Stream {
    fn from((recv, send): (MuxRecv, MuxSend)) -> Self {
        let download = recv.download().cloned();
        Self { recv: RecvStream::new(RecvInner::Mux(recv), download), send: SendStream::new(SendInner::Mux(send)) }
    }
}

#[cfg(feature = "quic")]
impl From<(QuicRecv, QuicSend)> for Stream {
    fn from((recv, send): (QuicRecv, QuicSend)) -> Self {
        let download = recv.download().cloned();
        Self { recv: RecvStream::new(RecvInner::Quic(recv), download), send: SendStream::new(SendInner::Quic(send)) }
    }
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct SendStream {
    inner: SendInner,
    /// The length and the bytes of a message that has begun, as far as they have not been taken.
    unsent: [Bytes; 2],
    /// Set when bytes are written.
    mark: Option<Arc<AtomicBool>>,
}

fn set(mark: Option<&Arc<AtomicBool>>) {
    if let Some(mark) = mark {
        mark.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum SendInner {
    Mux(MuxSend),
    #[cfg(feature = "quic")]
    Quic(QuicSend),
}

macro_rules! each {
    ($kind:ident, $on:expr, $inner:ident => $do:expr) => {
        match $on {
            $kind::Mux($inner) => $do,
            #[cfg(feature = "quic")]
            $kind::Quic($inner) => $do,
        }
    };
}

impl SendStream {
    fn new(inner: SendInner) -> Self {
        Self { inner, unsent: Default::default(), mark: None }
    }

    /// Hands chunks to the transport without copying them, as far as it takes them: chunks that were taken become
    /// empty, one taken in part starts later. Gives the bytes taken: at least one, where there are any. They are sent at
    /// the latest when the transport takes no more; flushing the stream (`AsyncWrite`) sends them now.
    ///
    /// # Errors
    /// [`Error::Stopped`], [`Error::Closed`], [`Error::Refused`], [`Error::Finished`].
    pub fn poll_write_chunks(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        self.poll_write_chunks_now(cx, chunks)
    }

    fn poll_write_chunks_now(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<usize>> {
        let taken = each!(SendInner, &mut self.inner, inner => inner.poll_write_chunks(cx, chunks));
        match &taken {
            // What was taken before must go out, or the remote will never make room for more.
            Poll::Pending => self.flush_now(),
            Poll::Ready(Ok(_)) => set(self.mark.as_ref()),
            Poll::Ready(Err(_)) => {}
        }
        taken
    }

    /// Writes all of `data`. Not cancel-safe: when dropped, some of it may have been written.
    ///
    /// # Errors
    /// As [`poll_write_chunks`](Self::poll_write_chunks).
    pub async fn write_all_bytes(&mut self, data: Bytes) -> Result<()> {
        let mut chunks = [data];
        while chunks[0].has_remaining() {
            poll_fn(|cx| self.poll_write_chunks(cx, &mut chunks)).await?;
        }
        self.flush_now();
        Ok(())
    }

    /// Ends the stream and waits until the remote has read it to the end. `Ok` says that the remote's program has taken every
    /// byte out of the stream, on every transport; what it does with them is for the protocol to say. Has no time-out of its
    /// own. Cancel-safe: the end stays queued, and another call goes on waiting.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the remote stopped reading, or dropped the stream, before the end; [`Error::Refused`] when it
    /// never took the stream; [`Error::Closed`] when the connection ended before it was known;
    /// [`Error::Finished`] after a reset on this side.
    pub async fn finish(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_unsent(cx)).await?;
        self.end()?;
        poll_fn(|cx| match each!(SendInner, &self.inner, inner => inner.receipt()) {
            Some(receipt) => receipt.poll(cx),
            None => Poll::Ready(Err(Error::Finished)),
        })
        .await
    }

    /// Queues the end of the stream: the remote reads what was written, then the end. Does not wait, as
    /// [`finish`](Self::finish) does. Idempotent.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Refused`], and [`Error::Stopped`] with another code than 0: a remote that reads no further
    /// because it has what it needs has stopped with 0. [`Error::Truncated`] while a message has begun that is not whole
    /// ([`send_message`](Self::send_message)).
    pub fn end(&mut self) -> Result<()> {
        if self.has_unsent() {
            return Err(Error::Truncated);
        }
        each!(SendInner, &mut self.inner, inner => inner.finish())
    }

    /// As [`end`](Self::end), where nobody waits for what becomes of it.
    pub(crate) fn end_silently(&mut self) -> Result<()> {
        each!(SendInner, &mut self.inner, inner => inner.finish_silently())
    }

    /// Gives the stream up; the remote's reads fail with `code`. What has been ended before is not taken back.
    pub fn reset(mut self, code: u32) {
        each!(SendInner, &mut self.inner, inner => inner.reset(code));
    }

    /// Streams of higher priority are sent first; 0 unless set.
    pub fn set_priority(&mut self, priority: i32) {
        each!(SendInner, &mut self.inner, inner => inner.set_priority(priority));
    }

    /// Starts sending what was taken, from the calling task when the connection is idle.
    pub(crate) fn flush_now(&self) {
        each!(SendInner, &self.inner, inner => inner.flush_now());
    }

    /// As [`flush_now`](Self::flush_now), corks or not.
    pub(crate) fn write_now(&self) {
        each!(SendInner, &self.inner, inner => inner.write_now());
    }

    /// The part of the connection that flushes message queues in the background.
    pub(crate) fn flusher(&self) -> &Arc<crate::message::Flusher> {
        each!(SendInner, &self.inner, inner => inner.flusher())
    }
}

impl AsyncWrite for SendStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_unsent(cx))?;
        let written = each!(SendInner, &mut self.inner, inner => inner.poll_write(cx, buf));
        self.flush_now();
        let written = ready!(written)?;
        set(self.mark.as_ref());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        self.flush_now();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        self.end()?;
        Poll::Ready(Ok(()))
    }
}

/// The receiving half of a stream. Dropping it tells the remote to stop, with code 0, unless everything has been read and
/// the end is there.
#[derive(Debug)]
pub struct RecvStream {
    inner: RecvInner,
    /// What is left of a chunk that a reader's buffer could not hold.
    rest: Bytes,
    /// A message of which a part has been read.
    reading: Option<Box<Reading>>,
    /// Who reads may hold bytes that it has not used.
    in_use: bool,
    /// Reading at the node's download rate, if there is one.
    download: Option<Box<Metered>>,
    /// Set when bytes are read.
    mark: Option<Arc<AtomicBool>>,
}

#[derive(Debug)]
enum RecvInner {
    Mux(MuxRecv),
    #[cfg(feature = "quic")]
    Quic(QuicRecv),
}

impl RecvStream {
    fn new(inner: RecvInner, download: Option<Arc<Share>>) -> Self {
        let download = download.map(|share| Box::new(Metered::new(share)));
        Self { inner, rest: Bytes::new(), reading: None, in_use: false, download, mark: None }
    }

    /// The next bytes as they arrived, without a copy; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Reset`], [`Error::Closed`].
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_read_chunk(cx)).await
    }

    /// As [`read_chunk`](Self::read_chunk), for hand-written futures.
    pub fn poll_read_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.poll_read_at_most(cx, usize::MAX)
    }

    /// As [`poll_read_chunk`](Self::poll_read_chunk). Over tcp and tls no more than `most` bytes are taken out of the stream,
    /// and give the remote credit for as many others.
    pub(crate) fn poll_read_at_most(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<Option<Bytes>>> {
        if let Some(reading) = self.reading.take() {
            // Somebody goes on with bytes.
            self.rest = reading.into_bytes();
        }
        if self.rest.has_remaining() {
            set(self.mark.as_ref());
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        let Self { inner, download, .. } = self;
        let read = each!(RecvInner, inner, inner => match download {
            None => inner.poll_read_chunk(cx, most),
            Some(download) => {
                ready!(download.poll_turn(cx));
                let read = inner.poll_read_chunk(cx, most);
                download.on_read(&read);
                read
            }
        });
        if matches!(read, Poll::Ready(Ok(Some(_)))) {
            set(self.mark.as_ref());
        }
        read
    }

    /// From now on sets `mark` whenever bytes are read.
    pub(crate) fn mark_use(&mut self, mark: Arc<AtomicBool>) {
        self.mark = Some(mark);
    }

    /// What is taken out from now on counts as read with the end only.
    pub(crate) fn set_in_use(&mut self) {
        self.in_use = true;
    }

    /// Makes `chunk`, which is all that was taken out and not used, what is read next.
    pub(crate) fn put_back(&mut self, chunk: Bytes) {
        debug_assert!(self.rest.is_empty(), "only what was read last can be put back");
        self.in_use = false;
        self.rest = chunk;
    }

    /// The part of the connection that flushes message queues in the background.
    pub(crate) fn flusher(&self) -> &Arc<crate::message::Flusher> {
        each!(RecvInner, &self.inner, inner => inner.flusher())
    }

    /// The remote is not told that the end was read, nor that what has arrived was dropped: nobody waits to hear it there.
    pub(crate) fn set_silent(&mut self) {
        each!(RecvInner, &mut self.inner, inner => inner.set_silent());
    }

    /// Reads no more; the remote's writes, and its [`finish`](SendStream::finish), fail with `code`.
    pub fn stop(mut self, code: u32) {
        self.give_up(code);
    }

    fn give_up(&mut self, code: u32) {
        let consumed = self.rest.is_empty() && self.reading.is_none() && !self.in_use;
        each!(RecvInner, &mut self.inner, inner => inner.stop(code, consumed));
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        self.give_up(0);
    }
}

impl AsyncRead for RecvStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(mut chunk) = ready!(self.poll_read_chunk(cx))? {
            buf.put_slice(&chunk.split_to(chunk.len().min(buf.remaining())));
            self.rest = chunk;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}
