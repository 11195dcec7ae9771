//! One iterative query over disjoint paths.

use std::time::{Duration, Instant};

use p2p_identity::PrefixCounter;

use super::candidates::{Candidates, Path, State, Step, Subtree, useful};
use super::{LookupConfig, RttEstimator};
use crate::{Contact, Distance, Key};

/// Finds the live nodes closest to a key.
///
/// It ends when, on each path, the closest contacts left to that path have answered, and so have the `k` closest that
/// any path heard of: among honest nodes with full buckets these are the `k` closest there are. Whatever others
/// answer, it asks at most [`LookupConfig::max_queries`] questions, nobody twice and never ourselves, and takes at most
/// [`LookupConfig::max_time`].
///
/// Sans-I/O. Call [`next`](Self::next) until it gives nothing, after each event and at each
/// [`deadline`](Self::deadline), ask those it names, and report [`on_connected`](Self::on_connected) and
/// [`on_answer`](Self::on_answer) or [`on_failure`](Self::on_failure). Reports about anyone who is not being asked are
/// ignored.
#[derive(Debug, Clone)]
pub struct Lookup<C> {
    local: Key,
    target: Key,
    config: LookupConfig,
    candidates: Candidates<C>,
    pending: Vec<Pending>,
    /// How many questions each path has asked.
    asked: Vec<usize>,
    /// The path whose turn is next.
    turn: Path,
    rtt: RttEstimator,
    started: Instant,
    stats: LookupStats,
    best: Option<Distance>,
    /// Where nobody is to be asked.
    avoided: Vec<Subtree>,
    finished: bool,
}

/// What a [`Lookup`] took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LookupStats {
    /// Contacts that were asked.
    pub queries: usize,
    /// Contacts that answered in time.
    pub answers: usize,
    /// Contacts that did not, or could not be asked.
    pub failures: usize,
    /// Questions on the way to the closest contact that answered, its own among them.
    pub hops: u32,
    /// How long it took until that one answered.
    pub closest_after: Option<Duration>,
    /// Whether it ended for its bounds, before its closest contacts had answered.
    pub truncated: bool,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    distance: Distance,
    path: Path,
    asked: Instant,
    connected: Option<Instant>,
}

impl<C: Contact> Lookup<C> {
    /// A lookup of `target` by the node at `local` that begins with `seeds`: the closest that its table has, at least
    /// `paths * width` for every path to have its share. `rtt` is what round trips took so far.
    pub fn new(
        local: Key,
        target: Key,
        seeds: impl IntoIterator<Item = C>,
        config: LookupConfig,
        rtt: RttEstimator,
        now: Instant,
    ) -> Self {
        let config =
            LookupConfig { paths: config.paths.max(1), k: config.k.max(1), alpha: config.alpha.max(1), ..config };
        // Who asks is counted, and waits its turn, when it comes to asking.
        let candidates = Candidates::new(PrefixCounter::new(config.per_prefix).limit_local(config.limit_local));
        let mut lookup = Self {
            local,
            target,
            candidates,
            pending: Vec::new(),
            asked: vec![0; config.paths],
            turn: 0,
            rtt,
            started: now,
            stats: LookupStats::default(),
            best: None,
            avoided: Vec::new(),
            finished: false,
            config,
        };
        // Our own table has its caps; here all of them have their turn.
        let unlimited = PrefixCounter::new(usize::MAX);
        let most = lookup.config.paths.saturating_mul(lookup.config.max_candidates);
        for (n, (distance, seed)) in
            useful(&target, seeds, most, unlimited, |key| *key != local).into_iter().enumerate()
        {
            lookup.candidates.learn(n % lookup.config.paths, distance, 1, seed);
        }
        lookup
    }

    /// Has it follow no answer into these parts of the key space. Its seeds must not be in them.
    pub(super) fn avoiding(mut self, parts: &[Subtree]) -> Self {
        self.avoided = parts.to_vec();
        self
    }

    /// Whom to ask now for the contacts closest to the [`target`](Self::target). Call it again until it is `None`.
    pub fn next(&mut self, now: Instant) -> Option<C> {
        self.expire(now);
        if self.finished {
            return None;
        }
        let (mut all_done, mut ask) = (true, None);
        for path in (0..self.config.paths).map(|n| (self.turn + n) % self.config.paths) {
            let step = self.candidates.step(
                self.config.width,
                |by| by == path,
                |candidate| self.may_spend(path) && candidate.is_known_to(path),
            );
            all_done &= step == Step::Done;
            match step {
                Step::Ask(distance) if ask.is_none() && self.has_slot(path, now) => ask = Some((path, distance)),
                _ => {}
            }
        }
        if ask.is_none() {
            // What is among the closest of all may be beyond the width of the path that knows it.
            let step = self.candidates.step(
                self.config.k,
                |_| true,
                |candidate| candidate.paths().any(|path| self.may_spend(path)),
            );
            if all_done && step == Step::Done {
                self.finish();
                return None;
            }
            if let Step::Ask(distance) = step {
                ask = self.path_for(&distance, now).map(|path| (path, distance));
            }
        }
        let (path, distance) = ask?;
        let contact = self.candidates.ask(path, &distance)?;
        self.pending.push(Pending { distance, path, asked: now, connected: None });
        self.asked[path] += 1;
        self.stats.queries += 1;
        self.turn = (path + 1) % self.config.paths;
        Some(contact)
    }

