//! How many requests are answered.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Instant;

use hashlink::LinkedHashMap;
use p2p_core::{PeerId, TokenBucket};
use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;

/// Peers, and prefixes, that are remembered; the one heard of least recently is evicted.
const REMEMBERED: usize = 4096;

/// Seconds' worth of requests that may come at once.
const BURST: u32 = 4;

/// A token bucket for each peer, and one for each address prefix, since peer ids cost nothing.
#[derive(Debug)]
pub(super) struct RequestLimiter {
    limit_local: bool,
    peers: Buckets<PeerId>,
    prefixes: Buckets<Prefix>,
}

impl RequestLimiter {
    pub(super) fn new(per_peer: u32, per_prefix: u32, limit_local: bool) -> Self {
        Self { limit_local, peers: Buckets::new(per_peer), prefixes: Buckets::new(per_prefix) }
    }

    /// Whether to answer one more request.
    pub(super) fn admit(&mut self, now: Instant, peer_id: PeerId, ip: IpAddr) -> bool {
        // The peer's own bucket first: what exceeds it must not use up what is for its neighbors.
        self.peers.take(now, peer_id)
            && ((is_local(ip) && !self.limit_local) || self.prefixes.take(now, Prefix::of(ip)))
    }
}

#[derive(Debug)]
struct Buckets<K: Eq + Hash> {
    per_second: u32,
    /// The one heard of least recently comes first.
    buckets: LinkedHashMap<K, TokenBucket>,
}

impl<K: Copy + Eq + Hash> Buckets<K> {
    fn new(per_second: u32) -> Self {
        Self { per_second, buckets: LinkedHashMap::new() }
    }

    fn take(&mut self, now: Instant, key: K) -> bool {
        let new = || TokenBucket::new(self.per_second.saturating_mul(BURST), self.per_second, now);
        let mut bucket = self.buckets.remove(&key).unwrap_or_else(new);
        let taken = bucket.take(now);
        self.buckets.insert(key, bucket);
        if self.buckets.len() > REMEMBERED {
            self.buckets.pop_front();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn peers_and_prefixes_have_their_share() {
        let now = Instant::now();
        let peer = |n: u16| PeerId::from_bytes([9; 32].map(|b: u8| b ^ n as u8 ^ (n >> 8) as u8)).unwrap();
        let (public, local) = (IpAddr::from([8, 8, 8, 8]), IpAddr::from([127, 0, 0, 1]));
        let mut limiter = RequestLimiter::new(10, 20, false);
        assert_eq!((0..100).filter(|_| limiter.admit(now, peer(1), public)).count(), 40);
        assert_eq!((0..100).filter(|_| limiter.admit(now, peer(2), public)).count(), 40);
        assert_eq!((0..100).filter(|_| limiter.admit(now, peer(3), public)).count(), 0, "the prefix has no more");
        assert_eq!((0..100).filter(|_| limiter.admit(now, peer(4), local)).count(), 40);
        assert_eq!((0..100).filter(|_| limiter.admit(now, peer(5), local)).count(), 40, "local prefixes are exempt");
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| limiter.admit(later, peer(4), local)).count(), 10);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn made_up_peers_do_not_grow_it() {
        let (now, ip) = (Instant::now(), IpAddr::from([127, 0, 0, 1]));
        let mut limiter = RequestLimiter::new(1, 1, false);
        for n in 0..(REMEMBERED as u32 + 100) {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            limiter.admit(now, PeerId::from_bytes(bytes).unwrap(), ip);
        }
        assert_eq!(limiter.peers.buckets.len(), REMEMBERED);
    }
}
