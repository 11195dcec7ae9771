//! What a user may set about connections.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use p2p_core::ByteBudget;

/// Settings and limits of all connections that one [`Transports`](crate::Transports) makes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NetConfig {
    /// How tls and quic prove and check identities; without it only tcp is available.
    pub tls: Option<TlsConfigs>,
    /// Streams that the remote may have open at the same time on one connection; further opens are refused. Over quic
    /// room that comes back is told in steps: up to an eighth of the streams may stay untold until further ones end.
    pub max_inbound_streams: u32,
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
    /// Closed connections that still say good-bye.
    pub(crate) lingering: Arc<AtomicUsize>,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            tls: None,
            max_inbound_streams: 128,
            stream_window: 64 << 10,
            connection_window: 16 << 20,
            budget: ByteBudget::new(512 << 20),
            dial_timeout: Duration::from_secs(10),
            accept_timeout: Duration::from_secs(4),
            lingering: Arc::default(),
        }
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
    /// For dialling.
    pub client: Arc<rustls::ClientConfig>,
    /// For listening.
    pub server: Arc<rustls::ServerConfig>,
}
