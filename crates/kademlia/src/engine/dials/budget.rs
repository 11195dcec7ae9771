//! How often an address range may be dialed in vain.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;
use p2p_core::PeerId;
use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;

/// How soon one more dial is allowed where all have been in vain. While others answer, each further one in vain doubles it.
const AGAIN: Duration = Duration::from_secs(60);
const MAX_FACTOR: u32 = 64;

/// Dial-backs of one range to where the asker comes from, and how soon one more is allowed after those.
const BACK: u32 = 16;
const BACK_AGAIN: Duration = Duration::from_secs(4);

/// The dials of a range that are kept from what one node says: else it could have nobody dialed there that others name.
const KEPT: u32 = 1;

/// Ranges that are remembered; the one dialed longest ago is forgotten.
pub const MAX_RANGES: usize = 8192;

/// Why somebody is dialed: each has a budget of its own, so that nobody who spends one spends another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Why {
    /// Somebody said that a node is there.
    Told,
    /// This node did: of what all may spend, one may not spend the last.
    ToldBy(PeerId),
    /// Somebody comes from there, and wants to be dialed back.
    Back,
    /// Somebody who comes from elsewhere wants to be dialed there.
    Elsewhere,
}

/// What is counted together: a range, and in a private network, where many share one, a socket address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Range {
    Prefix(Prefix),
    Socket(SocketAddr),
}

impl Range {
    pub(super) fn of(at: SocketAddr, limit_local: bool) -> Self {
        let ip = at.ip().to_canonical();
        if limit_local || !is_local(ip) {
            Self::Prefix(Prefix::of(ip))
        } else {
            Self::Socket(SocketAddr::new(ip, at.port()))
        }
    }
}

/// Whose budget a dial was charged to.
pub(super) type Account = (Why, Range);

/// The budgets of all ranges. A dial is charged when it begins and given back if whoever was meant is there.
pub(super) struct Budgets {
    /// Dials in vain in a row.
    vain: u32,
    /// Those that are not full; the one dialed longest ago comes first.
    spent: LinkedHashMap<Account, Budget>,
}

struct Budget {
    left: u32,
    /// When `left` was last made more by time.
    since: Instant,
    /// Dials in vain, while others answered, since one was not.
    failures: u32,
}

impl Budgets {
    pub(super) fn new(vain: u32) -> Self {
        Self { vain, spent: LinkedHashMap::new() }
    }

    /// Charges a dial that begins; `false`, and nothing charged, if there must not be one.
    pub(super) fn take(&mut self, now: Instant, account: Account) -> bool {
        let most = self.most(account.0);
        let mut budget = self.spent.remove(&account).unwrap_or(Budget { left: most, since: now, failures: 0 });
        budget.refill(now, account.0, most);
        let may = budget.left > 0;
        budget.left -= u32::from(may);
        self.spent.insert(account, budget);
        if self.spent.len() > MAX_RANGES {
            self.spent.pop_front();
        }
        may
    }

    /// A dial that was charged has ended at whoever was meant.
    pub(super) fn give_back(&mut self, now: Instant, account: Account) {
        let most = self.most(account.0);
        let Some(budget) = self.spent.get_mut(&account) else { return };
        budget.refill(now, account.0, most);
        if budget.failures > 0 {
            // What was waited for so far was waited for the longer time.
            (budget.since, budget.failures) = (now, 0);
        }
        budget.left = most.min(budget.left + 1);
        if budget.left == most {
            self.spent.remove(&account);
        }
    }

    /// A dial that was charged is not made.
    pub(super) fn undo(&mut self, now: Instant, account: Account) {
        let most = self.most(account.0);
        if let Some(budget) = self.spent.get_mut(&account) {
            budget.refill(now, account.0, most);
            budget.left = most.min(budget.left + 1);
        }
    }

    /// A dial that was charged has not, though others answer.
    pub(super) fn in_vain(&mut self, now: Instant, account: Account) {
        let most = self.most(account.0);
        if let Some(budget) = self.spent.get_mut(&account) {
            budget.refill(now, account.0, most);
            budget.failures = budget.failures.saturating_add(1);
        }
    }

    /// Forgets everything: this node is elsewhere now.
    pub(super) fn clear(&mut self) {
        self.spent.clear();
    }

    fn most(&self, why: Why) -> u32 {
        match why {
            Why::Back => BACK,
            Why::ToldBy(_) => self.vain.saturating_sub(KEPT).max(1),
            Why::Told | Why::Elsewhere => self.vain,
        }
    }
}

