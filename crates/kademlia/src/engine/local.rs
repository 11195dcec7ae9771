//! What the node says of itself, and whether others may pass it on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::record::MAX_ADDRS;
use p2p_identity::{Bloom, KeyPair, PeerRecord};
use p2p_net::{Endpoint, PeerAddr};

use super::{Action, Engine, KademliaEvent, Mode};
use crate::address::{ObservedAddresses, ObservedConfig, ReachedAddresses, Scope, advertised, is_seen_from};
use crate::lookup_service::Target;
use crate::{KademliaConfig, Key};

/// The node itself.
pub(super) struct Local {
    key_pair: KeyPair,
    key: Key,
    /// The highest sequence number that a record of this node may have had.
    seq: u64,
    discovery: Vec<Endpoint>,
    addrs: Vec<Endpoint>,
    /// Where the operator says that these are reached from outside.
    outside: Outside,
    items: BTreeSet<Vec<u8>>,
    observed: ObservedAddresses,
    /// What came of that so far.
    external: Vec<IpAddr>,
    reached: ReachedAddresses,
    /// What would be said of the node in server mode.
    candidate: Option<PeerRecord>,
    /// Where it was last told to be.
    places: Vec<Endpoint>,
    /// What was said of it to somebody who was to try an address.
    trial: Option<PeerRecord>,
    mode: Mode,
    /// Whether nothing is sent of our own accord from where we listen.
    silent: bool,
}

/// Endpoints that are told word for word.
#[derive(Default)]
struct Outside {
    discovery: Vec<Endpoint>,
    addrs: Vec<Endpoint>,
    has_public_ip: [bool; 2],
}

impl Local {
    pub(super) fn new(key_pair: KeyPair, key: Key, config: &KademliaConfig, seq: u64) -> Self {
        let public_ip = config.public_ip;
        let observed = ObservedAddresses::new(ObservedConfig { public_ip, ..ObservedConfig::default() });
        let is = |v4: bool| public_ip.is_some_and(|ip| ip.to_canonical().is_ipv4() == v4);
        let discovery = config.external_endpoints.clone();
        let outside = Outside { discovery, addrs: Vec::new(), has_public_ip: [is(false), is(true)] };
        Self {
            key_pair,
            key,
            seq,
            discovery: Vec::new(),
            addrs: Vec::new(),
            outside,
            items: BTreeSet::new(),
            observed,
            external: Vec::new(),
            reached: ReachedAddresses::default(),
            candidate: None,
            places: Vec::new(),
            trial: None,
            mode: Mode::Client,
            silent: true,
        }
    }

    pub(super) fn peer_id(&self) -> PeerId {
        self.key_pair.peer_id()
    }

