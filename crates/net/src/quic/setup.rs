//! quinn's configurations, made from ours.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_core::{Runtime, TaskGroup};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use ring::{hkdf, hmac};

use super::window::Windows;
use crate::{NetConfig, TlsConfigs};

/// Bytes of the connection ids that our side chooses.
const CID_LEN: usize = 8;

/// Bytes of the connection id that a dialler invents for the other side: the most there may be, for they must be
/// unpredictable (RFC 9000 §7.2).
const INITIAL_CID_LEN: usize = 20;

/// Connections that may wait to be accepted; further ones are refused.
const MAX_INCOMING: usize = 1024;

/// Bytes that quinn keeps for a connection that waits to be accepted, beside its first datagram.
const INCOMING_BUFFER: u64 = 16 << 10;

/// The same for all waiting connections together.
const INCOMING_BUFFERS: u64 = 4 << 20;

/// Bytes of one connection that are written and not yet acknowledged. What the remote's credit does not allow is not
/// taken in the first place, so this is only reached on long fat links: 8 MiB are 640 Mbit/s at 100 ms.
const SEND_WINDOW: u64 = 8 << 20;

/// After so many milliseconds without a packet a connection is forgotten.
const IDLE_MS: u32 = 30_000;

/// How often a silent connection is kept from that.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How near the search for the path's largest datagram comes to it, in bytes. Half of the way from the least to the most
/// of a datagram, 1,200 and 1,452 bytes, is 126: with more the most is tried at once, which a path over plain Ethernet
/// takes, in place of three sizes before it. With their acknowledgements they were a third of what a short connection
/// sends. A path that takes less than the most is used up to 126 bytes below what it takes.
const MTU_CHANGE: u16 = 127;

/// Why a TLS configuration cannot serve QUIC.
const NO_SUITE: &str = "the TLS configuration offers no TLS13_AES_128_GCM_SHA256, which QUIC begins with";

/// A listener's TLS configuration as quinn takes it.
///
/// # Errors
/// Why it cannot serve QUIC.
pub(crate) fn server_crypto(tls: &Arc<rustls::ServerConfig>) -> Result<QuicServerConfig, &'static str> {
    QuicServerConfig::try_from(tls.clone()).map_err(|_| NO_SUITE)
}

/// What every QUIC endpoint and connection of one `Transports` is made with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(super) tasks: Arc<TaskGroup>,
    /// Endpoints that nobody has any more, and that tell their last remotes of the end.
    pub(super) closing: TaskGroup,
    config: NetConfig,
    client: quinn::ClientConfig,
    server: quinn::ServerConfig,
}

impl Setup {
    /// # Errors
    /// Why the TLS configurations cannot serve QUIC.
    pub(crate) fn new(config: &NetConfig, tls: &TlsConfigs, tasks: Arc<TaskGroup>) -> Result<Self, &'static str> {
        let runtime = tasks.runtime();

        let crypto = QuicClientConfig::try_from(tls.client.clone()).map_err(|_| NO_SUITE)?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        let entropy = runtime.clone();
        client.initial_dst_cid_provider(Arc::new(move || random_cid::<INITIAL_CID_LEN>(&*entropy)));
        // Address validation tokens would link one connection to the next; nobody of ours gives any out.
        client.token_store(Arc::new(quinn::NoneTokenStore));

        let crypto = server_crypto(&tls.server)?;
        let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&random::<64>(&**runtime));
        let mut server = quinn::ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
        server.max_incoming(MAX_INCOMING);
        server.incoming_buffer_size(INCOMING_BUFFER);
        server.incoming_buffer_size_total(INCOMING_BUFFERS);
        server.time_source(Arc::new(Clock(runtime.clone())));
        let closing = TaskGroup::new(runtime.clone());
        Ok(Self { config: config.clone(), client, server, tasks, closing })
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        self.tasks.runtime()
    }

    /// For one endpoint: all entropy comes from the runtime, so that a simulated one repeats itself.
    pub(super) fn endpoint(&self) -> EndpointConfig {
        let runtime = self.runtime();
        let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &random::<64>(&**runtime));
        let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
        endpoint.rng_seed(Some(random::<32>(&**runtime)));
        let entropy = runtime.clone();
        endpoint.cid_generator(move || Box::new(RandomCids(entropy.clone())));
        endpoint
    }

    /// What an endpoint that listens starts with. Each connection is accepted with one of its own,
    /// [`accepting`](Self::accepting).
    pub(super) fn listening(&self) -> quinn::ServerConfig {
        self.server.clone()
    }

    /// For one connection that is dialled.
    pub(super) fn dialling(&self) -> (quinn::ClientConfig, Windows) {
        let windows = Windows::take(&self.config);
        let mut client = self.client.clone();
        client.transport_config(Arc::new(self.transport(&windows)));
        (client, windows)
    }

    /// For one connection that is accepted.
    pub(super) fn accepting(&self, crypto: Option<Arc<QuicServerConfig>>) -> (Arc<quinn::ServerConfig>, Windows) {
        let windows = Windows::take(&self.config);
        let mut server = self.server.clone();
        if let Some(crypto) = crypto {
            server.crypto = crypto;
        }
        server.transport_config(Arc::new(self.transport(&windows)));
        (Arc::new(server), windows)
    }

    fn transport(&self, windows: &Windows) -> TransportConfig {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.minimum_change(MTU_CHANGE);
        let mut transport = TransportConfig::default();
        transport
            .mtu_discovery_config(Some(mtu))
            .max_concurrent_bidi_streams(VarInt::from_u32(self.config.max_inbound_streams))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(windows.stream)
            .receive_window(windows.connection)
            .send_window(SEND_WINDOW)
            // Who is alive is decided above, by pings that go through the same streams as everything else. This is for
            // what never gets there: quinn arms no other timer for a connection whose first packet closes it.
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()))
            .keep_alive_interval(Some(KEEP_ALIVE));
        transport
    }
}

fn random<const N: usize>(runtime: &dyn Runtime) -> [u8; N] {
    let mut bytes = [0; N];
    runtime.fill_random(&mut bytes);
    bytes
}

fn random_cid<const N: usize>(runtime: &dyn Runtime) -> ConnectionId {
    ConnectionId::new(&random::<N>(runtime))
}

/// Connection ids from the runtime's entropy.
struct RandomCids(Arc<dyn Runtime>);

impl ConnectionIdGenerator for RandomCids {
    fn generate_cid(&mut self) -> ConnectionId {
        random_cid::<CID_LEN>(&*self.0)
    }

    fn cid_len(&self) -> usize {
        CID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Dates the tokens by which a dialler shows that it receives at its address.
struct Clock(Arc<dyn Runtime>);

impl quinn::TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.0.system_time()
    }
}
