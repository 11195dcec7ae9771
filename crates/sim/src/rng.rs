//! Random numbers of a world: several streams of one seed, so that one part drawing more does not shift the others.

use std::time::Duration;

use rand_core::Rng as _;
use rand_pcg::Pcg64;

/// Which part of a world draws from a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// The order in which ready tasks run.
    Schedule,
    /// What the network does to packets.
    Network,
    /// The faults of a random plan.
    Plan,
    /// The entropy of one host.
    Host(u32),
}

/// One stream of random numbers. Exact integer and IEEE arithmetic only: it is the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Rng(Pcg64);

impl Rng {
    pub(crate) fn new(seed: u64, stream: Stream) -> Self {
        let stream = match stream {
            Stream::Schedule => 1,
            Stream::Network => 2,
            Stream::Plan => 3,
            Stream::Host(host) => (1 << 32) + u128::from(host),
        };
        // Spread over the whole state: neighboring seeds must not give neighboring worlds.
        let state = u128::from(seed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        Self(Pcg64::new(state, stream))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number below `bound`, which is not zero. (Lemire's multiplication; the bias is below 2^-32 for our bounds.)
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// In [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability. What cannot happen, and what must, draws nothing.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability >= 1.0 || (probability > 0.0 && self.unit() < probability)
    }

    /// Uniform in [0, `most`].
    pub(crate) fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(if nanos == 0 { 0 } else { self.below(nanos.saturating_add(1)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_and_differs_from_others() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [(); 4].map(|()| rng.next())
        };
        assert_eq!(draw(7, Stream::Network), draw(7, Stream::Network));
        let others = [draw(8, Stream::Network), draw(7, Stream::Schedule), draw(7, Stream::Host(0))];
        assert!(others.iter().all(|other| *other != draw(7, Stream::Network)));
    }

    #[test]
    fn figures_have_their_bounds_and_means() {
        let mut rng = Rng::new(1, Stream::Plan);
        let hits = (0..100_000).filter(|_| rng.chance(0.2)).count();
        assert!((19_000..21_000).contains(&hits), "{hits} of 100,000 at 20 %");
        assert!(!rng.chance(0.0) && rng.chance(1.0));
        let mut seen = [0; 7];
        for _ in 0..7_000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (800..1_200).contains(&count)), "{seen:?}");
        assert_eq!(rng.up_to(Duration::ZERO), Duration::ZERO);
        assert!((0..1_000).all(|_| rng.up_to(Duration::from_nanos(3)) <= Duration::from_nanos(3)));
    }
}
