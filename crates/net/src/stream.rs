//! Streams: bytes in order, in both directions, with back-pressure.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Result;
use crate::mux::{MuxRecv, MuxSend};
#[cfg(feature = "quic")]
use crate::quic::{QuicRecv, QuicSend};
use crate::shaper::{Metered, Share};

/// Both halves of a stream. Shutting the write half down ends the stream in that direction; dropping it unfinished
/// resets it with code 0.
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

    /// Gives the stream up in both directions; the remote sees `code`.
    pub fn reset(self, code: u32) {
        self.recv.stop(code);
        self.send.reset(code);
    }
}

impl From<(MuxRecv, MuxSend)> for Stream {
    fn from((recv, send): (MuxRecv, MuxSend)) -> Self {
        let download = recv.download().cloned();
        Self { recv: RecvStream::new(RecvInner::Mux(recv), download), send: SendStream { inner: SendInner::Mux(send) } }
    }
}

#[cfg(feature = "quic")]
impl From<(QuicRecv, QuicSend)> for Stream {
    fn from((recv, send): (QuicRecv, QuicSend)) -> Self {
        let download = recv.download().cloned();
        Self {
            recv: RecvStream::new(RecvInner::Quic(recv), download),
            send: SendStream { inner: SendInner::Quic(send) },
        }
    }
}

/// The sending half of a stream.
#[derive(Debug)]
pub struct SendStream {
    inner: SendInner,
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
    /// Hands chunks to the transport without copying them, as far as it takes them: chunks that were taken become
    /// empty, one taken in part starts later. Gives the bytes taken: at least one, where there are any. They are sent at
    /// the latest when the transport takes no more; flushing the stream (`AsyncWrite`) sends them now.
    ///
    /// # Errors
    /// [`Error::Stopped`](crate::Error::Stopped), [`Error::Closed`](crate::Error::Closed),
    /// [`Error::Refused`](crate::Error::Refused), [`Error::Finished`](crate::Error::Finished).
    pub fn poll_write_chunks(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<usize>> {
        let taken = each!(SendInner, &mut self.inner, inner => inner.poll_write_chunks(cx, chunks));
        if taken.is_pending() {
            // What was taken before must go out, or the remote will never make room for more.
            self.flush_now();
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

    /// Ends the stream: the remote reads what was written, then the end. Idempotent.
    ///
    /// # Errors
    /// As [`poll_write_chunks`](Self::poll_write_chunks).
    pub fn finish(&mut self) -> Result<()> {
        each!(SendInner, &mut self.inner, inner => inner.finish())
    }

    /// Gives the stream up; the remote's reads fail with `code`.
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
        let written = each!(SendInner, &mut self.inner, inner => inner.poll_write(cx, buf));
        self.flush_now();
        Poll::Ready(Ok(ready!(written)?))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush_now();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish()?;
        Poll::Ready(Ok(()))
    }
}

/// The receiving half of a stream. Dropping it tells the remote to stop, with code 0.
#[derive(Debug)]
pub struct RecvStream {
    inner: RecvInner,
    /// What is left of a chunk that a reader's buffer could not hold.
    rest: Bytes,
    /// Reading at the node's download rate, if there is one.
    download: Option<Box<Metered>>,
}

#[derive(Debug)]
enum RecvInner {
    Mux(MuxRecv),
    #[cfg(feature = "quic")]
    Quic(QuicRecv),
}

impl RecvStream {
    fn new(inner: RecvInner, download: Option<Arc<Share>>) -> Self {
        Self { inner, rest: Bytes::new(), download: download.map(|share| Box::new(Metered::new(share))) }
    }

    /// The next bytes as they arrived, without a copy; `None` at the end of the stream. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Reset`](crate::Error::Reset), [`Error::Closed`](crate::Error::Closed).
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
        if self.rest.has_remaining() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        let Self { inner, download, .. } = self;
        each!(RecvInner, inner, inner => match download {
            None => inner.poll_read_chunk(cx, most),
            Some(download) => {
                ready!(download.poll_turn(cx));
                let read = inner.poll_read_chunk(cx, most);
                download.on_read(&read);
                read
            }
        })
    }

    /// Makes `chunk` what is read next.
    pub(crate) fn put_back(&mut self, chunk: Bytes) {
        debug_assert!(self.rest.is_empty(), "only what was read last can be put back");
        self.rest = chunk;
    }

    /// The part of the connection that flushes message queues in the background.
    pub(crate) fn flusher(&self) -> &Arc<crate::message::Flusher> {
        each!(RecvInner, &self.inner, inner => inner.flusher())
    }

    /// Reads no more; the remote's writes fail with `code`.
    pub fn stop(mut self, code: u32) {
        each!(RecvInner, &mut self.inner, inner => inner.stop(code));
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