    /// A connection with one of the asked is there, or was there already: the answer is due from now on.
    pub fn on_connected(&mut self, now: Instant, to: &Key) {
        let distance = self.target.distance(to);
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.distance == distance) {
            pending.connected.get_or_insert(now);
        }
    }

    /// An asked contact answered. Whether that counted: `false` for one that was not asked, answered before, or is too
    /// late. Of `contacts`, those that are no use are left out; give those that may be asked, by their addresses.
    pub fn on_answer(&mut self, now: Instant, from: &Key, contacts: impl IntoIterator<Item = C>) -> bool {
        let Some(pending) = self.no_longer_pending(from) else { return false };
        if let Some(connected) = pending.connected {
            self.rtt.observe(now.saturating_duration_since(connected));
        }
        let Some((path, hops)) = self.candidates.answered(&pending.distance) else { return false };
        self.stats.answers += 1;
        if self.best.is_none_or(|best| pending.distance < best) {
            self.best = Some(pending.distance);
            self.stats.hops = hops;
            self.stats.closest_after = Some(now.saturating_duration_since(self.started));
        }
        let prefixes = PrefixCounter::new(self.config.per_prefix).limit_local(self.config.limit_local);
        let wanted = |key: &Key| *key != self.local && self.avoided.iter().all(|avoided| !avoided.contains(key));
        for (distance, contact) in useful(&self.target, contacts, self.config.per_responder, prefixes, wanted) {
            self.candidates.learn(path, distance, hops + 1, contact);
        }
        self.candidates.trim(path, self.config.max_candidates);
        true
    }

    /// An asked contact cannot be reached, or refused.
    pub fn on_failure(&mut self, from: &Key) {
        if let Some(pending) = self.no_longer_pending(from) {
            self.candidates.failed(&pending.distance);
            self.stats.failures += 1;
        }
    }

    /// What [`next`](Self::next) gave is not in that node's own words, so nobody was asked. If another path described
    /// it differently, that has its turn.
    pub fn on_invalid(&mut self, contact: &Key) {
        if let Some(pending) = self.no_longer_pending(contact) {
            self.candidates.invalid(&pending.distance);
            self.stats.failures += 1;
        }
    }

    /// When to call [`next`](Self::next) again if nothing happens before: someone asked turns out to be slow, or to
    /// have failed.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.finished {
            return None;
        }
        let changes = |pending: &Pending| {
            let slow = self.slow_at(pending);
            if slow > now { slow } else { self.fails_at(pending) }
        };
        let first = self.pending.iter().map(changes).min();
        Some(first.unwrap_or(now).min(self.started + self.config.max_time))
    }

    /// Whether it is over: nobody will be asked any more, and nothing changes what it found.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// What is looked for.
    pub fn target(&self) -> Key {
        self.target
    }

    /// The result: the `k` closest that answered, closest first.
    pub fn closest(&self) -> impl Iterator<Item = &C> {
        self.answered().take(self.config.k)
    }

    /// All that answered, closest first.
    pub fn answered(&self) -> impl Iterator<Item = &C> {
        let answered = self.candidates.iter().filter(|(_, one)| matches!(one.state, State::Answered { .. }));
        answered.filter_map(|(_, one)| one.contact())
    }

    /// What it took so far.
    pub fn stats(&self) -> LookupStats {
        self.stats
    }

    /// What it was given of round-trip times, and what it measured since.
    pub fn rtt(&self) -> RttEstimator {
        self.rtt
    }

    fn expire(&mut self, now: Instant) {
        if self.finished {
            return;
        }
        if now >= self.started + self.config.max_time {
            self.finish();
            self.stats.truncated = true;
            return;
        }
        let mut late = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        for one in pending {
            if self.fails_at(&one) <= now {
                late.push(one);
            } else {
                self.candidates.set_slow(&one.distance, self.slow_at(&one) <= now);
                self.pending.push(one);
            }
        }
        for one in late {
            self.candidates.failed(&one.distance);
            self.stats.failures += 1;
        }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.pending.clear();
        self.stats.truncated = (0..self.config.paths).any(|path| !self.may_spend(path));
    }

    fn no_longer_pending(&mut self, key: &Key) -> Option<Pending> {
        let distance = self.target.distance(key);
        let at = self.pending.iter().position(|pending| pending.distance == distance)?;
        Some(self.pending.swap_remove(at))
    }

    fn may_spend(&self, path: Path) -> bool {
        self.asked[path] < self.config.queries_per_path()
    }

    fn has_slot(&self, path: Path, now: Instant) -> bool {
        self.in_flight(path, now) < self.config.alpha
    }

    fn in_flight(&self, path: Path, now: Instant) -> usize {
        self.pending.iter().filter(|pending| pending.path == path && self.slow_at(pending) > now).count()
    }

    /// The least busy of the paths that know someone and can ask.
    fn path_for(&self, distance: &Distance, now: Instant) -> Option<Path> {
        let paths = self.candidates.get(distance)?.paths();
        let free = paths.filter(|path| self.may_spend(*path) && self.has_slot(*path, now));
        free.min_by_key(|path| (self.in_flight(*path, now), *path))
    }

    fn slow_at(&self, pending: &Pending) -> Instant {
        match pending.connected {
            Some(connected) => connected + self.config.slow_after,
            None => pending.asked + self.config.connect_share,
        }
    }

    fn fails_at(&self, pending: &Pending) -> Instant {
        let (least, most) = (self.config.min_timeout, self.config.max_timeout);
        match pending.connected {
            Some(connected) => connected + self.rtt.timeout().max(least).min(most),
            None => pending.asked + (self.config.connect_share + self.rtt.timeout()).max(least).min(most),
        }
    }
}
