//! [`NodeBuilder`].

use std::sync::{Arc, Mutex};

use p2p_core::{EventBus, Runtime, TaskGroup, runtime};
use p2p_discovery::Discovery;
use p2p_identity::{Error, KeyPair, Result};
use p2p_kademlia::{Dht, KademliaConfig, KademliaDiscovery};
use p2p_net::Endpoint;
use p2p_peer_pool::PeerPool;

use super::addresses::Addresses;
use super::items::Items;
use super::lifecycle::Phase;
use super::remembered::Remembered;
use super::{Node, lock};
use crate::{Config, Monitor};

/// Makes a [`Node`]; see [`Node::builder`].
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use p2p::discovery::StaticDiscovery;
/// use p2p::keypair::{KeyPair, KeyPairType};
/// use p2p::{Config, Node};
///
/// let node = Node::builder(&KeyPair::generate(&KeyPairType::Ed25519))
///     .config(Config::loopback())
///     .add_discovery(StaticDiscovery::new(["quic://192.0.2.1:9000".parse()?]))
///     .build()?;
/// # drop(node); Ok(()) })}
/// # #[cfg(not(feature = "tokio"))]
/// # fn main() {}
/// ```
#[must_use = "a builder does nothing before `build`"]
pub struct NodeBuilder {
    key_pair: KeyPair,
    config: Config,
    runtime: Option<Arc<dyn Runtime>>,
    without_dht: bool,
    discoveries: Vec<Arc<dyn Discovery>>,
}

impl NodeBuilder {
    pub(super) fn new(key_pair: &KeyPair) -> Self {
        Self {
            key_pair: key_pair.clone(),
            config: Config::default(),
            runtime: None,
            without_dht: false,
            discoveries: Vec::new(),
        }
    }

    /// The settings; [`Config::default`] without this.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where to run; the runtime around the caller of [`build`](Self::build) without this.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Finds peers with this discovery and no other: there is no DHT then, whatever the settings say.
    pub fn discovery(mut self, discovery: Arc<dyn Discovery>) -> Self {
        self.without_dht = true;
        self.discoveries = vec![discovery];
        self
    }

    /// Finds peers with this discovery too.
    pub fn add_discovery(mut self, discovery: Arc<dyn Discovery>) -> Self {
        self.discoveries.push(discovery);
        self
    }

    /// Checks the settings and makes the node.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn build(self) -> Result<Arc<Node>> {
        let Self { key_pair, config, runtime, without_dht, mut discoveries } = self;
        config.validate()?;
        let is_other = |endpoint: &&Endpoint| endpoint.peer_id().is_some_and(|peer_id| peer_id != key_pair.peer_id());
        if let Some(other) = config.external_endpoints.iter().find(is_other) {
            return Err(Error::config("external_endpoints", format!("{other}: the peer id is not this node's")));
        }
        let runtime = match runtime {
            Some(runtime) => runtime,
            None => runtime::current()?,
        };
        if let Some(folder) = &config.state_dir {
            discoveries.push(Remembered::load(runtime.clone(), folder));
        }
        let pool = PeerPool::new(runtime.clone(), &key_pair, config.pool(), config.access_control.clone())?;
        let dht = if without_dht || !config.has_dht() { None } else { Some(dht(&key_pair, &config, &pool)?) };
        if let Some(dht) = &dht {
            discoveries.push(KademliaDiscovery::new(dht.clone()));
        }
        let discovery_events = EventBus::new(config.limits.event_queue);
        let monitor = Monitor::new(pool.connection_events().clone(), pool.pool_events().clone(), discovery_events);
        let addresses = Arc::new(Mutex::new(Addresses::new()));
        config.dial_peers.iter().for_each(|endpoint| lock(&addresses).learn_endpoint(endpoint.clone()));
        Ok(Arc::new(Node {
            items: Arc::new(Mutex::new(Items::new(
                key_pair.clone(),
                runtime.clone(),
                config.public_ip,
                config.external_endpoints.clone(),
            ))),
            tasks: TaskGroup::new(runtime),
            config,
            key_pair,
            pool,
            monitor,
            dht,
            discoveries,
            addresses,
            phase: Mutex::new(Phase::New),
            listen_endpoints: Mutex::default(),
            network: Arc::default(),
        }))
    }
}

/// The node's DHT, over the same transports. Where it has no stream endpoint of its own, the pool's listeners serve it.
fn dht(key_pair: &KeyPair, config: &Config, pool: &PeerPool) -> Result<Dht> {
    // Whoever is banned here is banned there.
    let kademlia = KademliaConfig { access_control: pool.access_control(), ..config.kademlia() };
    let builder = Dht::builder(key_pair).config(kademlia).runtime(pool.runtime().clone());
    let builder = builder.external_addrs(config.external_endpoints.clone());
    let dht = builder.transports(pool.transports().clone()).build()?;
    let endpoints = &config.discovery_endpoints;
    if !endpoints.is_empty() && !endpoints.iter().any(|endpoint| endpoint.transport().is_connection()) {
        let serves = dht.clone();
        pool.serve_lookups(move |lookup| serves.serve(lookup));
    }
    Ok(dht)
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder").field("peer_id", &self.key_pair.peer_id()).finish_non_exhaustive()
    }
}
