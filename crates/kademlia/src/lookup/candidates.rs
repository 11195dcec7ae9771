//! Everyone a lookup has heard of, by distance, and how far the search around the target has come.

use std::collections::BTreeMap;
use std::net::IpAddr;

use p2p_identity::PrefixCounter;

use crate::{Contact, Distance, Key};

/// Which of the disjoint paths.
pub(super) type Path = usize;

/// How many times the contacts that are looked at are kept of an answer while it is sorted.
const SPARE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not asked.
    Waiting,
    /// Asked on this path. `slow`: for so long that it may well be dead.
    Asked {
        path: Path,
        ip: Option<IpAddr>,
        slow: bool,
    },
    Answered {
        path: Path,
    },
    /// Asked in vain. Kept, so that nobody brings it back.
    Failed,
}

#[derive(Debug, Clone)]
pub(super) struct Candidate<C> {
    pub(super) state: State,
    /// Questions on the way from us to its answer; 1 for a seed.
    pub(super) hops: u32,
    /// How each path described it, in the order in which they are tried, backwards. A path's word is kept apart from
    /// the others', as the descriptions of liars do not verify and must not hide a true one.
    descriptions: Vec<(Path, C)>,
}

impl<C: Contact> Candidate<C> {
    pub(super) fn is_known_to(&self, path: Path) -> bool {
        self.descriptions.iter().any(|(by, _)| *by == path)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = Path> {
        self.descriptions.iter().map(|(by, _)| *by)
    }

    /// The description in use.
    pub(super) fn contact(&self) -> Option<&C> {
        self.descriptions.last().map(|(_, contact)| contact)
    }

    fn learn(&mut self, path: Path, contact: C) {
        match self.descriptions.iter_mut().find(|(by, _)| *by == path) {
            Some((_, known)) if known.seq() < contact.seq() => *known = contact,
            Some(_) => {}
            None => self.descriptions.push((path, contact)),
        }
        // Stable: of equals, the one that was there first stays ahead.
        self.descriptions.sort_by_key(|(_, contact)| contact.seq());
    }
}

/// What a path can do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the one at this distance.
    Ask(Distance),
    /// Its closest contacts have been asked; some have not answered.
    Wait,
    /// Its closest contacts have answered.
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct Candidates<C> {
    by_distance: BTreeMap<Distance, Candidate<C>>,
    /// Who was asked and did not fail.
    prefixes: PrefixCounter,
}

impl<C: Contact> Candidates<C> {
    pub(super) fn new(prefixes: PrefixCounter) -> Self {
        Self { by_distance: BTreeMap::new(), prefixes }
    }

    pub(super) fn get(&self, distance: &Distance) -> Option<&Candidate<C>> {
        self.by_distance.get(distance)
    }

    /// By distance, closest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Distance, &Candidate<C>)> {
        self.by_distance.iter()
    }

    /// `path` heard of someone.
    pub(super) fn learn(&mut self, path: Path, distance: Distance, hops: u32, contact: C) {
        let new = || Candidate { state: State::Waiting, hops, descriptions: Vec::with_capacity(1) };
        let candidate = self.by_distance.entry(distance).or_insert_with(new);
        if candidate.state == State::Waiting {
            candidate.hops = candidate.hops.min(hops);
            candidate.learn(path, contact);
        }
    }

    /// Lets `path` forget those it has not asked beyond the closest `max`.
    pub(super) fn trim(&mut self, path: Path, max: usize) {
        let waiting = |candidate: &Candidate<C>| candidate.state == State::Waiting && candidate.is_known_to(path);
        let too_far = self.by_distance.iter().filter(|(_, candidate)| waiting(candidate)).nth(max);
        let Some(from) = too_far.map(|(distance, _)| *distance) else { return };
        for candidate in self.by_distance.range_mut(from..).map(|(_, candidate)| candidate) {
            if waiting(candidate) {
                candidate.descriptions.retain(|(by, _)| *by != path);
            }
        }
        self.by_distance.retain(|_, candidate| !candidate.descriptions.is_empty());
    }

