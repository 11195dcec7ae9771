//! Decides whose turn it is: time, requests and what was used in; turns out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// What a node that was idle may move at once, in parts of a second. Long enough to make up for timers that are late.
const BURST: u64 = 20;

/// What one turn allows, in parts of a second: short, since a connection waits for the turns of all others.
const TURN: u64 = 500;

/// The least that a turn allows: one full packet. And the most: what is read or written at once.
pub(crate) const MIN_TURN: u64 = 1_500;
const MAX_TURN: u64 = 64 << 10;

/// What cannot wait may exceed a connection's credit by so many turns' worth, until it has had a turn again.
const AHEAD: i64 = 2;

/// How long a connection that was ahead of others waits at most.
const MOST_LATE: Duration = Duration::from_secs(2);

/// Bytes are counted in billionths, so that no time that passed is rounded away.
const BYTE: i128 = 1_000_000_000;

/// A rate that connections share: a token bucket, and turns of one quantum each (deficit round robin, Shreedhar and Varghese
/// 1995). Each connection that wants to go on gets the same, whatever it asks for at once; who wants less leaves the
/// rest to the others.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Bytes per second.
    rate: u64,
    quantum: u64,
    /// Below zero once more was used than there was.
    level: i128,
    updated: Instant,
    members: BTreeMap<u64, Member>,
    next: u64,
    /// Who wants a turn, or owes one, each once.
    turns: VecDeque<u64>,
    /// Who wants a turn and has none before that time.
    late: BTreeSet<(Instant, u64)>,
}

#[derive(Debug)]
struct Member {
    /// Bytes it may move. Below zero once it has moved more than that; its next turns make up for it.
    credit: i64,
    /// What may still go ahead of its turn.
    ahead: i64,
    /// It is among `turns`.
    queued: bool,
    /// It has more to move, and does not only owe.
    wants: bool,
    /// It has no turn before that.
    not_before: Instant,
}

impl Member {
    fn queue(&mut self, id: u64, turns: &mut VecDeque<u64>) {
        if !std::mem::replace(&mut self.queued, true) {
            turns.push_back(id);
        }
    }
}

impl Shares {
    /// A full bucket of `rate` bytes per second.
    pub(crate) fn new(rate: u64, now: Instant) -> Self {
        let quantum = (rate / TURN).clamp(MIN_TURN, MAX_TURN);
        let mut shares = Self {
            rate,
            quantum,
            level: 0,
            updated: now,
            members: BTreeMap::new(),
            next: 0,
            turns: VecDeque::new(),
            late: BTreeSet::new(),
        };
        shares.level = shares.burst();
        shares
    }

    /// What one turn allows, in bytes.
    pub(crate) fn quantum(&self) -> u64 {
        self.quantum
    }

    /// Another rate from now on.
    pub(crate) fn set_rate(&mut self, rate: u64, now: Instant) {
        self.refill(now);
        self.rate = rate;
        self.quantum = (rate / TURN).clamp(MIN_TURN, MAX_TURN);
        self.level = self.level.min(self.burst());
    }

    /// What each connection has moved before counts: who was ahead has no turn until those behind have had as much, but for what
    /// these leave, and no longer than [`MOST_LATE`].
    pub(crate) fn even_out(&mut self, moved: &BTreeMap<u64, u64>, now: Instant) {
        for (&id, &most) in moved {
            let behind: u64 = moved.values().map(|&other| most.saturating_sub(other)).sum();
            let wait = Duration::from_nanos(behind.saturating_mul(1_000_000) / (self.rate / 1_000).max(1));
            if let Some(member) = self.members.get_mut(&id) {
                member.not_before = now + wait.min(MOST_LATE);
            }
        }
    }

    /// Nobody owes or waits any more.
    pub(crate) fn forget(&mut self) {
        self.turns.clear();
        self.late.clear();
        self.level = self.burst();
        let ahead = self.most_ahead();
        for member in self.members.values_mut() {
            *member = Member { credit: 0, ahead, queued: false, wants: false, not_before: self.updated };
        }
    }

    /// Bytes per second.
    #[cfg(feature = "quic")]
    pub(crate) fn rate(&self) -> u64 {
        self.rate
    }

    fn burst(&self) -> i128 {
        i128::from((self.rate / BURST).max(2 * self.quantum)) * BYTE
    }

    /// A connection begins.
    pub(crate) fn join(&mut self) -> u64 {
        let id = self.next;
        self.next += 1;
        self.members.insert(
            id,
            Member { credit: 0, ahead: self.most_ahead(), queued: false, wants: false, not_before: self.updated },
        );
        id
    }

