//! When which candidate is tried. No I/O.

use std::time::{Duration, Instant};

/// The bounds of a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaceLimits {
    /// Between the start of a candidate, or its answer, and the start of the next, if none has failed: the "connection
    /// attempt delay" of RFC 8305 §8.
    pub stagger: Duration,
    /// When a dial has not been answered for so long, or whoever answered has not shown for so long who it is, a second one is
    /// made beside it. A first packet that is lost is repeated after 1 s and then after 3 s, the next one that is lost after 3 s
    /// and then after 6 s (RFC 6298 §5.7), and not much later a fresh connection is the quicker way.
    pub again_after: Duration,
    /// Candidates that are tried at the same time.
    pub at_once: usize,
    /// Candidates of a race in all. Further ones are left out.
    pub candidates: usize,
}

impl Default for RaceLimits {
    fn default() -> Self {
        let [stagger, again_after] = [250, 2500].map(Duration::from_millis);
        Self { stagger, again_after, at_once: 16, candidates: 64 }
    }
}

/// Decides when to try which candidate: those of higher priority first, each [`stagger`](RaceLimits::stagger) after the one
/// before, or as soon as one has failed. Candidates may be added while the race runs. What becomes of each attempt is
/// reported to it; [`poll`](Self::poll) says what to do.
#[derive(Debug, Clone)]
pub struct Decider {
    limits: RaceLimits,
    until: Instant,
    entries: Vec<Entry>,
    /// When the next candidate may begin though none has failed.
    next_start: Instant,
    /// One has failed, and none has begun for that yet.
    failed: bool,
    /// One has failed.
    any_failed: bool,
    source: Source,
}

/// One attempt to reach a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Which candidate, in the order in which they were [added](Decider::add).
    pub candidate: usize,
    /// It is made beside a first one that leads nowhere.
    pub again: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Begin this attempt.
    Start(Attempt),
    /// Give this attempt up, as the candidate has answered another one.
    Stop(Attempt),
    /// Give this attempt up, as its time is over.
    Late(Attempt),
    /// Ask the source for more candidates.
    Seek,
    /// Everything has failed, and nothing more will come.
    End,
}

/// What a candidate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Those of higher priority are tried first.
    pub priority: u16,
    /// It is a name, which becomes [addresses](Decider::resolved). Nobody looks it up a second time.
    pub name: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: Kind,
    /// Among those of the same priority.
    order: usize,
    /// When it was begun, or the first attempt was answered.
    since: Option<Instant>,
    attempts: [Phase; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not begun.
    No,
    /// Nobody has answered.
    Connecting,
    /// Nor has anybody answered this one, which was begun because whoever answered the other does not show who it is.
    Beside,
    /// Somebody has answered, and is to show who it is.
    Connected,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Asked once the listed candidates do not answer at once: from then on.
    From(Instant),
    Open,
    Over,
}

impl Entry {
    fn is_waiting(&self) -> bool {
        self.attempts == [Phase::No; 2]
    }

    fn has(&self, phase: Phase) -> bool {
        self.attempts.contains(&phase)
    }

    fn is_running(&self) -> bool {
        self.is_connecting() || self.has(Phase::Connected)
    }

    fn is_connecting(&self) -> bool {
        self.has(Phase::Connecting) || self.has(Phase::Beside)
    }

    fn is_over(&self) -> bool {
        !self.is_waiting() && !self.is_running()
    }

    /// When a second attempt begins, if nothing happens until then.
    fn again_at(&self, limits: &RaceLimits, until: Instant) -> Option<Instant> {
        let may = matches!(self.attempts, [Phase::Connecting | Phase::Connected, Phase::No]) && !self.kind.name;
        self.since.filter(|_| may).map(|since| since + limits.again_after).filter(|at| *at < until)
    }
}

impl Decider {
    /// A race that begins now. Whoever has not answered at `until` is given up; who has may go on for as long as it takes to
    /// show who it is. With `seeks` there is a source of further candidates.
    pub fn new(limits: RaceLimits, now: Instant, until: Instant, seeks: bool) -> Self {
        let source = if seeks { Source::From(now + limits.stagger) } else { Source::Over };
        Self { limits, until, entries: Vec::new(), next_start: now, failed: false, any_failed: false, source }
    }

    /// Adds a candidate; its number. `None` when there are too many.
    pub fn add(&mut self, kind: Kind) -> Option<usize> {
        self.insert(kind, self.entries.len())
    }

    /// A name has been looked up, and is no candidate any longer: each of its addresses is, in its place, once it is
    /// [added](Self::add_address).
    pub fn resolved(&mut self, attempt: Attempt) {
        self.over(attempt);
        self.failed = true;
    }

    /// Adds an address of a name that was [looked up](Self::resolved); its number. `None` when there are too many.
    pub fn add_address(&mut self, name: usize) -> Option<usize> {
        let Entry { kind, order, .. } = self.entries[name];
        self.insert(Kind { name: false, ..kind }, order)
    }

