//! One QUIC connection.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use quinn::{ConnectionError, TransportErrorCode, VarInt};
use rustls::pki_types::CertificateDer;

use super::allowance::Allowance;
use super::credit::Credit;
use super::endpoint::QuicEndpoint;
use super::receipts::{Awaiting, Receipts};
use super::send_window::{Excess, SendWindow};
use super::stream::{QuicRecv, QuicSend};
use crate::message::{Driving, Flusher};
use crate::shaper::{Shaper, Share};
use crate::{CloseReason, Error, Result};

/// How long an open waits for the remote to allow another stream before it counts as refused.
const OPEN_WAIT: Duration = Duration::from_secs(1);

/// A handle to a QUIC connection, which is closed when the last handle and the last stream are gone.
#[derive(Debug, Clone)]
pub(crate) struct QuicConnection(Arc<Shared>);

/// What the handles and the streams of a connection share. The task that drives its message queues holds quinn's
/// connection only, so the connection ends when this is dropped.
#[derive(Debug)]
pub(super) struct Shared {
    connection: quinn::Connection,
    /// Kept so that a shutdown finds the connection when its endpoint listens and dials no more.
    endpoint: QuicEndpoint,
    local_addr: SocketAddr,
    certificates: Option<Arc<[CertificateDer<'static>]>>,
    flusher: Arc<Flusher>,
    credit: Arc<Credit>,
    allowance: Allowance,
    send_window: SendWindow,
    receipts: Arc<Receipts>,
    /// What it has of the node's download rate, if there is one.
    download: Option<Arc<Share>>,
    /// What this side closed with; quinn does not keep it.
    asked: Mutex<Option<(u32, String)>>,
    /// How it ended, the same for everybody who asks.
    reason: OnceLock<CloseReason>,
}

impl QuicConnection {
    /// Takes over an established connection and starts driving its message queues.
    pub(super) fn start(connection: quinn::Connection, endpoint: QuicEndpoint) -> Self {
        let flusher = Flusher::new();
        let setup = endpoint.setup();
        let credit = Arc::new(Credit::new(setup.config(), setup.runtime().now(), connection.rtt()));
        let allowance = Allowance::new(setup.config());
        let receipts = Receipts::new(&connection, setup.config().max_inbound_streams, &setup.tasks);
        setup.ends.connections.spawn("quic messages", {
            let (connection, flusher) = (connection.clone(), Driving(flusher.clone()));
            let end = setup.ends.of(&connection);
            let (credit, runtime) = (credit.clone(), setup.runtime().clone());
            let awaiting = Awaiting(receipts.clone());
            async move {
                let closed = async {
                    let mut closed = pin!(connection.closed());
                    let mut watch = pin!(credit.watch(&connection, &*runtime));
                    let mut receipts = pin!(awaiting.0.read());
                    poll_fn(|cx| {
                        let closed = closed.as_mut().poll(cx);
                        // They never end by themselves. What came before the end counts.
                        let _ = receipts.as_mut().poll(cx);
                        if closed.is_pending() {
                            let _ = watch.as_mut().poll(cx);
                        }
                        closed.map(drop)
                    })
                    .await;
                };
                // Within this statement: it is large, and over by the end of it.
                crate::message::drive(flusher, pin!(closed)).await;
                credit.end();
                drop(credit);
                end.told().await;
            }
        });
        let upload = setup.config().shapers.upload.clone();
        let download = setup.config().shapers.download.as_ref().map(Shaper::join);
        let bound = endpoint.local_addr();
        // What one of many addresses it is shows in what was received.
        let ip = connection.local_ip().filter(|_| bound.ip().is_unspecified());
        let certificates = connection.peer_identity().and_then(|identity| identity.downcast::<Vec<_>>().ok());
        let shared = Arc::new(Shared {
            local_addr: ip.map_or(bound, |ip| SocketAddr::new(ip, bound.port())),
            certificates: certificates.map(|chain| Arc::from(*chain)),
            flusher,
            credit,
            allowance,
            send_window: SendWindow::new(upload),
            receipts,
            download: download.map(Arc::new),
            asked: Mutex::new(None),
            reason: OnceLock::new(),
            connection,
            endpoint,
        });
        shared.receipts.set_shared(&shared);
        Self(shared)
    }

    /// Opens a stream; the remote learns of it with the first byte, finish or reset. Waits [`OPEN_WAIT`] for the
    /// remote to allow it. Cancel-safe.
    pub(crate) async fn open_stream(&self) -> Result<(QuicRecv, QuicSend)> {
        match self.0.endpoint.setup().runtime().timeout(OPEN_WAIT, self.0.connection.open_bi()).await {
            Ok(Ok((send, recv))) => {
                self.0.receipts.opened(send.id());
                Ok(self.stream(send, recv))
            }
            Ok(Err(error)) => Err(Error::Closed(self.0.reason_of(&error))),
            Err(_) => Err(Error::Refused),
        }
    }

    /// The next stream that the remote opened. Cancel-safe; of several waiting callers each gets another stream.
    pub(crate) async fn accept_stream(&self) -> Result<(QuicRecv, QuicSend)> {
        let mut accept = pin!(self.0.connection.accept_bi());
        match poll_fn(|cx| self.0.receipts.take(|| accept.as_mut().poll(cx))).await {
            Ok((send, recv)) => {
                self.0.took_stream();
                Ok(self.stream(send, recv))
            }
            Err(error) => Err(Error::Closed(self.0.reason_of(&error))),
        }
    }

