//! What a user may set.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::PeerId;
use p2p_identity::handshake::MAX_NETWORK_LEN;
use p2p_identity::record::MAX_ADDRS;
use p2p_identity::{AccessControl, AllowAll, Error, HandshakeLimits, RecordBuilder, Result};
use p2p_net::{Endpoint, Transport};

use crate::message::DatagramLimits;
use crate::{LookupConfig, StoreConfig, TableConfig};

/// Settings of a [`Dht`](crate::Dht).
///
/// ```
/// use p2p_kademlia::KademliaConfig;
///
/// let config = KademliaConfig {
///     discovery_endpoints: vec!["tls://0.0.0.0:9001".parse()?, "udp://0.0.0.0:9002".parse()?],
///     bootstrap_peers: vec!["tls://192.0.2.7:9001".parse()?],
///     ..KademliaConfig::default()
/// };
/// config.validate()?;
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct KademliaConfig {
    /// Nodes of different networks refuse each other: at most 64 bytes.
    pub network: String,
    /// Where to serve: `quic://`, `tls://` or `tcp://` for lookups, `udp://` for liveness. Without one of the former
    /// the node asks others and is never asked: client mode.
    pub discovery_endpoints: Vec<Endpoint>,
    /// Nodes to begin with. They are tried in random order.
    pub bootstrap_peers: Vec<Endpoint>,
    /// The address to advertise in place of those that are listened on, if it is known.
    pub public_ip: Option<IpAddr>,
    /// Where others reach [`discovery_endpoints`](Self::discovery_endpoints) from outside, if that differs from where they
    /// listen: a port that is forwarded, or published under another number. They are told word for word, before what the
    /// node finds out by itself, once somebody has reached it there. At most 8.
    pub external_endpoints: Vec<Endpoint>,
    /// Where the table and the record's sequence number are kept between runs.
    pub state_dir: Option<PathBuf>,
    /// How often each contact of the table is checked for liveness.
    pub refresh_interval: Duration,
    /// How long a bucket may go without a lookup through it.
    pub bucket_refresh: Duration,
    /// How often the node looks for its own neighbors.
    pub seeding_interval: Duration,
    /// How long dialing a node may take, handshake included.
    pub dial_timeout: Duration,
    /// How long a node may take to answer once there is a connection.
    pub request_timeout: Duration,
    /// Whether the table bounds how many contacts it has of one IPv4 /24 or IPv6 /48: 2 in a bucket, 10 in all.
    pub prefix_caps: bool,
    /// Whether loopback and private addresses count for that too.
    pub limit_local: bool,
    /// How lookups search.
    pub lookup: LookupConfig,
    /// What is kept for others, and how long.
    pub store: StoreConfig,
    /// How many pings are answered.
    pub datagrams: DatagramLimits,
    /// What remotes, and the application, can make grow.
    pub limits: KademliaLimits,
    /// Who may ask, and who is asked: [`Action::Lookup`](p2p_identity::Action::Lookup), and
    /// [`Action::Probe`](p2p_identity::Action::Probe) for liveness pings over udp.
    pub access_control: Arc<dyn AccessControl>,
}

/// Bounds of a [`Dht`](crate::Dht).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KademliaLimits {
    /// Calls of the application under way at the same time; further ones wait.
    pub operations: usize,
    /// Questions to others in flight at the same time; further ones wait.
    pub requests: usize,
    /// Connections to others that are kept for the next question.
    pub connections: usize,
    /// How long such a connection is kept without one.
    pub idle_timeout: Duration,
    /// Dials of one IPv4 /24 or IPv6 /48 that do not end at the node for which they were, before it is left alone: then there is
    /// one more after a minute, and while others answer the wait doubles, up to 64 minutes. In loopback and private ranges the
    /// same holds for each socket address, unless [`limit_local`](KademliaConfig::limit_local) is set. Not counted are dials of
    /// bootstrap peers and of contacts where these have answered.
    pub vain_dials: u32,
    /// Connections of others at the same time.
    pub inbound_connections: usize,
    /// The same for one IPv4 /24 or IPv6 /48. Loopback and private ranges are exempt unless
    /// [`limit_local`](KademliaConfig::limit_local) is set.
    pub inbound_per_prefix: usize,
    /// Handshakes of others under way.
    pub handshakes: HandshakeLimits,
    /// Requests of one connection that are answered at the same time; the remote waits with further ones.
    pub requests_per_connection: usize,
    /// Requests of one peer that are answered each second, with a burst of four times as many.
    pub requests_per_second: u32,
    /// Requests of one IPv4 /24 or IPv6 /48 that are answered each second, with a burst of four times as many.
    pub requests_per_prefix: u32,
    /// Bytes that all connections together may hold in memory.
    pub memory: usize,
}

