//! What a path from one host to another does to packets.

use std::time::Duration;

use crate::rng::Rng;

/// How long a packet is under way, aside from waiting for the ones before it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Uniform from `base` to `base + jitter`.
    Uniform {
        /// The least.
        base: Duration,
        /// What may come on top.
        jitter: Duration,
    },
    /// Mostly close to `base`, at times far above it: `base` and a Lomax (Pareto II) variable of shape 2, whose square root is
    /// the same on every machine, which a logarithm is not.
    LongTail {
        /// The least.
        base: Duration,
        /// The mean of what comes on top.
        mean: Duration,
        /// The most.
        max: Duration,
    },
}

impl Latency {
    pub(crate) fn draw(&self, rng: &mut Rng) -> Duration {
        match *self {
            Self::Fixed(latency) => latency,
            Self::Uniform { base, jitter } => base + rng.up_to(jitter),
            Self::LongTail { base, mean, max } => {
                let factor = 1.0 / (1.0 - rng.unit()).sqrt() - 1.0;
                let most = max.saturating_sub(base).as_nanos() as f64;
                base + Duration::from_nanos((mean.as_nanos() as f64 * factor).min(most) as u64)
            }
        }
    }
}

/// One direction of the path between two hosts. Change it while the world runs: packets that are under way keep the
/// time they were given.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Link {
    /// How long a packet is under way. Packets do not overtake each other by it; see [`reorder`](Self::reorder).
    pub latency: Latency,
    /// The share of packets that are lost. On a stream a lost segment is sent again, later.
    pub loss: f64,
    /// The share of datagrams that arrive twice.
    pub duplicate: f64,
    /// The share of packets that are held up by another draw of up to [`reorder_by`](Self::reorder_by), so that later ones overtake
    /// them. A stream puts them in order again.
    pub reorder: f64,
    /// The most that a reordered packet is held up.
    pub reorder_by: Duration,
    /// The share of datagrams of which one bit is flipped. Streams are never corrupted.
    pub corrupt: f64,
    /// Bits per second; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait for the bandwidth. A datagram that finds no room is lost; a stream fills half of it and waits.
    pub queue: usize,
    /// The largest IP packet. A larger datagram is lost in silence.
    pub mtu: usize,
}

impl Link {
    /// 20 ms ± 2 ms, nothing lost, no limit of bandwidth, Ethernet's MTU.
    pub const WAN: Self = Self {
        latency: Latency::Uniform { base: Duration::from_millis(18), jitter: Duration::from_millis(4) },
        ..Self::LAN
    };

    /// 200 µs, nothing lost, no limit of bandwidth, Ethernet's MTU.
    pub const LAN: Self = Self {
        latency: Latency::Fixed(Duration::from_micros(200)),
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        reorder_by: Duration::from_millis(20),
        corrupt: 0.0,
        bandwidth: None,
        queue: 256 << 10,
        mtu: 1500,
    };

    /// A host to itself: 20 µs ± 5 µs, MTU 65,536.
    pub const LOOPBACK: Self = Self {
        latency: Latency::Uniform { base: Duration::from_micros(15), jitter: Duration::from_micros(10) },
        mtu: 65_536,
        ..Self::LAN
    };

    /// The same with another latency.
    pub const fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// The same with another share of lost packets.
    pub const fn loss(mut self, share: f64) -> Self {
        self.loss = share;
        self
    }

    /// The same with another bandwidth, in bits per second.
    pub const fn bandwidth(mut self, bits_per_second: u64) -> Self {
        self.bandwidth = Some(bits_per_second);
        self
    }

    /// How long `bytes` occupy the link.
    pub(crate) fn serialization(&self, bytes: usize) -> Duration {
        let Some(bandwidth) = self.bandwidth else { return Duration::ZERO };
        let nanos = (bytes as u128 * 8 * 1_000_000_000).div_ceil(u128::from(bandwidth.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::WAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    #[test]
    fn latencies_keep_their_bounds_and_means() {
        let mut rng = Rng::new(3, Stream::Network);
        let ms = Duration::from_millis;
        let uniform = Latency::Uniform { base: ms(10), jitter: ms(5) };
        assert!((0..1_000).map(|_| uniform.draw(&mut rng)).all(|drawn| (ms(10)..=ms(15)).contains(&drawn)));
        let tail = Latency::LongTail { base: ms(10), mean: ms(5), max: ms(500) };
        let draws: Vec<_> = (0..100_000).map(|_| tail.draw(&mut rng)).collect();
        assert!(draws.iter().all(|drawn| (ms(10)..=ms(500)).contains(drawn)));
        let mean = draws.iter().sum::<Duration>() / 100_000;
        assert!((ms(14)..ms(16)).contains(&mean), "{mean:?}");
        assert!(draws.iter().any(|drawn| *drawn > ms(100)), "the tail is long");
    }

    #[test]
    fn a_megabit_takes_a_second_at_a_megabit_per_second() {
        let link = Link::LAN.bandwidth(1_000_000);
        assert_eq!(link.serialization(125_000), Duration::from_secs(1));
        assert_eq!(Link::LAN.serialization(125_000), Duration::ZERO);
    }
}
