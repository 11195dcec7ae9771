//! One UDP socket that carries any number of QUIC connections, dialed and accepted.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_core::EventListener;
use p2p_core::runtime::SocketEvent;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ConnectError, ConnectionError, VarInt};

use super::connection::QuicConnection;
use super::ends::{CLOSE_WAIT, Unfinished};
use super::runtime::QuinnRuntime;
use super::setup::Setup;
use super::socket::Socket;
use crate::{CloseReason, DialError, Error, Result};

/// Accepted connections in the middle of their handshake above which dialers must first show that they receive at the
/// address they dial from (RFC 9000 §8.1.2). That costs an honest dialer a round trip and a forged one everything:
/// until then nothing is computed or kept for it.
const VALIDATE_ABOVE: usize = 128;

/// What dialers name the other side to TLS, which wants a name; it is neither sent nor checked.
const SERVER_NAME: &str = "peer.invalid";

/// A handle to a QUIC endpoint. The socket is closed when the last handle and the last connection are gone.
#[derive(Debug, Clone)]
pub(crate) struct QuicEndpoint(Arc<Inner>);

/// Finds an endpoint for as long as somebody has a handle to it or to one of its connections.
#[derive(Debug)]
pub(super) struct WeakEndpoint(Weak<Inner>);

impl WeakEndpoint {
    pub(super) fn upgrade(&self) -> Option<QuicEndpoint> {
        self.0.upgrade().map(QuicEndpoint)
    }
}

#[derive(Debug)]
struct Inner {
    endpoint: quinn::Endpoint,
    socket: Arc<Socket>,
    setup: Arc<Setup>,
    handshakes: Arc<AtomicUsize>,
    dead: AtomicBool,
}

/// quinn sends what closes a connection some time after the connection was closed: were the transports to shut down before
/// that, the remote would never hear of it.
impl Drop for Inner {
    fn drop(&mut self) {
        let (endpoint, runtime) = (self.endpoint.clone(), self.setup.runtime().clone());
        if endpoint.open_connections() > 0 {
            self.setup.closing.spawn("quic closing", async move {
                let _ = runtime.timeout(CLOSE_WAIT, endpoint.wait_idle()).await;
            });
        }
    }
}

