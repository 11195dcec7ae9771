//! Who is connected, who is about to be, and which of two connections to one peer stays. No I/O: events go in,
//! [`Effect`]s come out.
//!
//! # One connection per pair
//!
//! Two nodes that dial each other at once make two connections. The node with the smaller [`PeerId`] is the
//! *arbiter* of the pair; it alone chooses, and its own dial is what it prefers. A connection goes through these
//! phases on each side:
//!
//! ```text
//!  decide ──► Accepted ──complete──► Complete ──chosen──► Chosen ──no predecessor──► Live ──► Leaving ──► gone
//!             (our Accept is out)    (both accepted, identity proven)
//! ```
//!
//! - No side accepts a connection while another one of the same peer (and the same [boot](Candidate::boot)) is chosen
//!   or live.
//! - The arbiter chooses a connection when it is complete: at once if it dialed it or has no dial of its own to the
//!   same peer under way, else when that dial has failed or [`SlotLimits::tie_break`] is over. It says `Stay` on the
//!   connection that it chose and closes the others.
//! - The other side chooses a complete connection at once when it has accepted no other, else on `Stay`.
//!
//! # A connection that only one side still holds
//!
//! A line that dies silently leaves the other side with a live connection that is no more. So both sides number their
//! connections and say in the hello below which number all of theirs with this peer have ended ([`Serial`]). What has
//! ended never comes back, so such a claim is true whenever it arrives. A connection that the remote's claim covers is
//! *superseded* by the one on which the claim was made: it is no rival of it, and is closed when that one is chosen, which
//! is after the remote has proven who it is. Connections of another boot are superseded too. A listener whose hello is in
//! its certificate says its numbers with its Accept; until a dialer knows them, nothing covers the connection.
//!
//! So a connection that the arbiter has completed is one that the other side accepted before it chose anything, and
//! after which it chooses nothing else without `Stay`: both choose the same one, and protocols, which start on a
//! live connection only, never use a loser.
//!
//! # Speaking early
//!
//! A dialer that knows the listener's hello from its certificate accepts with its own hello, and its protocols may speak
//! at once: [`Candidate::may_speak`]. They do if no other connection with the peer is there; from then on this side accepts
//! no other with the same boot. The dialer must have looked, after the transport's handshake and before
//! [`decide`](Registry::decide), whether somebody at the peer's address is in the middle of a handshake here, and not ask to
//! speak then. So of two sides that dial each other at most one speaks early: each one's dial had to be let in by the
//! other before it could get so far. What the one that speaks has not accepted, the other cannot choose: the
//! connection that it speaks on stays.
//!
//! A side that speaks early decides about another connection of the peer only when that is over, see
//! [`speaks_early`](Registry::speaks_early): the remote may refuse the one and want the other. If somebody dials from
//! another address than the one it is dialed at, both may speak early, and wait for each other. The arbiter therefore waits
//! a short time only, and refuses the other side's dial then. `model.rs` checks all this over all interleavings.

mod choice;
mod counts;
mod crowd;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod model;
mod numbers;
mod room;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod sequence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::{DisconnectReason, RejectReason, Serial};

use self::counts::{Class, Counts, Place};
pub use self::counts::{Dial, DialKind};
pub use self::crowd::{Range, Standing, USEFUL};
use self::numbers::Numbers;
use crate::{ConnectionId, Direction};

/// How many peers there may be.
#[derive(Debug, Clone)]
pub struct SlotLimits {
    /// Peers that dialed us.
    pub inbound: usize,
    /// Peers that we dialed, those that are kept connected not among them.
    pub outbound: usize,
    /// Peers that we dialed to keep them connected.
    pub kept: usize,
    /// How long a connection that was accepted, and is not complete, keeps its slot from others.
    pub grace: Duration,
    /// How long the arbiter waits for its own dial when another connection to the same peer is complete.
    pub tie_break: Duration,
}

/// A connection whose remote has said who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<P> {
    /// Its name on this side.
    pub id: ConnectionId,
    /// Who the remote claims to be; proven once the connection is complete.
    pub peer: PeerId,
    /// It has proven that already: over tls and quic, before it says hello.
    pub proven: bool,
    /// Drawn by the remote when it started: tells connections of one run from those of the next.
    pub boot: u64,
    /// Who dialed.
    pub direction: Direction,
    /// The address range it counts against, unless it is exempt.
    pub prefix: Option<P>,
    /// The operator of this node has named the peer.
    pub claim: bool,
    /// The dial that it came from, whose slot it takes over.
    pub dial: Option<Dial>,
    /// What the remote has said about its connections with us; `None` if that comes with its Accept, see
    /// [`Registry::numbered`].
    pub serial: Option<Serial>,
    /// Its protocols would speak before the remote has accepted.
    pub may_speak: bool,
}

