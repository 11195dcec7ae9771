//! One node and any sequence of what can happen to its connections. For tests and fuzzing: a promise that is not kept
//! is a panic.

mod newcomer;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use self::newcomer::{Newcomer, check_places};
use super::model::{limits, peer};
use super::*;

/// This node's place among the peers: there are some with smaller ids and some with larger ones.
pub(super) const ME: usize = 100;

/// What happens. A connection is given as its place among those that are known, counted round.
#[derive(Debug, Clone)]
pub enum Op {
    /// A remote says who it is: a number below 256, of which 100 is this node.
    Decide { who: usize, boot: u64, outbound: bool, prefix: u8, serial: Serial, may_speak: bool },
    /// A handshake is over, and both have agreed; with the remote's numbers, if they come only now.
    Complete(usize, Serial),
    /// The remote says that a connection stays.
    Stay(usize),
    /// A message of an application passes.
    Used(usize),
    /// A connection is about to end.
    Leaving(usize),
    /// A connection is gone.
    Removed(usize),
    /// So many milliseconds pass.
    Wait(u64),
    /// A dial begins.
    BeginDial(DialKind),
    /// A dial is over.
    EndDial(usize),
}

impl Range for u8 {
    /// Groups of 32 and of 4.
    fn at_width(self, width: usize) -> Self {
        match width {
            0 => self & !31,
            1 => self & !3,
            _ => self,
        }
    }
}

/// The registry with what its caller knows.
pub struct Sequence {
    registry: Registry<u8>,
    now: Instant,
    known: Vec<ConnectionId>,
    established: BTreeSet<ConnectionId>,
    dials: Vec<Dial>,
    next: u64,
}

impl Sequence {
    /// Nothing has happened.
    pub fn new(now: Instant) -> Self {
        let registry = Registry::new(peer(ME), limits());
        Self { registry, now, known: Vec::new(), established: BTreeSet::new(), dials: Vec::new(), next: 0 }
    }

    /// Lets something happen. Limits hold, one peer has at most one live connection, nothing is established twice.
    pub fn step(&mut self, op: &Op) {
        let effects = self.apply(op);
        for effect in effects {
            match effect {
                Effect::Establish(id) => assert!(self.established.insert(id), "established twice"),
                Effect::Drop(id, _) => {
                    assert!(!self.established.contains(&id), "dropped what was the peer's");
                    self.known.retain(|known| *known != id);
                }
                Effect::Evict(id) => {
                    assert!(self.established.contains(&id) && self.registry.is_leaving(id), "never was the peer's");
                }
                Effect::Close(id, _) | Effect::Probe(id) => {
                    assert!(self.established.contains(&id), "never was the peer's");
                }
            }
        }
        self.check();
    }

    fn pick(&self, n: usize) -> Option<ConnectionId> {
        self.known.get(n % self.known.len().max(1)).copied()
    }

    fn apply(&mut self, op: &Op) -> Vec<Effect> {
        let now = self.now;
        match *op {
            Op::Decide { who, boot, outbound, prefix, serial, may_speak } => {
                let may_speak = may_speak && outbound;
                // A dialer that may speak has yet to learn the remote's.
                self.decide(who, boot, outbound, prefix, Some(serial).filter(|_| !may_speak), may_speak)
            }
            Op::Complete(n, serial) => {
                let phase = |id: &ConnectionId| self.registry.entries.get(id).map(|entry| entry.phase);
                let accepted = self.pick(n).filter(|id| phase(id) == Some(Phase::Accepted));
                let Some(id) = accepted else { return Vec::new() };
                let known = self.registry.entries[&id].candidate.serial;
                self.registry.numbered(id, known.or(Some(serial)));
                self.registry.complete(now, id).unwrap_or_default()
            }
            Op::Stay(n) => self.pick(n).map(|id| self.registry.stay(now, id)).unwrap_or_default(),
            Op::Used(n) => {
                if let Some(id) = self.pick(n) {
                    let claim = self.registry.entries.get(&id).is_some_and(|entry| entry.candidate.claim);
                    self.registry.set_standing(id, Standing { used: Some(now), claim });
                }
                Vec::new()
            }
            Op::Leaving(n) => {
                self.pick(n).into_iter().for_each(|id| self.registry.leaving(id));
                Vec::new()
            }
            Op::Removed(n) => {
                let Some(id) = self.pick(n) else { return Vec::new() };
                self.known.retain(|known| *known != id);
                self.registry.removed(now, id)
            }
            Op::Wait(millis) => {
                self.now += Duration::from_millis(millis);
                let effects = self.registry.poll(self.now);
                let next = self.registry.deadline();
                assert!(next.is_none_or(|next| next > self.now), "what is due was not done");
                effects
            }
            Op::BeginDial(kind) => {
                self.dials.extend(self.registry.begin_dial(kind));
                Vec::new()
            }
            Op::EndDial(n) => {
                if !self.dials.is_empty() {
                    let dial = self.dials.swap_remove(n % self.dials.len());
                    self.registry.end_dial(dial);
                }
                Vec::new()
            }
        }
    }

