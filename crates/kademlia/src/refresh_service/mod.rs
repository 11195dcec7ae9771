//! Liveness over udp: pings that are asked for, and pongs for the pings of others.
//!
//! A pong is signed, so a contact that answers holds its key; nothing follows from a ping but a pong, which is never
//! larger. How many are answered is the [`DatagramLimiter`](crate::message::DatagramLimiter)'s to say: what is beyond
//! is met with silence.

mod outstanding;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_core::runtime::{SteadyUdp, UdpSocket, choose_local};
use p2p_core::{EventBus, PeerId, Runtime, TaskGroup};
use p2p_identity::access::{AccessControl, Action, Direction, Subject};
use p2p_identity::{Error, KeyPair, Result};
use p2p_net::{Endpoint, Transport};
use tokio::sync::{Semaphore, oneshot};

use self::outstanding::Outstanding;
use crate::message::{Datagram, DatagramLimiter, DatagramLimits, NONCE_LEN, Ping, Pong};
use crate::socket_events::pass_on;
use crate::{KademliaEvent, RttEstimator};

/// Contacts that are being pinged at the same time; further ones wait.
const MAX_PINGS: usize = 256;

/// Pings of one contact before it counts as gone: one may get lost, and so may the next.
const TRIES: u32 = 3;

/// How long the first of them is waited for; each further one twice as long as the one before.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_millis(300)..=Duration::from_secs(2);

/// Whether the node has a reason to think that this peer is at this address.
pub(crate) type Known = Arc<dyn Fn(&PeerId, IpAddr) -> bool + Send + Sync>;

/// Pings and answers pings. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct RefreshService(Arc<Inner>);

struct Inner {
    runtime: Arc<dyn Runtime>,
    key_pair: KeyPair,
    network: String,
    known: Known,
    access: Arc<dyn AccessControl>,
    events: EventBus<KademliaEvent>,
    /// The sequence number of our record; 0 while there is none.
    seq: AtomicU64,
    sockets: Mutex<Vec<Arc<SteadyUdp>>>,
    limiter: Mutex<DatagramLimiter>,
    outstanding: Mutex<Outstanding>,
    rtt: Mutex<RttEstimator>,
    permits: Semaphore,
}

