//! Operations: what users, and the upkeep, want to have done. Each begins with a search.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;

use super::exchange::About;
use super::search::{Search, keys};
use super::{Action, Answered, Command, Engine, OperationId, Outcome, Peer, QuestionId};
use crate::address::believed;
use crate::{Contact, Distance, Key, Lookup, LookupConfig, Refused, RegionLookup, Request, Response, StoredValue};

/// Contacts of the table that a lookup begins with, for each path's width as many as it may ask at once and some to
/// spare.
const SEEDS_PER_WIDTH: usize = 2;

/// One of them.
pub(super) struct Operation {
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
}

/// What it is for.
pub(super) enum Purpose {
    Closest(Key),
    FindPeer {
        peer_id: PeerId,
        /// With from where it was told.
        best: Option<(PeerRecord, IpAddr)>,
    },
    Get {
        key: Key,
        best: Option<StoredValue>,
    },
    Providers {
        key: Key,
        found: BTreeSet<PeerId>,
    },
    Put {
        value: StoredValue,
        expected_seq: Option<u64>,
        ttl: u32,
        tally: Tally,
        republish: bool,
    },
    Provide {
        key: Key,
        tally: Tally,
        renewal: bool,
    },
    /// For our own neighbors.
    Seed,
    /// For a bucket that had no lookup for long.
    Refresh(Key),
    /// For those who keep where nodes are that share a public address, which belongs to this position.
    Near(Key),
}

/// How far it has come.
pub(super) enum Stage {
    /// Until there is somebody to ask.
    Waiting,
    Search(Search),
    /// Those that were found are asked for what they have, or given what they are to keep.
    Exchange(BTreeSet<QuestionId>),
}

/// How many keep what they were given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Others: what is with this node alone is with nobody.
    pub(super) stored: usize,
    /// It is to be kept here too, once others do.
    pub(super) at_home: bool,
    /// Nodes that have another value, or say so.
    pub(super) conflicts: usize,
    pub(super) refused: Option<Refused>,
}

impl Tally {
    /// Why it was not stored. A few nodes that say so have no say against more that keep it: they may have missed a
    /// value, or lie.
    pub(super) fn reason(&self) -> Option<Refused> {
        self.refused.filter(|_| self.stored == 0 || self.conflicts > self.stored)
    }
}

impl Operation {
    /// When it wants to be driven.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        match &self.stage {
            Stage::Search(search) => search.deadline(now),
            Stage::Waiting | Stage::Exchange(_) => None,
        }
    }
}

impl Purpose {
    /// The position that it is about.
    pub(super) fn target(&self, engine: &Engine) -> Key {
        match self {
            Self::Closest(key) | Self::Refresh(key) | Self::Near(key) => *key,
            Self::Get { key, .. } | Self::Providers { key, .. } | Self::Provide { key, .. } => *key,
            Self::FindPeer { peer_id, .. } => Key::of_peer(&engine.network, peer_id),
            Self::Put { value, .. } => value.key(),
            Self::Seed => engine.key(),
        }
    }

    /// What those on the way are asked; `target` is where to.
    fn question(&self, target: Key) -> Request {
        match self {
            Self::Get { key, .. } if *key == target => Request::GetValue { key: target },
            Self::Providers { key, .. } if *key == target => Request::GetProviders { key: target },
            _ => Request::FindNode { target },
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Provide { .. })
    }

    pub(super) fn is_upkeep(&self) -> bool {
        match self {
            Self::Seed | Self::Refresh(_) | Self::Near(_) => true,
            Self::Put { republish, .. } => *republish,
            Self::Provide { renewal, .. } => *renewal,
            _ => false,
        }
    }
}

impl Engine {
    /// Begins an operation. Its end comes as an [`Action::Done`].
    pub fn begin(&mut self, now: Instant, command: Command) -> OperationId {
        let purpose = match command {
            Command::Closest(key) => Purpose::Closest(key),
            Command::FindPeer(peer_id) => Purpose::FindPeer { peer_id, best: None },
            Command::Get(key) => Purpose::Get { key, best: None },
            Command::Providers(key) => Purpose::Providers { key, found: BTreeSet::new() },
            Command::Put { value, expected_seq } => {
                let ttl = Request::seconds(self.upkeep.value_ttl);
                Purpose::Put { value, expected_seq, ttl, tally: Tally::default(), republish: false }
            }
            Command::Provide(key) => Purpose::Provide { key, tally: Tally::default(), renewal: false },
        };
        self.begin_with(now, purpose, self.early_seeds().to_vec())
    }

    /// Gives an operation up. There will be no [`Action::Done`].
    pub fn cancel(&mut self, id: OperationId) {
        self.operations.remove(&id);
    }

    /// Begins an operation with these contacts beside those of the table.
    pub(super) fn begin_with(&mut self, now: Instant, purpose: Purpose, seeds: Vec<Peer>) -> OperationId {
        let id = OperationId(self.id());
        let mut operation = Operation { purpose, stage: Stage::Waiting };
        if let Some(outcome) = self.at_home(now, id, &mut operation.purpose) {
            self.act(Action::Done { id, outcome });
            return id;
        }
        if self.has_to_wait(&operation.purpose) {
            self.operations.insert(id, operation);
        } else {
            self.begin_search(now, id, operation, seeds);
        }
        id
    }