    pub(super) fn key(&self) -> Key {
        self.key
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// What others may know.
    pub(super) fn record(&self) -> Option<&PeerRecord> {
        self.candidate.as_ref().filter(|_| self.mode == Mode::Server)
    }

    /// The same, whether or not anybody has reached the node.
    pub(super) fn candidate(&self) -> Option<&PeerRecord> {
        self.candidate.as_ref()
    }

    /// Signs a new record if what it would say has changed; whether it has.
    fn renew(&mut self, now: Instant, force: bool) -> bool {
        self.external = self.observed.external(now);
        let content = self.content(&self.reached.told());
        if !force && self.candidate.as_ref().is_some_and(|record| content.is_in(record)) {
            return false;
        }
        // A number is left for a trial: whoever is told of one must not be able to replace this record by it.
        let seq = self.seq.saturating_add(if self.listens_everywhere() { 2 } else { 1 });
        let record = content.sign(&self.key_pair, seq);
        if record.is_none() && self.candidate.is_none() {
            return false;
        }
        self.seq = seq;
        self.candidate = record;
        true
    }

    /// What would be said of the node were it reached at `ip`: for somebody who is to try that, and nobody else.
    fn trial(&mut self, ip: IpAddr) -> Option<PeerRecord> {
        let content = self.content(&self.reached.told_with(Some(ip)));
        let told = self.candidate.as_ref().map(PeerRecord::seq);
        let last = told.map_or(self.seq, |told| told.saturating_sub(1));
        let same = self.trial.as_ref().filter(|trial| trial.seq() == last && content.is_in(trial));
        if same.is_none() {
            let seq = if told.is_some() { last } else { self.seq.saturating_add(1) };
            self.trial = content.sign(&self.key_pair, seq);
            self.seq = self.seq.max(seq);
        }
        self.trial.clone()
    }

    /// What a record says of a node that was reached at `reached`.
    fn content(&self, reached: &[IpAddr]) -> Content {
        let lists = [(&self.discovery, &self.outside.discovery), (&self.addrs, &self.outside.addrs)];
        let [discovery, addrs] = lists.map(|(listening, outside)| {
            let found = advertised(listening, &self.external, reached);
            let found = found.into_iter().map(|endpoint| endpoint.with_peer_id(self.key_pair.peer_id()));
            let outside = outside.iter().map(|endpoint| endpoint.clone().with_peer_id(self.key_pair.peer_id()));
            let mut endpoints: Vec<Endpoint> = outside.collect();
            for endpoint in found {
                if !endpoints.contains(&endpoint) {
                    endpoints.push(endpoint);
                }
            }
            endpoints.truncate(MAX_ADDRS);
            endpoints
        });
        Content { items: self.items.iter().collect(), discovery, addrs }
    }

    /// What is told to those behind the same router: where this node is there, of the addresses `inside` that its machine
    /// has. Without an address if it listens at none of them.
    pub(super) fn record_inside(&self, inside: &[IpAddr], is_inside: fn(IpAddr) -> bool) -> Option<PeerRecord> {
        let listening = if self.addrs.is_empty() { &self.discovery } else { &self.addrs };
        let mut addrs = advertised(listening, &[], inside);
        addrs.retain(|at| at.transport().is_connection() && at.addr().ip().is_some_and(is_inside));
        addrs.truncate(MAX_ADDRS);
        let own = self.key_pair.peer_id();
        let builder = PeerRecord::builder().items(self.items.iter().collect());
        let builder = addrs.into_iter().fold(builder, |builder, at| builder.addr(at.with_peer_id(own)));
        builder.sign(&self.key_pair, 0).ok()
    }

    /// Where the operator says that the endpoints for peers are reached from outside.
    pub(super) fn set_external_addrs(&mut self, addrs: Vec<Endpoint>) {
        self.outside.addrs = addrs;
    }

    /// Whether the operator says how an address of this machine looks from outside: at which one of the same family this node is
    /// reached.
    pub(super) fn is_told_where_it_is(&self, here: IpAddr) -> bool {
        let is_v4 = here.to_canonical().is_ipv4();
        let outside = self.outside.discovery.iter().chain(&self.outside.addrs);
        let mut ips = outside.filter_map(|endpoint| endpoint.addr().ip());
        self.outside.has_public_ip[usize::from(is_v4)] || ips.any(|ip| ip.to_canonical().is_ipv4() == is_v4)
    }

    /// Where most others see it.
    pub(super) fn seen_at(&self, now: Instant, is_v4: bool) -> Option<IpAddr> {
        self.observed.seen_most(now, is_v4)
    }

    /// Whether it takes connections nowhere.
    pub(super) fn serves_nowhere(&self) -> bool {
        !self.discovery.iter().chain(&self.addrs).any(|endpoint| endpoint.transport().is_connection())
    }

    /// Whether it has no endpoint at all.
    pub(super) fn listens_nowhere(&self) -> bool {
        self.discovery.is_empty() && self.addrs.is_empty()
    }

    /// Whether nothing is to be sent from where it listens: until it has been reached where strangers are. On the loopback there
    /// is nothing to find out.
    fn is_to_be_silent(&self) -> bool {
        let is_public = |addr: &PeerAddr| addr.endpoint.addr().ip().map(Scope::of) == Some(Scope::Public);
        let public = |record: &PeerRecord| record.addrs().iter().chain(record.discovery_addrs()).any(is_public);
        !(self.record().is_some_and(public) || (self.mode == Mode::Server && self.is_loopback_only()))
    }

    /// Whether it listens on all addresses of one family, and nobody has said which those are.
    fn listens_everywhere(&self) -> bool {
        self.listens_everywhere_of(true) || self.listens_everywhere_of(false)
    }

    fn listens_everywhere_of(&self, is_v4: bool) -> bool {
        let is_everywhere = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv4() == is_v4;
        let listens = self.discovery.iter().chain(&self.addrs).filter_map(|endpoint| endpoint.addr().ip());
        !self.external.iter().any(|ip| ip.is_ipv4() == is_v4) && listens.into_iter().any(is_everywhere)
    }

    /// Whether it has nothing to say of itself before it knows where it is reached.
    pub(super) fn is_nowhere(&self) -> bool {
        self.candidate.is_none() && self.listens_everywhere()
    }

    /// Whether all that is listened at is the loopback, where nothing stands between this node and those who know of
    /// it.
    fn is_loopback_only(&self) -> bool {
        let Some(record) = &self.candidate else { return false };
        let ip = |endpoint: &Endpoint| endpoint.addr().ip().map(Scope::of);
        record.discovery_addrs().iter().chain(record.addrs()).all(|addr| ip(&addr.endpoint) == Some(Scope::Loopback))
    }
}

/// What a record says, unsigned.
struct Content {
    items: Bloom,
    discovery: Vec<Endpoint>,
    addrs: Vec<Endpoint>,
}

impl Content {
    fn is_in(&self, record: &PeerRecord) -> bool {
        record.items() == self.items
            && record.addrs().iter().map(|addr| &addr.endpoint).eq(&self.addrs)
            && record.discovery_addrs().iter().map(|addr| &addr.endpoint).eq(&self.discovery)
    }

