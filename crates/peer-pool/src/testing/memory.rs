//! A runtime whose TCP connections are pipes in memory.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use p2p_core::runtime::{BoxFuture, ByteListener, ByteStream, Runtime};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// What a pipe holds, as a socket's buffer would.
const PIPE_BYTES: usize = 64 << 10;

/// Connections that wait to be accepted.
const BACKLOG: usize = 16;

type Listeners = Arc<Mutex<BTreeMap<SocketAddr, mpsc::Sender<Pipe>>>>;

/// As another runtime, but for TCP, which stays inside this value.
#[derive(Debug)]
pub(super) struct MemoryRuntime {
    inner: Arc<dyn Runtime>,
    listeners: Listeners,
}

impl MemoryRuntime {
    pub(super) fn new(inner: Arc<dyn Runtime>) -> Self {
        Self { inner, listeners: Listeners::default() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks hold is valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime for MemoryRuntime {
    p2p_core::forward_runtime!(inner: spawn, now, system_time, timer, fill_random);
    p2p_core::forward_runtime!(inner: udp_bind, udp_connect, resolve, files);

    fn tcp_connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Box<dyn ByteStream>>> {
        let listener = lock(&self.listeners).get(&addr).cloned();
        Box::pin(async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let own = SocketAddr::new(addr.ip(), u16::MAX);
            let (near, far) = tokio::io::duplex(PIPE_BYTES);
            let near = Pipe { stream: near, local: own, peer: addr };
            let far = Pipe { stream: far, local: addr, peer: own };
            listener.ok_or_else(refused)?.send(far).await.map_err(|_| refused())?;
            Ok(Box::new(near) as Box<dyn ByteStream>)
        })
    }

    fn tcp_listen(&self, mut addr: SocketAddr) -> io::Result<Box<dyn ByteListener>> {
        let mut listeners = lock(&self.listeners);
        if addr.port() == 0 {
            addr.set_port(listeners.len() as u16 + 1);
        }
        let (sender, receiver) = mpsc::channel(BACKLOG);
        listeners.insert(addr, sender);
        Ok(Box::new(Pipes { local: addr, receiver: Mutex::new(receiver) }))
    }
}

#[derive(Debug)]
struct Pipes {
    local: SocketAddr,
    receiver: Mutex<mpsc::Receiver<Pipe>>,
}

impl ByteListener for Pipes {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn ByteStream>>> {
        lock(&self.receiver).poll_recv(cx).map(|pipe| match pipe {
            Some(pipe) => Ok(Box::new(pipe) as Box<dyn ByteStream>),
            None => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[derive(Debug)]
struct Pipe {
    stream: DuplexStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl ByteStream for Pipe {
    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
