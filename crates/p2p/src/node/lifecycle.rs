//! From [`Node::run`] to [`Node::shutdown`].

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};

use p2p_core::RecvError;
use p2p_discovery::DiscoveryContext;
use p2p_identity::{Error, PeerRecord, Result};
use p2p_kademlia::{Dht, KademliaEvent};
use p2p_net::{Endpoint, Listening};
use p2p_peer_pool::PeerPool;

use super::items::Items;
use super::{Node, lock};

/// Where in its life a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Starting,
    Running,
    Over,
}

impl Node {
    /// Listens, starts to find peers and to keep `dial_peers` connected, and returns. Where `0.0.0.0` or `[::]` stands for
    /// addresses that this machine does not have, it goes on with the others. Not cancel-safe: when it is
    /// dropped unfinished, or fails, shut the node down and make another.
    ///
    /// # Errors
    /// [`Error::Net`] when an endpoint cannot be listened at; the error of a discovery that cannot start;
    /// [`Error::AlreadyRunning`]; [`Error::ShutDown`] after a shutdown. After an error the node has shut itself down.
    /// [`Error::Core`], and the node stays as it is, when its runtime has ended or was built without timers or sockets.
    pub async fn run(&self) -> Result<()> {
        self.runtime().check()?;
        match &mut *lock(&self.phase) {
            phase @ Phase::New => *phase = Phase::Starting,
            Phase::Starting | Phase::Running => return Err(Error::AlreadyRunning),
            Phase::Over => return Err(Error::ShutDown),
        }
        if let Err(error) = self.start().await {
            self.shutdown().await;
            return Err(error);
        }
        match &mut *lock(&self.phase) {
            phase @ Phase::Starting => *phase = Phase::Running,
            // Shut down meanwhile.
            _ => return Err(Error::ShutDown),
        }
        Ok(())
    }

    async fn start(&self) -> Result<()> {
        let listening = self.listen().await?;
        lock(&self.items).set_endpoints(&listening);
        self.tell_record()?;
        *lock(&self.listen_endpoints) = listening.clone();
        if let Some(dht) = &self.dht {
            self.tasks.spawn("dht record", tell_records(dht.clone(), self.pool.clone()));
        }
        for discovery in &self.discoveries {
            let (items, dht) = (self.items.clone(), self.dht.clone());
            discovery.init(DiscoveryContext {
                runtime: self.runtime().clone(),
                peer_id: self.peer_id(),
                record: Arc::new(move || record(dht.as_ref(), &items)),
                listen_endpoints: listening.clone(),
                seeding_interval: self.config.seeding_interval,
                access_control: self.config.access_control.clone(),
                events: self.monitor.discovery().clone(),
            });
            discovery.clone().start().await?;
        }
        self.seek_peers();
        self.pool.start();
        self.watch_network();
        Ok(())
    }

    async fn listen(&self) -> Result<Vec<Endpoint>> {
        let mut listening = Listening::default();
        for endpoint in &self.config.listen_endpoints {
            match self.pool.listen(endpoint).await {
                Ok(local) => listening.at(local),
                Err(Error::Net(error)) => listening.failed(error)?,
                Err(error) => return Err(error),
            }
        }
        let listening = listening.finish()?;
        say_what_is_ipv6_only(&listening);
        Ok(listening)
    }

    /// Puts the node's record as it is now into handshakes.
    pub(super) fn tell_record(&self) -> Result<()> {
        self.pool.set_record(record(self.dht.as_ref(), &self.items))
    }

    /// Says good-bye to all peers, delivers what was sent to those that take it, for at most
    /// [`drain_timeout`](crate::Config::drain_timeout), and ends every task and socket. Listeners for
    /// events then see the end. Idempotent; cancel-safe: call
    /// it again to go on.
    pub async fn shutdown(&self) {
        *lock(&self.phase) = Phase::Over;
        // Nobody new from here on; then good-bye to those who are there.
        self.tasks.shutdown().await;
        for discovery in &self.discoveries {
            discovery.shutdown().await;
        }
        self.pool.shutdown().await;
        // Whoever waits for an event waits for nothing now.
        self.monitor.discovery().close();
    }

    /// Background tasks of this node that have not ended; zero after [`shutdown`](Self::shutdown).
    pub fn tasks(&self) -> usize {
        self.tasks.len() + self.pool.tasks() + self.dht.as_ref().map_or(0, Dht::tasks)
    }
}

/// `[::]` takes IPv6 only, and whoever knows it from other programs expects IPv4 there too.
fn say_what_is_ipv6_only(listening: &[Endpoint]) {
    for local in listening.iter().filter(|local| local.addr().ip() == Some(Ipv6Addr::UNSPECIFIED.into())) {
        let takes_ipv4 = |other: &Endpoint| {
            other.transport() == local.transport() && other.addr().ip().is_some_and(|ip| ip.is_ipv4())
        };
        if !listening.iter().any(takes_ipv4) {
            tracing::info!(endpoint = %local, "this endpoint is for IPv6 only: for IPv4, listen on 0.0.0.0 too");
        }
    }
}

/// What the node says of itself. A peer has one record: with a DHT it is the one that the DHT signs.
fn record(dht: Option<&Dht>, items: &Mutex<Items>) -> Option<PeerRecord> {
    match dht {
        Some(dht) => dht.record(),
        None => lock(items).record(),
    }
}

/// Puts each new record of the DHT into handshakes.
async fn tell_records(dht: Dht, pool: PeerPool) {
    let mut events = dht.events();
    loop {
        let record = match events.recv().await {
            Ok(KademliaEvent::RecordChanged(record)) => record,
            Ok(_) => continue,
            // It may have been among what was missed.
            Err(RecvError::Lagged(_)) => dht.record(),
            Err(_) => return,
        };
        if let Err(error) = pool.set_record(record) {
            tracing::warn!(%error, "the DHT's record is not told to peers, who then do not learn where this node is");
        }
    }
}
