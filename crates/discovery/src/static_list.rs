//! [`StaticDiscovery`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use p2p_core::{Backoff, PeerId};
use p2p_identity::Error;
use p2p_net::Endpoint;
use tokio::sync::Notify;

use crate::{Departures, DiscoveredPeer, Discovery, DiscoveryContext, PeerConnectionEvent};

/// The first wait before a peer is offered again after it failed or went.
const RETRY_BASE: Duration = Duration::from_secs(1);

/// The longest such wait.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// The longest such wait for a peer that has been connected, and for all while nobody is: it is the network then that is
/// away. It bounds how late they come back after that.
const RETURN_MAX: Duration = Duration::from_secs(25);

/// How long a banned peer is left out.
const BANNED: Duration = Duration::from_secs(600);

/// A list of endpoints that the application keeps. Each is offered once, in random order, and again with growing waits after a
/// connection to it failed or ended; those that have answered before come first then, every second time. It knows of no items:
/// `find_peers_with` finds nobody.
///
/// ```
/// use p2p_discovery::StaticDiscovery;
///
/// let discovery = StaticDiscovery::new(["quic://192.0.2.1:9000".parse()?]);
/// discovery.insert("tls://192.0.2.2:9000".parse()?);
/// assert_eq!(discovery.endpoints().len(), 2);
/// # Ok::<(), p2p_net::endpoint::ParseEndpointError>(())
/// ```
#[derive(Debug, Default)]
pub struct StaticDiscovery {
    context: OnceLock<DiscoveryContext>,
    state: Mutex<List>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct List {
    entries: BTreeMap<Endpoint, Entry>,
    /// Peers of the node, on the list or not.
    connected: BTreeSet<PeerId>,
    /// How often somebody was offered.
    offers: u64,
}

#[derive(Debug)]
struct Entry {
    state: State,
    backoff: Backoff,
    departures: Departures,
    /// Who answered there, where the endpoint names nobody.
    answered: Option<PeerId>,
    /// Drawn once, so that nobody is last because of its address.
    order: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be offered.
    Due,
    /// To be offered again then.
    Waiting(Instant),
    /// Offered, and not heard of since; or connected.
    Offered,
    /// It is this node itself, as long as the network does not change.
    Own,
}

/// The lower, the sooner.
type Rank = (u8, Option<Instant>, u64);

impl Entry {
    fn new(order: u64) -> Self {
        Self {
            state: State::Due,
            backoff: Backoff::new(RETRY_BASE, RETRY_MAX),
            departures: Departures::default(),
            answered: None,
            order,
        }
    }

    /// Of those that are due the lowest is offered: whoever has answered before, then whoever was never tried, then whoever has
    /// waited longest. Every second time those who have answered before are the last, so that the others have their turn even
    /// where many have answered once and never again.
    fn rank(&self, known_first: bool) -> Rank {
        match (self.answered, self.state) {
            (Some(_), State::Waiting(at)) => (if known_first { 0 } else { 3 }, Some(at), self.order),
            (None, State::Waiting(at)) => (2, Some(at), self.order),
            _ => (1, None, self.order),
        }
    }
}

impl StaticDiscovery {
    /// Offers these endpoints.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Arc<Self> {
        let discovery = Arc::new(Self::default());
        endpoints.into_iter().for_each(|endpoint| discovery.insert(endpoint));
        discovery
    }

    /// Adds an endpoint, to be offered at once; one that is there already stays as it is.
    pub fn insert(&self, endpoint: Endpoint) {
        let order = self.context.get().map_or(0, |context| context.runtime.random_u64());
        self.lock().entries.entry(endpoint).or_insert_with(|| Entry::new(order));
        self.changed.notify_one();
    }

    /// Offers an endpoint no more. A connection to it stays. Tells whether it was there.
    pub fn remove(&self, endpoint: &Endpoint) -> bool {
        self.lock().entries.remove(endpoint).is_some()
    }

    /// The endpoints on the list.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.lock().entries.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        // Both fields are valid by themselves.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an endpoint that is due; else tells when the next one will be.
    fn take(&self, now: Option<Instant>) -> Result<Endpoint, Option<Instant>> {
        let mut state = self.lock();
        let known_first = state.offers.is_multiple_of(2);
        let mut next = None;
        let mut first: Option<(Rank, &Endpoint, &mut Entry)> = None;
        for (endpoint, entry) in &mut state.entries {
            match (entry.state, now) {
                (State::Waiting(at), Some(now)) if at > now => {
                    next = Some(next.map_or(at, |next: Instant| next.min(at)));
                }
                (State::Due | State::Waiting(_), _) => {
                    let rank = entry.rank(known_first);
                    if first.as_ref().is_none_or(|(lowest, ..)| rank < *lowest) {
                        first = Some((rank, endpoint, entry));
                    }
                }
                (State::Offered | State::Own, _) => {}
            }
        }
        let (_, endpoint, entry) = first.ok_or(next)?;
        entry.state = State::Offered;
        let endpoint = endpoint.clone();
        state.offers += 1;
        Ok(endpoint)
    }

