//! Who names nodes that are not there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;
use p2p_core::PeerId;

use super::budget::Range;

/// What makes a node one that names nobody: so much more blame than its true names make up for.
const ENOUGH: u32 = 12;

/// Blame for a name that leads to nobody, and for one more in the same address range: contacts die, and seldom those of one
/// range.
const BLAME: u32 = 1;
const BLAME_SAME_RANGE: u32 = 4;

/// What a name that leads to its node makes up for: where half of all nodes have died, hardly anybody has enough blame.
const CREDIT: u32 = 3;

/// How soon a point of blame is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// How long a node's word does not count that has enough blame. Each further time it is twice as long, and each hour without
/// one halves that again.
const ASIDE: Duration = Duration::from_secs(15);
const MAX_FACTOR: u32 = 256;
const FACTOR_FORGOTTEN: Duration = Duration::from_secs(3600);

/// Nodes with blame that are remembered; the one heard of longest ago is forgotten.
pub const MAX_NAMERS: usize = 1024;

/// Those who have named nodes that are not there.
#[derive(Default)]
pub(super) struct Namers(LinkedHashMap<PeerId, Namer>);

struct Namer {
    blame: u32,
    /// When blame was last forgotten.
    since: Instant,
    /// Whom it named in vain last, each counted once, and where.
    vain: VecDeque<(PeerId, Range)>,
    /// Its word does not count until then.
    aside: Option<Instant>,
    /// For how many times the first wait.
    factor: u32,
}

impl Namers {
    /// Whom this node named is there.
    pub(super) fn true_name(&mut self, now: Instant, who: &PeerId) {
        if let Some(namer) = self.0.get_mut(who) {
            namer.forget(now);
            namer.blame = namer.blame.saturating_sub(CREDIT);
            if namer.is_blameless() {
                self.0.remove(who);
            }
        }
    }

    /// One more is named in a range in which this node has named too many. Whether its word counts no more for that.
    pub(super) fn one_more(&mut self, now: Instant, who: PeerId, named: PeerId, range: Range) -> bool {
        let in_vain = |namer: &mut Namer| {
            namer.forget(now);
            namer.vain.iter().any(|(_, known)| *known == range)
        };
        self.0.get_mut(&who).is_some_and(in_vain) && self.false_name(now, who, named, range)
    }

    /// Whom this node named is not there. Whether its word counts no more for that.
    pub(super) fn false_name(&mut self, now: Instant, who: PeerId, named: PeerId, range: Range) -> bool {
        let new = || Namer { blame: 0, since: now, vain: VecDeque::new(), aside: None, factor: 0 };
        let mut namer = self.0.remove(&who).unwrap_or_else(new);
        namer.forget(now);
        let put_aside = !namer.is_aside(now) && namer.blame_for(now, named, range);
        self.0.insert(who, namer);
        if self.0.len() > MAX_NAMERS {
            self.0.pop_front();
        }
        put_aside
    }

    /// Whether the word of this node does not count now.
    pub(super) fn is_aside(&self, now: Instant, who: &PeerId) -> bool {
        self.0.get(who).is_some_and(|namer| namer.is_aside(now))
    }
}

impl Namer {
    fn is_aside(&self, now: Instant) -> bool {
        self.aside.is_some_and(|until| now < until)
    }

    fn is_blameless(&self) -> bool {
        self.blame == 0 && self.factor == 0
    }

    fn blame_for(&mut self, now: Instant, named: PeerId, range: Range) -> bool {
        if self.vain.iter().any(|(known, _)| *known == named) {
            return false;
        }
        let same = self.vain.iter().any(|(_, known)| *known == range);
        self.blame += if same { BLAME_SAME_RANGE } else { BLAME };
        self.vain.push_back((named, range));
        if self.vain.len() > ENOUGH as usize {
            self.vain.pop_front();
        }
        if self.blame < ENOUGH {
            return false;
        }
        self.factor = (self.factor * 2).clamp(1, MAX_FACTOR);
        let until = now + ASIDE * self.factor;
        // It comes back with half of the blame.
        (self.blame, self.since, self.aside) = (ENOUGH / 2, until, Some(until));
        true
    }

