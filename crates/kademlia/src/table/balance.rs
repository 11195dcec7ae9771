//! How the places of a bucket are shared out among its sub-prefixes.

use super::config::TableConfig;

/// Each sub-prefix is to have at least this many places of a full bucket.
const MIN_SHARE: usize = 2;

/// The most sub-prefixes that a bucket is divided into.
const MAX_SHARES: usize = 16;

/// The sub-prefixes of a bucket: as many as can each have [`MIN_SHARE`] places, 8 for k = 20. With balance switched off
/// there is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    bits: u32,
}

impl Shares {
    pub(super) fn new(config: &TableConfig) -> Self {
        let shares = if config.balance { (config.k / MIN_SHARE).clamp(1, MAX_SHARES) } else { 1 };
        Self { bits: shares.ilog2() }
    }

    /// The sub-prefix of a key, by the bits that follow those which the bucket has in common.
    pub(super) fn index(self, tail: u32) -> usize {
        // Two steps, because a shift by all 32 bits is none.
        (tail >> 1 >> (31 - self.bits)) as usize
    }

    pub(super) fn counts(self, tails: impl IntoIterator<Item = u32>) -> [usize; MAX_SHARES] {
        let mut counts = [0; MAX_SHARES];
        tails.into_iter().for_each(|tail| counts[self.index(tail)] += 1);
        counts
    }

    /// The first sub-prefix of those with the most keys.
    pub(super) fn most_crowded(self, tails: impl IntoIterator<Item = u32>) -> usize {
        let counts = self.counts(tails);
        (0..MAX_SHARES).rev().max_by_key(|index| counts[*index]).unwrap_or(0)
    }

    /// Of members in the order in which they joined, the one in whose stead `newcomer` evens out the sub-prefixes: the last
    /// to join among the most crowded ones, if these have at least two more than the newcomer's has.
    ///
    /// So each exchange makes the sum of the squared counts smaller, and there are few before everything is even; and the
    /// first `k / shares` members of a sub-prefix, rounded down, never leave in this way.
    pub(super) fn surplus(self, members: &[u32], newcomer: u32) -> Option<usize> {
        let counts = self.counts(members.iter().copied());
        let most = counts.into_iter().max()?;
        let last = members.iter().rposition(|tail| counts[self.index(*tail)] == most)?;
        (most >= counts[self.index(newcomer)] + 2).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(k: usize) -> Shares {
        Shares::new(&TableConfig { k, ..TableConfig::default() })
    }

    #[test]
    fn each_sub_prefix_can_have_its_share() {
        for (k, bits) in [(1, 0), (2, 0), (3, 0), (4, 1), (8, 2), (15, 2), (16, 3), (20, 3), (31, 3), (32, 4)] {
            assert_eq!(shares(k).bits, bits, "k = {k}");
        }
        let off = Shares::new(&TableConfig { balance: false, ..TableConfig::default() });
        assert_eq!((off.index(u32::MAX), off.surplus(&[0; 20], u32::MAX)), (0, None));
    }

    proptest! {
        /// Whoever has all the keys of the world and all the time cannot push out the oldest two of a sub-prefix, nor go on
        /// for ever.
        #[test]
        fn the_oldest_stay_and_exchanges_end(
            before: [u32; 20],
            newcomers in prop::collection::vec(any::<u32>(), 0..2000),
        ) {
            let shares = shares(20);
            let mut members: Vec<(u32, bool)> = before.iter().map(|tail| (*tail, true)).collect();
            let squares: usize = shares.counts(before).iter().map(|count| count * count).sum();
            let mut exchanges = 0;
            for tail in newcomers {
                let tails: Vec<u32> = members.iter().map(|(tail, _)| *tail).collect();
                if let Some(at) = shares.surplus(&tails, tail) {
                    members.remove(at);
                    members.push((tail, false));
                    exchanges += 1;
                }
            }
            // Each makes the sum of squares smaller by at least 2, and it is never below that of an even bucket.
            prop_assert!(exchanges <= (squares - 4 * 9 - 4 * 4) / 2, "{exchanges} from {squares}");
            for index in 0..8 {
                let oldest = before.iter().filter(|tail| shares.index(**tail) == index).take(2);
                let there = |tail: &u32| members.contains(&(*tail, true));
                prop_assert!(oldest.clone().all(there));
            }
        }
    }
}
