//! [`SmolRuntime`].

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use smol::Async;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::host::{self, Udp, Unsent};
use super::{
    BoxFuture, ByteListener, ByteStream, ConnectedUdp, Datagrams, RecvMeta, Runtime, Timer, UdpSocket, UnsentLimit,
};
use crate::file::{FileSystem, HostFiles};

/// Runs on smol's global executor, whose number of threads is the environment's `SMOL_THREADS` (one by default).
#[derive(Debug, Clone, Copy, Default)]
pub struct SmolRuntime(());

impl SmolRuntime {
    /// The global executor.
    pub fn new() -> Self {
        Self(())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is what smol's clock, sockets and tasks are reached through")]
impl Runtime for SmolRuntime {
    fn spawn(&self, future: BoxFuture<()>) {
        smol::spawn(future).detach();
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        smol::unblock(work).detach();
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn system_time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        Box::pin(SmolTimer { timer: smol::Timer::at(deadline), fired: false })
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        host::fill_random(bytes);
    }

    fn tcp_connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move {
            let stream = Async::<TcpStream>::connect(addr).await?;
            let peer_addr = stream.get_ref().peer_addr()?;
            Ok(Box::new(Tcp::new(stream, peer_addr)?) as Box<dyn ByteStream>)
        })
    }

    fn tcp_connect_small(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        Box::pin(async move {
            let socket = host::small_segments(addr)?;
            match socket.connect(&addr.into()) {
                // It goes on.
                Err(error) if !host::is_in_progress(&error) => return Err(error),
                _ => {}
            }
            let stream = Async::new_nonblocking(TcpStream::from(socket))?;
            stream.writable().await?;
            if let Some(error) = stream.get_ref().take_error()? {
                return Err(error);
            }
            let peer_addr = stream.get_ref().peer_addr()?;
            Ok(Box::new(Tcp::new(stream, peer_addr)?) as Box<dyn ByteStream>)
        })
    }

    fn tcp_remote_is_full(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        super::tcp_table::remote_is_full(local, remote)
    }

    fn tcp_listen(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteListener>> {
        let listener = Async::new_nonblocking(host::listen(addr)?)?;
        Ok(Box::new(Listener { local_addr: listener.get_ref().local_addr()?, listener }))
    }

    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        let (socket, udp) = Udp::bind(addr)?;
        Ok(Arc::new(SmolUdp { socket: Async::new_nonblocking(socket)?, udp }))
    }

    fn udp_connect(&self, remote: SocketAddr) -> io::Result<Box<dyn ConnectedUdp>> {
        let socket = Async::new_nonblocking(host::connect(remote)?)?;
        Ok(Box::new(SmolConnected { local_addr: socket.get_ref().local_addr()?, socket }))
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(smol::net::resolve((host, 0)).await?.into_iter().map(|addr| addr.ip()).collect()) })
    }

    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        host::local_addresses()
    }

    fn files(&self) -> &dyn FileSystem {
        &HostFiles
    }
}

/// smol's own is pending for ever once it has fired.
#[derive(Debug)]
struct SmolTimer {
    timer: smol::Timer,
    fired: bool,
}

impl Timer for SmolTimer {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.fired {
            ready!(Pin::new(&mut self.timer).poll(cx));
            self.fired = true;
        }
        Poll::Ready(())
    }

    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.fired = false;
        self.timer.set_at(deadline);
    }
}

#[derive(Debug)]
struct Listener {
    listener: Async<TcpListener>,
    local_addr: SocketAddr,
}

impl ByteListener for Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn ByteStream>>> {
        loop {
            match self.listener.get_ref().accept() {
                Ok((stream, peer_addr)) => match Async::new(stream).and_then(|stream| Tcp::new(stream, peer_addr)) {
                    Ok(tcp) => return Poll::Ready(Ok(Box::new(tcp))),
                    // Its dialer has broken it off already: no fault of the listener's.
                    Err(error) => host::passed_over(peer_addr, &error),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.listener.poll_readable(cx))?,
                Err(error) if host::is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

#[derive(Debug)]
struct Tcp {
    stream: Async<TcpStream>,
    local_addr: SocketAddr,
    peer_addr: SocketAddr,
    unsent: Unsent,
}

impl Tcp {
    fn new(stream: Async<TcpStream>, peer_addr: SocketAddr) -> io::Result<Self> {
        host::tune(stream.get_ref());
        Ok(Self { local_addr: stream.get_ref().local_addr()?, peer_addr, stream, unsent: Unsent::new() })
    }

    /// Tries `write` until it is done or must wait.
    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut &TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.unsent.apply(|| self.stream.get_ref().into());
        loop {
            match write(&mut self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream.poll_writable(cx))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl ByteStream for Tcp {
    fn peer_addr(&self) -> SocketAddr {
        self.peer_addr
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn unsent_limit(&self) -> UnsentLimit {
        self.unsent.limit()
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            match (&mut self.stream.get_ref()).read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.stream.poll_readable(cx))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[derive(Debug)]
struct SmolUdp {
    socket: Async<std::net::UdpSocket>,
    udp: Udp,
}

impl UdpSocket for SmolUdp {
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()> {
        self.udp.send(self.socket.get_ref().into(), datagrams)
    }

    fn writable(self: Arc<Self>) -> BoxFuture<io::Result<()>> {
        Box::pin(async move { self.socket.writable().await })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.udp.recv(self.socket.get_ref().into(), bufs, metas) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_readable(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.udp.local_addr
    }

    fn max_send_segments(&self) -> usize {
        self.udp.max_send_segments()
    }

    fn max_recv_segments(&self) -> usize {
        self.udp.max_recv_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}

#[derive(Debug)]
struct SmolConnected {
    socket: Async<std::net::UdpSocket>,
    local_addr: SocketAddr,
}

impl ConnectedUdp for SmolConnected {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn try_send(&self, contents: &[u8]) -> io::Result<()> {
        host::send_connected(self.socket.get_ref(), contents)
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.socket.get_ref().recv(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_readable(cx))?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }
}
