//! [`KademliaDiscovery`]: the DHT as the discovery of a node.

mod candidates;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hashlink::LruCache;
use p2p_core::{EventListener, PeerId, RecvError, TaskGroup};
use p2p_discovery::{DiscoveredPeer, Discovery, DiscoveryContext, DiscoveryEventKind as Kind, PeerConnectionEvent};
use p2p_identity::access::{Action, Direction, Subject};
use p2p_identity::{Error, ProtocolKind};
use p2p_net::{Endpoint, PeerAddr};
use tokio::sync::Notify;

use self::candidates::{Candidate, Candidates, once_each};
use crate::engine::{ClientReason, KademliaEvent};
use crate::{Dht, Key, Providing};

/// Peers beyond those of the table that are remembered as candidates; the longest unseen is evicted.
const SEEN: usize = 1024;

/// How soon a search for candidates follows the one before; each further one in vain twice as long after, up to the
/// seeding interval.
const SEEK_AGAIN: Duration = Duration::from_millis(250);

/// Finds peers with a [`Dht`], and hands those to the node that have what it advertises.
///
/// Peers with all mandatory items of the node are handed out (with at least one of the optional ones where none is
/// mandatory), from subnets with few peers first. Each advertised item is also provided in the DHT under the hash of
/// its bytes, [`Key::of_value`], so that [`Dht::providers`] finds who has it.
///
/// ```
/// use p2p_identity::{KeyPair, KeyPairType};
/// use p2p_kademlia::{Dht, KademliaConfig, KademliaDiscovery};
///
/// # #[cfg(all(feature = "tokio", feature = "quic"))]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let dht = Dht::new(&KeyPair::generate(&KeyPairType::Ed25519), KademliaConfig::loopback())?;
/// let discovery = KademliaDiscovery::new(dht);
/// // To be given to a node; it starts the DHT.
/// # drop(discovery); Ok::<(), p2p_identity::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KademliaDiscovery {
    inner: Arc<Inner>,
    /// Its tasks hold `inner` and not this.
    tasks: TaskGroup,
}

struct Inner {
    dht: Dht,
    context: OnceLock<DiscoveryContext>,
    candidates: Mutex<Candidates>,
    /// Peers that do not fit into the table.
    seen: Mutex<LruCache<PeerId, Candidate>>,
    provided: Mutex<BTreeMap<Vec<u8>, Providing>>,
    /// Somebody may be a candidate now.
    changed: Notify,
    /// The node waits for a peer, and there is none.
    hungry: AtomicBool,
    got_hungry: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // All of them are valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KademliaDiscovery {
    /// The discovery of a node with the same key. It runs the DHT when it is started, and shuts it down at its end.
    pub fn new(dht: Dht) -> Arc<Self> {
        let tasks = TaskGroup::new(dht.runtime().clone());
        let inner = Arc::new(Inner {
            candidates: Mutex::new(Candidates::new(dht.peer_id())),
            dht,
            context: OnceLock::new(),
            seen: Mutex::new(LruCache::new(SEEN)),
            provided: Mutex::default(),
            changed: Notify::new(),
            hungry: AtomicBool::new(false),
            got_hungry: Notify::new(),
        });
        Arc::new(Self { inner, tasks })
    }

    /// The DHT.
    pub fn dht(&self) -> &Dht {
        &self.inner.dht
    }
}

#[async_trait]
impl Discovery for KademliaDiscovery {
    fn init(&self, ctx: DiscoveryContext) {
        // A discovery serves one node: a second one's context is ignored.
        let _ = self.inner.context.set(ctx);
    }

    async fn start(self: Arc<Self>) -> Result<(), Error> {
        let inner = &self.inner;
        let context = inner.context.get().ok_or(Error::NotRunning)?;
        if !inner.dht.config().discovery_endpoints.is_empty() {
            inner.dht.set_addrs(context.listen_endpoints.clone());
        }
        let events = inner.dht.events();
        inner.dht.run().await?;
        self.tasks.spawn("dht events", inner.clone().forward(events));
        self.tasks.spawn("dht seeking", inner.clone().seek());
        Ok(())
    }

    async fn shutdown(&self) {
        self.tasks.shutdown().await;
        lock(&self.inner.provided).clear();
        self.inner.dht.shutdown().await;
    }

