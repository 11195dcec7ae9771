//! What the engine does by itself: joining, looking for its neighbors, checking who lives, refreshing, republishing.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::PeerRecord;
use p2p_net::Endpoint;

use super::exchange::About;
use super::operation::{Purpose, Tally};
use super::{Engine, KademliaEvent, Peer};
use crate::key::BITS;
use crate::lookup_service::Target;
use crate::{Contact, KademliaConfig, Key, Request};

/// Bootstrap peers that are asked at the same time.
const BOOTSTRAP_WIDTH: usize = 3;

/// How soon joining is tried again when nobody was there, the first time; each further time twice as long, up to the
/// seeding interval.
const JOIN_AGAIN: Duration = Duration::from_secs(1);

/// Every so many seedings a bootstrap peer is asked although the table has contacts: so that networks which do not know
/// of each other meet.
const BOOTSTRAP_EVERY: u32 = 10;

/// Contacts that are being checked at the same time, buckets that are refreshed, and values that are republished.
const MAX_CHECKS: usize = 16;
const MAX_REFRESHES: usize = 2;
const MAX_REPUBLISHES: usize = 2;

/// Contacts that are kept between runs.
pub const MAX_REMEMBERED: usize = 512;

pub(super) struct Upkeep {
    /// Whether there is a udp socket.
    pub(super) pings: bool,
    pub(super) value_ttl: Duration,
    pub(super) provider_ttl: Duration,
    pub(super) refreshes: usize,
    pub(super) republishes: usize,
    bootstrap: Vec<Endpoint>,
    remembered: Vec<Peer>,
    seeding_interval: Duration,
    /// `None` before the start.
    next_seeding: Option<Instant>,
    /// Seedings since a bootstrap peer was asked.
    seedings: u32,
    join_again: Duration,
    /// Bootstrap peers being asked, and seedings under way.
    bootstraps: usize,
    seeding: usize,
    joined: bool,
    /// Empty unless this node is joining: contacts from the latest bootstrap answer, or remembered ones. None of them has
    /// answered yet.
    early_seeds: Vec<Peer>,
    checks: Checks,
}

/// A round of liveness checks.
#[derive(Default)]
struct Checks {
    running: usize,
    alive: usize,
    checked: usize,
}

impl Upkeep {
    pub(super) fn drop_early_seeds(&mut self) {
        self.early_seeds = Vec::new();
    }

    pub(super) fn new(config: &KademliaConfig) -> Self {
        Self {
            pings: false,
            value_ttl: config.store.value_ttl,
            provider_ttl: config.store.provider_ttl,
            refreshes: 0,
            republishes: 0,
            bootstrap: config.bootstrap_peers.clone(),
            remembered: Vec::new(),
            seeding_interval: config.seeding_interval,
            next_seeding: None,
            seedings: 0,
            join_again: JOIN_AGAIN,
            bootstraps: 0,
            seeding: 0,
            joined: false,
            early_seeds: Vec::new(),
            checks: Checks::default(),
        }
    }
}

impl Engine {
    /// Contacts of an earlier run, and from where they were told, to begin with beside the bootstrap peers. They are in
    /// the table only once they have answered. What is not valid is left out; gives how many were taken.
    pub fn remember(&mut self, contacts: impl IntoIterator<Item = (PeerRecord, IpAddr)>) -> usize {
        for (record, reached) in contacts.into_iter().take(MAX_REMEMBERED) {
            if record.peer_id() != self.peer_id()
                && let Some(record) = self.verified.check(&record)
            {
                self.upkeep.remembered.extend(Peer::new(&self.network, record, reached));
            }
        }
        self.upkeep.remembered.len()
    }

    /// The contacts to [`remember`](Self::remember) in a later run.
    pub fn contacts(&self) -> Vec<(PeerRecord, IpAddr)> {
        self.table.iter().take(MAX_REMEMBERED).map(|peer| (peer.record().clone(), peer.reached())).collect()
    }

    /// Whether contacts can be pinged over udp.
    pub fn set_pings(&mut self, pings: bool) {
        self.upkeep.pings = pings;
    }

