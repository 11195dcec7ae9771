//! One lookup, and beside it a list of what it asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;
use p2p_kademlia::lookup::{Lookup, LookupConfig, RttEstimator};
use p2p_kademlia::{Distance, Key};

use super::MAX_STEPS;
use super::network::{LOCAL, Network, Node, TARGET};
use crate::input::{Input, start};

/// A question that is neither answered nor known to have failed.
struct Asked {
    node: Node,
    at: Instant,
    connected: Option<Instant>,
    /// Whether it was slow once, so that another one was asked in its place.
    was_slow: bool,
}

/// A lookup that is driven, and what it must have come to.
pub(super) struct Drive {
    config: LookupConfig,
    network: Network,
    lookup: Lookup<Node>,
    begun: Instant,
    now: Instant,
    pending: Vec<Asked>,
    answered: BTreeMap<Distance, Node>,
    /// Everybody that was asked, and whose description was not found to be forged.
    asked: BTreeSet<Key>,
    /// Everybody that it can have heard of.
    heard: BTreeSet<Key>,
    forged: BTreeSet<Key>,
    rtt: RttEstimator,
    queries: usize,
    failures: usize,
}

impl Drive {
    pub(super) fn new(input: &mut Input<'_>, config: LookupConfig) -> Self {
        let mut network = Network::new(input.byte());
        let now = start();
        let seeds = network.contacts(input);
        let heard = seeds.iter().map(|node| node.key).filter(|key| *key != LOCAL).collect();
        let rtt = RttEstimator::default();
        let lookup = Lookup::new(LOCAL, TARGET, seeds, config.clone(), rtt, now);
        Self {
            config,
            network,
            lookup,
            begun: now,
            now,
            pending: Vec::new(),
            answered: BTreeMap::new(),
            asked: BTreeSet::new(),
            heard,
            forged: BTreeSet::new(),
            rtt,
            queries: 0,
            failures: 0,
        }
    }

    pub(super) fn run(mut self, mut input: Input<'_>) {
        for _ in 0..MAX_STEPS {
            while self.ask(&mut input) {}
            if self.lookup.is_finished() {
                break;
            }
            // Somebody must be waited for: without a deadline it would never end.
            let deadline = self.lookup.deadline(self.now).expect("it is not finished");
            assert!(deadline > self.now && !self.pending.is_empty(), "nobody is asked, and it does not end");
            match input.below(8) {
                0..=3 => self.answer(&mut input),
                4 => {
                    let node = self.somebody(&mut input);
                    self.lookup.on_failure(&node.key);
                    self.failures += self.no_longer_pending(&node.key).into_iter().count();
                }
                5 => {
                    let node = self.somebody(&mut input);
                    self.lookup.on_connected(self.now, &node.key);
                    let now = self.now;
                    let it = self.pending.iter_mut().find(|asked| asked.node.key == node.key);
                    it.into_iter().for_each(|asked| _ = asked.connected.get_or_insert(now));
                }
                6 => self.now += Duration::from_millis(u64::from(input.byte()) * 2),
                _ => self.now = deadline,
            }
            self.check();
        }
        self.check_end();
    }

    /// Whether somebody was to be asked.
    fn ask(&mut self, input: &mut Input<'_>) -> bool {
        let is_over = self.lookup.is_finished() || self.now >= self.begun + self.config.max_time;
        let before = self.pending.len();
        self.pending.retain(|asked| is_over || fails_at(&self.config, &self.rtt, asked) > self.now);
        self.failures += before - self.pending.len();
        for asked in &mut self.pending {
            asked.was_slow |= slow_at(&self.config, asked) <= self.now;
        }
        let (alpha, paths) = (self.config.alpha.max(1), self.config.paths.max(1));
        let fast = self.pending.iter().filter(|asked| slow_at(&self.config, asked) > self.now);
        let (in_flight, revived) = (fast.clone().count(), fast.filter(|asked| asked.was_slow).count());
        let Some(node) = self.lookup.next(self.now) else {
            self.pending.retain(|_| !self.lookup.is_finished());
            return false;
        };
        assert!(!is_over, "it asks beyond its time");
        // Who was slow and then connected counts again, on its own path only.
        assert!(in_flight - revived < alpha * paths && (paths > 1 || in_flight < alpha), "{in_flight} at a time");
        assert!(node.key != LOCAL && self.heard.contains(&node.key), "nobody named {node:?}");
        assert!(self.asked.insert(node.key), "{node:?} is asked twice");
        self.check_prefix(&node);
        self.queries += 1;
        assert!(self.queries <= self.config.max_queries);
        // Who made it up is found out at once, or nobody did.
        if node.is_forged() {
            self.lookup.on_invalid(&node.key);
            self.asked.remove(&node.key);
            self.forged.insert(node.key);
            self.failures += 1;
        } else {
            let connected = input.flag().then_some(self.now);
            if connected.is_some() {
                self.lookup.on_connected(self.now, &node.key);
            }
            self.pending.push(Asked { node, at: self.now, connected, was_slow: false });
        }
        true
    }