    /// `None` if nobody could ask the node: such a record is of no use to anybody.
    fn sign(self, key_pair: &KeyPair, seq: u64) -> Option<PeerRecord> {
        let mut builder = PeerRecord::builder().items(self.items);
        builder = self.addrs.into_iter().fold(builder, |builder, endpoint| builder.addr(endpoint));
        builder = self.discovery.into_iter().fold(builder, |builder, endpoint| builder.discovery_addr(endpoint));
        let record = builder.sign(key_pair, seq);
        let record = record
            .inspect_err(|error| tracing::warn!(%error, "the node's own record cannot be made, and nobody can find it"))
            .ok();
        record.filter(|record| !Target::of(record, IpAddr::from([127, 0, 0, 1])).endpoints.is_empty())
    }
}

impl Engine {
    /// Tells where the node serves the DHT, and where it takes connections of peers; ports resolved.
    pub fn set_endpoints(&mut self, now: Instant, discovery: Vec<Endpoint>, addrs: Vec<Endpoint>) {
        (self.local.discovery, self.local.addrs) = (discovery, addrs);
        self.renew_record(now);
    }

    /// From now on the node advertises `item`: a hint in its record. Whether it did not before.
    pub fn advertise(&mut self, now: Instant, item: &[u8]) -> bool {
        let new = self.local.items.insert(item.to_vec());
        self.renew_record(now);
        new
    }

    /// Takes back what [`advertise`](Self::advertise) told. Whether it had been told.
    pub fn unadvertise(&mut self, now: Instant, item: &[u8]) -> bool {
        let known = self.local.items.remove(item);
        self.renew_record(now);
        known
    }

    /// The network has changed: forgets what was found out at addresses that are gone, and asks anew.
    pub fn network_changed(&mut self, now: Instant, present: Option<&[IpAddr]>, gone: &[IpAddr]) {
        let local = &mut self.local;
        if !gone.is_empty() {
            // Seen from there. What the box in front of that address was is unknown too.
            local.observed.forget();
        }
        local.reached.moved(present, !gone.is_empty());
        if let Some(present) = present {
            self.near.set_interfaces(present);
        }
        self.forget_nearby(now);
        self.dials.forget(self.questions.values_mut().map(|question| &mut question.dialing));
        self.renew_record(now);
        // While the machine slept, others may have forgotten.
        self.provide_again(now);
        self.ask_anew(now);
        self.seed_now(now);
    }

    /// A node that we asked, and that answered at `responder`, saw us at `observed`.
    pub(super) fn observe(&mut self, now: Instant, responder: IpAddr, observed: IpAddr) {
        let local = &mut self.local;
        let told = local.reached.told();
        local.observed.observe(now, responder, observed);
        if is_seen_from(observed, responder) {
            local.reached.seen(now, observed, &local.observed);
        }
        // Nearly always nothing comes of it.
        if local.observed.external(now) != local.external || local.reached.told() != told {
            self.renew_record(now);
        }
    }

    /// Whether it would be of use to be reached at `observed`, where a node saw us that answered at `responder`.
    pub(super) fn is_to_be_tried(&self, responder: IpAddr, observed: IpAddr) -> bool {
        let local = &self.local;
        let is_open = local.listens_everywhere_of(observed.is_ipv4()) && local.reached.wants(observed);
        is_open && is_seen_from(observed, responder)
    }