    async fn recv(&self) -> DiscoveredPeer {
        self.inner.next().await
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        let runtime = self.inner.dht.runtime();
        lock(&self.inner.candidates).on_event(runtime.now(), &event, |backoff| backoff.next(&**runtime));
        if let PeerConnectionEvent::Connected { peer_id, outbound: true, .. } = &event {
            self.inner.connected(peer_id);
        }
        self.inner.changed.notify_one();
    }

    fn network_changed(&self) {
        lock(&self.inner.candidates).network_changed(self.inner.dht.runtime().now());
        self.inner.changed.notify_one();
    }

    fn find_peers_with(&self, item: &[u8]) -> Vec<DiscoveredPeer> {
        let has = |candidate: &Candidate| candidate.record.items().may_contain(item);
        let peers = self.inner.known().filter(has).map(|candidate| candidate.discovered());
        peers.filter(|peer| !peer.addrs.is_empty()).collect()
    }

    fn advertise(&self, item: &[u8], kind: ProtocolKind) {
        if kind == ProtocolKind::Hidden {
            return;
        }
        let inner = &self.inner;
        if lock(&inner.candidates).advertise(item, kind) {
            inner.dht.advertise(item);
            let providing = inner.dht.provide_soon(Key::of_value(item));
            lock(&inner.provided).insert(item.to_vec(), providing);
        }
        inner.changed.notify_one();
    }

    fn unadvertise(&self, item: &[u8]) {
        let inner = &self.inner;
        if lock(&inner.candidates).unadvertise(item) {
            inner.dht.unadvertise(item);
            let providing = lock(&inner.provided).remove(item);
            drop(providing);
        }
        inner.changed.notify_one();
    }
}

impl Inner {
    /// Everybody who is known, the contacts of the table first: they are alive.
    fn known(&self) -> impl Iterator<Item = Candidate> + use<> {
        let (contacts, nearby) = self.dht.shared().look(|engine| {
            let nearby: Vec<_> = engine.nearby().map(|(record, addrs)| Candidate::near(record, addrs)).collect();
            (engine.contacts(), nearby)
        });
        let contacts = contacts.into_iter().map(|(record, reached)| Candidate::told(record, reached));
        let seen: Vec<Candidate> = lock(&self.seen).iter().map(|(_, candidate)| candidate.clone()).collect();
        let near: BTreeMap<PeerId, Vec<PeerAddr>> =
            nearby.iter().map(|candidate| (candidate.record.peer_id(), candidate.near.clone())).collect();
        let mut known: Vec<Candidate> = contacts.chain(seen).chain(nearby).collect();
        for candidate in known.iter_mut().filter(|_| !near.is_empty()) {
            if let Some(addrs) = near.get(&candidate.record.peer_id()) {
                candidate.near.clone_from(addrs);
            }
        }
        once_each(known)
    }

