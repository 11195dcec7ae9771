//! Who of the inbound peers is evicted when all slots are taken. No I/O.
//!
//! While there is room, everybody gets in, however many come from one address range. When there is none, a newcomer takes the
//! place of somebody who is not [useful](Standing::is_useful), and whose range is more crowded than the newcomer's would be with
//! it: of those, the one whose range is the most crowded, and who came last. So a crowd of any size keeps nobody out who comes
//! from elsewhere. Only who had nothing to say since [`USEFUL`] also goes for a newcomer whose range would be as crowded.
//!
//! Ranges are counted at several widths, since whoever owns an IPv4 /16 has 256 /24s in it. With `n` slots in each range, let the
//! *crowding* be the sum of `weight * n^2` over all ranges of all widths: a newcomer is let in for somebody if that makes the
//! crowding less. It cannot become less without end, so no two ranges evict each other in turns.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_identity::Prefix;

use super::{Candidate, Entry, Phase, Registry};
use crate::ConnectionId;

/// For how long after a message of an application a peer is useful.
pub const USEFUL: Duration = Duration::from_secs(600);

/// What a slot weighs at each width, the widest range first. The widths of one IPv4 /24 are the /16 and twice the /24.
pub(super) const WEIGHTS: [i64; 3] = [1, 2, 6];

/// An address range, which is in wider ones.
pub trait Range: Ord + Copy {
    /// The range of a width that this one is in, 0 being the widest. The last is this one.
    fn at_width(self, width: usize) -> Self;
}

impl Range for Prefix {
    /// IPv4: /16, then the /24. IPv6: /32, /40, then the /48.
    fn at_width(self, width: usize) -> Self {
        match self {
            Self::V4([a, b, _]) if width == 0 => Self::V4([a, b, 0]),
            Self::V6([a, b, c, d, _, _]) if width == 0 => Self::V6([a, b, c, d, 0, 0]),
            Self::V6([a, b, c, d, e, _]) if width == 1 => Self::V6([a, b, c, d, e, 0]),
            narrow => narrow,
        }
    }
}

/// What speaks for a peer when all slots are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The operator of this node has named it.
    pub claim: bool,
    /// When a message of an application last passed.
    pub used: Option<Instant>,
}

impl Standing {
    /// Whether the peer keeps its slot.
    pub fn is_useful(&self, now: Instant) -> bool {
        self.claim || self.used.is_some_and(|used| now.saturating_duration_since(used) < USEFUL)
    }
}

/// How many slots each range holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Crowds<P>([BTreeMap<P, i64>; WEIGHTS.len()]);

impl<P> Default for Crowds<P> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| BTreeMap::new()))
    }
}

impl<P: Range> Crowds<P> {
    pub(super) fn add(&mut self, range: P) {
        for (width, counts) in self.0.iter_mut().enumerate() {
            *counts.entry(range.at_width(width)).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, range: P) {
        for (width, counts) in self.0.iter_mut().enumerate() {
            let range = range.at_width(width);
            if let Some(count) = counts.get_mut(&range) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&range);
                }
            }
        }
    }

    fn count(&self, width: usize, range: P) -> i64 {
        self.0[width].get(&range.at_width(width)).copied().unwrap_or(0)
    }

    /// How crowded the surroundings of a range are.
    pub(super) fn of(&self, range: P) -> i64 {
        WEIGHTS.iter().enumerate().map(|(width, weight)| weight * self.count(width, range)).sum()
    }

    /// Half of what the crowding becomes less by when a newcomer takes the place of somebody who is there. Where the newcomer
    /// is exempt, as if it were the only one of its range.
    pub(super) fn relief(&self, there: P, new: Option<P>) -> i64 {
        let at = |(width, weight): (usize, &i64)| match new {
            Some(new) if new.at_width(width) == there.at_width(width) => 0,
            Some(new) => weight * (self.count(width, there) - self.count(width, new) - 1),
            None => weight * (self.count(width, there) - 1),
        };
        WEIGHTS.iter().enumerate().map(at).sum()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }
}

impl<P: Range> Registry<P> {
    /// What speaks for the peer of a connection, from now on.
    pub fn set_standing(&mut self, id: ConnectionId, standing: Standing) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.standing = standing;
        }
    }

    /// The inbound connection that gives its slot to a newcomer, if one does.
    pub(super) fn makes_room(&self, now: Instant, new: &Candidate<P>) -> Option<ConnectionId> {
        let crowds = self.counts.crowds();
        // One that would not be gone soon enough keeps its place.
        let may_leave = self.may_leave(new);
        let rank = |entry: &Entry<P>| {
            let waits = matches!(entry.phase, Phase::Accepted | Phase::Complete);
            let goes = entry.counted && (waits || (entry.phase == Phase::Live && may_leave));
            let range = entry.candidate.prefix.filter(|_| goes && entry.candidate.direction.is_inbound())?;
            // A claim counts once it is clear who makes it.
            let standing = Standing { claim: entry.standing.claim && entry.candidate.proven, ..entry.standing };
            if standing.is_useful(now) {
                return None;
            }
            let relief = crowds.relief(range, new.prefix);
            let is_idle = now.saturating_duration_since(entry.since) >= USEFUL;
            let gives_way = relief > 0 || (relief == 0 && is_idle) || (new.claim && new.proven);
            let key = (relief, entry.since, entry.candidate.id);
            gives_way.then_some(key)
        };
        self.entries.values().filter_map(rank).max().map(|(.., id)| id)
    }
}
