//! [`Listener`] and [`Incoming`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use p2p_core::EventListener;
use p2p_core::runtime::{ByteStream, SocketEvent};
use tokio_util::sync::CancellationToken;

use super::carrier::Carrier;
use super::resolve::resolve;
use super::stream_listener::StreamListener;
use super::{Accepting, Inner, shut_down, tls};
use crate::mux::Side;
#[cfg(feature = "quic")]
use crate::quic::{QuicEndpoint, QuicIncoming};
use crate::{CloseReason, Connection, Endpoint, Error, Result, TlsConfigs, Transport, connection};

/// Accepts connections at one endpoint. Dropping it closes it; connections it has accepted go on.
pub struct Listener(Arc<Shared>);

pub(super) struct Shared {
    acceptor: Acceptor,
    local: Endpoint,
    transports: Arc<Inner>,
    closed: CancellationToken,
}

enum Acceptor {
    Stream(Box<StreamListener>),
    #[cfg(feature = "quic")]
    Quic(QuicEndpoint),
}

/// What [`Transports::listen`](super::Transports::listen) does while nobody shuts down.
pub(super) async fn listen(transports: &Arc<Inner>, endpoint: &Endpoint) -> Result<Listener> {
    let carrier = transports.carrier(endpoint)?;
    let runtime = transports.tasks.runtime();
    let failed = |error| Error::Listen { endpoint: endpoint.clone(), source: Arc::new(error) };
    let mut bound = Err(io::ErrorKind::AddrNotAvailable.into());
    for addr in resolve(&**runtime, endpoint).await.map_err(failed)? {
        bound = bind(transports, carrier, addr);
        if bound.is_ok() {
            break;
        }
    }
    let (acceptor, local_addr) = bound.map_err(failed)?;
    let shared = Arc::new(Shared {
        acceptor,
        local: Endpoint::from_socket_addr(endpoint.transport(), local_addr).with_peer_id(endpoint.peer_id()),
        transports: transports.clone(),
        closed: transports.closed.child_token(),
    });
    {
        let mut listeners = transports.listeners();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&shared));
    }
    // A shutdown that has looked through the list already will not look again.
    if transports.closed.is_cancelled() {
        shared.close();
        return Err(shut_down());
    }
    Ok(Listener(shared))
}

fn bind(transports: &Inner, carrier: Carrier<'_>, addr: SocketAddr) -> io::Result<(Acceptor, SocketAddr)> {
    match carrier {
        Carrier::Tcp | Carrier::Tls(_) => {
            let runtime = transports.tasks.runtime();
            let socket = runtime.tcp_listen(addr)?;
            let local_addr = socket.local_addr();
            Ok((Acceptor::Stream(Box::new(StreamListener::new(runtime.clone(), socket))), local_addr))
        }
        #[cfg(feature = "quic")]
        Carrier::Quic(registry) => {
            let endpoint = registry.listen(addr)?;
            let local_addr = endpoint.local_addr();
            Ok((Acceptor::Quic(endpoint), local_addr))
        }
    }
}

impl Listener {
    /// Where it listens: a socket address, with the port the system chose.
    pub fn local_endpoint(&self) -> Endpoint {
        self.0.local.clone()
    }

    /// The next dialer, before any handshake: a dialer that says nothing delays nobody. Where the system cannot accept
    /// for the moment (no file descriptor is left, for example), this waits and tries again; a socket that has failed is
    /// bound anew: see [`events`](Self::events).
    ///
    /// Cancel-safe. Several callers may wait; each gets another dialer.
    ///
    /// # Errors
    /// [`Error::Closed`] once the listener or its [`Transports`](super::Transports) is closed.
    pub async fn accept(&self) -> Result<Incoming> {
        let shared = &*self.0;
        let accepted = async {
            Some(match &shared.acceptor {
                Acceptor::Stream(listener) => {
                    let stream = listener.accept().await?;
                    (stream.peer_addr(), Dialer::Stream(stream))
                }
                #[cfg(feature = "quic")]
                Acceptor::Quic(endpoint) => {
                    let incoming = endpoint.accept().await?;
                    (incoming.remote_addr(), Dialer::Quic(Box::new(incoming)))
                }
            })
        };
        match shared.closed.run_until_cancelled(accepted).await {
            Some(Some((remote, dialer))) => Ok(Incoming {
                unsolicited: shared.transports.is_unsolicited(&dialer, remote),
                dialer,
                remote,
                transport: shared.local.transport(),
                transports: shared.transports.clone(),
            }),
            Some(None) => Err(Error::Closed(CloseReason::Lost("the listening socket has failed".into()))),
            None => Err(Error::Closed(CloseReason::Local { code: 0, reason: "the listener is closed".into() })),
        }
    }

    /// What happens to the listening socket from now on: when it fails for good it is closed, with
    /// [`SocketEvent::Failed`], and bound anew to the same address, with [`SocketEvent::Bound`]. Ends with the
    /// socket. Over tcp and tls somebody has to be in [`accept`](Self::accept) for that.
    pub fn events(&self) -> EventListener<SocketEvent> {
        match &self.0.acceptor {
            Acceptor::Stream(listener) => listener.events(),
            #[cfg(feature = "quic")]
            Acceptor::Quic(endpoint) => endpoint.events(),
        }
    }