    /// Takes a candidate, waiting until there is one. Cancel-safe.
    async fn next(&self) -> DiscoveredPeer {
        let runtime = self.dht.runtime();
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let known = self.known();
            let chosen = lock(&self.candidates).choose(
                runtime.now(),
                known,
                |endpoint| self.allows(endpoint),
                || runtime.random_u64(),
            );
            let next = match chosen {
                Ok(candidate) => return candidate.discovered(),
                Err(next) => next,
            };
            self.hungry.store(true, Ordering::Relaxed);
            self.got_hungry.notify_one();
            match next {
                None => changed.await,
                Some(next) => {
                    let mut sleep = runtime.sleep_until(next);
                    tokio::select! {
                        biased;
                        () = &mut changed => {}
                        () = &mut sleep => {}
                    }
                }
            }
        }
    }

    fn allows(&self, endpoint: &Endpoint) -> bool {
        let Some(context) = self.context.get() else { return true };
        context.access_control.allow(&Subject::Endpoint(endpoint), Action::Connect(Direction::Outbound))
    }

    /// Looks for more candidates while the node waits for one: quickly at first, then less and less often.
    async fn seek(self: Arc<Self>) {
        let runtime = self.dht.runtime().clone();
        let longest = self.context.get().map_or(self.dht.config().seeding_interval, |context| context.seeding_interval);
        let mut wait = SEEK_AGAIN;
        loop {
            let mut got_hungry = pin!(self.got_hungry.notified());
            got_hungry.as_mut().enable();
            if !self.hungry.swap(false, Ordering::Relaxed) {
                // Whoever was hungry before has been fed.
                wait = SEEK_AGAIN;
                got_hungry.await;
                continue;
            }
            let news = self.look_around().await;
            self.changed.notify_one();
            wait = if news { SEEK_AGAIN } else { (wait * 2).min(longest) };
            runtime.sleep(wait).await;
        }
    }

    /// Whether somebody new was seen.
    async fn look_around(&self) -> bool {
        self.dht.shared().engine(|engine, now| engine.seed_now(now));
        let runtime = self.dht.runtime();
        let mut wanted = lock(&self.candidates).wanted();
        runtime.shuffle(&mut wanted);
        let mut news = false;
        if let Some(item) = wanted.first()
            && let Ok(mut providers) = self.dht.providers(&Key::of_value(item))
        {
            while let Some((record, reached)) = providers.next_with_source().await {
                news |= self.see(Candidate::told(record, reached));
            }
        }
        let mut bytes = [0; 32];
        runtime.fill_random(&mut bytes);
        for peer in self.dht.closest_peers(Key::from_bytes(bytes)).await.unwrap_or_default() {
            news |= self.see(Candidate::told(peer.record().clone(), peer.reached()));
        }
        news
    }

    /// The node has dialed a peer. The DHT may have lost it, or never had it in its table.
    fn connected(&self, peer_id: &PeerId) {
        let known = lock(&self.seen).peek(peer_id).map(|known| (known.record.clone(), known.reached));
        if let Some((record, reached)) = known {
            self.dht.shared().engine(|engine, now| engine.connected_elsewhere(now, &record, reached));
        }
    }

    fn see(&self, candidate: Candidate) -> bool {
        let peer_id = candidate.record.peer_id();
        let mut seen = lock(&self.seen);
        let newer = seen.peek(&peer_id).is_none_or(|known| candidate.record.is_newer_than(&known.record));
        if newer {
            return seen.insert(peer_id, candidate).is_none();
        }
        false
    }

    /// Tells the node's monitor, and those who wait for candidates.
    async fn forward(self: Arc<Self>, mut events: EventListener<KademliaEvent>) {
        loop {
            let event = match events.recv().await {
                Ok(event) => event,
                Err(RecvError::Closed) => return,
                Err(_) => continue,
            };
            let Some(context) = self.context.get() else { return };
            match event {
                KademliaEvent::SeedingStarted => context.emit(Kind::LookupStarted, None, None),
                KademliaEvent::SeedingEnded { contacts: 0 } => context.emit(Kind::LookupFailed, None, None),
                KademliaEvent::SeedingEnded { contacts } => context.emit(Kind::LookupSucceeded(contacts), None, None),
                KademliaEvent::RefreshStarted => context.emit(Kind::RefreshStarted, None, None),
                KademliaEvent::RefreshEnded { alive: 0, .. } => context.emit(Kind::RefreshFailed, None, None),
                KademliaEvent::RefreshEnded { alive, .. } => context.emit(Kind::RefreshSucceeded(alive), None, None),
                KademliaEvent::ContactRemoved(peer_id) => {
                    lock(&self.seen).remove(&peer_id);
                    context.emit(Kind::EntryEvicted, None, Some(peer_id));
                }
                KademliaEvent::ContactAdded(_) | KademliaEvent::Nearby(_) => self.changed.notify_one(),
                KademliaEvent::ListenFailed { endpoint, kind, .. } => {
                    context.emit(Kind::ListenFailed(kind), Some(endpoint), None);
                }
                KademliaEvent::Listening { endpoint } => context.emit(Kind::Listening, Some(endpoint), None),
                KademliaEvent::StaysClient(reason) => {
                    let tried = match reason {
                        ClientReason::Unreached { tried } => tried.into_iter().next(),
                        _ => None,
                    };
                    context.emit(Kind::StaysClient, tried, None);
                }
                KademliaEvent::ModeChanged(_) | KademliaEvent::RecordChanged(_) => {}
            }
        }
    }
}

impl fmt::Debug for KademliaDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KademliaDiscovery").field("dht", &self.inner.dht).finish_non_exhaustive()
    }
}
