//! Choosing between the connections of one peer.

use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::{DisconnectReason, RejectReason};

use super::crowd::Range;
use super::{Effect, Entry, Phase, Registry};
use crate::{ConnectionId, Direction};

impl<P: Range> Registry<P> {
    /// Chooses among the complete connections of `peer`, if it is time to.
    pub(super) fn settle(&mut self, now: Instant, peer: PeerId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let ids = self.by_peer.get(&peer).cloned().unwrap_or_default();
        let mut complete: Vec<_> = ids.iter().copied().filter(|id| self.entries[id].phase == Phase::Complete).collect();
        // What this side dialed comes first, else what was complete first.
        complete.sort_by_key(|id| {
            let entry = &self.entries[id];
            (!entry.stay, entry.candidate.direction == Direction::Inbound, entry.since, *id)
        });
        for id in complete {
            // An earlier round may have dropped it as the rival of another.
            if self.entries.get(&id).is_some_and(|entry| self.may_choose(now, entry)) {
                self.choose(id, &mut effects);
            }
        }
        self.establish_next(now, peer, &mut effects);
        effects
    }

    fn may_choose(&self, now: Instant, entry: &Entry<P>) -> bool {
        let candidate = &entry.candidate;
        let mut rivals = self.rivals(candidate).filter(|rival| rival.phase <= Phase::Complete);
        if self.is_arbiter(candidate.peer) {
            let own_dial = |rival: &Entry<P>| rival.candidate.direction == Direction::Outbound;
            let over = now.saturating_duration_since(entry.since) >= self.limits.tie_break;
            candidate.direction == Direction::Outbound || over || !rivals.any(own_dial)
        } else {
            entry.stay || rivals.next().is_none()
        }
    }

    /// It stays; its rivals go.
    fn choose(&mut self, id: ConnectionId, effects: &mut Vec<Effect>) {
        let candidate = self.entries[&id].candidate;
        let rivals: Vec<_> =
            self.rivals(&candidate).filter(|r| r.phase <= Phase::Complete).map(|r| r.candidate.id).collect();
        for rival in rivals {
            self.forget(rival);
            effects.push(Effect::Drop(rival, RejectReason::AlreadyConnected));
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Chosen;
        }
        // Of two boots only the later one can be alive, and of one boot only what the remote has not ended.
        let is_stale =
            |old: &&Entry<P>| matches!(old.phase, Phase::Chosen | Phase::Live) || old.candidate.is_ended_by(&candidate);
        let stale: Vec<_> = self.others(&candidate).filter(is_stale).map(|old| (old.candidate.id, old.phase)).collect();
        for (old, phase) in stale {
            if phase >= Phase::Live {
                self.leaving(old);
                effects.push(Effect::Close(old, DisconnectReason::Replaced));
            } else {
                self.forget(old);
                effects.push(Effect::Drop(old, RejectReason::AlreadyConnected));
            }
        }
    }

    /// The chosen connection becomes live once its predecessor is gone.
    fn establish_next(&mut self, now: Instant, peer: PeerId, effects: &mut Vec<Effect>) {
        let ids = self.by_peer.get(&peer).map_or(&[][..], Vec::as_slice);
        if ids.iter().any(|id| self.entries[id].phase >= Phase::Live) {
            return;
        }
        let Some(id) = ids.iter().copied().find(|id| self.entries[id].phase == Phase::Chosen) else { return };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Live;
            entry.since = now;
            if let Some(dial) = entry.candidate.dial {
                self.counts.end_dial(dial);
            }
            effects.push(Effect::Establish(id));
        }
    }
}