impl Default for KademliaLimits {
    fn default() -> Self {
        Self {
            operations: 64,
            requests: 128,
            connections: 256,
            idle_timeout: Duration::from_secs(30),
            vain_dials: 4,
            inbound_connections: 512,
            inbound_per_prefix: 32,
            handshakes: HandshakeLimits::default(),
            requests_per_connection: 16,
            requests_per_second: 50,
            requests_per_prefix: 200,
            memory: 64 << 20,
        }
    }
}

impl Default for KademliaConfig {
    fn default() -> Self {
        Self {
            network: "default".into(),
            discovery_endpoints: Vec::new(),
            bootstrap_peers: Vec::new(),
            public_ip: None,
            external_endpoints: Vec::new(),
            state_dir: None,
            refresh_interval: Duration::from_secs(300),
            bucket_refresh: Duration::from_secs(3600),
            seeding_interval: Duration::from_secs(60),
            dial_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            prefix_caps: true,
            limit_local: false,
            lookup: LookupConfig::default(),
            store: StoreConfig::default(),
            datagrams: DatagramLimits::default(),
            limits: KademliaLimits::default(),
            access_control: Arc::new(AllowAll),
        }
    }
}

/// Endpoints in one list.
const MAX_ENDPOINTS: usize = 10_000;

/// Periods beyond a week are mistaken units.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl KademliaConfig {
    /// For tests and demos on one machine: listens on free ports of 127.0.0.1, over quic (tcp in builds without it) and
    /// udp, with short periods.
    pub fn loopback() -> Self {
        let stream = if cfg!(feature = "quic") { Transport::Quic } else { Transport::Tcp };
        let endpoint = |transport| Endpoint::new(transport, IpAddr::from([127, 0, 0, 1]), 0);
        Self {
            discovery_endpoints: vec![endpoint(stream), endpoint(Transport::Udp)],
            refresh_interval: Duration::from_secs(10),
            bucket_refresh: Duration::from_secs(60),
            seeding_interval: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] with the name of the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        let network = &self.network;
        if network.is_empty() || network.len() > MAX_NETWORK_LEN {
            return wrong("network", format!("use 1 to {MAX_NETWORK_LEN} bytes"));
        }
        self.check_endpoints()?;
        if let Some(ip) = self.public_ip.filter(|ip| ip.is_unspecified() || ip.is_multicast()) {
            return wrong("public_ip", format!("nobody can reach {ip}"));
        }
        check_external(&self.external_endpoints)?;
        for (field, period) in [
            ("refresh_interval", self.refresh_interval),
            ("bucket_refresh", self.bucket_refresh),
            ("seeding_interval", self.seeding_interval),
            ("dial_timeout", self.dial_timeout),
            ("request_timeout", self.request_timeout),
            ("store.value_ttl", self.store.value_ttl),
            ("store.provider_ttl", self.store.provider_ttl),
            ("store.republish_interval", self.store.republish_interval),
            ("limits.idle_timeout", self.limits.idle_timeout),
            ("limits.handshakes.timeout", self.limits.handshakes.timeout),
        ] {
            if period.is_zero() || period > LONGEST {
                return wrong(field, format!("{period:?} is not more than zero and at most a week"));
            }
        }
        for (field, value) in [
            ("limits.operations", self.limits.operations),
            ("limits.requests", self.limits.requests),
            ("limits.connections", self.limits.connections),
            ("limits.vain_dials", self.limits.vain_dials as usize),
            ("limits.inbound_connections", self.limits.inbound_connections),
            ("limits.inbound_per_prefix", self.limits.inbound_per_prefix),
            ("limits.handshakes.total", self.limits.handshakes.total),
            ("limits.handshakes.per_prefix", self.limits.handshakes.per_prefix),
            ("limits.requests_per_connection", self.limits.requests_per_connection),
            ("limits.requests_per_second", self.limits.requests_per_second as usize),
            ("limits.requests_per_prefix", self.limits.requests_per_prefix as usize),
            ("lookup.k", self.lookup.k),
            ("lookup.alpha", self.lookup.alpha),
            ("lookup.paths", self.lookup.paths),
            ("lookup.width", self.lookup.width),
        ] {
            if value == 0 || value > 1 << 20 {
                return wrong(field, format!("{value} is not between 1 and 2^20"));
            }
        }
        if self.limits.memory < MIN_MEMORY {
            return wrong("limits.memory", format!("use at least {MIN_MEMORY} bytes"));
        }
        Ok(())
    }

    /// The settings of the table.
    pub(crate) fn table(&self) -> TableConfig {
        TableConfig {
            k: self.lookup.k,
            caps: self.prefix_caps,
            limit_local: self.limit_local,
            check_interval: self.refresh_interval,
            // A contact that failed is asked again well before it would be anyway.
            retry_interval: TableConfig::default().retry_interval.min(self.refresh_interval / 3),
            bucket_refresh: self.bucket_refresh,
            ..TableConfig::default()
        }
    }

    fn check_endpoints(&self) -> Result<()> {
        for (field, endpoints) in
            [("discovery_endpoints", &self.discovery_endpoints), ("bootstrap_peers", &self.bootstrap_peers)]
        {
            if endpoints.len() > MAX_ENDPOINTS {
                return wrong(field, format!("there are more than {MAX_ENDPOINTS}"));
            }
            for endpoint in endpoints {
                if endpoint.transport() == Transport::Quic && cfg!(not(feature = "quic")) {
                    return wrong(field, format!("{endpoint}: this build lacks the feature `quic`"));
                }
                if endpoint.addr().ip().is_some_and(|ip| ip.is_multicast()) {
                    return wrong(field, format!("{endpoint}: a multicast address is nobody's own"));
                }
            }
        }
        if let Some(own) = self.discovery_endpoints.iter().find(|endpoint| endpoint.peer_id().is_some()) {
            return wrong("discovery_endpoints", format!("{own}: a node's own endpoint carries no peer id"));
        }
        for endpoint in &self.bootstrap_peers {
            if !endpoint.transport().is_connection() {
                return wrong("bootstrap_peers", format!("{endpoint}: use quic://, tls:// or tcp://"));
            }
            if endpoint.port() == 0 || endpoint.addr().ip().is_some_and(|ip| ip.is_unspecified()) {
                return wrong(
                    "bootstrap_peers",
                    format!("{endpoint} is for listening: give the address and the port of a node"),
                );
            }
        }
        Ok(())
    }
}

