//! What a user may set about connections.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use p2p_core::ByteBudget;

use crate::shaper::Shapers;

/// Settings and limits of all connections that one [`Transports`](crate::Transports) makes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NetConfig {
    /// How tls and quic prove and check identities; without it only tcp is available.
    pub tls: Option<TlsConfigs>,
    /// Streams that the remote may have open at the same time on one connection; further opens are refused. Over quic
    /// room that comes back is told in steps: up to an eighth of the streams may stay untold until further ones end.
    pub max_inbound_streams: u32,
    /// If set, connections begin with narrow bounds: so many streams, and 16 KiB of data in all (what frames it aside), until
    /// [`Connection::accepted`](crate::Connection::accepted) is called, which then has to be done. For whoever gives
    /// resources only to remotes that have said who they are.
    pub early_streams: Option<EarlyStreams>,
    /// Bytes a remote may always send on a stream before they are read; at least 64 KiB over tcp and tls.
    pub stream_window: u32,
    /// Bytes by which all windows of one connection together may exceed the guaranteed ones.
    pub connection_window: u32,
    /// Caps the memory of all connections together.
    pub budget: ByteBudget,
    /// How long a dial may take in all, transport handshake included.
    pub dial_timeout: Duration,
    /// How long the transport's own handshake (TLS, QUIC) may take on an accepted connection.
    pub accept_timeout: Duration,
    /// A quic connection on which nothing arrives for so long is lost. Of the two sides' settings the shorter one counts. Over
    /// tcp and tls whoever uses a connection has to watch its [`liveness`](crate::Connection::liveness).
    pub idle_timeout: Duration,
    /// A quic connection on which nothing was sent for so long sends a packet, which keeps it from being idle; `None`
    /// where whoever uses the connections sends often enough.
    pub keep_alive: Option<Duration>,
    /// Bytes per second that all connections together send, each the same share of it as far as it has something to send;
    /// with `None`, a rate is found while a slow line holds many connections back at once, and otherwise there is no bound.
    /// A twentieth of a second's worth may go at once. Counts what is given to the system: over tcp and tls without the
    /// headers of IP and TCP and the encryption's, over quic whole datagrams without the headers of IP and UDP.
    pub upload: Option<u64>,
    /// Bytes per second that are read from the streams of all connections together, shared in the same way; `None` for no bound.
    /// Remotes are slowed by credit that comes later. So windows may fill faster than this, once, and what is given up
    /// unread (a stream that is stopped) does not count.
    pub download: Option<u64>,
    pub(crate) shapers: Shapers,
    /// Closed connections that still say good-bye.
    pub(crate) lingering: Arc<AtomicUsize>,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            tls: None,
            max_inbound_streams: 128,
            early_streams: None,
            stream_window: 64 << 10,
            connection_window: 16 << 20,
            budget: ByteBudget::new(512 << 20),
            dial_timeout: Duration::from_secs(10),
            accept_timeout: Duration::from_secs(4),
            idle_timeout: Duration::from_secs(60),
            keep_alive: Some(Duration::from_secs(20)),
            upload: None,
            download: None,
            shapers: Shapers::default(),
            lingering: Arc::default(),
        }
    }
}

/// How many streams a remote may open before it is accepted. Clones share the number, which holds for connections that
/// begin later.
#[derive(Debug, Clone)]
pub struct EarlyStreams(Arc<AtomicU32>);

impl EarlyStreams {
    /// So many streams.
    pub fn new(streams: u32) -> Self {
        Self(Arc::new(AtomicU32::new(streams)))
    }

    /// The number.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes the number.
    pub fn set(&self, streams: u32) {
        self.0.store(streams, Ordering::Relaxed);
    }
}

/// How connections are accepted over tls and quic from some time on: see
/// [`Transports::accept_with`](crate::Transports::accept_with).
#[derive(Debug, Clone)]
pub struct AcceptTls {
    /// The configuration, which stands in for that of [`TlsConfigs`].
    pub config: Arc<rustls::ServerConfig>,
    /// What is to be found with each connection that is accepted with it: see
    /// [`Connection::accept_context`](crate::Connection::accept_context).
    pub context: Option<Arc<dyn Any + Send + Sync>>,
}

/// rustls configurations for both directions. A configuration that names application protocols (ALPN) requires the
/// remote to name one of them. For quic they must offer TLS 1.3 with `TLS13_AES_128_GCM_SHA256`.
#[derive(Debug, Clone)]
pub struct TlsConfigs {
    /// For dialing.
    pub client: Arc<rustls::ClientConfig>,
    /// For listening.
    pub server: Arc<rustls::ServerConfig>,
    /// By which quic tells remotes of connections that an earlier run of this program left behind. Without one each run
    /// draws its own, and such remotes notice only by silence.
    pub reset_secret: Option<ResetSecret>,
}

/// What the tokens of stateless resets (RFC 9000 §10.3) are computed from: 64 bytes that nobody else knows and that stay
/// the same from one start of a node to the next. Each socket has a key of its own, derived from this and its address:
/// otherwise one socket of a node could be made to end the connections of another (RFC 9000 §21.11).
#[derive(Clone)]
pub struct ResetSecret(
    #[cfg_attr(not(feature = "quic"), expect(dead_code, reason = "only quic has resets without state"))] [u8; 64],
);

impl ResetSecret {
    /// Takes over the bytes.
    pub fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    #[cfg(feature = "quic")]
    pub(crate) fn bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// Does not show it.
impl fmt::Debug for ResetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetSecret(..)")
    }
}