    /// Changes the entries that an event is about.
    fn update(&self, peer_id: Option<PeerId>, endpoint: Option<&Endpoint>, change: impl Fn(&mut Entry)) {
        for (known, entry) in self.lock().entries.iter_mut() {
            let same_peer = peer_id.is_some() && (known.peer_id() == peer_id || entry.answered == peer_id);
            let same_place = endpoint.is_some_and(|endpoint| is_same_place(known, endpoint));
            if same_peer || same_place {
                change(entry);
            }
        }
        self.changed.notify_one();
    }

    /// Somebody answers at an endpoint that may name nobody.
    fn answered(&self, peer_id: PeerId, endpoint: &Endpoint) {
        let is_there = self.lock().connected.contains(&peer_id);
        self.update(None, Some(endpoint), |entry| {
            let is_new = entry.answered.replace(peer_id) != Some(peer_id);
            // Whoever has gone before it was known to be there is told of no more.
            if is_new
                && !is_there
                && entry.state == State::Offered
                && let Some(context) = self.context.get()
            {
                let wait = entry.backoff.next(&*context.runtime).min(RETURN_MAX);
                entry.state = State::Waiting(context.runtime.now() + wait);
            }
        });
    }

    /// The peer may be offered again after a while.
    fn retry(&self, peer_id: Option<PeerId>, endpoint: Option<&Endpoint>, at_least: Duration) {
        let Some(context) = self.context.get() else { return };
        let runtime = &*context.runtime;
        let is_alone = self.lock().connected.is_empty();
        self.update(peer_id, endpoint, |entry| {
            let longest = if is_alone || entry.answered.is_some() { RETURN_MAX } else { RETRY_MAX };
            let wait = entry.backoff.next(runtime).min(longest).max(at_least);
            entry.state = State::Waiting(runtime.now() + wait);
        });
    }
}

/// Whether two endpoints are one place, whoever is expected there.
fn is_same_place(one: &Endpoint, other: &Endpoint) -> bool {
    (one.transport(), one.addr(), one.port()) == (other.transport(), other.addr(), other.port())
}

#[async_trait]
impl Discovery for StaticDiscovery {
    fn init(&self, ctx: DiscoveryContext) {
        // A discovery serves one node: a second one's context is ignored.
        if self.context.set(ctx.clone()).is_ok() {
            self.lock().entries.values_mut().for_each(|entry| entry.order = ctx.runtime.random_u64());
        }
    }

    async fn start(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    async fn shutdown(&self) {}

    async fn recv(&self) -> DiscoveredPeer {
        let runtime = self.context.get().map(|context| context.runtime.clone());
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let next = match self.take(runtime.as_ref().map(|runtime| runtime.now())) {
                Ok(endpoint) => return endpoint.into(),
                Err(next) => next,
            };
            let mut sleep = next.zip(runtime.as_ref()).map(|(next, runtime)| runtime.sleep_until(next));
            poll_fn(|cx| {
                let over = sleep.as_mut().is_some_and(|sleep| Pin::new(sleep).poll(cx).is_ready());
                if over || changed.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        match event {
            PeerConnectionEvent::Connected { peer_id, endpoint, outbound } => {
                self.lock().connected.insert(peer_id);
                let endpoint = outbound.then_some(&endpoint);
                let now = self.context.get().map(|context| context.runtime.now());
                self.update(Some(peer_id), endpoint, |entry| {
                    entry.state = State::Offered;
                    entry.answered = Some(peer_id);
                    entry.backoff.reset();
                    now.into_iter().for_each(|now| entry.departures.connected(now));
                });
            }
            PeerConnectionEvent::Disconnected { peer_id, reason, .. } => {
                self.lock().connected.remove(&peer_id);
                let Some(context) = self.context.get() else { return };
                let (runtime, now) = (&*context.runtime, context.runtime.now());
                self.update(Some(peer_id), None, |entry| {
                    let at_least = entry.departures.disconnected(now, &reason);
                    let wait = entry.backoff.next(runtime).min(RETURN_MAX);
                    if at_least > wait {
                        // A change of the network is no reason to try sooner.
                        entry.backoff.reset();
                    }
                    entry.state = State::Waiting(now + wait.max(at_least));
                });
            }
            PeerConnectionEvent::Answered { peer_id, endpoint } => self.answered(peer_id, &endpoint),
            PeerConnectionEvent::ConnectFailed { peer_id, endpoint } => {
                self.retry(peer_id, Some(&endpoint), Duration::ZERO);
            }
            // A name may get other addresses.
            PeerConnectionEvent::Own { endpoint } if endpoint.addr().ip().is_none() => {
                self.retry(None, Some(&endpoint), Duration::ZERO);
            }
            PeerConnectionEvent::Own { endpoint } => {
                self.update(None, Some(&endpoint), |entry| entry.state = State::Own);
            }
            PeerConnectionEvent::Banned { peer_id } => {
                self.lock().connected.remove(&peer_id);
                self.retry(Some(peer_id), None, BANNED);
                // What is no failure is not cut short.
                self.update(Some(peer_id), None, |entry| entry.backoff.reset());
            }
        }
    }

    fn network_changed(&self) {
        for entry in self.lock().entries.values_mut() {
            if entry.state == State::Own || (matches!(entry.state, State::Waiting(_)) && entry.backoff.failures() > 0) {
                entry.state = State::Due;
                entry.backoff.reset();
            }
        }
        self.changed.notify_one();
    }

    fn find_peers_with(&self, _item: &[u8]) -> Vec<DiscoveredPeer> {
        Vec::new()
    }
}