/// The name of the field in all settings that have it.
const EXTERNAL: &str = "external_endpoints";

/// Checks endpoints that are to be told to others word for word.
///
/// # Errors
/// [`Error::Config`] naming `external_endpoints`.
fn check_external(endpoints: &[Endpoint]) -> Result<()> {
    if endpoints.len() > MAX_ADDRS {
        return wrong(EXTERNAL, format!("there are {}, and a record has {MAX_ADDRS} at most", endpoints.len()));
    }
    for (n, endpoint) in endpoints.iter().enumerate() {
        if !endpoint.transport().is_connection() {
            return wrong(EXTERNAL, format!("{endpoint}: use quic://, tls:// or tcp://"));
        }
        if endpoint.addr().ip().is_none() {
            return wrong(EXTERNAL, format!("{endpoint}: write the address, others are not told a name"));
        }
        if endpoint.port() == 0 {
            return wrong(EXTERNAL, format!("{endpoint}: write the port that others dial, which is not 0"));
        }
        if !RecordBuilder::accepts(endpoint) {
            return wrong(EXTERNAL, format!("{endpoint}: nobody can dial this address"));
        }
        if endpoints[..n].contains(endpoint) {
            return wrong(EXTERNAL, format!("{endpoint} is there twice"));
        }
    }
    Ok(())
}

/// The same, for endpoints of the node `own`: those that name a peer must name this one.
///
/// # Errors
/// [`Error::Config`] naming `external_endpoints`.
pub(crate) fn check_external_of(own: PeerId, endpoints: &[Endpoint]) -> Result<()> {
    check_external(endpoints)?;
    match endpoints.iter().find(|endpoint| endpoint.peer_id().is_some_and(|peer_id| peer_id != own)) {
        Some(other) => wrong(EXTERNAL, format!("{other}: the peer id is not this node's, {own}")),
        None => Ok(()),
    }
}

/// The least memory for connections: one of them with its windows, several times over.
const MIN_MEMORY: usize = 1 << 20;

