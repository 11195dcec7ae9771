//! Provider records of this node: offered again before others forget them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::Engine;
use super::operation::{Purpose, Tally};
use crate::Key;

/// How soon a provider record that nobody took is offered again.
const AGAIN: Duration = Duration::from_secs(60);

/// What this node provides, and until when others remember.
#[derive(Default)]
pub(super) struct Provided(BTreeMap<Key, Providing>);

struct Providing {
    due: Instant,
    running: bool,
    /// Once more, as soon as it is offered: what is being offered is out of date.
    again: bool,
    /// The numbers of those who want it.
    wanted: BTreeSet<u64>,
}

impl Provided {
    /// When the next one is to be offered.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().filter(|one| !one.running).map(|one| one.due).min()
    }
}

impl Engine {
    /// Tells others, and tells them again before they forget, that this node provides `key`: from now on if `at_once`,
    /// else after [`Command::Provide`](super::Command::Provide) has done so. Gives a number that ends it.
    pub fn provide(&mut self, now: Instant, key: Key, at_once: bool) -> u64 {
        let due = if at_once { now } else { self.renewal_at(now) };
        let number = self.id();
        let one = self.provided.0.entry(key).or_insert(Providing {
            due,
            running: false,
            again: false,
            wanted: BTreeSet::new(),
        });
        one.wanted.insert(number);
        number
    }

    /// Ends what [`provide`](Self::provide) began with this number. When that was the last one for this key, others
    /// forget when the time is over.
    pub fn unprovide(&mut self, key: &Key, number: u64) {
        if let Some(one) = self.provided.0.get_mut(key) {
            one.wanted.remove(&number);
            if one.wanted.is_empty() {
                self.provided.0.remove(key);
            }
        }
    }

    pub(super) fn renew_providing(&mut self, now: Instant) {
        let due = |one: &Providing| !one.running && one.due <= now;
        let due: Vec<Key> = self.provided.0.iter().filter(|(_, one)| due(one)).map(|(key, _)| *key).collect();
        for key in due {
            if self.local.candidate().is_none() {
                self.renewed(now, key, 0);
                continue;
            }
            if let Some(one) = self.provided.0.get_mut(&key) {
                one.running = true;
            }
            self.begin_with(now, Purpose::Provide { key, tally: Tally::default(), renewal: true }, Vec::new());
        }
    }

    /// A provider record was renewed with so many nodes.
    pub(super) fn renewed(&mut self, now: Instant, key: Key, stored: usize) {
        let due = if stored == 0 { now + AGAIN } else { self.renewal_at(now) };
        if let Some(one) = self.provided.0.get_mut(&key) {
            let due = if std::mem::take(&mut one.again) { now } else { due };
            (one.due, one.running) = (due, false);
        }
    }

    /// Others can use our record from now on: what could not be offered before is.
    pub(super) fn provide_again(&mut self, now: Instant) {
        for one in self.provided.0.values_mut() {
            (one.due, one.again) = (one.due.min(now), one.running);
        }
    }

    /// At about half the time for which others remember it.
    fn renewal_at(&mut self, now: Instant) -> Instant {
        let jitter = self.random_below(1024) as f64 / 10240.0;
        now + self.upkeep.provider_ttl.mul_f64(0.4 + jitter)
    }
}
