//! A routing table as plain lists.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;
use p2p_kademlia::{Insert, Key, TableConfig};

pub(super) use crate::contact::Node;

pub(super) const LOCAL: Key = Key::from_bytes([0x5a; 32]);

#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) node: Node,
    pub(super) bucket: usize,
    /// Which part of its bucket it is in.
    sub_prefix: usize,
    pub(super) since: Instant,
    pub(super) last: Instant,
    pub(super) failures: u32,
    pub(super) check_at: Instant,
    prefix: Option<Prefix>,
    /// How many had answered by the time that it was last heard of.
    heard: u64,
}

pub(super) fn bucket_of(key: &Key) -> usize {
    LOCAL.common_prefix_len(key)
}

pub(super) struct Model {
    config: TableConfig,
    /// In the order in which they came.
    pub(super) members: Vec<Known>,
    /// In the order in which they began to wait.
    pub(super) waiting: Vec<Known>,
    /// When a lookup went through each bucket that ever had somebody, or one before it.
    pub(super) refreshed: Vec<Option<Instant>>,
    answers: u64,
}

impl Model {
    pub(super) fn new(config: TableConfig) -> Self {
        Self { config, members: Vec::new(), waiting: Vec::new(), refreshed: Vec::new(), answers: 0 }
    }

    pub(super) fn alive(&mut self, now: Instant, node: Node, ip: Option<IpAddr>) -> Insert {
        self.answers += 1;
        if node.key == LOCAL {
            return Insert::Own;
        }
        let (bucket, prefix) = (bucket_of(&node.key), self.counted(ip));
        let member = position(&self.members, &node.key);
        let waited = position(&self.waiting, &node.key).map(|at| self.waiting.remove(at));
        let before = member.map(|at| self.members[at]).or(waited);
        if member.is_none_or(|at| self.members[at].prefix != prefix) && !self.has_room(bucket, prefix) {
            self.members.retain(|known| known.node.key != node.key);
            return Insert::PrefixFull;
        }
        let check_at = now + self.config.check_interval;
        let since = before.map_or(now, |known| known.since);
        let node = before.map(|known| known.node).filter(|known| known.seq >= node.seq).unwrap_or(node);
        let sub_prefix = self.sub_prefix(&node.key);
        let known =
            Known { node, bucket, sub_prefix, since, last: now, failures: 0, check_at, prefix, heard: self.answers };
        if let Some(at) = member {
            self.members[at] = known;
            return Insert::Known;
        }
        self.refreshed.resize(self.refreshed.len().max(bucket + 1), None);
        let there = self.of_bucket(bucket).count();
        let is_dead = |known: &Known| known.bucket == bucket && known.failures >= self.config.max_failures;
        let dead = self.members.iter().position(is_dead);
        if there < self.config.k {
            self.members.push(known);
            return Insert::Added;
        }
        if let Some(at) = dead {
            let dead = self.members.remove(at);
            self.members.push(known);
            return Insert::Replaced(dead.node.key);
        }
        match self.surplus(now, &known, self.is_settled(now, &known)) {
            Some(at) => {
                let displaced = self.members.remove(at);
                self.members.push(known);
                self.wait(now, displaced);
                Insert::Replaced(displaced.node.key)
            }
            None if self.wait(now, known) => Insert::Waiting,
            None => Insert::Full,
        }
    }

    pub(super) fn failed(&mut self, now: Instant, key: &Key) -> Option<Node> {
        self.waiting.retain(|known| known.node.key != *key);
        let at = position(&self.members, key)?;
        let known = &mut self.members[at];
        let is_new = known.failures == 0 || now < known.last || now - known.last >= self.config.retry_interval;
        if !is_new {
            return None;
        }
        let others_answered = known.heard != self.answers;
        (known.last, known.check_at, known.heard) = (now, now + self.config.retry_interval, self.answers);
        known.failures += 1;
        if known.failures >= self.config.max_failures && others_answered {
            return Some(self.members.remove(at).node);
        }
        // Whether anybody is alive is asked of another. Stable: of those due at the same time, the first in the table.
        let mut others: Vec<&mut Known> = self.members.iter_mut().filter(|known| known.failures == 0).collect();
        others.sort_by_key(|known| (known.check_at, known.bucket));
        if let Some(other) = others.first_mut() {
            other.check_at = other.check_at.min(now);
        }
        None
    }