impl<P: PartialEq> Candidate<P> {
    /// Whether it may share the place of an inbound connection of the same peer: as that peer, or as somebody of the same range.
    fn may_share(&self, holder: &Self) -> bool {
        self.proven || self.prefix == holder.prefix
    }

    /// Whether the remote says on the connection `new` that this one has ended on its side.
    fn is_ended_by(&self, new: &Self) -> bool {
        let covered = |(old, new): (Serial, Serial)| old.number < new.ended_below;
        self.boot == new.boot && self.serial.zip(new.serial).is_some_and(covered)
    }
}

/// What the pool must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The connection is the peer's: say `Stay` on it if [`Registry::is_arbiter`], start protocols, announce it.
    Establish(ConnectionId),
    /// Close a connection that never became the peer's.
    Drop(ConnectionId, RejectReason),
    /// Say good-bye on the peer's connection, which is [leaving](Registry::leaving): somebody else was asked for.
    Evict(ConnectionId),
    /// Close the peer's connection at once, and call [`Registry::removed`] when it is gone.
    Close(ConnectionId, DisconnectReason),
    /// See quickly whether the peer's connection still lives.
    Probe(ConnectionId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Accepted,
    Complete,
    Chosen,
    Live,
    Leaving,
}

#[derive(Debug, Clone)]
struct Entry<P> {
    candidate: Candidate<P>,
    phase: Phase,
    since: Instant,
    /// Our number of it.
    number: u64,
    /// The arbiter has said that this one stays.
    stay: bool,
    /// Protocols speak on it before the remote has accepted.
    early: bool,
    /// It counts for a slot. Of the inbound connections of a peer the first does.
    counted: bool,
    /// What speaks for it when all slots are taken.
    standing: Standing,
}

/// All connections from the remote's hello on, and the slots they take. `P` names an address range.
#[derive(Debug, Clone)]
pub struct Registry<P> {
    own_id: PeerId,
    limits: SlotLimits,
    entries: BTreeMap<ConnectionId, Entry<P>>,
    /// Live, chosen and handshaking connections of each peer.
    by_peer: BTreeMap<PeerId, Vec<ConnectionId>>,
    counts: Counts<P>,
    numbers: Numbers,
}

impl<P: Range> Registry<P> {
    /// An empty registry of the node `own_id`.
    pub fn new(own_id: PeerId, limits: SlotLimits) -> Self {
        let (entries, by_peer) = (BTreeMap::new(), BTreeMap::new());
        Self { own_id, limits, entries, by_peer, counts: Counts::default(), numbers: Numbers::default() }
    }

    /// Takes an outbound slot for a dial that is about to begin; give it back with [`end_dial`](Self::end_dial),
    /// whatever becomes of it.
    ///
    /// Dials of one kind are not counted against those of another, so that thousands of dead addresses delay nobody.
    pub fn begin_dial(&mut self, kind: DialKind) -> Option<Dial> {
        self.counts.begin_dial(kind, &self.limits)
    }

    /// Whether [`begin_dial`](Self::begin_dial) would give a slot now.
    pub fn may_dial(&self, kind: DialKind) -> bool {
        self.counts.may_dial(kind, &self.limits)
    }

    /// The dial is over. Harmless when its connection has taken the slot over.
    pub fn end_dial(&mut self, dial: Dial) {
        self.counts.end_dial(dial);
    }

    /// The numbers for the hello of a connection that this side has dialed, to `peer` if that is known. Call
    /// [`removed`](Self::removed) when the connection is gone.
    pub fn number(&mut self, id: ConnectionId, peer: Option<PeerId>) -> Serial {
        let number = self.numbers.dialing(id, peer);
        Serial { number, ended_below: peer.map_or(0, |peer| self.ended_below(peer)) }
    }

    /// The numbers for the hello of a connection that [`decide`](Self::decide) has accepted.
    pub fn serial(&self, id: ConnectionId) -> Serial {
        let Some(entry) = self.entries.get(&id) else { return Serial::default() };
        Serial { number: entry.number, ended_below: self.ended_below(entry.candidate.peer) }
    }

    /// The number of the oldest connection with `peer` that this side holds, or may come to hold.
    fn ended_below(&self, peer: PeerId) -> u64 {
        let held = self.by_peer.get(&peer).into_iter().flatten().map(|id| self.entries[id].number);
        held.chain(self.numbers.under_way(peer)).min().unwrap_or(0)
    }

