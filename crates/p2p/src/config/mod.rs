//! [`Config`]: what a node is told before it starts.

mod together;
mod validate;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use p2p_identity::access::{AccessControl, AllowAll};
use p2p_identity::{Error, Version};
use p2p_kademlia::KademliaConfig;
use p2p_net::{Endpoint, Transport};
use p2p_peer_pool::{Limits, PoolConfig};

/// The settings of a [`Node`](crate::Node). Start from [`Config::default`] or a preset and change what differs;
/// [`Node::new`](crate::Node::new) checks everything and names the field that is wrong.
///
/// ```
/// use p2p::Config;
/// use std::time::Duration;
///
/// let config = Config {
///     network: "my-app".into(),
///     listen_endpoints: vec!["tls://0.0.0.0:9000".parse()?],
///     ping_interval: Duration::from_secs(30),
///     ..Config::default()
/// };
/// assert_eq!(config.inbound_slots, 64);
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// Nodes of different networks refuse each other. At most 64 printable ASCII characters.
    pub network: String,
    /// The version of the application's network, and which versions of others it accepts.
    pub version: Version,
    /// Where to accept connections: `tcp://`, `tls://` and `quic://`, any number of each. Port 0 lets the system choose.
    pub listen_endpoints: Vec<Endpoint>,
    /// Where the DHT serves: a stream endpoint for lookups and a `udp://` one for liveness. Without a stream endpoint,
    /// lookups are served on the listen endpoints, and one of the two there must be. Without any, the DHT is a client of
    /// others and never asked.
    pub discovery_endpoints: Vec<Endpoint>,
    /// Nodes of the DHT to start from, tried in random order. If this and `discovery_endpoints` are empty there is no DHT.
    pub bootstrap_peers: Vec<Endpoint>,
    /// Peers to connect to and to stay connected with. They take none of the slots; at most `limits.kept`.
    pub dial_peers: Vec<Endpoint>,
    /// The address under which others reach this node, where that is not the one it listens on. A node that listens on all
    /// addresses (`0.0.0.0`, `::`) and is reached at one of them learns it from others.
    pub public_ip: Option<IpAddr>,
    /// Where others reach [`listen_endpoints`](Self::listen_endpoints) from outside, if that differs from where they
    /// listen: a port that is forwarded, or published under another number (`docker -p`, a NodePort). They are told word
    /// for word, before what the node finds out by itself; with a DHT, once somebody has reached it there. `quic://`,
    /// `tls://` and `tcp://` with IP addresses, at most 8.
    pub external_endpoints: Vec<Endpoint>,
    /// Where to remember peers from one run to the next; `None` remembers nothing.
    pub state_dir: Option<PathBuf>,
    /// Peers that may have dialed us.
    pub inbound_slots: usize,
    /// Peers that we may have dialed, `dial_peers` aside. Where all are taken, a peer that was found is evicted for one
    /// that is asked for.
    pub outbound_slots: usize,
    /// How often a failed dial is repeated before it counts as failed.
    pub max_connect_retries: usize,
    /// How long the handshake may take, the transport's own included.
    pub handshake_timeout: Duration,
    /// How long it may take until a transport is connected: for all addresses, names, searches and tries of one call together.
    pub dial_timeout: Duration,
    /// How often a peer is asked whether it is alive.
    pub ping_interval: Duration,
    /// How much longer than `ping_interval` a peer may be silent. It is given up after both, and never before: an outage
    /// that TCP and QUIC outlive ends no connection. Whatever comes from the peer counts.
    pub ping_timeout: Duration,
    /// A peer that is not silent and takes nothing for so long is disconnected.
    pub stall_timeout: Duration,
    /// How long an orderly end waits for what is queued to arrive.
    pub drain_timeout: Duration,
    /// How often discovery looks for more peers while outbound slots are free.
    pub seeding_interval: Duration,
    /// How the DHT works. Its `external_endpoints` are those of `discovery_endpoints`, where these have a stream endpoint of
    /// their own. Its own `network`, `discovery_endpoints`, `bootstrap_peers`, `public_ip`, `state_dir`,
    /// `seeding_interval` and `access_control` are not looked at: the fields above count for the node and for its DHT.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub kademlia: KademliaConfig,
    /// Bounds on what remotes can make this node hold.
    pub limits: Limits,
    /// Who may connect.
    #[cfg_attr(feature = "serde", serde(skip, default = "allow_all"))]
    pub access_control: Arc<dyn AccessControl>,
    /// Whether [`Monitor`](crate::Monitor) events are made.
    pub enable_monitor: bool,
}