    fn begin_search(&mut self, now: Instant, id: OperationId, mut operation: Operation, seeds: Vec<Peer>) {
        self.note_records(id, &mut operation.purpose, seeds.iter().map(told));
        operation.stage = Stage::Search(self.new_search(now, &operation.purpose, seeds));
        self.operations.insert(id, operation);
        self.drive(now, id);
    }

    /// Whether an operation cannot begin yet, because this node is still joining. A search for a peer begins with the early
    /// seeds: its record proves itself, whoever has it.
    fn has_to_wait(&self, purpose: &Purpose) -> bool {
        let is_early = matches!(purpose, Purpose::FindPeer { .. }) && !self.early_seeds().is_empty();
        self.is_joining() && !purpose.is_upkeep() && !is_early
    }

    /// Somebody can be asked now, or nobody will be there soon: what has waited for that begins.
    pub(super) fn release_waiting(&mut self, now: Instant) {
        let waiting =
            |operation: &Operation| matches!(operation.stage, Stage::Waiting) && !self.has_to_wait(&operation.purpose);
        let waiting: Vec<OperationId> =
            self.operations.iter().filter(|(_, operation)| waiting(operation)).map(|(id, _)| *id).collect();
        for id in waiting {
            if let Some(operation) = self.operations.remove(&id) {
                self.begin_search(now, id, operation, self.early_seeds().to_vec());
            }
        }
    }

    fn new_search(&mut self, now: Instant, purpose: &Purpose, seeds: Vec<Peer>) -> Search {
        let target = purpose.target(self);
        self.table.on_lookup(now, &target);
        if purpose.writes() {
            return Search::Region(Box::new(self.region(now, target, seeds)));
        }
        let (local, config, rtt) = (self.key(), self.lookup.clone(), self.rtt);
        let seeds = self.seeds(&target, &config, seeds);
        Search::Closest(Box::new(Lookup::new(local, target, seeds, config, rtt, now)))
    }

    /// Everybody who is as close to `center` as the k closest nodes can be expected to be.
    pub(super) fn region(&mut self, now: Instant, center: Key, seeds: Vec<Peer>) -> RegionLookup<Peer> {
        let none: Distance = center.distance(&center);
        let radius = self.estimator.kth_distance(self.lookup.k).unwrap_or(none);
        let config =
            LookupConfig { width: self.lookup.width.max(LookupConfig::writing().width), ..self.lookup.clone() };
        let seeds = self.seeds(&center, &config, seeds);
        RegionLookup::new(self.key(), center, radius, seeds, config, self.rtt, now)
    }

    fn seeds(&self, target: &Key, config: &LookupConfig, mut seeds: Vec<Peer>) -> Vec<Peer> {
        let count = config.k.max(SEEDS_PER_WIDTH * config.paths * config.width);
        seeds.extend(self.table.closest(target, count).cloned());
        seeds
    }

    pub(super) fn search(&mut self, id: OperationId) -> Option<&mut Search> {
        match &mut self.operations.get_mut(&id)?.stage {
            Stage::Search(search) => Some(search),
            _ => None,
        }
    }

