//! What the node says of itself, and whether others may pass it on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::record::MAX_ADDRS;
use p2p_identity::{Bloom, KeyPair, PeerRecord};
use p2p_net::Endpoint;

use super::{Action, Engine, KademliaEvent, Mode};
use crate::Key;
use crate::address::{ObservedAddresses, ObservedConfig, Scope, advertised};
use crate::lookup_service::Target;

/// The node itself.
pub(super) struct Local {
    key_pair: KeyPair,
    key: Key,
    /// The highest sequence number that a record of this node may have had.
    seq: u64,
    discovery: Vec<Endpoint>,
    addrs: Vec<Endpoint>,
    items: BTreeSet<Vec<u8>>,
    observed: ObservedAddresses,
    /// What came of that so far.
    external: Vec<IpAddr>,
    /// What would be said of the node in server mode.
    candidate: Option<PeerRecord>,
    mode: Mode,
}

impl Local {
    pub(super) fn new(key_pair: KeyPair, key: Key, public_ip: Option<IpAddr>, seq: u64) -> Self {
        let observed = ObservedAddresses::new(ObservedConfig { public_ip, ..ObservedConfig::default() });
        Self {
            key_pair,
            key,
            seq,
            discovery: Vec::new(),
            addrs: Vec::new(),
            items: BTreeSet::new(),
            observed,
            external: Vec::new(),
            candidate: None,
            mode: Mode::Client,
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
        let items: Bloom = self.items.iter().collect();
        let [discovery, addrs] = [&self.discovery, &self.addrs].map(|listening| {
            let mut endpoints = advertised(listening, &self.external);
            endpoints.truncate(MAX_ADDRS);
            endpoints.into_iter().map(|endpoint| endpoint.with_peer_id(self.key_pair.peer_id())).collect::<Vec<_>>()
        });
        let same = self.candidate.as_ref().is_some_and(|record| {
            record.items() == items
                && record.addrs().iter().map(|addr| &addr.endpoint).eq(&addrs)
                && record.discovery_addrs().iter().map(|addr| &addr.endpoint).eq(&discovery)
        });
        if same && !force {
            return false;
        }
        let mut builder = PeerRecord::builder().items(items);
        builder = addrs.into_iter().fold(builder, |builder, endpoint| builder.addr(endpoint));
        builder = discovery.into_iter().fold(builder, |builder, endpoint| builder.discovery_addr(endpoint));
        let record = builder.sign(&self.key_pair, self.seq.saturating_add(1));
        let record = record.inspect_err(|error| tracing::warn!(%error, "the node's own record cannot be made")).ok();
        // A record that nobody can ask is of no use to anybody.
        let record = record.filter(|record| !Target::of(record, IpAddr::from([127, 0, 0, 1])).endpoints.is_empty());
        if record.is_none() && self.candidate.is_none() {
            return false;
        }
        self.seq = self.seq.saturating_add(1);
        self.candidate = record;
        true
    }

    /// Whether all that is listened at is the loopback, where nothing stands between this node and those who know of
    /// it.
    fn is_loopback_only(&self) -> bool {
        let Some(record) = &self.candidate else { return false };
        let ip = |endpoint: &Endpoint| endpoint.addr().ip().map(Scope::of);
        record.discovery_addrs().iter().chain(record.addrs()).all(|addr| ip(&addr.endpoint) == Some(Scope::Loopback))
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

    /// A node that we asked, and that answered at `responder`, saw us at `observed`.
    pub(super) fn observe(&mut self, now: Instant, responder: IpAddr, observed: IpAddr) {
        self.local.observed.observe(now, responder, observed);
        // Nearly always nothing comes of it.
        if self.local.observed.external(now) != self.local.external {
            self.renew_record(now);
        }
    }

    /// Somebody passed a record of our own on. One that is newer than what we know of was signed in an earlier life of
    /// which the sequence number was lost: ours must be newer again.
    pub(super) fn saw_own_record(&mut self, now: Instant, record: &PeerRecord) {
        if record.seq() > self.local.seq && record.seq() < u64::MAX && record.verify().is_ok() {
            self.local.seq = record.seq();
            if self.local.renew(now, true) {
                self.tell_record();
            }
        }
    }

    /// Somebody has reached us at an address of our record.
    pub(super) fn was_reached(&mut self) {
        if self.local.mode == Mode::Client && self.local.candidate.is_some() {
            self.set_mode(Mode::Server);
            self.tell_record();
        }
    }

    fn renew_record(&mut self, now: Instant) {
        if !self.local.renew(now, false) {
            return;
        }
        let mode = match self.local.mode {
            Mode::Client if self.local.is_loopback_only() => Mode::Server,
            Mode::Server if self.local.candidate.is_none() => Mode::Client,
            mode => mode,
        };
        if mode != self.local.mode {
            self.set_mode(mode);
        }
        self.tell_record();
    }

    fn set_mode(&mut self, mode: Mode) {
        tracing::info!(?mode, "whether others may find this node has changed");
        self.local.mode = mode;
        self.emit(KademliaEvent::ModeChanged(mode));
    }

    fn tell_record(&mut self) {
        let record = self.local.record().cloned();
        self.act(Action::Record { seq: self.local.seq, record: record.clone() });
        self.emit(KademliaEvent::RecordChanged(record));
    }
}
