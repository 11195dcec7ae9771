//! What bounds a lookup.

use std::time::Duration;

/// How wide a [`Lookup`](super::Lookup) searches and what it can cost at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupConfig {
    /// How many of the closest live contacts must have answered for the lookup to end, and are its result.
    pub k: usize,
    /// Questions in flight on each path, those to slow contacts aside.
    pub alpha: usize,
    /// Disjoint paths: no contact is asked on two, and a path goes only by what its own contacts answered. From 1.
    pub paths: usize,
    /// How many of the closest live contacts that are left to it must have answered on each path.
    pub width: usize,
    /// A contact that has not answered this long after its connection was there gives its place in flight to another
    /// one. Its answer still counts until it times out.
    pub slow_after: Duration,
    /// The same for the time until the connection is there.
    pub connect_share: Duration,
    /// When an unanswered contact counts as failed, at the earliest, however fast others are. `connect_share` is added for one
    /// that there is no connection with.
    pub min_timeout: Duration,
    /// When it counts as failed at the latest.
    pub max_timeout: Duration,
    /// The most questions of one lookup; the paths share them evenly. Honest nodes leave most of it over.
    pub max_queries: usize,
    /// A lookup that takes longer ends with what it has.
    pub max_time: Duration,
    /// How many contacts of one answer are looked at: the closest ones.
    pub per_responder: usize,
    /// How many contacts of one IPv4 /24 or IPv6 /48 are taken from one answer, and how many are asked.
    pub per_prefix: usize,
    /// Whether loopback and private addresses count for `per_prefix` too.
    pub limit_local: bool,
    /// How many contacts each path keeps that it has not asked: the closest ones.
    pub max_candidates: usize,
    /// The most questions of a [`RegionLookup`](super::RegionLookup), all its parts together.
    pub region_queries: usize,
}

impl LookupConfig {
    /// For what the result is written to: wider paths, as a wrong result would last.
    pub fn writing() -> Self {
        Self { width: 8, ..Self::default() }
    }

    /// One path that is as wide as the result: plain Kademlia, which any contact on its way can mislead.
    pub fn single_path() -> Self {
        let all = Self::default();
        Self { paths: 1, width: all.k, ..all }
    }

    /// How many questions each path may ask.
    pub(super) fn queries_per_path(&self) -> usize {
        self.max_queries / self.paths.max(1)
    }
}

impl Default for LookupConfig {
    fn default() -> Self {
        Self {
            k: 20,
            alpha: 3,
            paths: 4,
            width: 5,
            slow_after: Duration::from_millis(250),
            connect_share: Duration::from_millis(750),
            min_timeout: Duration::from_millis(1500),
            max_timeout: Duration::from_secs(5),
            max_queries: 256,
            max_time: Duration::from_secs(60),
            per_responder: 20,
            per_prefix: 4,
            limit_local: false,
            max_candidates: 128,
            region_queries: 1024,
        }
    }
}