    /// Of one prefix only so many are asked that did not fail, the target aside.
    fn check_prefix(&self, node: &Node) {
        let live = self.pending.iter().map(|asked| &asked.node).chain(self.answered.values());
        let same = live.filter(|other| other.key != TARGET && self.counted(other) == self.counted(node)).count();
        assert!(self.counted(node).is_none() || node.key == TARGET || same < self.config.per_prefix);
    }

    fn counted(&self, node: &Node) -> Option<Prefix> {
        let ip = node.ip.filter(|ip| self.config.limit_local || !is_local(*ip));
        ip.map(Prefix::of)
    }

    fn answer(&mut self, input: &mut Input<'_>) {
        let from = self.somebody(input);
        let contacts = self.network.contacts(input);
        let taken = self.lookup.on_answer(self.now, &from.key, contacts.iter().cloned());
        let asked = self.no_longer_pending(&from.key);
        assert_eq!(taken, asked.is_some(), "who was not asked, or is late, is not listened to");
        let Some(asked) = asked else { return };
        if let Some(connected) = asked.connected {
            self.rtt.observe(self.now - connected);
        }
        self.heard.extend(contacts.iter().map(|node| node.key).filter(|key| *key != LOCAL));
        self.answered.insert(TARGET.distance(&asked.node.key), asked.node);
    }

    /// Somebody that is being asked or, now and then, anybody.
    fn somebody(&self, input: &mut Input<'_>) -> Node {
        let which = input.byte();
        if which >= 0xe0 {
            return self.network.node(which);
        }
        self.pending[usize::from(which) % self.pending.len()].node
    }

    fn no_longer_pending(&mut self, key: &Key) -> Option<Asked> {
        let at = self.pending.iter().position(|asked| asked.node.key == *key)?;
        Some(self.pending.remove(at))
    }

    fn check(&self) {
        assert!(self.lookup.answered().eq(self.answered.values()));
        assert!(self.lookup.closest().eq(self.answered.values().take(self.config.k.max(1))));
        let stats = self.lookup.stats();
        assert_eq!((stats.queries, stats.answers, stats.failures), (self.queries, self.answered.len(), self.failures));
        assert_eq!(stats.closest_after.is_some(), !self.answered.is_empty());
        assert!(stats.hops as usize <= self.answered.len());
        assert_eq!(self.lookup.rtt(), self.rtt);
    }

    fn check_end(mut self) {
        if !self.lookup.is_finished() {
            self.now = self.begun + self.config.max_time;
            assert!(self.lookup.next(self.now).is_none() && self.lookup.is_finished(), "it takes too long");
            assert!(self.lookup.stats().truncated);
        }
        assert_eq!(self.lookup.deadline(self.now), None);
        self.check();
        self.check_result();
        // What comes now changes nothing.
        let before = self.lookup.stats();
        for key in self.heard.iter().take(4) {
            assert!(!self.lookup.on_answer(self.now, key, [self.network.node(7)]));
            self.lookup.on_failure(key);
            self.lookup.on_invalid(key);
        }
        assert!(self.lookup.next(self.now).is_none());
        assert_eq!(self.lookup.stats(), before);
        self.check();
    }

    /// Nobody closer was left out, if no bound was in the way.
    fn check_result(&self) {
        let LookupConfig { k, per_responder, per_prefix, max_candidates, .. } = self.config;
        if self.lookup.stats().truncated || per_responder < 20 || per_prefix < usize::MAX || max_candidates < 128 {
            return;
        }
        let last = self.lookup.closest().nth(k.max(1) - 1).map_or(Distance::MAX, |node| TARGET.distance(&node.key));
        let forgotten = self.heard.iter().filter(|key| TARGET.distance(key) < last && !self.forged.contains(key));
        let forgotten: Vec<_> = forgotten.filter(|key| !self.asked.contains(key)).collect();
        assert!(forgotten.is_empty(), "{forgotten:?} are closer");
    }
}

fn slow_at(config: &LookupConfig, asked: &Asked) -> Instant {
    asked.connected.map_or(asked.at + config.connect_share, |connected| connected + config.slow_after)
}

/// An answer may take so long, as far as is known of round trips by now.
fn fails_at(config: &LookupConfig, rtt: &RttEstimator, asked: &Asked) -> Instant {
    let within = |time: Duration| time.max(config.min_timeout).min(config.max_timeout);
    match asked.connected {
        Some(connected) => connected + within(rtt.timeout()),
        None => asked.at + within(config.connect_share + rtt.timeout()),
    }
}