    fn decide(
        &mut self,
        who: usize,
        boot: u64,
        outbound: bool,
        prefix: u8,
        serial: Option<Serial>,
        may_speak: bool,
    ) -> Vec<Effect> {
        self.next += 1;
        let id = ConnectionId::new(self.next);
        let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
        let prefix = (prefix > 0).then_some(prefix);
        // What comes with a proof and what does not, in turns.
        let proven = self.next.is_multiple_of(2);
        let dial = self.dials.last().copied().filter(|_| outbound);
        if outbound {
            let own = self.registry.number(id, Some(peer(who)));
            assert!(own.ended_below <= own.number, "it is under way itself");
        }
        let claim = self.next.is_multiple_of(5);
        let candidate =
            Candidate { id, peer: peer(who), proven, boot, direction, prefix, claim, dial, serial, may_speak };
        let newcomer = (!outbound).then(|| Newcomer::expected(&self.registry, self.now, &candidate));
        let (verdict, effects) = self.registry.decide(self.now, candidate);
        if let Some(newcomer) = newcomer {
            newcomer.check(&verdict, &effects);
        }
        match verdict {
            Ok(()) => {
                let own = self.registry.serial(id);
                assert!(own.number > 0 && own.ended_below <= own.number);
                self.known.push(id);
                return effects;
            }
            Err(RejectReason::SelfDial) => assert_eq!(who, ME),
            Err(_) => {}
        }
        let gone = self.registry.removed(self.now, id);
        assert_eq!(gone, [], "it was refused");
        effects
    }

    fn check(&self) {
        check_places(&self.registry);
        let Registry { entries, by_peer, counts, .. } = &self.registry;
        for class in [Class::Inbound, Class::Outbound, Class::Kept] {
            let of_class = |entry: &Entry<u8>| Place::of(&entry.candidate).class() == class;
            // A second connection of a peer may add one to the count while it lasts, never a peer.
            let live = |id: &ConnectionId| entries[id].phase == Phase::Live && of_class(&entries[id]);
            let peers = by_peer.values().filter(|ids| ids.iter().any(live)).count();
            assert!(peers <= self.registry.limit(class), "more peers than slots");
            let counted = entries.values().filter(|entry| entry.counted && of_class(entry));
            assert_eq!(counted.count(), counts.taken(class), "slots");
        }
        for ids in by_peer.values() {
            // The remote can only have lost what it has accepted, and its numbers come with that.
            let early = |id: &&ConnectionId| entries[*id].early && entries[*id].candidate.serial.is_none();
            if let Some(id) = ids.iter().find(early) {
                let boot = entries[id].candidate.boot;
                let others = ids.iter().filter(|other| entries[*other].candidate.boot == boot);
                assert_eq!(others.count(), 1, "protocols speak on a connection that may lose");
            }
            let up = ids.iter().filter(|id| entries[id].phase >= Phase::Live).count();
            assert!(up <= 1, "two live connections of one peer");
        }
    }

    /// When all is gone, all slots are free.
    pub fn finish(mut self) {
        for id in std::mem::take(&mut self.known) {
            self.registry.removed(self.now, id);
        }
        for dial in std::mem::take(&mut self.dials) {
            self.registry.end_dial(dial);
        }
        assert_eq!(self.registry.slots_taken(), (0, 0));
        assert!(self.registry.entries.is_empty() && self.registry.by_peer.is_empty());
        assert!(self.registry.counts.crowds().is_empty());
        let found: Vec<_> = std::iter::from_fn(|| self.registry.begin_dial(DialKind::Found)).collect();
        assert_eq!(found.len(), limits().outbound, "all slots are there for dials");
    }
}