fn wrong(field: &'static str, reason: String) -> Result<()> {
    Err(Error::Config { field, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_names_its_field() {
        let list = |text: &str| -> Vec<Endpoint> { vec![text.parse().unwrap()] };
        type Spoil = Box<dyn Fn(&mut KademliaConfig)>;
        let cases: Vec<(&str, Spoil)> = vec![
            ("network", Box::new(|c| c.network.clear())),
            ("network", Box::new(|c| c.network = "n".repeat(65))),
            ("discovery_endpoints", Box::new(move |c| c.discovery_endpoints = list("tcp://224.0.0.1:1"))),
            (
                "discovery_endpoints",
                Box::new(|c| {
                    let own = p2p_identity::KeyPair::from_seed([1; 32]).peer_id();
                    c.discovery_endpoints = vec![format!("tcp://{own}@127.0.0.1:1").parse().unwrap()];
                }),
            ),
            ("bootstrap_peers", Box::new(move |c| c.bootstrap_peers = list("udp://127.0.0.1:1"))),
            ("bootstrap_peers", Box::new(move |c| c.bootstrap_peers = list("tcp://127.0.0.1:0"))),
            ("bootstrap_peers", Box::new(move |c| c.bootstrap_peers = list("tcp://0.0.0.0:7"))),
            ("public_ip", Box::new(|c| c.public_ip = Some("::".parse().unwrap()))),
            ("external_endpoints", Box::new(move |c| c.external_endpoints = list("quic://8.8.8.8:0"))),
            ("external_endpoints", Box::new(move |c| c.external_endpoints = list("quic://0.0.0.0:1"))),
            ("external_endpoints", Box::new(move |c| c.external_endpoints = list("tcp://169.254.0.1:1"))),
            ("external_endpoints", Box::new(move |c| c.external_endpoints = list("udp://8.8.8.8:1"))),
            ("external_endpoints", Box::new(move |c| c.external_endpoints = list("tls://a.example:1"))),
            (
                "external_endpoints",
                Box::new(move |c| c.external_endpoints = [list("tls://8.8.8.8:1"), list("tls://8.8.8.8:1")].concat()),
            ),
            (
                "external_endpoints",
                Box::new(|c| {
                    let nth = |port| format!("tls://8.8.8.8:{port}").parse().unwrap();
                    c.external_endpoints = (1..=9).map(nth).collect();
                }),
            ),
            ("refresh_interval", Box::new(|c| c.refresh_interval = Duration::ZERO)),
            ("bucket_refresh", Box::new(|c| c.bucket_refresh = Duration::MAX)),
            ("seeding_interval", Box::new(|c| c.seeding_interval = Duration::ZERO)),
            ("dial_timeout", Box::new(|c| c.dial_timeout = Duration::ZERO)),
            ("request_timeout", Box::new(|c| c.request_timeout = Duration::ZERO)),
            ("limits.idle_timeout", Box::new(|c| c.limits.idle_timeout = Duration::ZERO)),
            ("limits.handshakes.timeout", Box::new(|c| c.limits.handshakes.timeout = Duration::ZERO)),
            ("store.value_ttl", Box::new(|c| c.store.value_ttl = Duration::ZERO)),
            ("store.provider_ttl", Box::new(|c| c.store.provider_ttl = Duration::ZERO)),
            ("store.republish_interval", Box::new(|c| c.store.republish_interval = Duration::ZERO)),
            ("limits.operations", Box::new(|c| c.limits.operations = 0)),
            ("limits.requests", Box::new(|c| c.limits.requests = 0)),
            ("limits.connections", Box::new(|c| c.limits.connections = usize::MAX)),
            ("limits.vain_dials", Box::new(|c| c.limits.vain_dials = 0)),
            ("limits.inbound_connections", Box::new(|c| c.limits.inbound_connections = 0)),
            ("limits.inbound_per_prefix", Box::new(|c| c.limits.inbound_per_prefix = 0)),
            ("limits.handshakes.total", Box::new(|c| c.limits.handshakes.total = 0)),
            ("limits.handshakes.per_prefix", Box::new(|c| c.limits.handshakes.per_prefix = 0)),
            ("limits.requests_per_connection", Box::new(|c| c.limits.requests_per_connection = 0)),
            ("limits.requests_per_second", Box::new(|c| c.limits.requests_per_second = 0)),
            ("limits.requests_per_prefix", Box::new(|c| c.limits.requests_per_prefix = 0)),
            ("limits.memory", Box::new(|c| c.limits.memory = 1)),
            ("lookup.k", Box::new(|c| c.lookup.k = 0)),
            ("lookup.alpha", Box::new(|c| c.lookup.alpha = 0)),
            ("lookup.paths", Box::new(|c| c.lookup.paths = 0)),
            ("lookup.width", Box::new(|c| c.lookup.width = 0)),
        ];
        for (expected, spoil) in cases {
            let mut config = KademliaConfig::loopback();
            config.validate().expect("the preset is valid");
            spoil(&mut config);
            match config.validate() {
                Err(Error::Config { field, .. }) => assert_eq!(field, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        KademliaConfig::default().validate().expect("the defaults are valid");
    }

    #[test]
    fn what_is_told_word_for_word_names_this_node_or_nobody() {
        let [own, other] = [1, 2].map(|n| p2p_identity::KeyPair::from_seed([n; 32]).peer_id());
        let endpoint: Endpoint = "quic://8.8.8.8:9003".parse().unwrap();
        check_external_of(own, &[endpoint.clone(), "tls://[2606:4700::1]:9002".parse().unwrap()]).unwrap();
        check_external_of(own, &[endpoint.clone().with_peer_id(own)]).unwrap();
        match check_external_of(own, &[endpoint.with_peer_id(other)]) {
            Err(Error::Config { field, reason }) => {
                assert_eq!(field, "external_endpoints");
                assert!(reason.contains(&own.to_string()), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}
