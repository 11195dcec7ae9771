//! UDP sockets as traits: batches in both directions, so that the system's segmentation offload stays in use.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::BoxFuture;

/// A UDP socket. Any number of tasks may send; one receives.
pub trait UdpSocket: fmt::Debug + Send + Sync {
    /// Sends without waiting. What is too large for the network is lost in silence, as any datagram may be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the system's buffer is full, or the socket is new and not yet known to be
    /// writable: wait for [`writable`](Self::writable), then try again. With any other error this datagram is lost and
    /// the socket stays usable: [`io::ErrorKind::NetworkUnreachable`] without a route, for example.
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()>;

    /// Ready when [`try_send`](Self::try_send) may work again.
    fn writable(self: Arc<Self>) -> BoxFuture<io::Result<()>>;

    /// Receives into as many of `bufs` as it can, describing each filled one in `metas`, and gives their number.
    /// Wakes one task: the last that polled.
    ///
    /// An error may concern something that happened on the way, such as an earlier datagram that was refused, or the
    /// socket itself, and then it comes again: [`SteadyUdp`](super::SteadyUdp) tells them apart and goes on.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>;

    /// Where the socket is bound, with the port the system chose.
    fn local_addr(&self) -> SocketAddr;

    /// How many datagrams one [`Datagrams`] may hold.
    fn max_send_segments(&self) -> usize {
        1
    }

    /// How many datagrams one buffer may come back with.
    fn max_recv_segments(&self) -> usize {
        1
    }

    /// Whether the network may split what is sent, which makes path MTU discovery useless.
    fn may_fragment(&self) -> bool {
        false
    }
}

/// A UDP socket that talks to one remote only. By it the system tells which of its addresses the route to the remote
/// uses, and what the network reports about the remote.
pub trait ConnectedUdp: fmt::Debug + Send + Sync {
    /// Where the socket is bound: the address that the route to the remote begins with, and the port that the system
    /// chose.
    fn local_addr(&self) -> SocketAddr;

    /// Sends one datagram without waiting. One that finds no room is lost.
    ///
    /// # Errors
    /// What the system says, of this datagram or of an earlier one that was refused.
    fn try_send(&self, contents: &[u8]) -> io::Result<()>;

    /// Receives one datagram; what does not fit into `buf` is cut off. Wakes one task: the last that polled.
    ///
    /// # Errors
    /// What the network reports of a datagram that was sent, where the system tells it: with
    /// [`io::ErrorKind::ConnectionRefused`] (on Windows [`io::ErrorKind::ConnectionReset`]) nobody has the remote's port.
    /// Such a report is not authenticated.
    fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
}

/// One datagram to send, or several of equal size (the last may be shorter) to one destination.
#[derive(Debug, Clone, Copy)]
pub struct Datagrams<'a> {
    /// Where to.
    pub destination: SocketAddr,
    /// The ECN codepoint (RFC 3168), two bits.
    pub ecn: Option<u8>,
    /// The payloads, one after the other.
    pub contents: &'a [u8],
    /// Bytes of each datagram but the last; `None` for a single one.
    pub segment_size: Option<usize>,
    /// The address to send from, for sockets bound to several.
    pub src_ip: Option<IpAddr>,
}

/// What was received into one buffer: one datagram, or several of equal size (the last may be shorter).
#[derive(Debug, Clone, Copy)]
pub struct RecvMeta {
    /// Who sent it.
    pub addr: SocketAddr,
    /// Bytes in the buffer.
    pub len: usize,
    /// Bytes of each datagram but the last.
    pub stride: usize,
    /// The ECN codepoint (RFC 3168), two bits.
    pub ecn: Option<u8>,
    /// The address it was sent to, where the system tells.
    pub dst_ip: Option<IpAddr>,
}

impl Default for RecvMeta {
    fn default() -> Self {
        Self { addr: SocketAddr::from(([0; 4], 0)), len: 0, stride: 0, ecn: None, dst_ip: None }
    }
}