    fn forget(&mut self, now: Instant) {
        while self.blame > 0 && now.saturating_duration_since(self.since) >= FORGOTTEN {
            (self.blame, self.since) = (self.blame - 1, self.since + FORGOTTEN);
        }
        if self.blame == 0 {
            self.since = now;
            self.vain.clear();
        }
        while let Some(until) = self.aside.filter(|until| now.saturating_duration_since(*until) >= FACTOR_FORGOTTEN) {
            self.factor /= 2;
            self.aside = (self.factor > 0).then_some(until + FACTOR_FORGOTTEN);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to begin with")]
mod tests {
    use std::net::SocketAddr;

    use p2p_identity::KeyPair;

    use super::*;

    fn peer(n: u32) -> PeerId {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        KeyPair::from_seed(seed).peer_id()
    }

    fn range(n: u32) -> Range {
        Range::of(SocketAddr::from(([11, (n >> 8) as u8, n as u8, 1], 1)), false)
    }

    /// How many names in vain it takes from now on until the word of a node counts no more.
    fn borne(namers: &mut Namers, now: Instant, first: u32, range: impl Fn(u32) -> Range) -> u32 {
        (1..100).find(|n| namers.false_name(now, peer(0), peer(first + n), range(first + n))).unwrap_or(100)
    }

    #[test]
    fn a_few_names_of_nobody_are_borne_and_fewer_in_one_range() {
        let now = Instant::now();
        assert_eq!(borne(&mut Namers::default(), now, 0, range), 12);
        assert_eq!(borne(&mut Namers::default(), now, 0, |_| range(0)), 4);
    }

    #[test]
    fn the_same_dead_contact_is_held_against_a_node_once() {
        let (now, mut namers) = (Instant::now(), Namers::default());
        for _ in 0..100 {
            assert!(!namers.false_name(now, peer(0), peer(1), range(1)));
        }
        assert_eq!(borne(&mut namers, now, 1, range), 11);
    }

    #[test]
    fn where_half_of_all_nodes_have_died_hardly_one_that_names_them_is_left_aside() {
        let (now, mut state) = (Instant::now(), 7u64);
        let mut dies = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 63 == 1
        };
        let contacts: Vec<PeerId> = (0..41).map(peer).collect();
        let aside = (0..1000).filter(|_| {
            let mut namers = Namers::default();
            (1..41).any(|n| match dies() {
                true => namers.false_name(now, contacts[0], contacts[n as usize], range(n)),
                false => {
                    namers.true_name(now, &contacts[0]);
                    false
                }
            })
        });
        let aside = aside.count();
        // With 40 contacts that are asked one after the other.
        assert!((1..=20).contains(&aside), "{aside} of 1,000");
    }

    #[test]
    fn who_goes_on_is_left_aside_for_longer_and_longer_until_that_is_forgotten() {
        let (mut now, mut namers) = (Instant::now(), Namers::default());
        let (mut named, mut rounds) = (0, 0);
        for factor in [1, 2, 4, 8, 16, 32, 64, 128, 256, 256] {
            let borne = borne(&mut namers, now, named, range);
            assert!((6..=12).contains(&borne), "{borne}");
            (named, rounds) = (named + borne, rounds + 1);
            assert!(namers.is_aside(now, &peer(0)));
            let end = now + ASIDE * factor;
            assert!(namers.is_aside(end - Duration::from_millis(1), &peer(0)) && !namers.is_aside(end, &peer(0)));
            assert!(!namers.is_aside(now, &peer(1)), "nobody else is");
            now = end;
        }
        now += 3 * FACTOR_FORGOTTEN;
        borne(&mut namers, now, named, range);
        // Two times halved and once doubled.
        assert!(
            !namers.is_aside(now + ASIDE * 64, &peer(0)) && namers.is_aside(now + ASIDE * 32, &peer(0)),
            "{rounds}"
        );
    }

    #[test]
    fn one_more_name_counts_for_nothing_where_those_before_it_are_forgotten() {
        let (now, mut namers) = (Instant::now(), Namers::default());
        namers.false_name(now, peer(0), peer(1), range(0));
        let later = now + FORGOTTEN;
        assert!(!namers.one_more(later, peer(0), peer(2), range(0)));
        assert_eq!(borne(&mut namers, later, 10, range), 12);
    }

    #[test]
    fn so_many_nodes_are_remembered_and_no_more() {
        let (now, mut namers) = (Instant::now(), Namers::default());
        for n in 0..2 * MAX_NAMERS as u32 {
            namers.false_name(now, peer(n), peer(n + 1), range(n));
        }
        assert_eq!(namers.0.len(), MAX_NAMERS);
    }
}
