//! [`Dht`]: a node of the network, stand-alone.

mod builder;
mod calls;
mod error;
mod joined;
mod peer_records;
mod providing;
mod questions;
mod shared;

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use p2p_core::{EventListener, PeerId, Runtime};
use p2p_identity::{Authenticated, Error, KeyPair, PeerRecord, Result};
use p2p_net::{Endpoint, Listening, PeerAddr};

pub use self::builder::DhtBuilder;
pub use self::calls::{MutableValue, Put};
pub use self::error::DhtError;
pub use self::peer_records::PeerRecords;
pub use self::providing::{Providers, Providing};

use self::shared::{Ending, Shared};
use crate::engine::{Engine, KademliaEvent, Mode};
use crate::{Estimate, KademliaConfig, Key};

/// A node of a Kademlia network. Clones are handles to the same; when the last one is dropped, everything ends at once.
///
/// Made with [`Dht::new`], started with [`run`](Self::run), ended with [`shutdown`](Self::shutdown). All calls may be
/// made from anywhere, many at a time; all futures are cancel-safe unless they say otherwise, and a dropped one gives
/// up.
///
/// ```
/// # #[cfg(all(feature = "tokio", feature = "quic"))]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// use p2p_identity::{KeyPair, KeyPairType};
/// use p2p_kademlia::{Dht, KademliaConfig};
///
/// let first = Dht::new(&KeyPair::generate(&KeyPairType::Ed25519), KademliaConfig::loopback())?;
/// first.run().await?;
/// let config = KademliaConfig { bootstrap_peers: vec![first.endpoints()[0].clone()], ..KademliaConfig::loopback() };
/// let second = Dht::new(&KeyPair::generate(&KeyPairType::Ed25519), config)?;
/// second.run().await?;
///
/// let put = second.put("hello").await?;
/// assert_eq!(first.get(&put.key).await?.as_deref(), Some(&b"hello"[..]));
/// second.shutdown().await;
/// first.shutdown().await;
/// # Ok(()) })}
/// # #[cfg(not(all(feature = "tokio", feature = "quic")))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Dht(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    endpoints: Vec<Endpoint>,
    addrs: Vec<Endpoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Starting,
    Running,
    Over,
}

impl Dht {
    /// A node that does nothing yet, on the runtime around the caller: a simulator's, tokio's, or smol's.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that is wrong; [`Error::Core`] when there is no runtime.
    pub fn new(key_pair: &KeyPair, config: KademliaConfig) -> Result<Self> {
        Self::builder(key_pair).config(config).build()
    }

    /// For what [`new`](Self::new) does not offer: another runtime, transports that others use too.
    pub fn builder(key_pair: &KeyPair) -> DhtBuilder {
        DhtBuilder::new(key_pair)
    }

    /// Listens, begins to join the network, and returns; calls that need other nodes wait until somebody is found or
    /// all bootstrap peers have failed. Not cancel-safe: when it is dropped unfinished, or fails, shut the node down
    /// and make another.
    ///
    /// # Errors
    /// [`Error::Net`] when an endpoint cannot be listened at; [`Error::AlreadyRunning`]; [`Error::ShutDown`] after a
    /// shutdown. After an error the node has shut itself down. [`Error::Core`], and the node stays as it is, when its
    /// runtime has ended or was built without timers or sockets.
    pub async fn run(&self) -> Result<()> {
        self.0.shared.runtime.check()?;
        match &mut self.state().phase {
            phase @ Phase::New => *phase = Phase::Starting,
            Phase::Starting | Phase::Running => return Err(Error::AlreadyRunning),
            Phase::Over => return Err(Error::ShutDown),
        }
        if let Err(error) = self.start().await {
            self.shutdown().await;
            return Err(error);
        }
        match &mut self.state().phase {
            phase @ Phase::Starting => *phase = Phase::Running,
            // Shut down meanwhile.
            _ => return Err(Error::ShutDown),
        }
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        let shared = &self.0.shared;
        let mut contacts = Vec::new();
        if let Some(state) = &shared.state {
            shared.use_seq(shared.look(Engine::seq));
            contacts = state.load_contacts().await;
            state.saved().await;
        }
        // Until somebody has reached this node, who comes must not have been let in as an answer.
        shared.transports.keep_listeners_silent(true);
        let interfaces = shared.runtime.local_addresses().unwrap_or_default();
        let (endpoints, pings) = self.listen().await?;
        let addrs = {
            let mut state = self.state();
            state.endpoints = endpoints.clone();
            state.addrs.clone()
        };
        shared.engine(|engine, now| {
            engine.set_pings(pings);
            engine.set_interfaces(&interfaces);
            engine.set_endpoints(now, endpoints, addrs);
            engine.remember(contacts);
            engine.start(now);
        });
        let ending = Ending(shared.clone());
        shared.tasks.spawn("dht clock", async move { ending.0.clone().run_clock().await });
        shared.tasks.spawn("idle lookup connections", shared.client.clone().expire_idle());
        if shared.state.is_some() {
            shared.tasks.spawn("dht state", shared.clone().run_saving());
        }
        Ok(())
    }

    /// Where it serves, and whether pings come in there.
    async fn listen(&self) -> Result<(Vec<Endpoint>, bool)> {
        let shared = &self.0.shared;
        let (mut listening, mut pings) = (Listening::default(), false);
        for endpoint in &shared.config.discovery_endpoints {
            let is_stream = endpoint.transport().is_connection();
            let bound = if is_stream {
                shared.server.listen(endpoint).await
            } else {
                shared.refresh.listen(endpoint, &shared.tasks).await
            };
            match bound {
                Ok(local) => {
                    listening.at(local);
                    pings |= !is_stream;
                }
                Err(Error::Net(error)) => listening.failed(error)?,
                Err(error) => return Err(error),
            }
        }
        Ok((listening.finish()?, pings))
    }

