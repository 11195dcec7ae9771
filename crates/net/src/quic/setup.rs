//! quinn's configurations, made from ours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use p2p_core::{Runtime, TaskGroup};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt,
};
use ring::{hkdf, hmac};

use super::allowance::first_streams;
use super::congestion::Observed;
use super::ends::Ends;
use super::send_window;
use super::window::{first_window, stream_window};
use crate::{NetConfig, ResetSecret, TlsConfigs};

/// Bytes of the connection ids that our side chooses.
const CID_LEN: usize = 8;

/// The least time between two stateless resets of one socket. Each answers one datagram with a shorter one and costs one
/// HMAC, so a flood of them harms nobody; after a restart every remote waits for one.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes of the connection id that a dialer invents for the other side: the most there may be, for they must be
/// unpredictable (RFC 9000 §7.2).
const INITIAL_CID_LEN: usize = 20;

/// Connections that may wait to be accepted; further ones are refused.
const MAX_INCOMING: usize = 1024;

/// Bytes that quinn keeps for a connection that waits to be accepted, beside its first datagram.
const INCOMING_BUFFER: u64 = 16 << 10;

/// The same for all waiting connections together.
const INCOMING_BUFFERS: u64 = 4 << 20;

/// The round-trip time that quinn takes a path to have of which it knows nothing (RFC 9002 §6.2.2). It sends again after
/// three times that.
const FIRST_RTT: Duration = Duration::from_millis(333);

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
    /// Connections, until their remotes are told of the end.
    pub(super) ends: Ends,
    config: NetConfig,
    client: quinn::ClientConfig,
    server: quinn::ServerConfig,
    resets: ResetSecret,
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
        let (closing, ends) = (TaskGroup::new(runtime.clone()), Ends::new(runtime.clone()));
        let resets = tls.reset_secret.clone().unwrap_or_else(|| ResetSecret::new(random::<64>(&**runtime)));
        Ok(Self { config: config.clone(), client, server, resets, tasks, closing, ends })
    }

    pub(super) fn runtime(&self) -> &Arc<dyn Runtime> {
        self.tasks.runtime()
    }

    /// For the endpoint whose socket is bound to `local`: all entropy comes from the runtime, so that a simulated one
    /// repeats itself.
    pub(super) fn endpoint(&self, local: SocketAddr) -> EndpointConfig {
        let runtime = self.runtime();
        let mut endpoint = EndpointConfig::new(Arc::new(reset_key(&self.resets, local)));
        endpoint.min_reset_interval(RESET_INTERVAL);
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

    /// For one connection that is dialed.
    pub(super) fn dialing(&self) -> quinn::ClientConfig {
        let mut client = self.client.clone();
        client.transport_config(Arc::new(self.transport()));
        client
    }

    /// The same for one that sends a single datagram before the remote answers: nothing is sent again within the
    /// time-out of a dial.
    pub(super) fn dialing_once(&self) -> quinn::ClientConfig {
        let mut transport = self.transport();
        transport.initial_rtt(self.config.dial_timeout.max(FIRST_RTT));
        let mut client = self.client.clone();
        client.transport_config(Arc::new(transport));
        client
    }

    /// For one connection that is accepted.
    pub(super) fn accepting(&self, crypto: Option<Arc<QuicServerConfig>>) -> Arc<quinn::ServerConfig> {
        let mut server = self.server.clone();
        if let Some(crypto) = crypto {
            server.crypto = crypto;
        }
        server.transport_config(Arc::new(self.transport()));
        Arc::new(server)
    }

    pub(super) fn config(&self) -> &NetConfig {
        &self.config
    }

    fn transport(&self) -> TransportConfig {
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.minimum_change(MTU_CHANGE);
        let mut transport = TransportConfig::default();
        transport
            .mtu_discovery_config(Some(mtu))
            .max_concurrent_bidi_streams(first_streams(&self.config))
            .max_concurrent_uni_streams(VarInt::from_u32(super::receipts::STREAMS))
            .datagram_receive_buffer_size(None)
            .stream_receive_window(stream_window(&self.config))
            .receive_window(first_window(&self.config))
            .send_window(send_window::LEAST)
            // quinn arms no other timer for a connection whose first packet closes it.
            .max_idle_timeout(Some(idle_timeout(self.config.idle_timeout)))
            .keep_alive_interval(self.config.keep_alive);
        if let Some(upload) = &self.config.shapers.upload {
            transport.congestion_controller_factory(Arc::new(Observed::by(upload)));
        }
        transport
    }
}

/// QUIC counts in milliseconds below 2^62.
fn idle_timeout(wanted: Duration) -> IdleTimeout {
    IdleTimeout::try_from(wanted).unwrap_or_else(|_| VarInt::MAX.into())
}

/// The key of one socket's stateless resets: the same whenever it is bound to this address, another at any other.
fn reset_key(secret: &ResetSecret, local: SocketAddr) -> hmac::Key {
    let all = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&all, local.to_string().as_bytes()).as_ref())
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

/// Dates the tokens by which a dialer shows that it receives at its address.
struct Clock(Arc<dyn Runtime>);

impl quinn::TimeSource for Clock {
    fn now(&self) -> SystemTime {
        self.0.system_time()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_the_same_reset_key_after_a_restart_and_no_other_socket_has_it() {
        let token = |secret: u8, local: &str| {
            let key = reset_key(&ResetSecret::new([secret; 64]), local.parse().unwrap());
            hmac::sign(&key, b"connection id").as_ref().to_vec()
        };
        assert_eq!(token(1, "0.0.0.0:9000"), token(1, "0.0.0.0:9000"));
        for (secret, local) in [(1, "0.0.0.0:9001"), (1, "192.0.2.1:9000"), (1, "[::]:9000"), (2, "0.0.0.0:9000")] {
            assert_ne!(token(secret, local), token(1, "0.0.0.0:9000"), "{secret} {local}");
        }
        assert!(!format!("{:?}", ResetSecret::new([77; 64])).contains("77"));
    }
}