    /// Accepts no more. Who waits in [`accept`](Self::accept) gets an error. Over tcp and tls the port is free at once;
    /// over quic once the connections that were accepted or dialed from it are gone too. Idempotent.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Shared {
    pub(super) fn close(&self) {
        self.closed.cancel();
        match &self.acceptor {
            Acceptor::Stream(listener) => listener.close(),
            #[cfg(feature = "quic")]
            Acceptor::Quic(endpoint) => {
                if let Ok(registry) = &self.transports.quic {
                    registry.stop_listening(endpoint);
                }
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Listener");
        f.field("local", &self.local).field("closed", &self.closed.is_cancelled()).finish_non_exhaustive()
    }
}

/// Somebody who dials, before any handshake. Dropping it closes or refuses the connection.
#[derive(Debug)]
#[must_use = "dropping it turns the dialer away"]
pub struct Incoming {
    dialer: Dialer,
    remote: SocketAddr,
    /// No dial of ours can have opened the way.
    unsolicited: bool,
    transport: Transport,
    transports: Arc<Inner>,
}

#[derive(Debug)]
enum Dialer {
    Stream(Box<dyn ByteStream>),
    #[cfg(feature = "quic")]
    Quic(Box<QuicIncoming>),
}

impl Incoming {
    /// Where the dialer dials from. Over quic it may be forged as long as the handshake is not complete.
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote
    }

    /// The same as an endpoint, which nobody needs to be listening at.
    pub fn remote_endpoint(&self) -> Endpoint {
        Endpoint::from_socket_addr(self.transport, self.remote)
    }

    /// Goes through the transport's handshake, within [`NetConfig::accept_timeout`](crate::NetConfig::accept_timeout).
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    /// [`Error::Accept`] with what went wrong; [`Error::Closed`] when everything is being shut down.
    pub async fn accept(self) -> Result<Connection> {
        let remote = self.remote_endpoint();
        let transports = &*self.transports;
        let accepting = transports.lock_accepting().clone();
        let limit = transports.config.accept_timeout;
        let in_time = async {
            let handshake = handshake(transports, self.transport, self.dialer, accepting.as_ref());
            let late = |_| Err(Error::Accept("the handshake took too long".into()));
            transports.tasks.runtime().timeout(limit, handshake).await.unwrap_or_else(late)
        };
        let connection = Connection::new(transports.until_closed(in_time).await?, remote);
        let context =
            accepting.filter(|_| self.transport != Transport::Tcp).and_then(|accepting| accepting.tls.context);
        let connection = if self.unsolicited { connection.unsolicited() } else { connection };
        Ok(connection.with_accept_context(context))
    }

    /// Whether the dialer has shown that it receives at the address that it dials from. Over quic that takes a round trip.
    pub fn is_addr_proven(&self) -> bool {
        match &self.dialer {
            Dialer::Stream(_) => true,
            #[cfg(feature = "quic")]
            Dialer::Quic(incoming) => incoming.is_addr_proven(),
        }
    }

    /// Asks a dialer whose address is not proven to prove it (RFC 9000 §8.1.2), which it does as another [`Incoming`]. Nothing is
    /// kept for it until then. Any other is turned away.
    pub fn retry(self) {
        match self.dialer {
            Dialer::Stream(stream) => drop(stream),
            #[cfg(feature = "quic")]
            Dialer::Quic(incoming) => incoming.retry(),
        }
    }

    /// Turns the dialer away. As dropping it, but says what is meant.
    pub fn refuse(self) {
        match self.dialer {
            Dialer::Stream(stream) => drop(stream),
            #[cfg(feature = "quic")]
            Dialer::Quic(incoming) => incoming.refuse(),
        }
    }
}

async fn handshake(
    transports: &Inner,
    transport: Transport,
    dialer: Dialer,
    accepting: Option<&Accepting>,
) -> Result<connection::Inner> {
    match dialer {
        Dialer::Stream(stream) => match tls_of(transports, transport) {
            Some(tls) => {
                let config = accepting.map_or(&tls.server, |accepting| &accepting.tls.config);
                Ok(transports.multiplex_secured(Side::Listener, tls::accept(config, stream).await?))
            }
            None => Ok(transports.multiplex(Side::Listener, stream)),
        },
        #[cfg(feature = "quic")]
        Dialer::Quic(incoming) => {
            let crypto = accepting.map(|accepting| accepting.quic.clone());
            Ok(connection::Inner::Quic(incoming.accept(crypto).await?))
        }
    }
}

impl Inner {
    /// Whether a dialer was not let in as an answer to a dial. Those leave from ports of their own over tcp and tls.
    fn is_unsolicited(&self, dialer: &Dialer, remote: SocketAddr) -> bool {
        #[cfg(not(feature = "quic"))]
        let _ = remote;
        match dialer {
            Dialer::Stream(_) => true,
            #[cfg(feature = "quic")]
            Dialer::Quic(_) => self.quic.as_ref().is_ok_and(|registry| !registry.is_answer(remote)),
        }
    }
}

/// The TLS configurations, if the transport takes any. A listener for tls exists only where there are some.
fn tls_of(transports: &Inner, transport: Transport) -> Option<&TlsConfigs> {
    transports.config.tls.as_ref().filter(|_| transport == Transport::Tls)
}