    /// Ends every call, task and socket, after saving what is remembered. Idempotent; cancel-safe: call it again to go
    /// on.
    pub async fn shutdown(&self) {
        let shared = &self.0.shared;
        let before = std::mem::replace(&mut self.state().phase, Phase::Over);
        if before == Phase::Running {
            shared.save();
        }
        shared.close();
        if let Some(state) = &shared.state {
            state.saved().await;
        }
        shared.tasks.shutdown().await;
        shared.refresh.close();
        shared.client.close_all();
        if shared.own_transports {
            shared.transports.shutdown().await;
        }
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.0.shared.key_pair.peer_id()
    }

    /// Its position.
    pub fn key(&self) -> Key {
        Key::of_peer(&self.0.shared.config.network, &self.peer_id())
    }

    /// The settings it was made with.
    pub fn config(&self) -> &KademliaConfig {
        &self.0.shared.config
    }

    /// Where it runs.
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.0.shared.runtime
    }

    /// Where it serves, in the order of [`discovery_endpoints`](KademliaConfig::discovery_endpoints), with the ports
    /// that the system chose; empty before [`run`](Self::run).
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.state().endpoints.clone()
    }

    /// Its own record as others see it: `None` in client mode.
    pub fn record(&self) -> Option<PeerRecord> {
        self.0.shared.look(|engine| engine.record().cloned())
    }

    /// Whether others may find it.
    pub fn mode(&self) -> Mode {
        self.0.shared.look(|engine| engine.mode())
    }

    /// The records of all contacts in its table: live nodes, as far as is known now.
    pub fn contacts(&self) -> Vec<PeerRecord> {
        self.0.shared.look(|engine| engine.table().iter().map(|peer| peer.record().clone()).collect())
    }

    /// How many nodes the network has, this one not counted; `None` before the first lookup.
    pub fn network_size(&self) -> Option<Estimate> {
        self.0.shared.look(|engine| engine.estimate())
    }

    /// Where a peer takes connections that is behind the same public address as this node; empty for all others. It is
    /// known to those only who are there.
    pub fn nearby(&self, peer_id: &PeerId) -> Vec<PeerAddr> {
        self.0.shared.look(|engine| engine.nearby_addrs(peer_id))
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> EventListener<KademliaEvent> {
        self.0.shared.events.register()
    }

    /// Tells others that this node has `item`, as a hint in its record.
    pub fn advertise(&self, item: &[u8]) {
        self.0.shared.engine(|engine, now| engine.advertise(now, item));
    }

    /// Takes back what [`advertise`](Self::advertise) told.
    pub fn unadvertise(&self, item: &[u8]) {
        self.0.shared.engine(|engine, now| engine.unadvertise(now, item));
    }

    /// Tells where this node takes connections of peers, for its record: they are not the DHT's own. Without a stream
    /// endpoint among the discovery endpoints, lookups are served there: see [`serve`](Self::serve).
    pub fn set_addrs(&self, addrs: Vec<Endpoint>) {
        let endpoints = {
            let mut state = self.state();
            state.addrs.clone_from(&addrs);
            if state.phase != Phase::Running {
                return;
            }
            state.endpoints.clone()
        };
        self.0.shared.engine(|engine, now| engine.set_endpoints(now, endpoints, addrs));
    }

    /// Finds out anew where this node is reached, because the network has changed: the machine no longer has the addresses
    /// `gone`, and has `present` ones where that is known. What it provides is offered again from the new address.
    pub fn network_changed(&self, present: Option<&[IpAddr]>, gone: &[IpAddr]) {
        let shared = &self.0.shared;
        shared.client.forget_own_addresses();
        if gone.is_empty() {
            shared.client.close_idle();
        } else {
            // Whatever was asked from there is not answered.
            shared.client.close_all();
            shared.transports.moved();
        }
        shared.engine(|engine, now| engine.network_changed(now, present, gone));
    }

    /// Answers over a connection that somebody opened for a lookup where others listen.
    pub fn serve(&self, opened: Authenticated) {
        self.0.shared.server.serve(opened);
    }

    /// Operations and questions under way, those of the upkeep included.
    pub fn busy(&self) -> (usize, usize) {
        self.0.shared.look(|engine| engine.busy())
    }

    /// Background tasks of this node that have not ended; zero after [`shutdown`](Self::shutdown).
    pub fn tasks(&self) -> usize {
        let shared = &self.0.shared;
        shared.tasks.len() + if shared.own_transports { shared.transports.tasks().len() } else { 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Valid after each statement.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    fn check_running(&self) -> Result<()> {
        match self.state().phase {
            Phase::Running => Ok(()),
            Phase::New | Phase::Starting => Err(Error::NotRunning),
            Phase::Over => Err(Error::ShutDown),
        }
    }
}

/// Tasks hold what is shared, but never a handle: this is the end.
impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
        self.shared.tasks.abort_all();
        self.shared.refresh.close();
        self.shared.client.close_all();
    }
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contacts = self.0.shared.look(|engine| engine.table().len());
        f.debug_struct("Dht").field("peer_id", &self.peer_id()).field("contacts", &contacts).finish_non_exhaustive()
    }
}