    /// Begins to join the network. Without anybody to begin with, whoever asks us is the first contact.
    pub fn start(&mut self, now: Instant) {
        for last in (1..self.upkeep.bootstrap.len()).rev() {
            let other = self.random_below(last + 1);
            self.upkeep.bootstrap.swap(last, other);
        }
        self.upkeep.next_seeding = Some(now);
        self.keep_up(now);
        self.look_at_standing();
    }

    /// Nobody has answered so far, and nobody is being asked: whether there is anybody to ask.
    pub(super) fn asks_in_vain(&self) -> Option<bool> {
        let upkeep = &self.upkeep;
        let idle = upkeep.next_seeding.is_some() && upkeep.bootstraps == 0 && upkeep.seeding == 0;
        idle.then_some(!upkeep.bootstrap.is_empty() || !upkeep.remembered.is_empty())
    }

    /// Looks for neighbors now, and not only when it is time: somebody needs contacts.
    pub fn seed_now(&mut self, now: Instant) {
        if self.upkeep.next_seeding.is_some() && self.upkeep.seeding == 0 && self.upkeep.bootstraps == 0 {
            self.upkeep.next_seeding = Some(now);
            self.keep_up(now);
        }
    }

    /// Whether it may soon know somebody, and does not yet.
    pub(super) fn is_joining(&self) -> bool {
        !self.upkeep.joined && (self.upkeep.bootstraps > 0 || self.upkeep.seeding > 0)
    }

    /// Contacts that a search may begin with before this node has joined.
    pub(super) fn early_seeds(&self) -> &[Peer] {
        &self.upkeep.early_seeds
    }

    pub(super) fn upkeep_due(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let upkeep = &self.upkeep;
        let started = upkeep.next_seeding;
        let busy = upkeep.checks.running >= MAX_CHECKS || upkeep.refreshes >= MAX_REFRESHES;
        let table = self.table.next_due(now).filter(|_| !busy);
        let store = self.store.next_due().filter(|_| upkeep.republishes < MAX_REPUBLISHES);
        let all = [started, table, store, self.provided.due(), self.reach_due(), self.near_due()];
        all.into_iter().flatten().filter(move |_| started.is_some())
    }

    /// Does what is due.
    pub(super) fn keep_up(&mut self, now: Instant) {
        let Some(next_seeding) = self.upkeep.next_seeding else { return };
        if next_seeding <= now {
            self.seed(now);
        }
        self.check_contacts(now);
        while self.upkeep.refreshes < MAX_REFRESHES
            && let Some(target) = self.table.due_refresh(now, &mut self.random)
        {
            self.upkeep.refreshes += 1;
            self.begin_with(now, Purpose::Refresh(target), Vec::new());
        }
        while self.upkeep.republishes < MAX_REPUBLISHES
            && let Some(due) = self.store.due_republish(now)
        {
            if self.is_holder(&due.value.key()) {
                self.upkeep.republishes += 1;
                let ttl = Request::seconds(due.ttl);
                let (value, tally) = (due.value, Tally::default());
                let purpose = Purpose::Put { value, expected_seq: None, ttl, tally, republish: true };
                self.begin_with(now, purpose, Vec::new());
            }
        }
        self.renew_providing(now);
        self.keep_asking(now);
        self.look_for_near(now);
    }

    /// Looks for our own neighbors, and for anybody at all while there is nobody.
    fn seed(&mut self, now: Instant) {
        let alone = self.table.is_empty();
        let wait = if alone { self.upkeep.join_again } else { self.upkeep.seeding_interval };
        // Three to five quarters, so that nodes that started together do not stay in step.
        let jitter = self.random_below(1024) as f64 / 2048.0;
        self.upkeep.next_seeding = Some(now + wait.mul_f64(0.75 + jitter));
        self.upkeep.join_again = (self.upkeep.join_again * 2).min(self.upkeep.seeding_interval);
        self.upkeep.seedings += 1;
        if alone || self.upkeep.seedings >= BOOTSTRAP_EVERY {
            self.upkeep.seedings = 0;
            self.bootstrap(if alone { BOOTSTRAP_WIDTH } else { 1 });
        }
        let remembered = if alone { self.upkeep.remembered.clone() } else { Vec::new() };
        if !alone && self.upkeep.refreshes < MAX_REFRESHES {
            // What others near us have learned reaches us by the search for our neighbors; what is learned elsewhere,
            // by this one.
            let target = self.anywhere();
            self.upkeep.refreshes += 1;
            self.begin_with(now, Purpose::Refresh(target), Vec::new());
        }
        // One at a time: on a machine that cannot keep up, more would only make it later.
        if self.upkeep.seeding == 0 && (!alone || !remembered.is_empty()) {
            self.start_seeding(now, remembered);
        }
    }

