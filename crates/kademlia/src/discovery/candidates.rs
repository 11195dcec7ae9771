//! Whom to connect to. Decides only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use hashlink::LruCache;
use p2p_core::{Backoff, PeerId};
use p2p_discovery::{Departures, DiscoveredPeer, PeerConnectionEvent};
use p2p_identity::{Bloom, PeerRecord, Prefix, ProtocolKind};
use p2p_net::{Endpoint, PeerAddr};

use crate::address::believed;

/// Peers of which something is remembered; the longest untouched is evicted.
const REMEMBERED: usize = 4096;

/// The waits after a peer could not be connected to, or went.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(600);

/// The longest such wait for one that has been connected, and for all while nobody is: it is the network then that is away.
/// It bounds how late they come back after that.
const RETURN_MAX: Duration = Duration::from_secs(25);

/// How long a peer that was handed out is waited for; if nothing was heard of it then, nobody has dialed it.
const OFFER: Duration = Duration::from_secs(60);

/// How long a banned peer is left alone. A ban may be shorter or longer; the pool knows.
const BANNED: Duration = Duration::from_secs(3600);

/// What the node offers, and what became of the peers it was told of.
pub(super) struct Candidates {
    own: PeerId,
    items: BTreeMap<Vec<u8>, ProtocolKind>,
    peers: LruCache<PeerId, Known>,
}

struct Known {
    standing: Standing,
    backoff: Backoff,
    departures: Departures,
    /// Whether it has been connected.
    met: bool,
    /// Where it is connected, or was to be.
    ip: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Connected,
    /// Not before then.
    Until(Instant),
    /// Not before then, whatever happens.
    Shunned(Instant),
}

/// A peer that may be connected to.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) record: PeerRecord,
    /// From where its record was told.
    pub(super) reached: IpAddr,
    /// Where it is behind the same public address as this node.
    pub(super) near: Vec<PeerAddr>,
}

impl Candidate {
    pub(super) fn told(record: PeerRecord, reached: IpAddr) -> Self {
        Self { record, reached, near: Vec::new() }
    }

    /// One that is known to be behind the same public address, and by nothing else.
    pub(super) fn near(record: &PeerRecord, addrs: &[PeerAddr]) -> Self {
        // Nothing else that its record says is believed.
        Self { record: record.clone(), reached: Ipv4Addr::UNSPECIFIED.into(), near: addrs.to_vec() }
    }

    /// Where it takes connections, as far as that can be believed.
    pub(super) fn addrs(&self) -> Vec<PeerAddr> {
        let usable = |endpoint: &Endpoint| {
            endpoint.transport().is_connection()
                && (cfg!(feature = "quic") || endpoint.transport() != p2p_net::Transport::Quic)
        };
        let told = believed(self.record.addrs(), self.reached)
            .filter(|told| self.near.iter().all(|near| near.endpoint != told.endpoint));
        self.near.iter().chain(told).filter(|addr| usable(&addr.endpoint)).cloned().collect()
    }

    pub(super) fn discovered(&self) -> DiscoveredPeer {
        DiscoveredPeer {
            peer_id: Some(self.record.peer_id()),
            addrs: self.addrs(),
            discovery_addrs: believed(self.record.discovery_addrs(), self.reached).cloned().collect(),
        }
    }
}

impl Candidates {
    pub(super) fn new(own: PeerId) -> Self {
        Self { own, items: BTreeMap::new(), peers: LruCache::new(REMEMBERED) }
    }

    /// Whether it is new.
    pub(super) fn advertise(&mut self, item: &[u8], kind: ProtocolKind) -> bool {
        self.items.insert(item.to_vec(), kind).is_none()
    }

    /// Whether it was there.
    pub(super) fn unadvertise(&mut self, item: &[u8]) -> bool {
        self.items.remove(item).is_some()
    }

    /// What a peer must have to be of use: to find it over the network.
    pub(super) fn wanted(&self) -> Vec<Vec<u8>> {
        let of = |wanted: ProtocolKind| {
            self.items.iter().filter(move |(_, kind)| **kind == wanted).map(|(item, _)| item.clone()).collect()
        };
        let mandatory: Vec<_> = of(ProtocolKind::Mandatory);
        if mandatory.is_empty() { of(ProtocolKind::Optional) } else { mandatory }
    }

    /// Whether a peer with these items is worth a connection: it has all that are mandatory, and if none is, one of the
    /// others, as far as the hint says. A node that advertises nothing takes everybody.
    fn matches(&self, items: Bloom) -> bool {
        let has = |kind: ProtocolKind| {
            self.items.iter().filter(move |(_, of)| **of == kind).map(move |(item, _)| items.may_contain(item))
        };
        let (mut mandatory, mut optional) = (has(ProtocolKind::Mandatory), has(ProtocolKind::Optional).peekable());
        let nothing_mandatory = !self.items.values().any(|kind| *kind == ProtocolKind::Mandatory);
        mandatory.all(|has| has) && (!nothing_mandatory || optional.peek().is_none() || optional.any(|has| has))
    }