    /// Whether to accept a connection whose hello has come. When the answer is yes, our Accept must go out, and
    /// [`complete`](Self::complete) or [`removed`](Self::removed) must follow.
    ///
    /// # Errors
    /// What to tell the remote.
    pub fn decide(&mut self, now: Instant, candidate: Candidate<P>) -> (Result<(), RejectReason>, Vec<Effect>) {
        let mut effects = Vec::new();
        if candidate.peer == self.own_id {
            return (Err(RejectReason::SelfDial), effects);
        }
        let stays = |entry: &&Entry<P>| match entry.phase {
            Phase::Accepted | Phase::Complete => entry.early,
            Phase::Chosen | Phase::Live => true,
            Phase::Leaving => false,
        };
        if let Some(present) = self.rivals(&candidate).find(stays) {
            if present.phase == Phase::Live {
                effects.push(Effect::Probe(present.candidate.id));
            }
            return (Err(RejectReason::AlreadyConnected), effects);
        }
        if self.is_superseded(&candidate) {
            return (Err(RejectReason::AlreadyConnected), effects);
        }
        let counted = match self.make_room(now, &candidate, &mut effects) {
            Ok(counted) => counted,
            Err(reason) => return (Err(reason), effects),
        };
        if counted {
            self.counts.add(&candidate);
        }
        self.by_peer.entry(candidate.peer).or_default().push(candidate.id);
        let (phase, since, number) = (Phase::Accepted, now, self.numbers.identified(candidate.id));
        let early = candidate.may_speak && self.by_peer[&candidate.peer].len() == 1;
        let standing = Standing { claim: candidate.claim, used: None };
        let entry = Entry { candidate, phase, since, number, stay: false, early, counted, standing };
        self.entries.insert(candidate.id, entry);
        (Ok(()), effects)
    }