/// A contact that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alive {
    /// The sequence number of its record.
    pub(crate) seq: u64,
    /// How long the answer took.
    pub(crate) rtt: Duration,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // All of them are valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RefreshService {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        key_pair: KeyPair,
        network: &str,
        limits: DatagramLimits,
        known: Known,
        access: Arc<dyn AccessControl>,
        events: EventBus<KademliaEvent>,
    ) -> Self {
        let now = runtime.now();
        Self(Arc::new(Inner {
            runtime,
            key_pair,
            network: network.into(),
            known,
            access,
            events,
            seq: AtomicU64::new(0),
            sockets: Mutex::default(),
            limiter: Mutex::new(DatagramLimiter::new(limits, now)),
            outstanding: Mutex::default(),
            rtt: Mutex::default(),
            permits: Semaphore::new(MAX_PINGS),
        }))
    }

    /// Answers pings that come to `endpoint`, and sends pings from there; the endpoint with the port that the system
    /// chose.
    ///
    /// # Errors
    /// What the system says, as [`p2p_net::Error::Listen`]; a name that is no address.
    pub(crate) async fn listen(&self, endpoint: &Endpoint, tasks: &TaskGroup) -> Result<Endpoint> {
        let inner = &self.0;
        let failed =
            |error| Error::from(p2p_net::Error::Listen { endpoint: endpoint.clone(), source: Arc::new(error) });
        let addresses = match endpoint.addr() {
            p2p_net::Addr::Name(name) => inner.runtime.resolve(name).await.map_err(failed)?,
            addr => addr.ip().into_iter().collect(),
        };
        let mut bound = Err(std::io::ErrorKind::AddrNotAvailable.into());
        for ip in addresses {
            bound = SteadyUdp::bind(inner.runtime.clone(), SocketAddr::new(ip, endpoint.port()));
            if bound.is_ok() {
                break;
            }
        }
        let socket = bound.map_err(failed)?;
        let local = Endpoint::from_socket_addr(Transport::Udp, socket.local_addr());
        lock(&inner.sockets).push(socket.clone());
        tasks.spawn("dht socket", pass_on(local.clone(), socket.events(), inner.events.clone()));
        tasks.spawn("dht datagrams", receive(inner.clone(), socket));
        Ok(local)
    }

    /// Gives the ports back; tasks that still hold a socket are the group's to end.
    pub(crate) fn close(&self) {
        lock(&self.0.sockets).drain(..).for_each(|socket| socket.close());
    }

    /// Tells the sequence number of our own record.
    pub(crate) fn set_seq(&self, seq: u64) {
        self.0.seq.store(seq, Ordering::Relaxed);
    }

    /// Pings a contact, several times if need be. Cancel-safe.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::NoAddress`] when no socket reaches it; [`Error::Denied`].
    pub(crate) async fn ping(&self, peer_id: PeerId, address: SocketAddr) -> Result<Alive> {
        let inner = &*self.0;
        if !inner.allows(address, Some(peer_id), Direction::Outbound) {
            return Err(Error::Denied(address.to_string()));
        }
        let socket = inner.socket_for(address).ok_or(Error::NoAddress(peer_id))?;
        // The semaphore is never closed.
        let _permit = inner.permits.acquire().await.map_err(|_| Error::ShutDown)?;
        let (answered, mut answer) = oneshot::channel();
        let ticket = lock(&inner.outstanding).begin(address, answered);
        let _waiting = Waiting { inner, ticket };
        let mut wait = lock(&inner.rtt).timeout().clamp(*WAIT.start(), *WAIT.end());
        for _ in 0..TRIES {
            let mut nonce = [0; NONCE_LEN];
            inner.runtime.fill_random(&mut nonce);
            let from = inner.key_pair.peer_id();
            let ping = Ping { from, to: peer_id, nonce, seq: inner.seq.load(Ordering::Relaxed) };
            lock(&inner.outstanding).sent(ticket, ping, inner.runtime.now());
            socket::send(&socket, address, &Datagram::Ping(ping).encode()).await;
            match inner.runtime.timeout(wait, &mut answer).await {
                Ok(Ok(alive)) => {
                    lock(&inner.rtt).observe(alive.rtt);
                    return Ok(alive);
                }
                Ok(Err(_)) => return Err(Error::ShutDown),
                Err(_) => wait *= 2,
            }
        }
        Err(Error::Timeout("waiting for a pong"))
    }
}

/// Forgets a ping however its call ends.
struct Waiting<'a> {
    inner: &'a Inner,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.inner.outstanding).end(self.ticket);
    }
}

async fn receive(inner: Arc<Inner>, socket: Arc<SteadyUdp>) {
    let mut receiver = socket::Receiver::new(socket.clone());
    loop {
        receiver
            .receive(|source, bytes| {
                let now = inner.runtime.now();
                match Datagram::decode(bytes) {
                    Ok(Datagram::Ping(ping)) => {
                        if let Some(pong) = inner.answer(now, source, &ping) {
                            // What the system's buffer has no room for is lost, as any datagram may be.
                            socket::send_now(&socket, source, &Datagram::Pong(pong).encode());
                        }
                    }
                    Ok(Datagram::Pong(pong)) => inner.on_pong(now, source, &pong),
                    Err(error) => tracing::trace!(%source, %error, "not a datagram of ours"),
                }
            })
            .await;
    }
}

