//! [`Transports`]: dialing and listening over tcp, tls and quic.

mod carrier;
mod dial;
mod listen;
mod narrow;
mod resolve;
mod stream_listener;
mod tls;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt;
use p2p_core::task::until;
use p2p_core::{Runtime, TaskGroup};
use tokio_util::sync::CancellationToken;

pub use self::listen::{Incoming, Listener};
use self::narrow::Narrow;
use crate::shaper::Shapers;
use crate::{AcceptTls, CloseReason, Connection, Endpoint, Error, NetConfig, Result};

/// Dials and listens, and owns every task and socket that takes. Clones are handles to the same.
///
/// When the last handle is dropped, connections and listeners that there are go on until they are dropped themselves;
/// [`shutdown`](Self::shutdown) ends them all.
///
/// ```
/// # #[cfg(feature = "tokio")] tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use p2p_net::{NetConfig, Transports};
///
/// let transports = Transports::new(p2p_core::runtime::current()?, NetConfig::default());
/// let listener = transports.listen(&"tcp://127.0.0.1:0".parse()?).await?;
/// let dialed = transports.dial(&listener.local_endpoint()).await?;
/// let accepted = listener.accept().await?.accept().await?;
/// assert_eq!(accepted.remote_endpoint().socket_addr(), Some(dialed.local_addr()));
/// transports.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Transports(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: NetConfig,
    tasks: Arc<TaskGroup>,
    /// Cancelled by `shutdown`: ends what waits in `dial`, `accept` and the handshakes.
    closed: CancellationToken,
    listeners: Mutex<Vec<Weak<listen::Shared>>>,
    narrow: Mutex<Narrow>,
    /// How connections are accepted now, if not as the configuration says.
    accepting: Mutex<Option<Accepting>>,
    /// Or why there is no QUIC.
    #[cfg(feature = "quic")]
    quic: Result<crate::quic::QuicRegistry, &'static str>,
}

/// How connections are accepted.
#[derive(Clone)]
struct Accepting {
    tls: AcceptTls,
    #[cfg(feature = "quic")]
    quic: Arc<quinn::crypto::rustls::QuicServerConfig>,
}

impl std::fmt::Debug for Accepting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.tls.fmt(f)
    }
}

impl Transports {
    /// Nothing is opened before it is needed.
    pub fn new(runtime: Arc<dyn Runtime>, mut config: NetConfig) -> Self {
        let tasks = Arc::new(TaskGroup::new(runtime));
        config.shapers = Shapers::start(config.upload, config.download, &tasks);
        Self(Arc::new(Inner {
            #[cfg(feature = "quic")]
            quic: quic_registry(&config, &tasks),
            config,
            tasks,
            closed: CancellationToken::new(),
            listeners: Mutex::default(),
            narrow: Mutex::default(),
            accepting: Mutex::default(),
        }))
    }

    /// Listens on a socket address, or on the first address of a host name that the system allows. With port 0 the
    /// system chooses the port. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for udp, and for tls and quic without [`NetConfig::tls`]; [`Error::Listen`] with what
    /// the system said; [`Error::Closed`] after [`shutdown`](Self::shutdown).
    pub async fn listen(&self, endpoint: &Endpoint) -> Result<Listener> {
        self.0.until_closed(listen::listen(&self.0, endpoint)).await
    }

    /// Accepts connections over tls and quic with another configuration from now on. Handshakes that have begun go on as
    /// they are.
    ///
    /// # Errors
    /// When the configuration cannot serve quic; nothing changes then.
    pub fn accept_with(&self, tls: AcceptTls) -> Result<(), rustls::Error> {
        let accepting = Accepting {
            #[cfg(feature = "quic")]
            quic: Arc::new(crate::quic::server_crypto(&tls.config).map_err(|why| rustls::Error::General(why.into()))?),
            tls,
        };
        *self.0.lock_accepting() = Some(accepting);
        Ok(())
    }

    /// Connects to an IP address, within [`NetConfig::dial_timeout`]. A peer id in the endpoint is
    /// kept in the connection's [`remote_endpoint`](Connection::remote_endpoint) and *not* checked: that takes the handshake
    /// of the layer above.
    ///
    /// Cancel-safe: dropping the future gives up.
    ///
    /// # Errors
    /// [`Error::Dial`] with the reason; [`Error::Unsupported`] for a host name, which may have several
    /// [addresses](Self::resolve), for udp, and for tls and quic without [`NetConfig::tls`]; [`Error::Closed`] after
    /// [`shutdown`](Self::shutdown).
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<Connection> {
        self.0.until_closed(dial::dial(&self.0, endpoint)).await
    }