    /// What the remote has said about its connections with us, where that comes with its Accept. Call it before
    /// [`complete`](Self::complete).
    pub fn numbered(&mut self, id: ConnectionId, serial: Option<Serial>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.candidate.serial = serial;
        }
    }

    /// Both sides have accepted the connection, and the remote has proven who it is. The answer holds no
    /// [`Effect::Establish`] of it while the choice between it and another is open. `None` when it was dropped
    /// meanwhile.
    pub fn complete(&mut self, now: Instant, id: ConnectionId) -> Option<Vec<Effect>> {
        let candidate = self.entries.get(&id)?.candidate;
        if self.is_superseded(&candidate) {
            // The last words of a connection that the remote has already replaced.
            self.forget(id);
            return Some(vec![Effect::Drop(id, RejectReason::AlreadyConnected)]);
        }
        let entry = self.entries.get_mut(&id)?;
        entry.phase = Phase::Complete;
        entry.candidate.proven = true;
        entry.since = now;
        let peer = entry.candidate.peer;
        Some(self.settle(now, peer))
    }

    /// The remote, which is the arbiter, says that this connection stays.
    pub fn stay(&mut self, now: Instant, id: ConnectionId) -> Vec<Effect> {
        let Some(entry) = self.entries.get_mut(&id) else { return Vec::new() };
        entry.stay = true;
        let peer = entry.candidate.peer;
        self.settle(now, peer)
    }

    /// The peer's connection is about to end in good order: a new one may be made, and waits until it is gone. The slot
    /// is free from now on, unless so many are leaving without going that it would be a way around the limits.
    pub fn leaving(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.phase == Phase::Live) else { return };
        let free = self.may_leave(&entry.candidate);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let (candidate, counted) = (entry.candidate, entry.counted);
        entry.phase = Phase::Leaving;
        if free && counted {
            entry.counted = false;
            self.counts.remove(&candidate);
            self.pass_place_on(&candidate);
        }
    }

    /// Whether one that leaves frees its slot at once: not if as many as there are slots are leaving.
    fn may_leave(&self, like: &Candidate<P>) -> bool {
        let class = Place::of(like).class();
        let on_the_way = |entry: &&Entry<P>| !entry.counted && Place::of(&entry.candidate).class() == class;
        self.with_phase(Phase::Leaving).filter(on_the_way).count() < self.limit(class)
    }

    /// The connection is gone, in whatever phase it was.
    pub fn removed(&mut self, now: Instant, id: ConnectionId) -> Vec<Effect> {
        match self.forget(id) {
            Some(entry) => self.settle(now, entry.candidate.peer),
            None => Vec::new(),
        }
    }

    /// Chooses where a tie-break is over. Call it at [`deadline`](Self::deadline).
    pub fn poll(&mut self, now: Instant) -> Vec<Effect> {
        let mut waiting: Vec<_> = self.with_phase(Phase::Complete).map(|entry| entry.candidate.peer).collect();
        waiting.dedup();
        waiting.into_iter().flat_map(|peer| self.settle(now, peer)).collect()
    }

    /// When a tie-break is over next.
    pub fn deadline(&self) -> Option<Instant> {
        self.with_phase(Phase::Complete)
            .filter(|entry| self.is_arbiter(entry.candidate.peer))
            .map(|entry| entry.since + self.limits.tie_break)
            .min()
    }

    /// Whether this side chooses between connections with `peer`.
    pub fn is_arbiter(&self, peer: PeerId) -> bool {
        self.own_id < peer
    }

    /// The peer's live connection, unless it is leaving.
    pub fn live(&self, peer: &PeerId) -> Option<ConnectionId> {
        let ids = self.by_peer.get(peer)?;
        ids.iter().copied().find(|id| self.entries[id].phase == Phase::Live)
    }

    /// Whether anything of the peer may yet become live, or has to go first.
    pub fn is_pending(&self, peer: &PeerId) -> bool {
        let pending = |id: &ConnectionId| self.entries[id].phase != Phase::Live;
        self.by_peer.get(peer).is_some_and(|ids| ids.iter().any(pending))
    }

    /// Whether protocols speak on a connection before the remote has accepted it. They go on when it has.
    pub fn is_early(&self, id: ConnectionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.early)
    }

    /// Whether protocols speak to the peer on a connection that it has yet to accept.
    pub fn speaks_early(&self, peer: &PeerId) -> bool {
        let early = |id: &ConnectionId| self.is_early(*id) && self.entries[id].phase < Phase::Live;
        self.by_peer.get(peer).is_some_and(|ids| ids.iter().any(early))
    }

    /// Whether the connection is about to end in good order.
    pub fn is_leaving(&self, id: ConnectionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.phase == Phase::Leaving)
    }

    /// Slots that peers, and connections that may become peers, hold: inbound and outbound.
    pub fn slots_taken(&self) -> (usize, usize) {
        (self.counts.taken(Class::Inbound), self.counts.taken(Class::Outbound))
    }

    /// Whether all inbound slots are taken: who gets the next one depends on what speaks for those that are there.
    pub fn is_full(&self) -> bool {
        self.counts.taken(Class::Inbound) >= self.limits.inbound
    }

    fn limit(&self, class: Class) -> usize {
        match class {
            Class::Inbound => self.limits.inbound,
            Class::Outbound => self.limits.outbound,
            Class::Kept => self.limits.kept,
        }
    }

    fn with_phase(&self, phase: Phase) -> impl Iterator<Item = &Entry<P>> {
        self.entries.values().filter(move |entry| entry.phase == phase)
    }

    /// The other connections of the same peer.
    fn others(&self, candidate: &Candidate<P>) -> impl Iterator<Item = &Entry<P>> {
        let id = candidate.id;
        let ids = self.by_peer.get(&candidate.peer).into_iter().flatten();
        ids.filter(move |other| **other != id).map(|other| &self.entries[other])
    }

    /// Those of which only one can stay: of the same boot, and alive for all that the remote has said.
    fn rivals(&self, candidate: &Candidate<P>) -> impl Iterator<Item = &Entry<P>> {
        let new = *candidate;
        self.others(candidate).filter(move |entry| {
            let old = &entry.candidate;
            old.boot == new.boot && !old.is_ended_by(&new) && !new.is_ended_by(old)
        })
    }

    /// Whether the remote has proven on another connection that this one has ended on its side.
    fn is_superseded(&self, candidate: &Candidate<P>) -> bool {
        let proven = |entry: &&Entry<P>| entry.phase >= Phase::Complete;
        self.others(candidate).filter(proven).any(|entry| candidate.is_ended_by(&entry.candidate))
    }

    fn forget(&mut self, id: ConnectionId) -> Option<Entry<P>> {
        self.numbers.forget(id);
        let entry = self.entries.remove(&id)?;
        if entry.counted {
            self.counts.remove(&entry.candidate);
        }
        if let Some(ids) = self.by_peer.get_mut(&entry.candidate.peer) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_peer.remove(&entry.candidate.peer);
            }
        }
        if entry.counted {
            self.pass_place_on(&entry.candidate);
        }
        Some(entry)
    }
}
