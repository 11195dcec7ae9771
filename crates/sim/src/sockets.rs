//! The sockets that programs hold. Dropping one closes it.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use p2p_core::runtime::{
    BoxFuture, ByteListener, ByteStream, ConnectedUdp, Datagrams, RecvMeta, UdpSocket, UnsentLimit,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::arena::Id;
use crate::shared::Shared;
use crate::world::Side;

/// Datagrams that one call sends: what Linux takes.
const MAX_SEGMENTS: usize = 64;

/// A dialer's end until it has come through.
pub(crate) struct Dialing {
    shared: Arc<Shared>,
    /// Nothing once the stream has it.
    id: Option<Id>,
}

impl Dialing {
    pub(crate) fn new(shared: Arc<Shared>, id: Id) -> Self {
        Self { shared, id: Some(id) }
    }
}

impl Future for Dialing {
    type Output = io::Result<SimStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(id) = self.id else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let (local, peer) = ready!(self.shared.with(|world| world.poll_dialed(id, cx)))?;
        self.id = None;
        Poll::Ready(Ok(SimStream {
            shared: self.shared.clone(),
            id,
            side: Side::Dialer,
            local,
            peer,
            unsent: UnsentLimit::default(),
        }))
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.shared.with(|world| world.close_stream(id, Side::Dialer));
        }
    }
}

pub(crate) struct SimStream {
    shared: Arc<Shared>,
    id: Id,
    side: Side,
    local: SocketAddr,
    peer: SocketAddr,
    unsent: UnsentLimit,
}

impl ByteStream for SimStream {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn unsent_limit(&self) -> UnsentLimit {
        self.unsent.clone()
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.shared.with(|world| world.poll_read(self.id, self.side, cx, buf))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared.with(|world| world.poll_write(self.id, self.side, cx, bufs, self.unsent.get() as usize))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.with(|world| world.shut_down(self.id, self.side)))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.shared.with(|world| world.close_stream(self.id, self.side));
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").field("local", &self.local).field("peer", &self.peer).finish_non_exhaustive()
    }
}

pub(crate) struct SimListener {
    shared: Arc<Shared>,
    id: Id,
    local: SocketAddr,
}

impl SimListener {
    pub(crate) fn new(shared: Arc<Shared>, id: Id, local: SocketAddr) -> Self {
        Self { shared, id, local }
    }
}

impl ByteListener for SimListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn ByteStream>>> {
        let (id, local, peer) = ready!(self.shared.with(|world| world.poll_accept(self.id, cx)))?;
        let stream = SimStream {
            shared: self.shared.clone(),
            id,
            side: Side::Acceptor,
            local,
            peer,
            unsent: UnsentLimit::default(),
        };
        Poll::Ready(Ok(Box::new(stream)))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.shared.with(|world| world.close_listener(self.id));
    }
}

impl fmt::Debug for SimListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimListener").field("local", &self.local).finish_non_exhaustive()
    }
}

pub(crate) struct SimUdp {
    shared: Arc<Shared>,
    id: Id,
    local: SocketAddr,
}

impl SimUdp {
    pub(crate) fn new(shared: Arc<Shared>, id: Id, local: SocketAddr) -> Self {
        Self { shared, id, local }
    }
}

impl UdpSocket for SimUdp {
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()> {
        self.shared.with(|world| world.send_datagrams(self.id, datagrams))
    }

    fn writable(self: Arc<Self>) -> BoxFuture<io::Result<()>> {
        // What finds no room is lost on its link, so there is never anything to wait for.
        Box::pin(async { Ok(()) })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.shared.with(|world| world.receive_datagrams(self.id, cx, bufs, metas))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn max_send_segments(&self) -> usize {
        MAX_SEGMENTS
    }
}

impl Drop for SimUdp {
    fn drop(&mut self) {
        self.shared.with(|world| world.close_udp(self.id));
    }
}

impl fmt::Debug for SimUdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimUdp").field("local", &self.local).finish_non_exhaustive()
    }
}

/// A UDP socket with one remote.
#[derive(Debug)]
pub(crate) struct SimConnected(pub(crate) SimUdp);

impl ConnectedUdp for SimConnected {
    fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    fn try_send(&self, contents: &[u8]) -> io::Result<()> {
        self.0.shared.with(|world| world.send_connected(self.0.id, contents))
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut metas = [RecvMeta::default()];
        ready!(self.0.poll_recv(cx, &mut [IoSliceMut::new(buf)], &mut metas))?;
        Poll::Ready(Ok(metas[0].len))
    }
}