    fn stream(&self, send: quinn::SendStream, recv: quinn::RecvStream) -> (QuicRecv, QuicSend) {
        (QuicRecv::new(recv, self.0.clone()), QuicSend::new(send, self.0.clone()))
    }

    /// Closes the connection, unless it has ended already.
    pub(crate) fn close(&self, code: u32, reason: &str) {
        self.0.close(code, reason);
    }

    /// Waits until the connection has ended. Cancel-safe.
    pub(crate) async fn closed(&self) -> CloseReason {
        let error = self.0.connection.closed().await;
        self.0.reason_of(&error)
    }

    /// How it ended, if it has.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.0.close_reason()
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.local_addr
    }

    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.0.certificates.as_deref()
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        Some(self.0.connection.rtt())
    }

    pub(crate) fn heard(&self) -> Option<Instant> {
        None
    }

    pub(crate) fn probe_liveness(&self) {
        self.0.credit.provoke(&self.0.connection);
    }

    pub(crate) async fn delivered(&self) {
        self.0.receipts.delivered().await;
    }

    pub(crate) fn accepted(&self) {
        self.0.accepted();
    }

    /// Bytes of all datagrams of this connection that arrived.
    pub(crate) fn bytes_received(&self) -> u64 {
        self.0.connection.stats().udp_rx.bytes
    }

    /// Frames received, which are counted once their packet is authenticated.
    pub(crate) fn liveness(&self) -> u64 {
        let frames = self.0.connection.stats().frame_rx;
        // All that a remote of ours sends after the handshake, and only its acknowledgements are ever alone.
        [frames.acks, frames.stream, frames.ping, frames.max_data, frames.max_stream_data, frames.max_streams_bidi]
            .into_iter()
            .chain([frames.reset_stream, frames.stop_sending, frames.path_challenge, frames.path_response])
            .chain([frames.data_blocked, frames.stream_data_blocked, frames.new_connection_id])
            .sum()
    }
}

impl Shared {
    pub(super) fn flusher(&self) -> &Arc<Flusher> {
        &self.flusher
    }

    fn accepted(&self) {
        if self.credit.accepted(&self.connection) {
            self.connection.set_max_concurrent_bi_streams(self.allowance.of_peer());
        }
    }

    /// A stream of the remote's was accepted, which may have others then.
    fn took_stream(&self) {
        if self.allowance.on_accept() && !self.credit.is_early() {
            self.connection.set_max_concurrent_bi_streams(self.allowance.of_peer());
        }
    }

    pub(super) fn credit(&self) -> &Credit {
        &self.credit
    }

    pub(super) fn send_window(&self) -> &SendWindow {
        &self.send_window
    }

    pub(super) fn receipts(&self) -> &Arc<Receipts> {
        &self.receipts
    }

    pub(super) fn download(&self) -> Option<&Arc<Share>> {
        self.download.as_ref()
    }

    /// So many bytes were read from a stream.
    pub(super) fn on_read(&self, bytes: usize) {
        self.credit.on_read(bytes, &self.connection, &**self.endpoint.setup().runtime());
    }

    /// A stream takes nothing more now; `write` is told how much it may write all the same, if anything.
    pub(super) fn on_full(&self, excess: &mut Excess, write: impl FnOnce(usize) -> usize) {
        let runtime = &**self.endpoint.setup().runtime();
        self.send_window.on_full(&self.connection, runtime);
        self.send_window.exceed(&self.connection, excess, write);
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.connection.close_reason().map(|error| self.reason_of(&error))
    }

    /// What an error that ended the connection means. The first answer stays: a remote that closes while this side
    /// does changes nothing.
    pub(super) fn reason_of(&self, error: &ConnectionError) -> CloseReason {
        self.reason.get_or_init(|| self.explain(error)).clone()
    }

    fn close(&self, code: u32, reason: &str) {
        // The lock orders closes among each other, so that the first one is both what is told and what is kept. quinn
        // would let a later close replace the reason.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.connection.close_reason().is_some() {
            return;
        }
        *asked = Some((code, reason.to_owned()));
        self.connection.close(VarInt::from_u32(code), reason.as_bytes());
    }

    fn explain(&self, error: &ConnectionError) -> CloseReason {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                CloseReason::from_remote(super::stream::code(close.error_code), &close.reason)
            }
            // A remote that closes before the handshake is complete cannot say why (RFC 9000 §10.2.3).
            ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::APPLICATION_ERROR => {
                CloseReason::from_remote(0, b"")
            }
            ConnectionError::LocallyClosed => {
                if let Some(what) = self.receipts.violation() {
                    return CloseReason::Violation(what.into());
                }
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (code, reason) = asked.unwrap_or((0, "shut down".into()));
                CloseReason::Local { code, reason }
            }
            ConnectionError::TimedOut => CloseReason::TimedOut,
            // quinn's name for a task that is gone.
            ConnectionError::TransportError(error) if error.code == TransportErrorCode::INTERNAL_ERROR => {
                CloseReason::Lost(error.reason.clone())
            }
            ConnectionError::TransportError(_) | ConnectionError::VersionMismatch => {
                CloseReason::Violation(error.to_string())
            }
            ConnectionError::ConnectionClosed(_) | ConnectionError::Reset | ConnectionError::CidsExhausted => {
                CloseReason::Lost(error.to_string())
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close(0, "");
    }
}
