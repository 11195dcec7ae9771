//! A UDP socket of our runtime as quinn wants it.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, ready};

use p2p_core::runtime::{BoxFuture, Datagrams, RecvMeta, UdpSocket};
use quinn::udp::{self, EcnCodepoint, Transmit};

thread_local! {
    /// What the socket says of a batch: to make it anew would cost something in each call.
    static METAS: RefCell<[RecvMeta; udp::BATCH_SIZE]> = RefCell::new([RecvMeta::default(); udp::BATCH_SIZE]);
}

/// Can be closed while quinn's connections still refer to it: whoever keeps a handle to an ended connection must not
/// keep the port.
#[derive(Debug)]
pub(super) struct Socket {
    open: RwLock<Option<Arc<dyn UdpSocket>>>,
    local_addr: SocketAddr,
    /// The last send found the system's buffer full. Spares asking for writability before every send.
    full: AtomicBool,
}

impl Socket {
    pub(super) fn new(socket: Arc<dyn UdpSocket>) -> Arc<Self> {
        let local_addr = socket.local_addr();
        Arc::new(Self { open: RwLock::new(Some(socket)), local_addr, full: AtomicBool::new(false) })
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Gives the port back. From then on nothing is received and what is sent is lost.
    pub(super) fn close(&self) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn open(&self) -> RwLockReadGuard<'_, Option<Arc<dyn UdpSocket>>> {
        // An `Option` is valid whatever panicked.
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl quinn::AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        Box::pin(Poller { socket: self, waiting: Mutex::new(None) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let open = self.open();
        let Some(socket) = &*open else { return Ok(()) };
        let sent = socket.try_send(&Datagrams {
            destination: transmit.destination,
            ecn: transmit.ecn.map(|ecn| ecn as u8),
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        });
        match sent {
            Ok(()) => {
                if self.full.load(Ordering::Relaxed) {
                    self.full.store(false, Ordering::Relaxed);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.full.store(true, Ordering::Relaxed);
                Err(error)
            }
            // To QUIC it is a lost datagram. quinn would abandon the connection without telling anybody.
            Err(error) => {
                tracing::debug!(to = %transmit.destination, %error, "a datagram could not be sent");
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let open = self.open();
        let Some(socket) = &*open else { return Poll::Pending };
        let count = bufs.len().min(metas.len()).min(udp::BATCH_SIZE);
        METAS.with_borrow_mut(|ours| {
            let received = match ready!(socket.poll_recv(cx, &mut bufs[..count], &mut ours[..count])) {
                Ok(received) => received,
                // The network's word on something sent earlier, and easily forged: quinn ignores this kind only, and
                // any other would end the endpoint.
                Err(error) if is_report(&error) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Err(error) => return Poll::Ready(Err(error)),
            };
            for (theirs, ours) in metas.iter_mut().zip(&ours[..received]) {
                *theirs = udp::RecvMeta {
                    addr: ours.addr,
                    len: ours.len,
                    stride: ours.stride,
                    ecn: ours.ecn.and_then(EcnCodepoint::from_bits),
                    dst_ip: ours.dst_ip,
                };
            }
            Poll::Ready(Ok(received))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr)
    }

    fn max_transmit_segments(&self) -> usize {
        self.open().as_ref().map_or(1, |socket| socket.max_send_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.open().as_ref().map_or(1, |socket| socket.max_recv_segments())
    }

    fn may_fragment(&self) -> bool {
        self.open().as_ref().is_none_or(|socket| socket.may_fragment())
    }
}

/// Whether an error of receiving is about a datagram sent earlier (ICMP) and not about this socket.
fn is_report(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::TimedOut
    )
}

/// Waits for one connection until the socket takes datagrams again.
struct Poller {
    socket: Arc<Socket>,
    /// Behind a lock only because quinn wants the poller `Sync`; never contended.
    waiting: Mutex<Option<BoxFuture<io::Result<()>>>>,
}

impl quinn::UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let waiting = this.waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Another connection may have found room since: then a send will tell.
        if !this.socket.full.load(Ordering::Relaxed) {
            *waiting = None;
            return Poll::Ready(Ok(()));
        }
        if waiting.is_none() {
            let Some(socket) = this.socket.open().clone() else { return Poll::Ready(Ok(())) };
            *waiting = Some(socket.writable());
        }
        let Some(writable) = waiting else { return Poll::Ready(Ok(())) };
        let done = ready!(writable.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(done)
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("socket", &self.socket).finish_non_exhaustive()
    }
}
