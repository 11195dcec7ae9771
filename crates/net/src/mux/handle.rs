//! Handles to a multiplexed connection and its streams.

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2p_core::runtime::{ByteStream, UnsentLimit};
use p2p_core::{Runtime, TaskGroup};
use rustls::pki_types::CertificateDer;

use super::driver::{Driven, Shared, run};
use super::{MuxIo, Side};
use crate::message::Flusher;
use crate::receipt::{self, Receipt};
use crate::shaper::{Shaper, Share};
use crate::{CloseReason, Error, NetConfig, Result};

/// A connection that gives streams over one byte stream.
#[derive(Clone)]
pub(crate) struct MuxConnection {
    handle: Arc<Handle>,
}

/// Held by the connection's handles and its streams': when the last is gone, the connection closes.
struct Handle {
    shared: Arc<Shared>,
    certificates: Option<Arc<[CertificateDer<'static>]>>,
    socket: Option<TcpSocket>,
    download: Option<Arc<Share>>,
    runtime: Arc<dyn Runtime>,
}

/// The TCP connection below.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    local: SocketAddr,
    remote: SocketAddr,
    unsent: UnsentLimit,
}

impl TcpSocket {
    pub(crate) fn of(stream: &dyn ByteStream) -> Self {
        Self { local: stream.local_addr(), remote: stream.peer_addr(), unsent: stream.unsent_limit() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with_core(|core| core.close(0, ""));
        self.shared.flusher.wake();
    }
}

impl MuxConnection {
    /// Runs the multiplexer over `io`, with a driver task in `tasks`. `certificates` are those that the transport has
    /// verified the remote by; `socket` is what the system knows the byte stream by.
    pub(crate) fn start(
        io: Box<dyn MuxIo>,
        side: Side,
        certificates: Option<Arc<[CertificateDer<'static>]>>,
        socket: Option<TcpSocket>,
        config: &NetConfig,
        tasks: &Arc<TaskGroup>,
    ) -> Self {
        let unsent = socket.as_ref().map(|socket| socket.unsent.clone()).unwrap_or_default();
        let shared = Arc::new(Shared::new(io, side, config, unsent, tasks.runtime()));
        tasks.spawn("connection", run(Driven(shared.clone()), tasks.clone()));
        let download = config.shapers.download.as_ref().map(|download| Arc::new(Shaper::join(download)));
        Self { handle: Arc::new(Handle { shared, certificates, socket, download, runtime: tasks.runtime().clone() }) }
    }

    pub(crate) async fn open_stream(&self) -> Result<(MuxRecv, MuxSend)> {
        let id = self.handle.shared.with_core(|core| core.open())?;
        self.handle.shared.flusher.wake();
        Ok(self.stream(id))
    }

    pub(crate) async fn accept_stream(&self) -> Result<(MuxRecv, MuxSend)> {
        let shared = &self.handle.shared;
        loop {
            let mut opened = pin!(shared.opened.notified());
            opened.as_mut().enable();
            if let Some(id) = shared.with_core(|core| core.accept())? {
                return Ok(self.stream(id));
            }
            opened.await;
        }
    }

    fn stream(&self, id: u32) -> (MuxRecv, MuxSend) {
        let handle = || self.handle.clone();
        (
            MuxRecv { handle: handle(), id, reset: None, stopped: false },
            MuxSend { handle: handle(), id, finished: false, receipt: None },
        )
    }

    pub(crate) fn close(&self, code: u32, reason: &str) {
        let shared = &self.handle.shared;
        shared.with_core(|core| core.close(code, reason));
        shared.ended.notify_waiters();
        shared.opened.notify_waiters();
        shared.flusher.wake();
    }

    pub(crate) async fn closed(&self) -> CloseReason {
        loop {
            let mut ended = pin!(self.handle.shared.ended.notified());
            ended.as_mut().enable();
            if let Some(reason) = self.close_reason() {
                return reason;
            }
            ended.await;
        }
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.handle.shared.with_core(|core| core.end().cloned())
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.handle.socket.as_ref().map_or(SocketAddr::from(([0; 4], 0)), |socket| socket.local)
    }

    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.handle.certificates.as_deref()
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.handle.shared.with_core(|core| core.rtt())
    }

    pub(crate) fn accepted(&self) {
        self.handle.shared.with_core(|core| core.accepted());
        self.handle.shared.flusher.wake();
    }

    pub(crate) async fn delivered(&self) {
        receipt::delivered(|| self.handle.shared.with_core(|core| core.awaited())).await;
    }

    pub(crate) fn bytes_received(&self) -> u64 {
        self.handle.shared.bytes_received()
    }

    pub(crate) fn liveness(&self) -> u64 {
        self.handle.shared.liveness()
    }

    pub(crate) fn heard(&self) -> Option<Instant> {
        Some(self.handle.shared.heard())
    }

