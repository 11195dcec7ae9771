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

use super::congestion::take_near_remote;
use super::unanswered::Unanswered;
use crate::shaper::{Shaper, Share};

thread_local! {
    /// What the socket says of a batch: to make it anew would cost something in each call.
    static METAS: RefCell<[RecvMeta; udp::BATCH_SIZE]> = RefCell::new([RecvMeta::default(); udp::BATCH_SIZE]);

    /// Whose send comes next: quinn asks a connection's poller and then sends, on the same thread with nothing in between,
    /// and does not say for whom it sends. Nobody's is what no connection sends, such as a stateless reset.
    static SENDER: RefCell<Option<Arc<Sender>>> = const { RefCell::new(None) };
}

/// A datagram up to this long does not wait for its connection's turn: acknowledgements, credit, pings.
const SMALL: usize = 256;

/// The longest datagram: on Ethernet, without the headers of IPv6 and UDP.
const DATAGRAM: usize = 1452;

/// Outlives what its connections and the system do to it: see [`SteadyUdp`]. quinn would give the endpoint up at the
/// first error of receiving.
#[derive(Debug)]
pub(super) struct Socket {
    udp: Arc<SteadyUdp>,
    /// The last send found the system's buffer full. Spares asking for writability before every send.
    full: AtomicBool,
    unanswered: Unanswered,
    upload: Option<Arc<Shaper>>,
}

/// A connection that sends at the node's rate.
#[derive(Debug)]
struct Sender {
    share: Share,
    /// Its last datagrams have to wait for their turn.
    waits: AtomicBool,
}

impl Socket {
    /// # Errors
    /// What the system says.
    pub(super) fn bind(
        runtime: &Arc<dyn Runtime>,
        addr: SocketAddr,
        upload: Option<Arc<Shaper>>,
    ) -> io::Result<Arc<Self>> {
        let udp = SteadyUdp::bind(runtime.clone(), addr)?;
        Ok(Arc::new(Self { udp, full: AtomicBool::new(false), unanswered: Unanswered::default(), upload }))
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
        let join = |upload| Arc::new(Sender { share: Shaper::join(upload), waits: AtomicBool::new(false) });
        let sender = self.upload.as_ref().map(join);
        Box::pin(Poller { socket: self, sender, waiting: Mutex::new(None) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let upload = self.upload.as_ref().filter(|upload| upload.counts());
        let sender = upload.and_then(|_| SENDER.take());
        if let Some(sender) = &sender
            && !sender.may_send(transmit.contents.len())
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
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
                match (upload, sender) {
                    (None, _) => {}
                    (Some(upload), None) => upload.used_by_nobody(transmit.contents.len()),
                    (_, Some(sender)) => sender.share.used(transmit.contents.len()),
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
        let most = self.udp.max_send_segments();
        // No more than a turn's worth at once.
        let upload = self.upload.as_ref().filter(|upload| upload.is_active());
        upload.map_or(most, |upload| most.min((upload.quantum() / DATAGRAM).max(1)))
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_recv_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}

impl Sender {
    fn may_send(&self, bytes: usize) -> bool {
        let may = self.share.has_credit() || (bytes <= SMALL && self.share.goes_ahead());
        self.waits.store(!may, Ordering::Relaxed);
        may
    }
}

/// Waits for one connection until it may send, and the socket takes datagrams.
struct Poller {
    socket: Arc<Socket>,
    sender: Option<Arc<Sender>>,
    /// Behind a lock only because quinn wants the poller `Sync`; never contended.
    waiting: Mutex<Option<BoxFuture<io::Result<()>>>>,
}

impl quinn::UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let (Some(sender), Some(near)) = (&this.sender, take_near_remote()) {
            sender.share.set_near(near);
        }
        if let Some(sender) = &this.sender
            && sender.waits.load(Ordering::Relaxed)
        {
            let _ = ready!(sender.share.poll(cx));
            sender.waits.store(false, Ordering::Relaxed);
        }
        ready!(this.poll_socket(cx))?;
        if let Some(sender) = &this.sender
            && sender.share.counts()
        {
            SENDER.set(Some(sender.clone()));
        }
        Poll::Ready(Ok(()))
    }
}

impl Poller {
    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Another connection may have found room since: then a send will tell.
        if !self.socket.full.load(Ordering::Relaxed) {
            *waiting = None;
            return Poll::Ready(Ok(()));
        }
        if waiting.is_none() {
            *waiting = Some(self.socket.udp.clone().writable());
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