    pub(super) fn update(&mut self, node: Node) -> bool {
        let Some(known) = self.members.iter().chain(&self.waiting).find(|known| known.node.key == node.key) else {
            return false;
        };
        let canonical = |ip: Option<IpAddr>| ip.map(|ip| ip.to_canonical());
        let moved = canonical(known.node.ip) != canonical(node.ip);
        let prefix = self.counted(node.ip);
        if node.seq <= known.node.seq || moved && prefix != known.prefix && !self.has_room(known.bucket, prefix) {
            return false;
        }
        let retry = self.config.retry_interval;
        for known in self.members.iter_mut().chain(&mut self.waiting).filter(|known| known.node.key == node.key) {
            known.node = node;
            if moved {
                known.check_at = known.check_at.min(known.last + retry);
            }
        }
        true
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Node> {
        let waiting = position(&self.waiting, key).map(|at| self.waiting.remove(at));
        position(&self.members, key).map(|at| self.members.remove(at)).or(waiting).map(|known| known.node)
    }

    /// Whoever was put off until `at` is due then or, when the clock went back since, at once.
    pub(super) fn due(&self, at: Instant, now: Instant) -> Instant {
        let longest = self.config.check_interval.max(self.config.retry_interval);
        if at > now + longest { now } else { at }
    }

    /// Whether a replacement that answered would get a place, its time of waiting aside.
    pub(super) fn is_wanted(&self, now: Instant, known: &Known) -> bool {
        let bucket = known.bucket;
        let alive = self.of_bucket(bucket).filter(|known| known.failures < self.config.max_failures).count();
        let room = alive < self.config.k || self.surplus(now, known, true).is_some();
        room && self.table_has_room(known.prefix)
    }

    /// The bounds that hold whatever happens.
    pub(super) fn check_bounds(&self) {
        let mut counts: BTreeMap<(usize, Option<Prefix>), usize> = BTreeMap::new();
        for known in self.members.iter().chain(&self.waiting).filter(|known| known.prefix.is_some()) {
            *counts.entry((known.bucket, known.prefix)).or_default() += 1;
        }
        assert!(counts.into_values().all(|count| count <= self.config.per_bucket_prefix));
        let mut counts: BTreeMap<Prefix, usize> = BTreeMap::new();
        self.members.iter().filter_map(|known| known.prefix).for_each(|it| *counts.entry(it).or_default() += 1);
        assert!(counts.into_values().all(|count| count <= self.config.per_table_prefix));
    }

    pub(super) fn of_bucket(&self, bucket: usize) -> impl Iterator<Item = &Known> {
        self.members.iter().filter(move |known| known.bucket == bucket)
    }

    fn counted(&self, ip: Option<IpAddr>) -> Option<Prefix> {
        ip.filter(|ip| self.config.caps && (self.config.limit_local || !is_local(*ip))).map(Prefix::of)
    }

    fn has_room(&self, bucket: usize, prefix: Option<Prefix>) -> bool {
        let here = self.members.iter().chain(&self.waiting).filter(|known| known.bucket == bucket);
        let in_bucket = here.filter(|known| known.prefix == prefix).count();
        prefix.is_none() || in_bucket < self.config.per_bucket_prefix && self.table_has_room(prefix)
    }

    fn table_has_room(&self, prefix: Option<Prefix>) -> bool {
        let in_table = self.members.iter().filter(|known| known.prefix == prefix).count();
        prefix.is_none() || in_table < self.config.per_table_prefix
    }

    fn is_settled(&self, now: Instant, known: &Known) -> bool {
        now.saturating_duration_since(known.since) >= self.config.check_interval
    }

    /// The sub-prefix of a key in its bucket: as many bits behind the first that differs as give each sub-prefix two
    /// places, and at most four.
    fn sub_prefix(&self, key: &Key) -> usize {
        let bits = match self.config.k {
            _ if !self.config.balance => 0,
            0..4 => 0,
            4..8 => 1,
            8..16 => 2,
            16..32 => 3,
            _ => 4,
        };
        let bit = |at: usize| at < 256 && key.as_bytes()[at / 8] & (0x80 >> (at % 8)) != 0;
        let first = bucket_of(key) + 1;
        (first..first + bits).fold(0, |sub_prefix, at| sub_prefix << 1 | usize::from(bit(at)))
    }

    /// Who makes room in a full bucket so that it is more even.
    fn surplus(&self, now: Instant, newcomer: &Known, settled: bool) -> Option<usize> {
        let bucket = newcomer.bucket;
        let mut counts = [0; 16];
        self.of_bucket(bucket).for_each(|known| counts[known.sub_prefix] += 1);
        let most = counts.into_iter().max()?;
        let crowded = |known: &Known| known.bucket == bucket && counts[known.sub_prefix] == most;
        let last = self.members.iter().rposition(crowded)?;
        let uneven = most >= counts[newcomer.sub_prefix] + 2;
        (uneven && (settled || !self.is_settled(now, &self.members[last]))).then_some(last)
    }

    fn wait(&mut self, now: Instant, known: Known) -> bool {
        let (bucket, key) = (known.bucket, known.node.key);
        self.waiting.push(Known { check_at: now, ..known });
        let here: Vec<Known> = self.waiting.iter().filter(|known| known.bucket == bucket).copied().collect();
        if here.len() > self.config.replacements {
            let mut counts = [0; 16];
            here.iter().for_each(|known| counts[known.sub_prefix] += 1);
            let crowd = (0..16).rev().max_by_key(|which| counts[*which]);
            let mut crowd: Vec<&Known> = here.iter().filter(|known| Some(known.sub_prefix) == crowd).collect();
            let patience: Duration = 2 * self.config.check_interval;
            let leaves = match crowd.iter().find(|known| now.saturating_duration_since(known.last) >= patience) {
                Some(stale) => Some(stale.node.key),
                None => {
                    // Stable: of those that came at the same time, the last.
                    crowd.sort_by_key(|known| known.since);
                    crowd.last().map(|known| known.node.key)
                }
            };
            self.waiting.retain(|known| Some(known.node.key) != leaves);
        }
        position(&self.waiting, &key).is_some()
    }
}

fn position(list: &[Known], key: &Key) -> Option<usize> {
    list.iter().position(|known| known.node.key == *key)
}