    /// Takes the best of the candidates: of the subnet with the fewest peers, and of those the one with the most items
    /// in common; `tie` is random.
    ///
    /// # Errors
    /// When there is none now: when one of them will be, if that is known.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        candidates: impl IntoIterator<Item = Candidate>,
        allowed: impl Fn(&Endpoint) -> bool,
        mut tie: impl FnMut() -> u64,
    ) -> Result<Candidate, Option<Instant>> {
        let crowds = self.crowds(now);
        let mut next: Option<Instant> = None;
        let mut best: Option<(_, Candidate)> = None;
        for candidate in candidates {
            let peer_id = candidate.record.peer_id();
            let addrs = candidate.addrs();
            let Some(first) = addrs.first() else { continue };
            if peer_id == self.own || !self.matches(candidate.record.items()) {
                continue;
            }
            match self.peers.peek(&peer_id).map(|known| known.standing) {
                Some(Standing::Connected) => continue,
                Some(Standing::Until(until) | Standing::Shunned(until)) if until > now => {
                    next = Some(next.map_or(until, |next| next.min(until)));
                    continue;
                }
                _ => {}
            }
            if !addrs.iter().any(|addr| allowed(&addr.endpoint)) {
                continue;
            }
            let crowd = first.endpoint.addr().ip().and_then(|ip| crowds.get(&Prefix::of(ip))).copied().unwrap_or(0);
            let common = self.items.keys().filter(|item| candidate.record.items().may_contain(item)).count();
            let rank = (crowd, Reverse(common), tie());
            if best.as_ref().is_none_or(|(than, _)| rank < *than) {
                best = Some((rank, candidate));
            }
        }
        let (_, best) = best.ok_or(next)?;
        let ip = best.addrs().first().and_then(|addr| addr.endpoint.addr().ip());
        self.change(best.record.peer_id(), |known| (known.standing, known.ip) = (Standing::Until(now + OFFER), ip));
        Ok(best)
    }

    /// What became of a peer. `wait` draws the next wait from a back-off.
    pub(super) fn on_event(
        &mut self,
        now: Instant,
        event: &PeerConnectionEvent,
        wait: impl Fn(&mut Backoff) -> Duration,
    ) {
        let failed =
            matches!(event, PeerConnectionEvent::ConnectFailed { .. } | PeerConnectionEvent::Disconnected { .. });
        let is_alone = failed && !self.peers.iter().any(|(_, known)| known.standing == Standing::Connected);
        let retry = |known: &mut Known| {
            let wait = wait(&mut known.backoff);
            known.standing = Standing::Until(now + if known.met || is_alone { wait.min(RETURN_MAX) } else { wait });
        };
        match event {
            PeerConnectionEvent::Connected { peer_id, endpoint, .. } => self.change(*peer_id, |known| {
                known.standing = Standing::Connected;
                known.met = true;
                known.departures.connected(now);
                known.ip = endpoint.addr().ip();
                known.backoff.reset();
            }),
            PeerConnectionEvent::Disconnected { peer_id, reason, .. } => self.change(*peer_id, |known| {
                let at_least = known.departures.disconnected(now, reason);
                retry(known);
                match &mut known.standing {
                    Standing::Until(until) if *until < now + at_least => {
                        known.standing = Standing::Shunned(now + at_least);
                    }
                    _ => {}
                }
            }),
            PeerConnectionEvent::ConnectFailed { peer_id, endpoint } => {
                let peer_id = peer_id.or(endpoint.peer_id());
                let is_there = |peer_id: &PeerId| {
                    self.peers.peek(peer_id).is_some_and(|known| known.standing == Standing::Connected)
                };
                // Of two connections that crossed only one stays: that the other failed is no failure.
                if let Some(peer_id) = peer_id.filter(|peer_id| !is_there(peer_id)) {
                    self.change(peer_id, retry);
                }
            }
            PeerConnectionEvent::Banned { peer_id } => {
                self.change(*peer_id, |known| known.standing = Standing::Shunned(now + BANNED));
            }
            _ => {}
        }
    }

    /// The network has changed: peers that could not be reached are worth another try.
    pub(super) fn network_changed(&mut self, now: Instant) {
        for (_, known) in self.peers.iter_mut().filter(|(_, known)| known.backoff.failures() > 0) {
            if let Standing::Until(until) = &mut known.standing {
                *until = now;
                known.backoff.reset();
            }
        }
    }

    /// How many peers there are of each prefix, those on their way included.
    fn crowds(&self, now: Instant) -> BTreeMap<Prefix, usize> {
        let mut crowds = BTreeMap::new();
        let there = |known: &&Known| match known.standing {
            Standing::Connected => true,
            Standing::Until(until) => until > now && known.backoff.failures() == 0,
            Standing::Shunned(_) => false,
        };
        for ip in self.peers.iter().map(|(_, known)| known).filter(there).filter_map(|known| known.ip) {
            *crowds.entry(Prefix::of(ip)).or_insert(0) += 1;
        }
        crowds
    }

    fn change(&mut self, peer_id: PeerId, change: impl FnOnce(&mut Known)) {
        let mut known = self.peers.remove(&peer_id).unwrap_or_else(|| Known {
            standing: Standing::Connected,
            backoff: Backoff::new(RETRY_BASE, RETRY_MAX),
            departures: Departures::default(),
            met: false,
            ip: None,
        });
        change(&mut known);
        self.peers.insert(peer_id, known);
    }
}