impl Inner {
    fn answer(&self, now: Instant, source: SocketAddr, ping: &Ping) -> Option<Pong> {
        if ping.to != self.key_pair.peer_id() {
            return None;
        }
        if !self.allows(source, None, Direction::Inbound) {
            return None;
        }
        let known = (self.known)(&ping.from, source.ip());
        if !lock(&self.limiter).admit(now, source, known) {
            return None;
        }
        ping.answer(&self.key_pair, &self.network, self.seq.load(Ordering::Relaxed))
    }

    /// Who sent a datagram is not proven, so only its address counts then.
    fn allows(&self, address: SocketAddr, peer_id: Option<PeerId>, direction: Direction) -> bool {
        let endpoint = Endpoint::from_socket_addr(Transport::Udp, address).with_peer_id(peer_id);
        self.access.allow(&Subject::Endpoint(&endpoint), Action::Probe(direction))
    }

    fn on_pong(&self, now: Instant, source: SocketAddr, pong: &Pong) {
        // The signature is looked at without the lock, and only when somebody waits for this nonce from there.
        let Some((ticket, ping, sent)) = lock(&self.outstanding).find(source, &pong.nonce) else { return };
        if pong.answers(&ping, &self.network)
            && let Some(answered) = lock(&self.outstanding).end(ticket)
        {
            // Who waited may have given up.
            let _ = answered.send(Alive { seq: pong.seq, rtt: now.saturating_duration_since(sent) });
        }
    }

    /// The socket that the route to this address uses, if there is one.
    fn socket_for(&self, address: SocketAddr) -> Option<Arc<SteadyUdp>> {
        let sockets = lock(&self.sockets).clone();
        let bound: Vec<_> = sockets.iter().map(|socket| socket.local_addr()).collect();
        let chosen = choose_local(&*self.runtime, &bound, address).ok().flatten()?;
        sockets.get(chosen).cloned()
    }
}

impl std::fmt::Debug for RefreshService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshService").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use p2p_identity::access::AllowAll;
    use p2p_sim::{Host, HostConfig, Sim};

    use super::*;

    fn service(host: &Host, n: u8) -> (RefreshService, PeerId) {
        let key = KeyPair::from_seed([n; 32]);
        let (access, events) = (Arc::new(AllowAll), EventBus::new(1));
        let peer_id = key.peer_id();
        let service = RefreshService::new(
            host.runtime(),
            key,
            "net",
            DatagramLimits::default(),
            Arc::new(|_, _| true),
            access,
            events,
        );
        (service, peer_id)
    }

    #[test]
    fn pings_leave_from_the_socket_that_their_route_uses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let sim = Sim::new(1);
        sim.network().separate(ip("10.8.0.0"), 16);
        let both = sim.add_host(HostConfig::new("both").addresses([ip("45.1.1.1"), ip("10.8.0.1")]));
        let inside = sim.add_host(HostConfig::new("inside").addresses([ip("10.8.0.2")]));
        let outside = sim.add_host(HostConfig::new("outside").addresses([ip("45.1.2.1")]));
        sim.block_on(async {
            let at = |host: &Host, place: usize| {
                Endpoint::from_socket_addr(Transport::Udp, (host.addresses()[place], 4004).into())
            };
            for order in [[0, 1], [1, 0]] {
                let tasks = TaskGroup::new(both.runtime());
                let (here, _) = service(&both, 1);
                for place in order {
                    here.listen(&at(&both, place), &tasks).await.unwrap();
                }
                for (host, n) in [(&inside, 2), (&outside, 3)] {
                    let others = TaskGroup::new(host.runtime());
                    let (there, peer_id) = service(host, n);
                    let endpoint = there.listen(&at(host, 0), &others).await.unwrap();
                    let alive = here.ping(peer_id, endpoint.socket_addr().unwrap()).await;
                    assert!(alive.is_ok(), "{order:?}, {endpoint}: {alive:?}");
                    there.close();
                    others.shutdown().await;
                }
                here.close();
                tasks.shutdown().await;
            }
        });
    }
}