    /// What to tell a node so that it tries to reach us at `observed`.
    pub(super) fn record_to_try(&mut self, observed: IpAddr) -> Option<PeerRecord> {
        let before = self.local.seq;
        let record = self.local.trial(observed)?;
        if self.local.seq != before {
            self.act(Action::Seq(self.local.seq));
        }
        Some(record)
    }

    /// Somebody passed a record of our own on. One that is newer than what we know of was signed in an earlier life of
    /// which the sequence number was lost: ours must be newer again.
    pub(super) fn saw_own_record(&mut self, now: Instant, record: &PeerRecord) {
        if record.seq() > self.local.seq && record.seq() < u64::MAX && record.verify().is_ok() {
            self.local.seq = record.seq();
            if self.local.renew(now, true) {
                self.tell_record(now);
            }
        }
    }

    /// Somebody has reached us: at an address of our record, or `at` the one where it had seen us. It came in at
    /// `arrived`, where that is known.
    pub(super) fn was_reached(&mut self, now: Instant, at: Option<IpAddr>, arrived: Option<IpAddr>) {
        let local = &mut self.local;
        if at.is_some_and(|at| !local.reached.reached(now, at, arrived, &local.observed)) {
            return;
        }
        let changed = at.is_some() && local.renew(now, false);
        let first = local.mode == Mode::Client && local.candidate.is_some();
        self.reach.was_reached |= first;
        if first {
            self.set_mode(Mode::Server);
            self.provide_again(now);
        }
        if first || changed {
            self.tell_record(now);
        }
    }

    fn renew_record(&mut self, now: Instant) {
        let had_none = self.local.candidate.is_none();
        if !self.local.renew(now, false) {
            return;
        }
        if had_none {
            // What is to be asked has changed: from where it is seen to whether it is reached there.
            self.ask_soon(now);
        }
        let mode = match self.local.mode {
            Mode::Client if self.local.is_loopback_only() => Mode::Server,
            Mode::Server if self.local.candidate.is_none() => Mode::Client,
            mode => mode,
        };
        if mode != self.local.mode {
            self.set_mode(mode);
        }
        self.tell_record(now);
    }

    fn set_mode(&mut self, mode: Mode) {
        tracing::info!(?mode, "whether others may find this node has changed");
        self.local.mode = mode;
        self.emit(KademliaEvent::ModeChanged(mode));
    }

    fn tell_record(&mut self, now: Instant) {
        let record = self.local.record().cloned();
        if let Some(record) = &record {
            let places = record.discovery_addrs().iter().chain(record.addrs());
            let places: Vec<Endpoint> = places.map(|addr| addr.endpoint.clone()).collect();
            let moved = !self.local.places.is_empty() && self.local.places != places;
            self.local.places = places;
            if moved {
                // Others hold records that name the places of before.
                self.provide_again(now);
                self.seed_now(now);
            }
        }
        self.act(Action::Record { seq: self.local.seq, record: record.clone() });
        self.emit(KademliaEvent::RecordChanged(record));
        let silent = self.local.is_to_be_silent();
        if std::mem::replace(&mut self.local.silent, silent) != silent {
            self.act(Action::Silence(silent));
        }
    }

    /// Tells where the endpoints for connections of peers are reached from outside, for the record: before
    /// [`set_endpoints`](Self::set_endpoints).
    pub fn set_external_addrs(&mut self, addrs: Vec<Endpoint>) {
        self.local.set_external_addrs(addrs);
    }

    /// Whether this node, or the box in front of it, is known to be at a public address.
    pub(super) fn is_known_at(&self, now: Instant, ip: IpAddr) -> bool {
        let local = &self.local;
        self.says_it_is_at(ip) || local.observed.seen_most(now, ip.is_ipv4()) == Some(ip.to_canonical())
    }

    /// Whether this node says that it is there, or would.
    pub(super) fn says_it_is_at(&self, ip: IpAddr) -> bool {
        let addrs = |record: &PeerRecord| {
            let mut all = record.addrs().iter().chain(record.discovery_addrs());
            all.any(|addr| addr.endpoint.addr().ip() == Some(ip.to_canonical()))
        };
        self.local.candidate.as_ref().is_some_and(addrs)
    }
}