/// Records of which candidates are made, each peer once, the first one told.
pub(super) fn once_each(candidates: impl IntoIterator<Item = Candidate>) -> impl Iterator<Item = Candidate> {
    let mut seen = BTreeSet::new();
    candidates.into_iter().filter(move |candidate| seen.insert(candidate.record.peer_id()))
}

#[cfg(test)]
mod tests {
    use p2p_identity::{DisconnectReason, KeyPair};

    use super::*;

    fn id(n: u8) -> PeerId {
        KeyPair::from_seed([n; 32]).peer_id()
    }

    fn candidate(n: u8, prefix: u8, items: &[&str]) -> Candidate {
        let endpoint: Endpoint = format!("tls://9.9.{prefix}.{n}:1").parse().unwrap();
        let builder = PeerRecord::builder().addr(endpoint).items(items.iter().collect());
        let record = builder.sign(&KeyPair::from_seed([n; 32]), 1).unwrap();
        Candidate::told(record, IpAddr::from([9, 9, 9, 9]))
    }

    fn at(n: u8) -> Endpoint {
        format!("tls://9.9.{n}.1:1").parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn choose(candidates: &mut Candidates, now: Instant, from: &[Candidate]) -> Result<PeerId, Option<Instant>> {
        let chosen = candidates.choose(now, from.iter().cloned(), |_| true, || 0);
        chosen.map(|chosen| chosen.record.peer_id())
    }

    #[test]
    fn it_hands_out_who_matches_and_nobody_twice() {
        let now = start();
        let mut candidates = Candidates::new(id(1));
        candidates.advertise(b"must", ProtocolKind::Mandatory);
        candidates.advertise(b"may", ProtocolKind::Optional);
        let all = [
            candidate(1, 1, &["must", "may"]),
            candidate(2, 2, &["may"]),
            candidate(3, 3, &["must"]),
            candidate(4, 4, &["must", "may"]),
        ];
        assert_eq!(choose(&mut candidates, now, &all), Ok(id(4)), "it has more in common");
        assert_eq!(choose(&mut candidates, now, &all), Ok(id(3)));
        assert_eq!(choose(&mut candidates, now, &all), Err(Some(now + OFFER)), "not itself, and not who lacks an item");
        let later = now + OFFER;
        assert!(choose(&mut candidates, later, &all).is_ok(), "nothing was heard of it");

        let mut candidates = Candidates::new(id(1));
        assert_eq!(choose(&mut candidates, now, &all[1..2]), Ok(id(2)), "who wants nothing takes everybody");
        let mut candidates = Candidates::new(id(1));
        candidates.advertise(b"may", ProtocolKind::Optional);
        assert_eq!(choose(&mut candidates, now, &all[2..3]), Err(None));
        assert_eq!(candidates.wanted(), [b"may".to_vec()]);
        let denied = candidates.choose(now, all[3..4].iter().cloned(), |_| false, || 0);
        assert_eq!(denied.map(|one| one.record.peer_id()), Err(None));
    }

    #[test]
    fn subnets_with_few_peers_come_first() {
        let now = start();
        let mut candidates = Candidates::new(id(1));
        let connected =
            |n, prefix| PeerConnectionEvent::Connected { peer_id: id(n), endpoint: at(prefix), outbound: true };
        for (n, prefix) in [(10, 2), (11, 2), (12, 3)] {
            candidates.on_event(now, &connected(n, prefix), |_| Duration::ZERO);
        }
        let all = [candidate(2, 2, &[]), candidate(3, 3, &[]), candidate(4, 4, &[]), candidate(5, 4, &[])];
        let order: Vec<_> = (0..4).map(|_| choose(&mut candidates, now, &all).unwrap()).collect();
        assert_eq!(order[0], id(4));
        assert!(order[1..3].contains(&id(3)) && order[1..3].contains(&id(5)), "one each");
        assert_eq!(order[3], id(2));
    }

    #[test]
    fn a_peer_that_fails_is_left_alone_for_longer_and_longer() {
        let mut now = start();
        let mut candidates = Candidates::new(id(1));
        let all = [candidate(2, 2, &[])];
        let failed = PeerConnectionEvent::ConnectFailed { peer_id: Some(id(2)), endpoint: at(2) };
        let mut before = Duration::ZERO;
        for _ in 0..5 {
            assert_eq!(choose(&mut candidates, now, &all), Ok(id(2)));
            candidates.on_event(now, &failed, |backoff| backoff.next_wait(u64::MAX));
            let Err(Some(next)) = choose(&mut candidates, now, &all) else { panic!() };
            assert!(next - now > before, "{before:?}");
            before = next - now;
            now = next;
        }
        candidates.on_event(now, &PeerConnectionEvent::Banned { peer_id: id(2) }, |_| Duration::ZERO);
        assert_eq!(choose(&mut candidates, now, &all), Err(Some(now + BANNED)));
        let connected = PeerConnectionEvent::Connected { peer_id: id(2), endpoint: at(2), outbound: false };
        candidates.on_event(now, &connected, |_| Duration::ZERO);
        assert_eq!(choose(&mut candidates, now, &all), Err(None), "it is there");
        candidates.on_event(now, &failed, |backoff| backoff.next_wait(u64::MAX));
        assert_eq!(choose(&mut candidates, now, &all), Err(None), "it is there, however a dial that it crossed ended");
        let reason = DisconnectReason::RemoteShutdown;
        let gone = PeerConnectionEvent::Disconnected { peer_id: id(2), endpoint: at(2), reason };
        candidates.on_event(now, &gone, |backoff| backoff.next_wait(u64::MAX));
        assert_eq!(choose(&mut candidates, now, &all), Err(Some(now + RETRY_BASE)), "it began anew");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = start();
        let mut candidates = Candidates::new(id(1));
        for n in 0..REMEMBERED as u32 + 100 {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            let peer_id = PeerId::from_bytes(bytes).unwrap();
            candidates.on_event(now, &PeerConnectionEvent::Banned { peer_id }, |_| Duration::ZERO);
        }
        assert_eq!(candidates.peers.len(), REMEMBERED);
    }

    #[test]
    fn a_change_of_the_network_ends_the_wait_of_those_who_could_not_be_reached() {
        let now = start();
        let mut candidates = Candidates::new(id(1));
        let all = [candidate(2, 2, &[]), candidate(3, 3, &[]), candidate(4, 4, &[])];
        let failed = |n| PeerConnectionEvent::ConnectFailed { peer_id: Some(id(n)), endpoint: at(n) };
        let minute = |_: &mut Backoff| Duration::from_secs(60);
        for _ in &all {
            assert!(choose(&mut candidates, now, &all).is_ok());
        }
        let wait = |backoff: &mut Backoff| {
            backoff.next_wait(0);
            Duration::from_secs(60)
        };
        candidates.on_event(now, &failed(2), wait);
        candidates.on_event(now, &failed(3), wait);
        candidates.on_event(now, &PeerConnectionEvent::Banned { peer_id: id(3) }, minute);
        assert!(choose(&mut candidates, now, &all).is_err());
        candidates.network_changed(now);
        assert_eq!(choose(&mut candidates, now, &all), Ok(id(2)));
        assert!(choose(&mut candidates, now, &all).is_err(), "one is banned, and one is being dialed");
    }

    #[test]
    fn who_has_been_connected_is_not_left_alone_for_long_nor_is_anybody_without_network() {
        let now = start();
        let mut candidates = Candidates::new(id(1));
        let all = [candidate(2, 2, &[])];
        let long = |_: &mut Backoff| RETRY_MAX;
        let failed = PeerConnectionEvent::ConnectFailed { peer_id: Some(id(2)), endpoint: at(2) };
        // While nobody is connected, it is not this peer that is to blame.
        candidates.on_event(now, &failed, long);
        assert_eq!(choose(&mut candidates, now, &all), Err(Some(now + RETURN_MAX)));
        let other = PeerConnectionEvent::Connected { peer_id: id(3), endpoint: at(3), outbound: false };
        candidates.on_event(now, &other, long);
        candidates.on_event(now, &failed, long);
        assert_eq!(choose(&mut candidates, now, &all), Err(Some(now + RETRY_MAX)));
        let connected = PeerConnectionEvent::Connected { peer_id: id(2), endpoint: at(2), outbound: true };
        candidates.on_event(now, &connected, long);
        let reason = DisconnectReason::PingTimeout;
        candidates.on_event(now, &PeerConnectionEvent::Disconnected { peer_id: id(2), endpoint: at(2), reason }, long);
        assert_eq!(choose(&mut candidates, now, &all), Err(Some(now + RETURN_MAX)));
    }
}
