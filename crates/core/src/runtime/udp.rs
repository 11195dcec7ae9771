//! UDP sockets as traits: batches in both directions, so that the system's segmentation offload stays in use.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::BoxFuture;

/// A UDP socket. Any number of tasks may send; one receives.
pub trait UdpSocket: fmt::Debug + Send + Sync {
    /// Sends without waiting. What the network cannot carry (too large, no route) is lost in silence, as any datagram
    /// may be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the system's buffer is full, or the socket is new and not yet known to be
    /// writable: wait for [`writable`](Self::writable), then try again.
    fn try_send(&self, datagrams: &Datagrams<'_>) -> io::Result<()>;

    /// Ready when [`try_send`](Self::try_send) may work again.
    fn writable(self: Arc<Self>) -> BoxFuture<io::Result<()>>;

    /// Receives into as many of `bufs` as it can, describing each filled one in `metas`, and gives their number.
    /// Wakes one task: the last that polled.
    ///
    /// An error concerns something that happened on the way, such as an earlier datagram that was refused: the socket
    /// stays usable.
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