    /// A random position in the range of a random bucket.
    fn anywhere(&mut self) -> Key {
        let buckets: Vec<usize> = self.table.buckets().map(|bucket| bucket.index).collect();
        let bucket = if buckets.is_empty() { 0 } else { buckets[self.random_below(buckets.len())] };
        let mut bytes = *self.key().as_bytes();
        for bit in bucket..BITS {
            let flip = bit == bucket || (self.random)().is_multiple_of(2);
            bytes[bit / 8] ^= u8::from(flip) << (7 - bit % 8);
        }
        Key::from_bytes(bytes)
    }

    fn bootstrap(&mut self, width: usize) {
        let width = width.min(self.upkeep.bootstrap.len());
        for _ in 0..width {
            // Each has its turn.
            self.upkeep.bootstrap.rotate_left(1);
            let Some(endpoint) = self.upkeep.bootstrap.last().cloned() else { return };
            let request = Request::FindNode { target: self.key() };
            self.upkeep.bootstraps += 1;
            self.ask(About::Bootstrap, None, Target::at(endpoint), request);
        }
    }

    /// A bootstrap peer has answered, or not.
    pub(super) fn bootstrapped(&mut self, now: Instant, answer: Option<(Target, Vec<Peer>)>) {
        self.upkeep.bootstraps = self.upkeep.bootstraps.saturating_sub(1);
        if let Some((target, contacts)) = answer {
            self.ask_to_be_reached(now, target);
            if !contacts.is_empty() || !self.table.is_empty() {
                self.start_seeding(now, contacts);
            }
        }
        self.joined_or_not(now);
    }

    fn start_seeding(&mut self, now: Instant, seeds: Vec<Peer>) {
        self.upkeep.seeding += 1;
        self.emit(KademliaEvent::SeedingStarted);
        if self.is_joining() {
            self.upkeep.early_seeds.clone_from(&seeds);
        }
        self.begin_with(now, Purpose::Seed, seeds);
        self.joined_or_not(now);
    }

    /// A search for our neighbors has ended.
    pub(super) fn seeded(&mut self, now: Instant) {
        self.upkeep.seeding = self.upkeep.seeding.saturating_sub(1);
        self.emit(KademliaEvent::SeedingEnded { contacts: self.table.len() });
        if !self.table.is_empty() {
            self.upkeep.joined = true;
            self.upkeep.join_again = JOIN_AGAIN;
        }
        self.joined_or_not(now);
    }

    fn joined_or_not(&mut self, now: Instant) {
        if !self.is_joining() {
            self.upkeep.drop_early_seeds();
        }
        self.release_waiting(now);
    }

    fn check_contacts(&mut self, now: Instant) {
        while self.upkeep.checks.running < MAX_CHECKS
            && let Some(peer) = self.table.due_check(now)
        {
            if self.upkeep.checks.running == 0 && self.upkeep.checks.checked == 0 {
                self.emit(KademliaEvent::RefreshStarted);
            }
            self.upkeep.checks.running += 1;
            self.check(now, peer);
        }
    }

    /// A contact was checked.
    pub(super) fn checked(&mut self, alive: bool) {
        let checks = &mut self.upkeep.checks;
        checks.running = checks.running.saturating_sub(1);
        checks.checked += 1;
        checks.alive += usize::from(alive);
        if checks.running == 0 {
            let Checks { alive, checked, .. } = std::mem::take(checks);
            self.emit(KademliaEvent::RefreshEnded { alive, checked });
        }
    }

    /// Whether we are one of the k nodes closest to a key, as far as we know.
    fn is_holder(&self, key: &Key) -> bool {
        let own = key.distance(&self.key());
        self.table.closest(key, self.lookup.k).filter(|peer| key.distance(&peer.key()) < own).count() < self.lookup.k
    }
}
