//! UDP for quinn, from which a test can pull the plug.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// A socket that hears nothing after a number of datagrams, and one that can be silenced.
#[derive(Debug)]
pub struct Socket {
    io: UdpSocket,
    /// The same one, to send without asking first whether there is room: tokio does not know that of a new socket.
    out: std::net::UdpSocket,
    /// Datagrams that still get through to us.
    hears: AtomicUsize,
    dead: AtomicBool,
}

impl Socket {
    pub fn bind(addr: SocketAddr, hears: usize) -> Arc<Self> {
        let socket = std::net::UdpSocket::bind(addr).unwrap();
        socket.set_nonblocking(true).unwrap();
        let out = socket.try_clone().unwrap();
        let io = UdpSocket::from_std(socket).unwrap();
        Arc::new(Self { io, out, hears: AtomicUsize::new(hears), dead: AtomicBool::new(false) })
    }

    /// Sends and hears nothing from here on.
    pub fn pull_the_plug(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl quinn::UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl quinn::AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.dead.load(Ordering::SeqCst) {
            // What cannot be sent is lost, as datagrams are.
            let _ = self.out.send_to(transmit.contents, transmit.destination);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut buf = ReadBuf::new(&mut bufs[0]);
            let addr = match std::task::ready!(self.io.poll_recv_from(cx, &mut buf)) {
                Ok(addr) => addr,
                Err(_) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
            let hears = self.hears.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            if !hears || self.dead.load(Ordering::SeqCst) {
                continue;
            }
            let len = buf.filled().len();
            metas[0] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            return Poll::Ready(Ok(1));
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}

/// tokio, as quinn wants it.
#[derive(Debug)]
pub struct Tokio;

impl quinn::Runtime for Tokio {
    fn new_timer(&self, deadline: Instant) -> Pin<Box<dyn quinn::AsyncTimer>> {
        Box::pin(Timer(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

struct Timer(Pin<Box<tokio::time::Sleep>>);

impl quinn::AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, deadline: Instant) {
        self.0.as_mut().reset(deadline.into());
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer")
    }
}
