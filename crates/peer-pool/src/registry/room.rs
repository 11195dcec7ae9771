//! Who makes room for whom.

use std::cmp::Reverse;
use std::time::Instant;

use p2p_identity::RejectReason;

use super::counts::{Class, Place};
use super::crowd::Range;
use super::{Candidate, Effect, Entry, Phase, Registry};
use crate::{ConnectionId, Direction};

/// Connections of one peer, or of somebody who claims to be it, that may wait for their remote and share one place.
pub(super) const MAX_WAITING: usize = 4;

impl<P: Range> Registry<P> {
    /// Sees to it that the candidate fits, if need be by evicting one that got stuck in its handshake, one that discovery has
    /// found, for one that was asked for, or one of a [crowd](super::crowd). Whether it takes a place of its own.
    pub(super) fn make_room(
        &mut self,
        now: Instant,
        new: &Candidate<P>,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, RejectReason> {
        let place = Place::of(new);
        let class = place.class();
        // A crossing or a restarted connection of the same peer shares its place.
        let inbound = new.direction == Direction::Inbound;
        let known = |entry: &&Entry<P>| {
            let old = &entry.candidate;
            (!inbound || new.may_share(old)) && Place::of(old).class() == class
        };
        let same = |entry: &&Entry<P>| known(entry) && entry.phase != Phase::Leaving;
        let has_place = self.others(new).any(|entry| entry.counted && known(&entry));
        if has_place && self.others(new).any(|entry| same(&entry)) {
            let waits = |entry: &&Entry<P>| entry.phase <= Phase::Complete && (entry.candidate.proven || !new.proven);
            if inbound && self.others(new).filter(same).filter(waits).count() >= MAX_WAITING {
                return Err(RejectReason::AlreadyConnected);
            }
            return Ok(!inbound);
        }
        // More than one may have to go: crossing connections of one peer can exceed the limit for a while.
        while self.counts.taken(class) >= self.limit(class) {
            let made_room = self.evict_stuck(now, new, effects)
                || match place {
                    Place::Inbound => self.evict_from_crowd(now, new, effects),
                    Place::Asked => self.evict_found(effects),
                    Place::Found | Place::Kept => false,
                };
            if !made_room {
                return Err(RejectReason::SlotsFull);
            }
        }
        Ok(true)
    }

    /// Lets the peer leave that discovery found last; where none is live yet, it gives up whoever is on the way. Whether that
    /// made room.
    fn evict_found(&mut self, effects: &mut Vec<Effect>) -> bool {
        let found = |entry: &&Entry<P>| entry.counted && Place::of(&entry.candidate) == Place::Found;
        let order = |entry: &&Entry<P>| (entry.phase == Phase::Live, !entry.early, entry.since, entry.candidate.id);
        let last = self.entries.values().filter(found).filter(|entry| entry.phase < Phase::Leaving).max_by_key(order);
        last.map(|entry| entry.candidate.id).is_some_and(|id| self.evict(id, effects))
    }

    /// Lets an inbound peer go for one whose range is less crowded. Whether that made room.
    fn evict_from_crowd(&mut self, now: Instant, new: &Candidate<P>, effects: &mut Vec<Effect>) -> bool {
        self.makes_room(now, new).is_some_and(|id| self.evict(id, effects))
    }

    /// Lets a peer leave in good order, and gives up whoever is on the way. Whether that made room.
    fn evict(&mut self, id: ConnectionId, effects: &mut Vec<Effect>) -> bool {
        if self.entries[&id].phase == Phase::Live {
            self.leaving(id);
            effects.push(Effect::Evict(id));
            return !self.entries[&id].counted;
        }
        self.forget(id);
        effects.push(Effect::Drop(id, RejectReason::SlotsFull));
        true
    }

    /// Drops a connection that has waited for its remote for some time: of those that have proven nothing, if there are any, and
    /// of the most crowded range the one that has waited longest. A crowd drops nobody whose range is less crowded. Whether that
    /// made room.
    fn evict_stuck(&mut self, now: Instant, new: &Candidate<P>, effects: &mut Vec<Effect>) -> bool {
        let class = Place::of(new).class();
        let stuck = |entry: &&Entry<P>| {
            let waits = matches!(entry.phase, Phase::Accepted | Phase::Complete) && entry.counted;
            let fits = Place::of(&entry.candidate).class() == class;
            let range = entry.candidate.prefix.filter(|_| class == Class::Inbound);
            let crowded = || range.is_none_or(|range| self.counts.crowds().relief(range, new.prefix) >= 0);
            waits && fits && now.saturating_duration_since(entry.since) >= self.limits.grace && crowded()
        };
        let order = |entry: &&Entry<P>| {
            let crowd = entry.candidate.prefix.map(|range| self.counts.crowds().of(range));
            (entry.candidate.proven, Reverse(crowd), entry.since)
        };
        let Some(id) = self.entries.values().filter(stuck).min_by_key(order).map(|entry| entry.candidate.id) else {
            return false;
        };
        self.forget(id);
        effects.push(Effect::Drop(id, RejectReason::Timeout));
        true
    }

    /// The place of an inbound connection was given back: another one of the peer, which shared it and can share no other, takes
    /// it. Of the same range if there is one, so that whatever shared it there can go on to.
    pub(super) fn pass_place_on(&mut self, freed: &Candidate<P>) {
        let ids = self.by_peer.get(&freed.peer).into_iter().flatten();
        let inbound = ids.map(|id| &self.entries[id]).filter(|entry| entry.candidate.direction == Direction::Inbound);
        let (counted, sharing): (Vec<_>, Vec<_>) = inbound.partition(|entry| entry.counted);
        let has_place = |entry: &Entry<P>| counted.iter().any(|holder| entry.candidate.may_share(&holder.candidate));
        let heirs = sharing.into_iter().filter(|entry| entry.phase < Phase::Leaving && !has_place(entry));
        let heir = heirs.max_by_key(|entry| (entry.candidate.prefix == freed.prefix, entry.phase));
        let Some(id) = heir.map(|entry| entry.candidate.id) else { return };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.counted = true;
            self.counts.add(&entry.candidate);
        }
    }
}