    /// A connection has ended. What it was granted and has not used goes to the others.
    pub(crate) fn leave(&mut self, id: u64) {
        self.give_back(id);
        if let Some(member) = self.members.remove(&id) {
            self.late.remove(&(member.not_before, id));
            if member.queued {
                self.turns.retain(|waiting| *waiting != id);
            }
        }
    }

    /// Bytes that a connection may move now. If none, it has to wait for its turn.
    pub(crate) fn credit(&self, id: u64) -> u64 {
        self.members.get(&id).map_or(0, |member| member.credit.max(0) as u64)
    }

    /// A connection without credit wants to go on: [`serve`](Self::serve) gives it its turn.
    pub(crate) fn ask(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.wants = true;
            if member.not_before <= self.updated {
                member.queue(id, &mut self.turns);
            } else if !member.queued {
                self.late.insert((member.not_before, id));
            }
        }
    }

    /// Whether a connection may move what cannot wait although it has no credit.
    pub(crate) fn goes_ahead(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.ahead > 0)
    }

    /// A connection has moved so many bytes.
    pub(crate) fn used(&mut self, id: u64, bytes: u64, now: Instant) {
        // The time before this was not short of anything.
        self.refill(now);
        // What nobody was granted is taken from all.
        let Some(member) = self.members.get_mut(&id) else { return self.level -= i128::from(bytes) * BYTE };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if member.credit <= 0 {
            member.ahead = member.ahead.saturating_sub(bytes);
        }
        let debt = member.credit.min(0);
        member.credit = member.credit.saturating_sub(bytes);
        self.level += i128::from(member.credit.min(0) - debt) * BYTE;
        if member.credit < 0 {
            member.queue(id, &mut self.turns);
        }
    }

    /// A connection has nothing to move now. What it was granted goes to the others.
    pub(crate) fn give_back(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id)
            && member.credit > 0
        {
            let credit = i128::from(std::mem::take(&mut member.credit));
            self.level = (self.level + credit * BYTE).min(self.burst());
        }
    }

    /// Gives turns, as far as there are bytes: who of those that asked has credit now.
    pub(crate) fn serve(&mut self, now: Instant) -> Vec<u64> {
        self.refill(now);
        self.end_waits();
        let (quantum, most_ahead) = (self.quantum as i64, self.most_ahead());
        let mut served = Vec::new();
        while self.level > 0
            && let Some(id) = self.turns.pop_front()
        {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.ahead = most_ahead;
            member.credit += quantum;
            if !member.wants {
                // It keeps nothing for later.
                member.credit = member.credit.min(0);
            }
            // What made a debt was taken from the bucket then.
            self.level -= i128::from(member.credit.clamp(0, quantum)) * BYTE;
            if member.credit > 0 {
                served.push(id);
            }
            if member.credit > 0 || (member.credit == 0 && !member.wants) {
                (member.queued, member.wants) = (false, false);
            } else {
                self.turns.push_back(id);
            }
        }
        served
    }

    /// When the next turn is; `None` when nobody wants or owes one.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        let short = (1 - self.level).max(0) as u128;
        let wait = Duration::from_nanos(u64::try_from(short.div_ceil(self.rate.max(1).into())).unwrap_or(u64::MAX));
        let turn = (!self.turns.is_empty()).then(|| self.updated + wait);
        // The earliest of the late; or when the bucket is full, if that is sooner.
        let late = self.late.first().map(|(at, _)| {
            let room = (self.burst() - self.level).max(0) as u128;
            let full = u64::try_from(room.div_ceil(self.rate.max(1).into())).unwrap_or(u64::MAX);
            (*at).min(self.updated + Duration::from_nanos(full))
        });
        turn.into_iter().chain(late).min()
    }

    /// Those that were late go on. One turn is for the first of the others when the bucket is full: what nobody else uses.
    fn end_waits(&mut self) {
        let mut idle = self.level >= self.burst();
        while let Some(&(at, id)) = self.late.first()
            && (at <= self.updated || std::mem::take(&mut idle))
        {
            self.late.pop_first();
            if let Some(member) = self.members.get_mut(&id) {
                member.queue(id, &mut self.turns);
            }
        }
    }

    /// How many connections there are.
    #[cfg(test)]
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    fn most_ahead(&self) -> i64 {
        AHEAD * self.quantum as i64
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated).as_nanos() as i128;
        self.updated = self.updated.max(now);
        self.level = (self.level + passed * i128::from(self.rate)).min(self.burst());
    }
}
