//! How many datagrams are answered.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hashlink::LinkedHashMap;
use p2p_core::TokenBucket;
use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;

/// Bounds of a [`DatagramLimiter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramLimits {
    /// Datagrams of one source that are answered at once.
    pub source_burst: u32,
    /// And each second after that.
    pub source_per_second: u32,
    /// Datagrams of all sources that nothing is known of that are answered at once.
    pub strangers_burst: u32,
    /// And each second after that. An answer costs a signature, about 20 µs: this bounds what a flood can cost.
    pub strangers_per_second: u32,
    /// Sources that are remembered; the one heard of least recently is evicted.
    pub sources: usize,
}

impl Default for DatagramLimits {
    /// 32 and then 8 a second for a source, 512 and then 512 a second for all strangers, 4,096 sources.
    fn default() -> Self {
        Self { source_burst: 32, source_per_second: 8, strangers_burst: 512, strangers_per_second: 512, sources: 4096 }
    }
}

/// Decides which datagrams are answered: a token bucket for each source, and one for all strangers together.
///
/// A source is an address prefix ([`Prefix`]), and in [local](is_local) networks a socket address, since there many
/// nodes share a prefix for good reason. Source addresses of udp can be made up. So those that the node knows (contacts of
/// its table) do not share a bucket with the rest: a flood from made-up addresses takes the answers from strangers only.
#[derive(Debug)]
pub struct DatagramLimiter {
    limits: DatagramLimits,
    strangers: TokenBucket,
    /// The one heard of least recently comes first.
    sources: LinkedHashMap<Source, TokenBucket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Prefix(Prefix),
    Local(IpAddr, u16),
}

impl Source {
    fn of(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        if is_local(ip) { Self::Local(ip, address.port()) } else { Self::Prefix(Prefix::of(ip)) }
    }
}

impl DatagramLimiter {
    /// A limiter that has heard of nobody.
    pub fn new(limits: DatagramLimits, now: Instant) -> Self {
        let strangers = TokenBucket::new(limits.strangers_burst, limits.strangers_per_second, now);
        Self { limits, strangers, sources: LinkedHashMap::new() }
    }

    /// Whether to answer a datagram from `source`; `known` when the node has a reason to think that somebody is there.
    pub fn admit(&mut self, now: Instant, source: SocketAddr, known: bool) -> bool {
        let DatagramLimits { source_burst, source_per_second, sources, .. } = self.limits;
        let source = Source::of(source);
        let mut bucket =
            self.sources.remove(&source).unwrap_or_else(|| TokenBucket::new(source_burst, source_per_second, now));
        // The source's own bucket first: what exceeds it must not use up what is for all.
        let admitted = bucket.take(now) && (known || self.strangers.take(now));
        self.sources.insert(source, bucket);
        if self.sources.len() > sources {
            self.sources.pop_front();
        }
        admitted
    }

    /// Sources that are remembered.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }
}
