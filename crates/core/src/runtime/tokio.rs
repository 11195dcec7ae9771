//! [`TokioRuntime`].

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::runtime::Handle;

use super::host::{self, Udp, Unsent};
use super::tokio_alive::Alive;
use super::{
    BoxFuture, ByteListener, ByteStream, ConnectedUdp, Datagrams, RecvMeta, Runtime, Timer, UdpSocket, UnsentLimit,
};
use crate::file::{FileSystem, HostFiles};

/// Runs on a tokio runtime whose I/O and time drivers are enabled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TokioRuntime {
    handle: Handle,
    alive: Arc<Alive>,
}

impl TokioRuntime {
    /// Runs on `handle`'s runtime.
    pub fn new(handle: Handle) -> Self {
        Self { handle, alive: Arc::default() }
    }

    /// The runtime this is called on, if any.
    pub fn current() -> Option<Self> {
        Handle::try_current().ok().map(Self::new)
    }
}

impl TokioRuntime {
    fn connecting(
        &self,
        connecting: impl Future<Output = io::Result<tokio::net::TcpStream>> + Send + 'static,
    ) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        let handle = self.handle.clone();
        let mut connecting = Box::pin(connecting);
        Box::pin(async move {
            let stream = poll_fn(|cx| {
                let _context = handle.enter();
                connecting.as_mut().poll(cx)
            })
            .await?;
            let peer_addr = stream.peer_addr()?;
            Ok(Box::new(Tcp::new(stream, peer_addr)?) as Box<dyn ByteStream>)
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is what tokio's clock, sockets and tasks are reached through")]
impl Runtime for TokioRuntime {
    fn spawn(&self, future: BoxFuture<()>) {
        self.handle.spawn(future);
    }

    fn run_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }

    fn check(&self) -> crate::Result<()> {
        self.alive.check(&self.handle)
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn system_time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn timer(&self, deadline: Instant) -> Pin<Box<dyn Timer>> {
        self.alive.watch(&self.handle);
        let _context = self.handle.enter();
        Box::pin(TokioTimer { sleep: tokio::time::sleep_until(deadline.into()), alive: self.alive.clone() })
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        host::fill_random(bytes);
    }

    // tokio's futures register where they are first polled. Ours may be polled anywhere, so each poll enters the runtime.
    fn tcp_connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        self.connecting(tokio::net::TcpStream::connect(addr))
    }

    fn tcp_connect_small(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        self.connecting(async move {
            let socket: std::net::TcpStream = host::small_segments(addr)?.into();
            tokio::net::TcpSocket::from_std_stream(socket).connect(addr).await
        })
    }

    fn tcp_remote_is_full(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        super::tcp_table::remote_is_full(local, remote)
    }

    fn tcp_listen(&self, addr: SocketAddr) -> io::Result<Box<dyn ByteListener>> {
        let _context = self.handle.enter();
        let listener = tokio::net::TcpListener::from_std(host::listen(addr)?)?;
        Ok(Box::new(Listener { local_addr: listener.local_addr()?, listener, handle: self.handle.clone() }))
    }

    fn udp_bind(&self, addr: SocketAddr) -> io::Result<Arc<dyn UdpSocket>> {
        let _context = self.handle.enter();
        let (socket, udp) = Udp::bind(addr)?;
        Ok(Arc::new(TokioUdp { socket: tokio::net::UdpSocket::from_std(socket)?, udp }))
    }

    fn udp_connect(&self, remote: SocketAddr) -> io::Result<Box<dyn ConnectedUdp>> {
        let _context = self.handle.enter();
        let socket = tokio::net::UdpSocket::from_std(host::connect(remote)?)?;
        Ok(Box::new(TokioConnected { local_addr: socket.local_addr()?, socket }))
    }

    fn resolve(&self, host: &str) -> BoxFuture<io::Result<Vec<IpAddr>>> {
        let host = host.to_owned();
        let handle = self.handle.clone();
        Box::pin(async move {
            let mut looking = Box::pin(tokio::net::lookup_host((host, 0)));
            let found = poll_fn(|cx| {
                let _context = handle.enter();
                looking.as_mut().poll(cx)
            })
            .await?;
            Ok(found.map(|addr| addr.ip()).collect())
        })
    }

    fn local_addresses(&self) -> io::Result<Vec<IpAddr>> {
        host::local_addresses()
    }

    fn files(&self) -> &dyn FileSystem {
        &HostFiles
    }
}

pin_project! {
    #[derive(Debug)]
    struct TokioTimer {
        #[pin]
        sleep: tokio::time::Sleep,
        alive: Arc<Alive>,
    }
}

impl Timer for TokioTimer {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Tokio's own panics then.
        if self.alive.has_ended() { Poll::Ready(()) } else { self.project().sleep.poll(cx) }
    }

    fn reset(self: Pin<&mut Self>, deadline: Instant) {
        self.project().sleep.reset(deadline.into());
    }
}

#[derive(Debug)]
struct Listener {
    listener: tokio::net::TcpListener,
    local_addr: SocketAddr,
    handle: Handle,
}

impl ByteListener for Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn ByteStream>>> {
        // An accepted stream registers with the runtime that is current, which need not be the listener's.
        let _context = self.handle.enter();
        loop {
            match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, peer_addr)) => match Tcp::new(stream, peer_addr) {
                    Ok(tcp) => return Poll::Ready(Ok(Box::new(tcp))),
                    // Its dialer has broken it off already: no fault of the listener's.
                    Err(error) => host::passed_over(peer_addr, &error),
                },
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
    stream: tokio::net::TcpStream,
    local_addr: SocketAddr,
    peer_addr: SocketAddr,
    unsent: Unsent,
}

impl Tcp {
    fn new(stream: tokio::net::TcpStream, peer_addr: SocketAddr) -> io::Result<Self> {
        host::tune(&stream);
        Ok(Self { local_addr: stream.local_addr()?, peer_addr, stream, unsent: Unsent::new() })
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
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, unsent, .. } = &mut *self;
        unsent.apply(|| (&*stream).into());
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, unsent, .. } = &mut *self;
        unsent.apply(|| (&*stream).into());
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[derive(Debug)]
struct TokioUdp {
    socket: tokio::net::UdpSocket,
    udp: Udp,
}

impl UdpSocket for TokioUdp {
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()> {
        self.socket.try_io(Interest::WRITABLE, || self.udp.send((&self.socket).into(), datagrams))
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
            ready!(self.socket.poll_recv_ready(cx))?;
            let received = self.socket.try_io(Interest::READABLE, || self.udp.recv((&self.socket).into(), bufs, metas));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
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
struct TokioConnected {
    socket: tokio::net::UdpSocket,
    local_addr: SocketAddr,
}

impl ConnectedUdp for TokioConnected {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn try_send(&self, contents: &[u8]) -> io::Result<()> {
        host::send_connected(&self.socket, contents)
    }

    fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(self.socket.poll_recv(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}
