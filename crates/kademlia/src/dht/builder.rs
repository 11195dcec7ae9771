//! [`DhtBuilder`].

use std::sync::{Arc, Mutex};

use p2p_core::{ByteBudget, Runtime, runtime};
use p2p_identity::{KeyPair, Result, TlsIdentity};
use p2p_net::{Endpoint, NetConfig, Transports};

use super::shared::Shared;
use super::{Dht, Handle, Phase, State};
use crate::KademliaConfig;
use crate::config::check_external_of;

/// Makes a [`Dht`]; see [`Dht::builder`].
#[must_use = "a builder does nothing before `build`"]
#[derive(Debug)]
pub struct DhtBuilder {
    key_pair: KeyPair,
    config: KademliaConfig,
    runtime: Option<Arc<dyn Runtime>>,
    transports: Option<Transports>,
    addrs: Vec<Endpoint>,
    external_addrs: Vec<Endpoint>,
}

impl DhtBuilder {
    pub(super) fn new(key_pair: &KeyPair) -> Self {
        Self {
            key_pair: key_pair.clone(),
            config: KademliaConfig::default(),
            runtime: None,
            transports: None,
            addrs: Vec::new(),
            external_addrs: Vec::new(),
        }
    }

    /// The settings; [`KademliaConfig::default`] without this.
    pub fn config(mut self, config: KademliaConfig) -> Self {
        self.config = config;
        self
    }

    /// Where to run; the runtime around the caller of [`build`](Self::build) without this.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Dials and listens with these, and so from the same sockets as others who do, on their runtime. They must prove
    /// the same identity. Until strangers have reached this node, dials over quic leave from sockets that do not listen, also
    /// those of others: see [`Transports::keep_listeners_silent`]. [`limits.memory`](crate::KademliaLimits::memory) is not looked at then.
    pub fn transports(mut self, transports: Transports) -> Self {
        self.transports = Some(transports);
        self
    }

    /// As [`Dht::set_addrs`].
    pub fn addrs(mut self, addrs: Vec<Endpoint>) -> Self {
        self.addrs = addrs;
        self
    }

    /// Where connections of peers are taken from outside, if that differs from [`addrs`](Self::addrs): told to others word for
    /// word, as [`external_endpoints`](crate::KademliaConfig::external_endpoints).
    pub fn external_addrs(mut self, external: Vec<Endpoint>) -> Self {
        self.external_addrs = external;
        self
    }

    /// Checks the settings and makes the node.
    ///
    /// # Errors
    /// As [`Dht::new`].
    pub fn build(self) -> Result<Dht> {
        let Self { key_pair, config, runtime, transports, addrs, external_addrs } = self;
        config.validate()?;
        check_external_of(key_pair.peer_id(), &config.external_endpoints)?;
        check_external_of(key_pair.peer_id(), &external_addrs)?;
        let (transports, own) = match (transports, runtime) {
            (Some(transports), _) => (transports, None),
            (None, Some(runtime)) => make(runtime, &key_pair, &config)?,
            (None, None) => make(runtime::current()?, &key_pair, &config)?,
        };
        let shared = Shared::new(&key_pair, config, transports, own);
        shared.engine(|engine, _| engine.set_external_addrs(external_addrs));
        let state = State { phase: Phase::New, endpoints: Vec::new(), addrs };
        Ok(Dht(Arc::new(Handle { shared, state: Mutex::new(state) })))
    }
}

/// Transports of its own, and the identity that they prove.
fn make(
    runtime: Arc<dyn Runtime>,
    key_pair: &KeyPair,
    config: &KademliaConfig,
) -> Result<(Transports, Option<TlsIdentity>)> {
    let mut net = NetConfig::default();
    let tls = TlsIdentity::new(key_pair)?;
    net.tls = Some(tls.configs());
    // The stream of the handshake, and those of requests; as many again may be on their way when one is refused.
    net.max_inbound_streams = (config.limits.requests_per_connection as u32).saturating_mul(2).max(2);
    net.budget = ByteBudget::new(config.limits.memory);
    net.dial_timeout = config.dial_timeout;
    net.accept_timeout = config.limits.handshakes.timeout;
    // Messages are short.
    net.connection_window = 1 << 20;
    Ok((Transports::new(runtime, net), Some(tls)))
}
