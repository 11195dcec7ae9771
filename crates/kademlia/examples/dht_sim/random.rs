//! Seeded randomness: the same seed, the same figures.

use std::time::Duration;

use p2p_kademlia::Key;

pub(crate) use self::seeded::Random;

#[path = "../../tests/support/random.rs"]
mod seeded;

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for each `of`.
    pub(crate) fn fork(&self, of: u64) -> Self {
        Self(Self(self.0 ^ of.wrapping_mul(0xd6e8_feb8_6659_fd93)).next())
    }

    /// Between 0 and 1, never 0.
    pub(crate) fn fraction(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.fraction() <= probability
    }

    /// A round trip: lognormal with a median of 80 ms and σ 0.6.
    pub(crate) fn rtt(&mut self) -> Duration {
        // Box and Muller 1958.
        let normal = (-2.0 * self.fraction().ln()).sqrt() * (std::f64::consts::TAU * self.fraction()).cos();
        Duration::from_secs_f64(0.080 * (0.6 * normal).exp())
    }

    /// An exponentially distributed time with this median.
    pub(crate) fn session(&mut self, median: Duration) -> Duration {
        median.mul_f64(-self.fraction().ln() / std::f64::consts::LN_2)
    }

    /// `count` different numbers below `bound`; all of them if there are no more (Floyd's algorithm).
    pub(crate) fn sample(&mut self, bound: usize, count: usize) -> Vec<usize> {
        if bound <= count {
            return (0..bound).collect();
        }
        let mut drawn = Vec::with_capacity(count);
        for last in bound - count..bound {
            let one = self.below(last + 1);
            drawn.push(if drawn.contains(&one) { last } else { one });
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_no_duplicates_and_reaches_everyone() {
        let mut random = Random::new(1);
        let mut seen = [0; 30];
        for _ in 0..600 {
            let mut drawn = random.sample(30, 20);
            drawn.iter().for_each(|one| seen[*one] += 1);
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 20);
        }
        assert!(seen.iter().all(|count| (330..470).contains(count)), "{seen:?}");
    }

    #[test]
    fn the_median_round_trip_is_80_ms() {
        let mut random = Random::new(2);
        let mut rtts: Vec<_> = (0..10_001).map(|_| random.rtt().as_secs_f64() * 1000.0).collect();
        rtts.sort_unstable_by(f64::total_cmp);
        // Quantiles of the lognormal distribution: 80 e^(0.6 z).
        for (quantile, expected) in [(0.5, 80.0), (0.95, 214.6), (0.05, 29.8)] {
            let measured = rtts[(quantile * 10_000.0) as usize];
            assert!((measured / expected - 1.0).abs() < 0.05, "{quantile}: {measured} ms");
        }
    }
}