impl Budget {
    fn refill(&mut self, now: Instant, why: Why, most: u32) {
        let again = match why {
            Why::Back => BACK_AGAIN,
            Why::Told | Why::ToldBy(_) | Why::Elsewhere => {
                let doubled = (self.failures + 1).saturating_sub(most).min(MAX_FACTOR.ilog2());
                AGAIN * (1 << doubled)
            }
        };
        while self.left < most
            && let Some(next) = self.since.checked_add(again).filter(|next| *next <= now)
        {
            (self.left, self.since) = (self.left + 1, next);
        }
        if self.left == most {
            (self.since, self.failures) = (now, 0);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to begin with")]
mod tests {
    use p2p_identity::KeyPair;
    use proptest::prelude::*;

    use super::*;

    const VAIN: u32 = 4;

    fn range(text: &str) -> Account {
        (Why::Told, Range::of(text.parse().unwrap(), false))
    }

    #[test]
    fn a_range_is_a_network_and_in_a_private_one_a_socket() {
        assert_eq!(range("9.8.7.6:1"), range("9.8.7.9:2"));
        assert_eq!(range("9.8.7.6:1"), range("[::ffff:9.8.7.9]:2"));
        assert_ne!(range("9.8.7.6:1"), range("9.8.6.6:1"));
        assert_eq!(range("[2606:4700:1:2::1]:1"), range("[2606:4700:1:3::1]:1"));
        for local in ["127.0.0.1", "10.0.0.1", "100.64.0.1", "[fd00::1]", "[::ffff:192.168.1.1]"] {
            let [one, other] = [1, 2].map(|port| format!("{local}:{port}"));
            assert_ne!(range(&one), range(&other));
            let limited = |text: &str| Range::of(text.parse().unwrap(), true);
            assert_eq!(limited(&one), limited(&other));
        }
    }

    #[test]
    fn what_is_in_vain_becomes_rare_and_one_that_is_not_makes_it_as_before() {
        let start = Instant::now();
        let (mut budgets, account) = (Budgets::new(VAIN), range("9.8.7.6:1"));
        let at = |minutes: u32| start + AGAIN * minutes;
        let mut dialed = Vec::new();
        for minute in 0..400 {
            while budgets.take(at(minute), account) {
                budgets.in_vain(at(minute), account);
                dialed.push(minute);
            }
        }
        // Four at once, the fifth after two minutes, and so on, until it is once in 64 minutes.
        assert_eq!(dialed, [0, 0, 0, 0, 2, 6, 14, 30, 62, 126, 190, 254, 318, 382]);
        let now = at(446);
        assert!(budgets.take(now, account));
        budgets.give_back(now, account);
        assert!(budgets.take(now, account) && !budgets.take(now, account));
        assert!(budgets.take(now + AGAIN, account), "the wait is short again");
    }

    #[test]
    fn while_nobody_at_all_answers_the_wait_stays_short() {
        let start = Instant::now();
        let (mut budgets, account) = (Budgets::new(VAIN), range("9.8.7.6:1"));
        let times = (0..600).filter(|second| budgets.take(start + Duration::from_secs(*second), account)).count();
        assert_eq!(times, 1 + 9 + 3, "one a minute after the first four");
    }

    #[test]
    fn each_reason_to_dial_has_its_own_budget() {
        let start = Instant::now();
        let mut budgets = Budgets::new(VAIN);
        let at = Range::of("9.8.7.6:1".parse().unwrap(), false);
        let liar = Why::ToldBy(KeyPair::from_seed([1; 32]).peer_id());
        for (why, most) in [(Why::Told, VAIN), (liar, VAIN - KEPT), (Why::Back, BACK), (Why::Elsewhere, VAIN)] {
            assert_eq!((0..100).filter(|_| budgets.take(start, (why, at))).count() as u32, most, "{why:?}");
        }
        assert!(budgets.take(start + BACK_AGAIN, (Why::Back, at)));
    }

    #[test]
    fn so_many_ranges_are_remembered_and_no_more() {
        let start = Instant::now();
        let mut budgets = Budgets::new(VAIN);
        for n in 0..2 * MAX_RANGES {
            let at = SocketAddr::from(([11, (n >> 8) as u8, n as u8, 1], 1));
            assert!(budgets.take(start, (Why::Told, Range::of(at, false))));
        }
        assert_eq!(budgets.spent.len(), MAX_RANGES);
        budgets.clear();
        assert!(budgets.spent.is_empty());
    }

    proptest! {
        /// Whatever happens, no minute has more dials in vain than the budget and one.
        #[test]
        fn a_minute_has_at_most_five_dials_in_vain(steps in prop::collection::vec((0u64..40, 0u8..3), 1..300)) {
            let (mut now, account) = (Instant::now(), range("9.8.7.6:1"));
            let mut budgets = Budgets::new(VAIN);
            let (mut vain, mut open) = (Vec::new(), Vec::new());
            for (seconds, what) in steps {
                now += Duration::from_secs(seconds);
                match what {
                    0 => open.extend(budgets.take(now, account).then_some(now)),
                    1 => if open.pop().is_some() { budgets.give_back(now, account) },
                    _ => if !open.is_empty() {
                        vain.push(open.remove(0));
                        budgets.in_vain(now, account);
                    },
                }
            }
            vain.extend(open);
            vain.sort_unstable();
            for first in &vain {
                let within = vain.iter().filter(|at| **at >= *first && **at < *first + AGAIN).count();
                prop_assert!(within <= 5, "{within}");
            }
        }
    }
}
