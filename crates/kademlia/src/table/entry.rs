//! One contact of a bucket, with what is known of its liveness.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::Prefix;

use super::config::TableConfig;
use crate::Contact;

/// A contact that has answered, as a member of a bucket or as a replacement that waits beside it.
#[derive(Debug, Clone)]
pub(super) struct Entry<C> {
    pub(super) contact: C,
    /// What it counts for in the limits: the prefix of the address at which it answered last.
    pub(super) prefix: Option<Prefix>,
    /// When it first answered, of this stay.
    pub(super) since: Instant,
    /// When it last answered or, if it has failed since, when the last failure was counted.
    pub(super) last: Instant,
    /// When to check it.
    pub(super) check_at: Instant,
    /// In a row.
    pub(super) failures: u8,
    /// How many answers the table had had, from anybody, at `last`.
    pub(super) heard: u64,
}

/// What a failure is of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The one that was counted a moment ago.
    Same,
    /// One more, after which it stays.
    Another,
    /// The one after which it leaves: it is dead, and somebody else answered since the failure before, so that it is not
    /// we who are cut off.
    Last,
}

impl<C: Contact> Entry<C> {
    /// It answered.
    pub(super) fn answered(&mut self, now: Instant, check_at: Instant, heard: u64) {
        (self.last, self.check_at, self.failures, self.heard) = (now, check_at, 0, heard);
    }

    /// Takes a newer description of it.
    pub(super) fn renew(&mut self, contact: C) {
        if contact.seq() > self.contact.seq() {
            self.contact = contact;
        }
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, now: Instant, config: &TableConfig, heard: u64) -> Failure {
        let again = self.failures > 0;
        if again && now.checked_duration_since(self.last).is_some_and(|since| since < config.retry_interval) {
            return Failure::Same;
        }
        self.failures = self.failures.saturating_add(1);
        let others_answer = heard != self.heard;
        (self.last, self.check_at, self.heard) = (now, later(now, config.retry_interval), heard);
        if self.is_dead(config) && others_answer { Failure::Last } else { Failure::Another }
    }

    pub(super) fn is_dead(&self, config: &TableConfig) -> bool {
        u32::from(self.failures) >= config.max_failures
    }

    /// Whether it has been known for a check interval.
    pub(super) fn is_settled(&self, now: Instant, config: &TableConfig) -> bool {
        now.saturating_duration_since(self.since) >= config.check_interval
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        self.contact.ip().map(|ip| ip.to_canonical())
    }
}

/// `at`, some time later; `at` itself at the end of time.
pub(super) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

/// When that is due which was put off until `at`, at most `by` into the future. If `at` is further away than that, the clock
/// went back since, and it is due at once.
pub(super) fn due(at: Instant, now: Instant, by: Duration) -> Instant {
    match now.checked_add(by) {
        Some(latest) if at > latest => now,
        _ => at,
    }
}