    fn insert(&mut self, kind: Kind, order: usize) -> Option<usize> {
        if self.entries.len() >= self.limits.candidates {
            return None;
        }
        self.entries.push(Entry { kind, order, since: None, attempts: [Phase::No; 2] });
        Some(self.entries.len() - 1)
    }

    /// Somebody has answered an attempt, and is to show who it is: the next waits a little longer.
    pub fn connected(&mut self, now: Instant, attempt: Attempt) {
        *self.phase(attempt) = Phase::Connected;
        self.entries[attempt.candidate].since = Some(now);
        let later = now + self.limits.stagger;
        self.next_start = self.next_start.max(later);
        if let Source::From(at) = &mut self.source {
            *at = later.max(*at);
        }
    }

    /// An attempt has failed; whether its candidate has.
    pub fn failed(&mut self, attempt: Attempt) -> bool {
        self.over(attempt);
        let failed = !self.entries[attempt.candidate].is_running();
        self.failed |= failed;
        self.any_failed |= failed;
        failed
    }

    /// No more candidates come from the source.
    pub fn source_ended(&mut self) {
        self.source = Source::Over;
    }

    fn over(&mut self, attempt: Attempt) {
        *self.phase(attempt) = Phase::Over;
    }

    fn phase(&mut self, attempt: Attempt) -> &mut Phase {
        &mut self.entries[attempt.candidate].attempts[usize::from(attempt.again)]
    }

    /// What to do next, until there is nothing: `None`. Call it after everything that has happened, and at
    /// [`deadline`](Self::deadline).
    pub fn poll(&mut self, now: Instant) -> Option<Action> {
        let is_late = now >= self.until;
        for (candidate, entry) in self.entries.iter_mut().enumerate() {
            let answered = entry.has(Phase::Connected);
            for (again, phase) in [false, true].into_iter().zip(&mut entry.attempts) {
                let attempt = Attempt { candidate, again };
                let stops = answered && *phase == Phase::Connecting;
                if stops || (is_late && matches!(phase, Phase::Connecting | Phase::Beside)) {
                    *phase = Phase::Over;
                    return Some(if stops { Action::Stop(attempt) } else { Action::Late(attempt) });
                }
            }
        }
        if is_late {
            self.source = Source::Over;
            self.entries
                .iter_mut()
                .filter(|entry| entry.is_waiting())
                .for_each(|entry| entry.attempts[0] = Phase::Over);
        }
        if let Some(candidate) = self.next(now) {
            self.failed = false;
            self.next_start = now + self.limits.stagger;
            let entry = &mut self.entries[candidate];
            (entry.since, entry.attempts[0]) = (Some(now), Phase::Connecting);
            return Some(Action::Start(Attempt { candidate, again: false }));
        }
        if let Source::From(at) = self.source
            && (now >= at || self.any_failed || self.is_idle())
        {
            self.source = Source::Open;
            return Some(Action::Seek);
        }
        let (limits, until) = (self.limits, self.until);
        let is_due = |entry: &Entry| !is_late && entry.again_at(&limits, until).is_some_and(|at| now >= at);
        if let Some(candidate) = self.entries.iter().position(is_due) {
            let attempts = &mut self.entries[candidate].attempts;
            attempts[1] = if attempts[0] == Phase::Connected { Phase::Beside } else { Phase::Connecting };
            return Some(Action::Start(Attempt { candidate, again: true }));
        }
        (self.source == Source::Over && self.is_idle()).then_some(Action::End)
    }

    /// The candidate that begins now.
    fn next(&self, now: Instant) -> Option<usize> {
        let running = self.running();
        let may = running < self.limits.at_once && (self.failed || running == 0 || now >= self.next_start);
        let waiting = self.entries.iter().enumerate().filter(|(_, entry)| may && entry.is_waiting());
        let key = |entry: &Entry| (std::cmp::Reverse(entry.kind.priority), entry.order);
        waiting.min_by_key(|(_, entry)| key(entry)).map(|(candidate, _)| candidate)
    }

    fn running(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_running()).count()
    }

    fn is_idle(&self) -> bool {
        self.entries.iter().all(Entry::is_over)
    }

    /// When to [`poll`](Self::poll) if nothing happens before. Without one only what happens changes anything.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = self.entries.iter().any(Entry::is_waiting);
        let open = waits || self.entries.iter().any(Entry::is_connecting) || self.source != Source::Over;
        let next = (waits && self.running() < self.limits.at_once).then_some(self.next_start);
        let seek = match self.source {
            Source::From(at) => Some(at),
            Source::Open | Source::Over => None,
        };
        let again = self.entries.iter().filter_map(|entry| entry.again_at(&self.limits, self.until)).min();
        let until = open.then_some(self.until);
        [until, next, seek, again].into_iter().flatten().min()
    }
}
