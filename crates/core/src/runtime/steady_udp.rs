//! [`SteadyUdp`].

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, ready};

use futures_util::future::{Either, select};
use tokio::sync::Notify;

use super::{BoxFuture, Datagrams, Recovery, RecvMeta, Remedy, Runtime, SocketEvent, Timer, UdpSocket};
use crate::{EventBus, EventListener};

/// Events that a listener may be behind with.
const EVENT_QUEUE: usize = 16;

/// A UDP socket that outlives its failures. Errors of receiving that pass are passed over. One that stays is waited out
/// with back-off; then the socket is closed and another one bound to the same address and port. Whoever receives drives
/// this: [`poll_recv`](UdpSocket::poll_recv) never gives an error. While no socket is bound, what is sent is lost.
///
/// It can be closed while others hold it: whoever keeps a handle must not keep the port.
#[derive(Debug)]
pub struct SteadyUdp {
    runtime: Arc<dyn Runtime>,
    local_addr: SocketAddr,
    /// Nothing while it is bound anew, and once it is closed.
    socket: RwLock<Option<Arc<dyn UdpSocket>>>,
    /// Whether to look at `trouble`: sparing that is what a healthy socket costs.
    is_troubled: AtomicBool,
    /// Taken before `socket` by those who need both.
    trouble: Mutex<Trouble>,
    /// Wakes whoever waits for room in a socket that is given up, and with that keeps its port.
    given_up: Notify,
    events: EventBus<SocketEvent>,
}

#[derive(Debug, Default)]
struct Trouble {
    recovery: Recovery,
    /// Until when the socket is left alone.
    pause: Option<Pin<Box<dyn Timer>>>,
    unbound: bool,
    closed: bool,
}

impl SteadyUdp {
    /// Binds a socket; with port 0 the system chooses the port, which later sockets keep.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(runtime: Arc<dyn Runtime>, addr: SocketAddr) -> io::Result<Arc<Self>> {
        let socket = runtime.udp_bind(addr)?;
        Ok(Arc::new(Self {
            runtime,
            local_addr: socket.local_addr(),
            socket: RwLock::new(Some(socket)),
            is_troubled: AtomicBool::new(false),
            trouble: Mutex::default(),
            given_up: Notify::new(),
            events: EventBus::new(EVENT_QUEUE),
        }))
    }

    /// Gives the port back. From then on nothing is received and what is sent is lost.
    pub fn close(&self) {
        self.trouble().closed = true;
        self.give_up();
        self.events.close();
    }

    /// Whether there is a socket: it is neither closed nor waiting to be bound anew.
    pub fn is_bound(&self) -> bool {
        self.socket().is_some()
    }

    /// What happens to the socket from now on.
    pub fn events(&self) -> EventListener<SocketEvent> {
        self.events.register()
    }

    /// After receiving has failed.
    fn failed(&self, error: io::Error) {
        let now = self.runtime.now();
        let mut trouble = self.trouble();
        self.is_troubled.store(true, Ordering::Release);
        match trouble.recovery.failed(now, &error, self.runtime.random_u64()) {
            Remedy::Retry => tracing::debug!(local = %self.local_addr, %error, "a receive failed"),
            Remedy::Wait(pause) => {
                tracing::debug!(local = %self.local_addr, %error, ?pause, "receiving fails");
                trouble.pause = Some(self.runtime.timer(now + pause));
            }
            Remedy::Rebind(after) => {
                tracing::warn!(local = %self.local_addr, %error, ?after, "a socket has failed; it is bound anew");
                trouble.unbound = true;
                trouble.pause = Some(self.runtime.timer(now + after));
                self.give_up();
                self.events.emit(SocketEvent::Failed(Arc::new(error)));
            }
        }
    }

    /// Ready once the socket may be tried again, or is closed.
    fn poll_recovered(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut trouble = self.trouble();
        while !trouble.closed && (trouble.unbound || trouble.pause.is_some()) {
            if let Some(pause) = &mut trouble.pause {
                ready!(pause.as_mut().poll(cx));
                trouble.pause = None;
            }
            if trouble.unbound {
                match self.runtime.udp_bind(self.local_addr) {
                    Ok(socket) => {
                        *self.socket.write().unwrap_or_else(PoisonError::into_inner) = Some(socket);
                        trouble.unbound = false;
                        tracing::info!(local = %self.local_addr, "a socket is bound anew");
                        self.events.emit(SocketEvent::Bound);
                    }
                    Err(error) => {
                        let wait = trouble.recovery.bind_failed(self.runtime.random_u64());
                        tracing::warn!(
                            local = %self.local_addr, %error, again_in = ?wait,
                            "a socket cannot be bound anew, and is tried again: does another program use its port?",
                        );
                        trouble.pause = Some(self.runtime.timer(self.runtime.now() + wait));
                        continue;
                    }
                }
            }
            trouble.recovery.resumed(self.runtime.now());
        }
        Poll::Ready(())
    }

    fn worked(&self) {
        self.trouble().recovery.worked();
        self.is_troubled.store(false, Ordering::Release);
    }

    fn give_up(&self) {
        let socket = self.socket.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(socket);
        self.given_up.notify_waiters();
    }

    fn socket(&self) -> RwLockReadGuard<'_, Option<Arc<dyn UdpSocket>>> {
        // An `Option` is valid whatever panicked.
        self.socket.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        // Valid after each statement.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UdpSocket for SteadyUdp {
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()> {
        self.socket().as_ref().map_or(Ok(()), |socket| socket.try_send(datagrams))
    }

    fn writable(self: Arc<Self>) -> BoxFuture<io::Result<()>> {
        Box::pin(async move {
            let mut given_up = pin!(self.given_up.notified());
            given_up.as_mut().enable();
            let Some(socket) = self.socket().clone() else { return Ok(()) };
            match select(socket.writable(), given_up).await {
                Either::Left((writable, _)) => writable,
                Either::Right(_) => Ok(()),
            }
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let is_troubled = self.is_troubled.load(Ordering::Acquire);
            if is_troubled {
                ready!(self.poll_recovered(cx));
            }
            let socket = self.socket();
            let Some(open) = &*socket else { return Poll::Pending };
            let received = ready!(open.poll_recv(cx, bufs, metas));
            drop(socket);
            match received {
                Ok(received) => {
                    if is_troubled {
                        self.worked();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(error) => self.failed(error),
            }
        }
    }

    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn max_send_segments(&self) -> usize {
        self.socket().as_ref().map_or(1, |socket| socket.max_send_segments())
    }

    fn max_recv_segments(&self) -> usize {
        self.socket().as_ref().map_or(1, |socket| socket.max_recv_segments())
    }

    fn may_fragment(&self) -> bool {
        self.socket().as_ref().is_none_or(|socket| socket.may_fragment())
    }
}