    /// What to do so that the closest `count` live ones have answered, of those that were asked on a path that `counts`
    /// or that `may_ask` lets be asked.
    pub(super) fn step(
        &self,
        count: usize,
        counts: impl Fn(Path) -> bool,
        may_ask: impl Fn(&Candidate<C>) -> bool,
    ) -> Step {
        let (mut live, mut pending) = (0, false);
        for (distance, candidate) in &self.by_distance {
            if live >= count {
                break;
            }
            match candidate.state {
                State::Waiting if may_ask(candidate) && self.has_room(distance, candidate) => {
                    return Step::Ask(*distance);
                }
                // A slow one is waited for, and so is another one in its place: if those close to a target are dead, they
                // are found to be so at the same time and not in turn.
                State::Asked { path, slow, .. } if counts(path) => (live, pending) = (live + usize::from(!slow), true),
                State::Answered { path } if counts(path) => live += 1,
                _ => {}
            }
        }
        if pending { Step::Wait } else { Step::Done }
    }

    /// The target itself is never one too many of its prefix: finding it may be all that is wanted.
    fn has_room(&self, distance: &Distance, candidate: &Candidate<C>) -> bool {
        let ip = candidate.contact().and_then(Contact::ip);
        ip.is_none_or(|ip| self.prefixes.has_room(ip)) || distance.leading_zeros() == crate::key::BITS
    }

    /// Marks a waiting one as asked, and says how to reach it.
    pub(super) fn ask(&mut self, path: Path, distance: &Distance) -> Option<C> {
        let candidate = self.by_distance.get_mut(distance)?;
        let contact = candidate.contact()?.clone();
        // Without room only for the target, which then does not count.
        let ip = contact.ip().filter(|ip| self.prefixes.try_add(*ip));
        candidate.state = State::Asked { path, ip, slow: false };
        Some(contact)
    }

    /// An asked one answered: its hops and key.
    pub(super) fn answered(&mut self, distance: &Distance) -> Option<(Path, u32)> {
        let candidate = self.by_distance.get_mut(distance)?;
        let State::Asked { path, .. } = candidate.state else { return None };
        candidate.state = State::Answered { path };
        candidate.descriptions.drain(..candidate.descriptions.len() - 1);
        Some((path, candidate.hops))
    }

    /// An asked one turns out to be slow, or to be no longer, now that there is a connection.
    pub(super) fn set_slow(&mut self, distance: &Distance, is_slow: bool) {
        if let Some(State::Asked { slow, .. }) = self.by_distance.get_mut(distance).map(|one| &mut one.state) {
            *slow = is_slow;
        }
    }

    /// An asked one will not answer.
    pub(super) fn failed(&mut self, distance: &Distance) {
        self.no_longer_asked(distance, State::Failed);
    }

    /// The description of an asked one is not its own: it may be asked by another one, if there is one.
    pub(super) fn invalid(&mut self, distance: &Distance) {
        self.no_longer_asked(distance, State::Waiting);
        if let Some(candidate) = self.by_distance.get_mut(distance) {
            candidate.descriptions.pop();
            if candidate.descriptions.is_empty() {
                self.by_distance.remove(distance);
            }
        }
    }

    fn no_longer_asked(&mut self, distance: &Distance, state: State) {
        let Some(candidate) = self.by_distance.get_mut(distance) else { return };
        if let State::Asked { ip, .. } = candidate.state {
            candidate.state = state;
            if let Some(ip) = ip {
                self.prefixes.remove(ip);
            }
        }
    }
}

/// The contacts of an answer that are looked at: the `count` closest to `target` that are `wanted`, without duplicates and
/// without more than `per_prefix` allows of one prefix.
pub(super) fn useful<C: Contact>(
    target: &Key,
    contacts: impl IntoIterator<Item = C>,
    count: usize,
    mut per_prefix: PrefixCounter,
    wanted: impl Fn(&Key) -> bool,
) -> Vec<(Distance, C)> {
    let mut closest: BTreeMap<Distance, C> = BTreeMap::new();
    for contact in contacts {
        let key = contact.key();
        if wanted(&key) {
            let known = closest.entry(target.distance(&key)).or_insert_with(|| contact.clone());
            if known.seq() < contact.seq() {
                *known = contact;
            }
            if closest.len() > count.saturating_mul(SPARE) {
                closest.pop_last();
            }
        }
    }
    let mut room = |contact: &C| {
        let is_target = contact.key() == *target;
        contact.ip().is_none_or(|ip| per_prefix.try_add(ip)) || is_target
    };
    closest.into_iter().filter(|(_, contact)| room(contact)).take(count).collect()
}

/// Keys that have the first bits in common with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subtree {
    pub(super) of: Key,
    pub(super) bits: usize,
}

impl Subtree {
    pub(super) fn contains(&self, key: &Key) -> bool {
        self.of.common_prefix_len(key) >= self.bits
    }
}
