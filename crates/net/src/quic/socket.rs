//! A UDP socket of our runtime as quinn wants it.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use p2p_core::Runtime;
use p2p_core::runtime::{BoxFuture, Datagrams, RecvMeta, SteadyUdp, UdpSocket};
use quinn::udp::{self, EcnCodepoint, Transmit};

use super::unanswered::Unanswered;

thread_local! {
    /// What the socket says of a batch: to make it anew would cost something in each call.
    static METAS: RefCell<[RecvMeta; udp::BATCH_SIZE]> = RefCell::new([RecvMeta::default(); udp::BATCH_SIZE]);
}

/// Outlives what its connections and the system do to it: see [`SteadyUdp`]. quinn would give the endpoint up at the
/// first error of receiving.
#[derive(Debug)]
pub(super) struct Socket {
    udp: Arc<SteadyUdp>,
    /// The last send found the system's buffer full. Spares asking for writability before every send.
    full: AtomicBool,
    unanswered: Unanswered,
}

impl Socket {
    /// # Errors
    /// What the system says.
    pub(super) fn bind(runtime: &Arc<dyn Runtime>, addr: SocketAddr) -> io::Result<Arc<Self>> {
        let udp = SteadyUdp::bind(runtime.clone(), addr)?;
        Ok(Arc::new(Self { udp, full: AtomicBool::new(false), unanswered: Unanswered::default() }))
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.udp.local_addr()
    }

    pub(super) fn udp(&self) -> &SteadyUdp {
        &self.udp
    }

    /// Dials that have had no answer.
    pub(super) fn unanswered(&self) -> &Unanswered {
        &self.unanswered
    }
}

impl quinn::AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn quinn::UdpPoller>> {
        Box::pin(Poller { socket: self, waiting: Mutex::new(None) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.udp.try_send(&Datagrams {
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
                self.unanswered.failed(transmit.destination, error);
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
        let count = bufs.len().min(metas.len()).min(udp::BATCH_SIZE);
        METAS.with_borrow_mut(|ours| {
            let received = ready!(self.udp.poll_recv(cx, &mut bufs[..count], &mut ours[..count]))?;
            for (theirs, ours) in metas.iter_mut().zip(&ours[..received]) {
                self.unanswered.answered(ours.addr);
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
        Ok(self.udp.local_addr())
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_send_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_recv_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
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
            *waiting = Some(this.socket.udp.clone().writable());
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