fn allow_all() -> Arc<dyn AccessControl> {
    Arc::new(AllowAll)
}

/// The address that loopback presets listen on.
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

impl Default for Config {
    fn default() -> Self {
        let pool = PoolConfig::default();
        Self {
            network: pool.network,
            version: pool.version,
            listen_endpoints: Vec::new(),
            discovery_endpoints: Vec::new(),
            bootstrap_peers: Vec::new(),
            dial_peers: Vec::new(),
            public_ip: None,
            external_endpoints: Vec::new(),
            state_dir: None,
            inbound_slots: pool.inbound_slots,
            outbound_slots: pool.outbound_slots,
            max_connect_retries: pool.max_connect_retries,
            handshake_timeout: pool.handshake_timeout,
            dial_timeout: pool.dial_timeout,
            ping_interval: pool.ping_interval,
            ping_timeout: pool.ping_timeout,
            stall_timeout: pool.stall_timeout,
            drain_timeout: pool.drain_timeout,
            seeding_interval: Duration::from_secs(60),
            kademlia: KademliaConfig::default(),
            limits: pool.limits,
            access_control: allow_all(),
            enable_monitor: pool.enable_monitor,
        }
    }
}

impl Config {
    /// For tests and demos on one machine: listens on free ports of 127.0.0.1 over all transports this build has, with
    /// short timers.
    pub fn loopback() -> Self {
        let transports = [
            Transport::Tcp,
            Transport::Tls,
            #[cfg(feature = "quic")]
            Transport::Quic,
        ];
        Self {
            listen_endpoints: transports.map(|transport| Endpoint::new(transport, LOOPBACK, 0)).to_vec(),
            ping_interval: Duration::from_secs(2),
            ping_timeout: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(2),
            seeding_interval: Duration::from_secs(5),
            ..Self::default()
        }
    }

    /// For a machine that others reach: tls (and quic, if this build has it) on every IPv4 and IPv6 address, at `port`, and
    /// the DHT beside them: lookups come in there too, liveness checks at the next port. On a machine without IPv6, or
    /// without IPv4, the node starts with what there is, and warns.
    pub fn server(port: u16) -> Self {
        let any = [IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED), IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED)];
        let transports = [
            #[cfg(feature = "quic")]
            Transport::Quic,
            Transport::Tls,
        ];
        let endpoint = |transport| any.map(move |ip| Endpoint::new(transport, ip, port));
        // The highest port has none after it, and 0 stands for whichever is free.
        let beside = if port == 0 { 0 } else { port.checked_add(1).unwrap_or(port - 1) };
        Self {
            listen_endpoints: transports.into_iter().flat_map(endpoint).collect(),
            discovery_endpoints: any.map(|ip| Endpoint::new(Transport::Udp, ip, beside)).to_vec(),
            ..Self::default()
        }
    }

    /// Whether there is to be a DHT.
    pub(crate) fn has_dht(&self) -> bool {
        !self.discovery_endpoints.is_empty() || !self.bootstrap_peers.is_empty()
    }

    /// The part of it that the DHT works with.
    pub(crate) fn kademlia(&self) -> KademliaConfig {
        KademliaConfig {
            network: self.network.clone(),
            discovery_endpoints: self.discovery_endpoints.clone(),
            bootstrap_peers: self.bootstrap_peers.clone(),
            public_ip: self.public_ip,
            state_dir: self.state_dir.clone(),
            seeding_interval: self.seeding_interval,
            access_control: self.access_control.clone(),
            ..self.kademlia.clone()
        }
    }

    /// The part of it that the pool of peers works with.
    pub(crate) fn pool(&self) -> PoolConfig {
        PoolConfig {
            network: self.network.clone(),
            version: self.version.clone(),
            inbound_slots: self.inbound_slots,
            outbound_slots: self.outbound_slots,
            dial_peers: self.dial_peers.clone(),
            max_connect_retries: self.max_connect_retries,
            handshake_timeout: self.handshake_timeout,
            dial_timeout: self.dial_timeout,
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            stall_timeout: self.stall_timeout,
            drain_timeout: self.drain_timeout,
            limits: self.limits.clone(),
            enable_monitor: self.enable_monitor,
            ..PoolConfig::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] with the name of the first field that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        validate::validate(self)
    }
}