    pub(crate) fn probe_liveness(&self) {
        let Handle { shared, socket: Some(TcpSocket { local, remote, .. }), runtime, .. } = &*self.handle else {
            return;
        };
        if shared.is_blocked() && runtime.tcp_remote_is_full(*local, *remote) {
            shared.answered();
        }
    }
}

impl fmt::Debug for MuxConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxConnection").field("socket", &self.handle.socket).finish_non_exhaustive()
    }
}

/// The sending half of a multiplexed stream.
pub(crate) struct MuxSend {
    handle: Arc<Handle>,
    id: u32,
    finished: bool,
    receipt: Option<Arc<Receipt>>,
}

impl MuxSend {
    pub(crate) fn poll_write_chunks(&mut self, cx: &mut Context<'_>, chunks: &mut [Bytes]) -> Poll<Result<usize>> {
        self.handle.shared.with_core(|core| core.write(cx, self.id, chunks))
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        /// As much as is worth one copy.
        const PIECE: usize = 16 << 10;
        let mut chunks = [Bytes::copy_from_slice(&buf[..buf.len().min(PIECE)])];
        self.poll_write_chunks(cx, &mut chunks)
    }

    /// Queues the end; nobody waits for what becomes of it.
    pub(crate) fn finish_silently(&mut self) -> Result<()> {
        self.end(None)
    }

    /// Queues the end. The [`receipt`](Self::receipt) says what becomes of it.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.receipt.is_none() {
            if self.finished {
                return Err(Error::Finished);
            }
            let receipt = Arc::default();
            self.end(Some(&receipt))?;
            self.receipt = Some(receipt);
        }
        Ok(())
    }

    fn end(&mut self, receipt: Option<&Arc<Receipt>>) -> Result<()> {
        if !self.finished {
            // Where it fails, the stream is still to be given up.
            self.handle.shared.with_core(|core| core.finish(self.id, receipt))?;
            self.finished = true;
            self.handle.shared.flusher.wake();
        }
        Ok(())
    }

    /// What became of the end, once it was queued.
    pub(crate) fn receipt(&self) -> Option<&Arc<Receipt>> {
        self.receipt.as_ref()
    }

    pub(crate) fn reset(&mut self, code: u32) {
        if !std::mem::replace(&mut self.finished, true) {
            self.handle.shared.with_core(|core| core.reset(self.id, code));
            self.handle.shared.flusher.wake();
        }
    }

    pub(crate) fn set_priority(&mut self, priority: i32) {
        self.handle.shared.with_core(|core| core.set_urgent(self.id, priority > 0));
    }

    pub(crate) fn flush_now(&self) {
        self.handle.shared.flush_now();
    }

    pub(crate) fn write_now(&self) {
        self.handle.shared.write_now();
    }

    pub(crate) fn flusher(&self) -> &Arc<Flusher> {
        &self.handle.shared.flusher
    }
}

impl Drop for MuxSend {
    fn drop(&mut self) {
        self.reset(0);
    }
}

impl fmt::Debug for MuxSend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxSend").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The receiving half of a multiplexed stream.
pub(crate) struct MuxRecv {
    handle: Arc<Handle>,
    id: u32,
    /// The code of the reset that was read: the core forgets the stream then.
    reset: Option<u32>,
    stopped: bool,
}

impl MuxRecv {
    /// At most `most` bytes.
    pub(crate) fn poll_read_chunk(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<Option<Bytes>>> {
        if let Some(code) = self.reset {
            return Poll::Ready(Err(Error::Reset(code)));
        }
        let shared = &self.handle.shared;
        let (read, driver_wanted) = shared.with_core(|core| {
            let read = core.read(cx, self.id, most);
            (read, !core.out.is_empty())
        });
        if driver_wanted || (read.is_ready() && shared.is_paused()) {
            shared.flusher.wake();
        }
        if let Poll::Ready(Err(Error::Reset(code))) = &read {
            self.reset = Some(*code);
        }
        read
    }

    /// What the connection has of the node's download rate, if there is one.
    pub(crate) fn download(&self) -> Option<&Arc<Share>> {
        self.handle.download.as_ref()
    }

    /// `consumed` says that everything that was taken out of the stream has been used.
    pub(crate) fn stop(&mut self, code: u32, consumed: bool) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let shared = &self.handle.shared;
        shared.with_core(|core| core.stop(self.id, code, consumed));
        shared.flusher.wake();
        shared.settle_if_ended();
    }

    /// The remote waits for no receipt.
    pub(crate) fn set_silent(&mut self) {
        self.handle.shared.with_core(|core| core.set_silent(self.id));
    }

    pub(crate) fn flusher(&self) -> &Arc<Flusher> {
        &self.handle.shared.flusher
    }
}

impl Drop for MuxRecv {
    fn drop(&mut self) {
        self.stop(0, false);
    }
}

impl fmt::Debug for MuxRecv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxRecv").field("id", &self.id).finish_non_exhaustive()
    }
}
