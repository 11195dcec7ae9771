//! One connection, whatever carries it.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_core::TaskGroup;
use rustls::pki_types::CertificateDer;

use crate::mux::{MuxConnection, MuxIo, Side};
#[cfg(feature = "quic")]
use crate::quic::QuicConnection;
use crate::{CloseReason, Endpoint, NetConfig, Result, Stream};

/// A connection with streams over tcp, tls or quic. Clones are handles to the same connection, which is closed when the
/// last one, and the last of its streams, is gone.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Inner,
    remote: Arc<Endpoint>,
    accept_context: Option<Arc<dyn Any + Send + Sync>>,
    unsolicited: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Inner {
    Mux(MuxConnection),
    #[cfg(feature = "quic")]
    Quic(QuicConnection),
}

/// Runs the same expression on whichever transport it is.
macro_rules! each {
    ($on:expr, $inner:ident => $do:expr) => {
        match $on {
            Inner::Mux($inner) => $do,
            #[cfg(feature = "quic")]
            Inner::Quic($inner) => $do,
        }
    };
}

impl Connection {
    pub(crate) fn new(inner: Inner, remote: Endpoint) -> Self {
        Self { inner, remote: Arc::new(remote), accept_context: None, unsolicited: false }
    }

    pub(crate) fn unsolicited(self) -> Self {
        Self { unsolicited: true, ..self }
    }

    pub(crate) fn with_accept_context(self, accept_context: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { accept_context, ..self }
    }

    /// Multiplexes streams over any ordered, reliable byte stream, such as an in-memory pipe; `tasks` runs the driver.
    /// What goes over it is neither secret nor authenticated.
    pub fn over(io: Box<dyn MuxIo>, side: Side, remote: Endpoint, config: &NetConfig, tasks: &Arc<TaskGroup>) -> Self {
        Self::new(Inner::Mux(MuxConnection::start(io, side, None, None, config, tasks)), remote)
    }

    /// Opens a stream. Write to it at once: over quic the remote's `accept_stream` returns with the first byte (or the
    /// end) of the stream and not before, over tcp and tls already with the open itself.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) where the transport knows that the remote's limit is reached (over
    /// tcp and tls the stream itself reports it later), [`Error::Closed`](crate::Error::Closed).
    /// Cancel-safe.
    pub async fn open_stream(&self) -> Result<Stream> {
        each!(&self.inner, inner => Ok(inner.open_stream().await?.into()))
    }

    /// The next stream that the remote opened. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed).
    pub async fn accept_stream(&self) -> Result<Stream> {
        each!(&self.inner, inner => Ok(inner.accept_stream().await?.into()))
    }

    /// Closes the connection at once: what is queued may be lost, all streams end. Wait for [`delivered`](Self::delivered)
    /// before where that matters. `code` and the first
    /// [`MAX_REASON_LEN`](crate::error::MAX_REASON_LEN) bytes of `reason` are told to the remote. Idempotent.
    pub fn close(&self, code: u32, reason: &str) {
        let reason = crate::error::clip_reason(reason);
        each!(&self.inner, inner => inner.close(code, reason));
    }

    /// Waits until the connection has ended. Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        each!(&self.inner, inner => inner.closed().await)
    }

    /// How it ended, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        each!(&self.inner, inner => inner.close_reason())
    }

    /// Waits until the remote has read to the end, or given up, each stream that was finished or shut down here. What is
    /// finished meanwhile counts too. Ready at once when the connection has ended. Cancel-safe.
    pub async fn delivered(&self) {
        each!(&self.inner, inner => inner.delivered().await);
    }

    /// The other side: what was dialed with the address that answered, or where an accepted connection came from.
    pub fn remote_endpoint(&self) -> &Endpoint {
        &self.remote
    }

    /// This side's socket address.
    pub fn local_addr(&self) -> SocketAddr {
        each!(&self.inner, inner => inner.local_addr())
    }

    /// The certificates that the remote proved to hold the key of; `None` over tcp.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        each!(&self.inner, inner => inner.peer_certificates())
    }

    /// The context of the [`AcceptTls`](crate::AcceptTls) that the connection was accepted with; `None` when there was
    /// none, over tcp, and for a connection that was dialed.
    pub fn accept_context(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.accept_context.as_ref()
    }

    /// Whether it was accepted from a host to which no dial of ours has left from a listening socket. Then no box or
    /// firewall took it for an answer: others can connect where it came in. Over tcp and tls that is true of all
    /// accepted connections; over quic, hosts are remembered, 1,024 of them: see
    /// [`Transports::keep_listeners_silent`](crate::Transports::keep_listeners_silent). False for what was dialed.
    pub fn is_unsolicited(&self) -> bool {
        self.unsolicited
    }

    /// The remote is accepted: the narrow bounds of [`NetConfig::early_streams`](crate::NetConfig::early_streams), if there
    /// are any, end for it. Harmless when called again.
    pub fn accepted(&self) {
        each!(&self.inner, inner => inner.accepted());
    }

    /// The transport's own estimate of the round-trip time. Over tcp and tls the shortest one of late, which is measured
    /// while data arrives; `None` before that.
    pub fn rtt(&self) -> Option<Duration> {
        each!(&self.inner, inner => inner.rtt())
    }

    /// Bytes received from the remote since the beginning, of any kind.
    pub fn bytes_received(&self) -> u64 {
        each!(&self.inner, inner => inner.bytes_received())
    }

    /// A number that grows with everything that shows that the remote is alive, and with nothing else. Over quic these
    /// are the packets that the remote has authenticated. Over tcp and tls they are bytes that arrive, and bytes that the
    /// socket takes after it was full, which it does when the remote acknowledges earlier ones.
    pub fn liveness(&self) -> u64 {
        each!(&self.inner, inner => inner.liveness())
    }

    /// When the [`liveness`](Self::liveness) last grew, where the transport says so; `None` over quic, whose own time-out
    /// ([`NetConfig::idle_timeout`](crate::NetConfig::idle_timeout)) counts from that moment.
    pub fn heard(&self) -> Option<Instant> {
        each!(&self.inner, inner => inner.heard())
    }

    /// Asks the transport at the remote, not the application there, whether it is alive, which raises the
    /// [`liveness`](Self::liveness) now or a round trip later. Over quic it is made to acknowledge something. Over tcp and tls the
    /// system is asked what it knows, if it tells: for when the remote is silent and this side cannot send.
    pub fn probe_liveness(&self) {
        each!(&self.inner, inner => inner.probe_liveness());
    }
}