impl QuicEndpoint {
    /// Binds a socket to dial from, and to accept connections on if `listen`.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn bind(setup: &Arc<Setup>, addr: SocketAddr, listen: bool) -> io::Result<Self> {
        let socket = Socket::bind(setup.runtime(), addr, setup.config().shapers.upload.clone())?;
        let endpoint = quinn::Endpoint::new_with_abstract_socket(
            setup.endpoint(socket.addr()),
            listen.then(|| setup.listening()),
            socket.clone(),
            Arc::new(QuinnRuntime::new(setup.tasks.clone())),
        )?;
        let inner =
            Inner { endpoint, socket, setup: setup.clone(), handshakes: Arc::default(), dead: AtomicBool::new(false) };
        Ok(Self(Arc::new(inner)))
    }

    /// Where the socket is bound, with the port the system chose.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.0.socket.addr()
    }

    /// Whether it has a socket now: one that has failed is bound anew.
    pub(super) fn is_bound(&self) -> bool {
        self.0.socket.udp().is_bound()
    }

    /// What happens to the socket from now on.
    pub(crate) fn events(&self) -> EventListener<SocketEvent> {
        self.0.socket.udp().events()
    }

    /// Dials. Without a time-out of its own; dropping the future gives up. Ends early when there is no route or, as far
    /// as the network tells, nobody at the remote's port.
    pub(super) async fn dial_with(
        &self,
        config: quinn::ClientConfig,
        remote: SocketAddr,
    ) -> Result<QuicConnection, DialError> {
        let inner = &*self.0;
        let mut unfinished = inner.setup.ends.handshake();
        // First: the connection sends from a task of its own, at once.
        let waiting = inner.socket.unanswered().begin(remote);
        let connection = match inner.endpoint.connect_with(config, remote, SERVER_NAME) {
            Ok(connecting) => {
                let mut connecting = pin!(connecting);
                let mut refused = pin!(waiting.refused(&**inner.setup.runtime(), remote));
                poll_fn(|cx| match connecting.as_mut().poll(cx) {
                    Poll::Ready(connected) => Poll::Ready(connected.map_err(dial_error)),
                    Poll::Pending => refused.as_mut().poll(cx).map(|error| Err(DialError::Io(error))),
                })
                .await?
            }
            Err(error @ ConnectError::EndpointStopping) => {
                inner.dead.store(true, Ordering::Relaxed);
                return Err(DialError::Io(Arc::new(io::Error::new(io::ErrorKind::NotConnected, error))));
            }
            Err(error) => return Err(DialError::Io(Arc::new(io::Error::new(io::ErrorKind::InvalidInput, error)))),
        };
        unfinished.finished();
        Ok(QuicConnection::start(connection, self.clone()))
    }

    /// The next dialer; `None` once the endpoint is closed. While many handshakes are under way, only dialers
    /// whose address is proven come through. Cancel-safe.
    pub(crate) async fn accept(&self) -> Option<QuicIncoming> {
        loop {
            let incoming = self.0.endpoint.accept().await?;
            let handshake = Handshake::begin(&self.0.handshakes);
            if handshake.under_way > VALIDATE_ABOVE && !incoming.remote_address_validated() {
                // Fails only for a validated address.
                let _ = incoming.retry();
                continue;
            }
            let unfinished = self.0.setup.ends.handshake();
            return Some(QuicIncoming { incoming, endpoint: self.clone(), handshake, unfinished });
        }
    }

    /// Whether the endpoint was closed, or its task is gone.
    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed)
    }

    /// Accepts no further connection; those that there are go on, and dialing from the socket too.
    pub(crate) fn stop_accepting(&self) {
        self.0.endpoint.set_server_config(None);
        // Those who wait to be accepted learn at once that nobody will.
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(incoming)) = pin!(self.0.endpoint.accept()).poll(&mut cx) {
            incoming.refuse();
        }
    }

    /// Closes all connections and accepts and dials no more.
    pub(crate) fn close(&self) {
        self.0.endpoint.close(VarInt::from_u32(0), b"shut down");
    }

    /// Waits until every remote has been told of its connection's end, as far as that can be known, but no longer
    /// than `limit`. Cancel-safe.
    pub(crate) async fn wait_idle(&self, limit: Duration) {
        // What a remote has not heard by then it has to find out by itself.
        let _ = self.0.setup.runtime().timeout(limit, self.0.endpoint.wait_idle()).await;
    }

    /// Gives the port back, whoever still holds a handle.
    pub(crate) fn close_socket(&self) {
        self.0.socket.udp().close();
    }

    pub(super) fn downgrade(&self) -> WeakEndpoint {
        WeakEndpoint(Arc::downgrade(&self.0))
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.0.setup
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Somebody dials. Dropping it refuses.
#[derive(Debug)]
pub(crate) struct QuicIncoming {
    incoming: quinn::Incoming,
    endpoint: QuicEndpoint,
    handshake: Handshake,
    unfinished: Unfinished,
}

impl QuicIncoming {
    pub(crate) fn remote_addr(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Goes through the handshake, with another TLS configuration than that of the setup if one is given. Without a
    /// time-out of its own; dropping the future gives up.
    ///
    /// # Errors
    /// [`Error::Accept`].
    pub(crate) async fn accept(self, crypto: Option<Arc<QuicServerConfig>>) -> Result<QuicConnection> {
        let Self { incoming, endpoint, handshake, mut unfinished } = self;
        let config = endpoint.0.setup.accepting(crypto);
        let failed = |error: ConnectionError| Error::Accept(in_words(&error));
        let connection = incoming.accept_with(config).map_err(failed)?.await.map_err(failed)?;
        drop(handshake);
        unfinished.finished();
        Ok(QuicConnection::start(connection, endpoint))
    }

    pub(crate) fn is_addr_proven(&self) -> bool {
        self.incoming.remote_address_validated()
    }

    pub(crate) fn retry(self) {
        if let Err(error) = self.incoming.retry() {
            error.into_incoming().refuse();
        }
    }

    pub(crate) fn refuse(self) {
        self.incoming.refuse();
    }
}

/// Counts a handshake that is under way.
#[derive(Debug)]
struct Handshake {
    all: Arc<AtomicUsize>,
    /// At the beginning of this one, itself included.
    under_way: usize,
}

impl Handshake {
    fn begin(all: &Arc<AtomicUsize>) -> Self {
        Self { under_way: all.fetch_add(1, Ordering::Relaxed) + 1, all: all.clone() }
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

fn dial_error(error: ConnectionError) -> DialError {
    match error {
        ConnectionError::TimedOut => DialError::TimedOut,
        ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            DialError::Io(Arc::new(io::ErrorKind::ConnectionRefused.into()))
        }
        error => DialError::Handshake(in_words(&error)),
    }
}

/// quinn's text, without the numbers that it has for the reasons of this stack.
fn in_words(error: &ConnectionError) -> Arc<str> {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            CloseReason::from_remote(super::stream::code(close.error_code), &close.reason).to_string().into()
        }
        error => error.to_string().into(),
    }
}