    /// As [`dial`](Self::dial), without a time-out: for whoever has one for several dials together.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Connection> {
        self.0.until_closed(dial::connect(&self.0, endpoint)).await
    }

    /// The addresses of an endpoint's host name in the order to try them, or its own address: IPv6 and IPv4 in turns, as RFC
    /// 8305 says, each once, at most 16. A peer id is kept. Without a time-out; cancel-safe.
    ///
    /// # Errors
    /// [`Error::Dial`] with what the look-up said; [`Error::Closed`] after [`shutdown`](Self::shutdown).
    pub async fn resolve(&self, endpoint: &Endpoint) -> Result<Vec<Endpoint>> {
        self.0.until_closed(dial::addresses(&self.0, endpoint)).await
    }

    /// As [`dial`](Self::dial), to a socket address, to see whether somebody can be reached there. Over quic it never leaves
    /// from a listening socket, with which the remote may have spoken: it would come through the door that this has opened.
    /// If `once`, sends a single datagram unless that is answered, and one that gives up, since somebody else may be there: so
    /// whoever makes a node dial a third party makes it send little more than 2,400 bytes.
    ///
    /// Cancel-safe: dropping the future gives up.
    ///
    /// # Errors
    /// As [`dial`](Self::dial); [`Error::Unsupported`] for a host name too.
    pub async fn dial_back(&self, endpoint: &Endpoint, once: bool) -> Result<Connection> {
        self.0.until_closed(dial::dial_back(&self.0, endpoint, once)).await
    }

    /// The machine has lost an address, and is elsewhere now. What was dialed before explains only who comes from the very
    /// address and port that was dialed: see [`Connection::is_unsolicited`].
    pub fn moved(&self) {
        #[cfg(feature = "quic")]
        if let Ok(quic) = &self.0.quic {
            quic.moved();
        }
    }

    /// From now on, dials over quic leave from sockets that do not listen, as they do over tcp; or, as in the beginning,
    /// from listening ones where the route allows it. While listening sockets are silent, nothing comes to them as an
    /// answer to something that was sent, so whoever connects shows that others can:
    /// see [`Connection::is_unsolicited`].
    pub fn keep_listeners_silent(&self, silent: bool) {
        #[cfg(feature = "quic")]
        if let Ok(quic) = &self.0.quic {
            quic.keep_listeners_silent(silent);
        }
        #[cfg(not(feature = "quic"))]
        let _ = silent;
    }

    /// From now on, dials this host over tcp and tls with small segments, where the system can do that: large packets do
    /// not get through to it.
    pub fn use_small_segments(&self, ip: IpAddr) {
        self.0.narrow().insert(ip);
    }

    /// Closes all listeners, connections and sockets, waits up to a second until the remotes of QUIC connections are told,
    /// and ends all tasks. Nothing works afterwards. Idempotent; cancel-safe: call it again to go on.
    pub async fn shutdown(&self) {
        let inner = &*self.0;
        inner.closed.cancel();
        for listener in inner.listeners().drain(..) {
            listener.upgrade().iter().for_each(|listener| listener.close());
        }
        #[cfg(feature = "quic")]
        if let Ok(quic) = &inner.quic {
            quic.shutdown().await;
        }
        inner.tasks.shutdown().await;
    }

    /// The settings.
    pub fn config(&self) -> &NetConfig {
        &self.0.config
    }

    /// Where everything runs.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        self.0.tasks.runtime()
    }

    /// The tasks of all connections and listeners.
    pub fn tasks(&self) -> &Arc<TaskGroup> {
        &self.0.tasks
    }
}

impl Inner {
    fn narrow(&self) -> MutexGuard<'_, Narrow> {
        // The list is valid after each statement.
        self.narrow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<listen::Shared>>> {
        // The list is valid after each statement, whatever panicked.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_accepting(&self) -> MutexGuard<'_, Option<Accepting>> {
        // It is replaced as a whole.
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until_closed<T>(&self, work: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>> {
        until(work, self.closed.cancelled()).map(|done| done.unwrap_or_else(|| Err(shut_down())))
    }
}

fn shut_down() -> Error {
    Error::Closed(CloseReason::Local { code: 0, reason: "shut down".into() })
}

#[cfg(feature = "quic")]
fn quic_registry(config: &NetConfig, tasks: &Arc<TaskGroup>) -> Result<crate::quic::QuicRegistry, &'static str> {
    let tls = config.tls.as_ref().ok_or(tls::UNCONFIGURED)?;
    crate::quic::Setup::new(config, tls, tasks.clone()).map(crate::quic::QuicRegistry::new)
}