    /// Asks whom the search names; a contact's signature is checked just before.
    pub(super) fn drive(&mut self, now: Instant, id: OperationId) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        let Operation { purpose, stage: Stage::Search(search) } = &mut operation else {
            self.operations.insert(id, operation);
            return;
        };
        while let Some((peer, target)) = search.next(now) {
            if self.is_named_by_a_liar(now, &peer) || self.verified.check(peer.record()).is_none() {
                search.on_invalid(&peer.key());
                continue;
            }
            let request = purpose.question(target);
            self.ask(About::Search(id, target), Some(peer.clone()), peer.target(), request);
        }
        if search.is_finished() {
            self.search_ended(now, id, operation);
        } else {
            self.operations.insert(id, operation);
        }
    }

    /// An answer on the way.
    pub(super) fn came_closer(
        &mut self,
        now: Instant,
        id: OperationId,
        (from, target): (Key, Key),
        contacts: Vec<Peer>,
        (answered, ip): (Answered, IpAddr),
    ) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        let outcome = self.take_home(id, &mut operation.purpose, &contacts, (&answered, ip));
        if let Some(outcome) = outcome {
            self.act(Action::Done { id, outcome });
            return;
        }
        if let Stage::Search(search) = &mut operation.stage {
            match answered.response {
                // It has nothing for us, and knows nobody for us.
                Response::Refused(_) => search.on_failure(&from, &target),
                _ => _ = search.on_answer(now, &from, &target, contacts),
            }
        }
        self.operations.insert(id, operation);
        self.drive(now, id);
    }

    /// What this node itself knows of it; the outcome, if that is all there is to know.
    fn at_home(&mut self, now: Instant, id: OperationId, purpose: &mut Purpose) -> Option<Outcome> {
        match purpose {
            Purpose::FindPeer { peer_id, best } => {
                if *peer_id == self.peer_id() {
                    return Some(Outcome::FindPeer(self.local.candidate().cloned()));
                }
                let record = self.verified.newest(peer_id).cloned();
                *best = record.map(|record| (record, self.reached(peer_id)));
                if let Some((record, reached)) = best.clone() {
                    self.act(Action::Peer { id, record, reached });
                }
                None
            }
            Purpose::Get { key, best } => {
                *best = self.store.get(now, key).cloned();
                let final_one = best.as_ref().filter(|value| value.seq().is_none());
                final_one.map(|value| Outcome::Get(Some(value.clone())))
            }
            Purpose::Providers { key, found } => {
                for record in self.store.providers(now, key, usize::MAX) {
                    found.insert(record.peer_id());
                    let reached = self.reached(&record.peer_id());
                    self.act(Action::Provider { id, record, reached });
                }
                None
            }
            Purpose::Provide { .. } if self.local.candidate().is_none() => Some(Outcome::NoRecord),
            _ => None,
        }
    }

    /// Where a peer was reached of which a record is at hand. One that is not known to be of our own network is believed in
    /// its public addresses only.
    fn reached(&self, peer_id: &PeerId) -> IpAddr {
        let contact = self.table.get(&Key::of_peer(&self.network, peer_id));
        contact.map_or(IpAddr::from([0, 0, 0, 0]), Peer::reached)
    }

    /// What an answer has of what is wanted; the outcome, if that is all that can be wanted.
    fn take_home(
        &mut self,
        id: OperationId,
        purpose: &mut Purpose,
        contacts: &[Peer],
        (answered, ip): (&Answered, IpAddr),
    ) -> Option<Outcome> {
        let own = answered.record.iter().map(|record| (record, ip));
        self.note_records(id, purpose, contacts.iter().map(told).chain(own));
        match (purpose, &answered.response) {
            (Purpose::FindPeer { peer_id, best }, _) => {
                let record = || best.as_ref().map(|(record, _)| record.clone());
                (answered.peer_id == *peer_id).then(|| Outcome::FindPeer(record()))
            }
            (purpose, response) => self.take_answer(id, purpose, response, ip),
        }
    }

    /// Keeps the newest record of the peer that an operation looks for, if it looks for one, and from whom most of its
    /// addresses are believed.
    fn note_records<'a>(
        &mut self,
        id: OperationId,
        purpose: &mut Purpose,
        records: impl IntoIterator<Item = (&'a PeerRecord, IpAddr)>,
    ) {
        let Purpose::FindPeer { peer_id, best } = purpose else { return };
        let count = |record: &PeerRecord, reached| believed(record.addrs(), reached).count();
        for (record, reached) in records.into_iter().filter(|(record, _)| record.peer_id() == *peer_id) {
            let is_better = best.as_ref().is_none_or(|(best, from)| {
                record.is_newer_than(best) || (record == best && count(record, reached) > count(best, *from))
            });
            if is_better && let Some(record) = self.verified.check(record) {
                self.act(Action::Peer { id, record: record.clone(), reached });
                *best = Some((record, reached));
            }
        }
    }

    fn search_ended(&mut self, now: Instant, id: OperationId, mut operation: Operation) {
        let Stage::Search(search) = std::mem::replace(&mut operation.stage, Stage::Waiting) else { return };
        self.rtt = search.rtt();
        let (found, center) = (search.found(), search.center());
        let dense = self.estimator.is_too_dense(&center, keys(&found));
        // One that is too dense too: where all are, it is the network that has grown. The estimate leaves out what is rare.
        if !search.is_region() && !search.stats().truncated {
            self.estimator.add(&center, keys(&found));
        }
        tracing::debug!(target = ?center, found = found.len(), stats = ?search.stats(), "a lookup has ended");
        match &operation.purpose {
            Purpose::Closest(_) => {
                self.act(Action::Done { id, outcome: Outcome::Closest(found) });
            }
            // Whoever answered first may know few: once more, when this node has joined.
            Purpose::FindPeer { best: None, .. } if self.is_joining() => {
                self.upkeep.drop_early_seeds();
                self.operations.insert(id, Operation { stage: Stage::Waiting, ..operation });
            }
            Purpose::FindPeer { best, .. } => {
                let outcome = Outcome::FindPeer(best.as_ref().map(|(record, _)| record.clone()));
                self.act(Action::Done { id, outcome });
            }
            Purpose::Get { .. } | Purpose::Providers { .. } => {
                self.way_ended(now, id, operation, found, (dense, search.is_region()));
            }
            Purpose::Put { .. } | Purpose::Provide { .. } => self.write(now, id, operation, found),
            Purpose::Seed => self.seeded(now),
            Purpose::Refresh(_) => self.upkeep.refreshes = self.upkeep.refreshes.saturating_sub(1),
            Purpose::Near(_) => self.ask_keepers_who_is_near(&found),
        }
    }
}

/// What a contact says of itself, and from where that was told.
fn told(peer: &Peer) -> (&PeerRecord, IpAddr) {
    (peer.record(), peer.reached())
}
