//! Who may not connect for some time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::PeerId;

use crate::access::PeerOrIp;

/// Far enough away to mean "for good", near enough to be added to any instant.
const FOR_GOOD: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Peers and IP addresses that are banned until some time. Without I/O; bounded: when it is full, the ban that would
/// end first is forgotten. Peers and addresses are bounded each for itself, because anybody can make up peer ids.
///
/// ```
/// use p2p_identity::{BanList, PeerId};
/// use std::time::{Duration, Instant};
///
/// let peer = PeerId::from_bytes([9; 32])?;
/// let now = Instant::now();
/// let mut bans = BanList::new(1000);
/// bans.ban(peer, Duration::from_secs(60), now);
/// assert!(bans.is_banned(peer, now + Duration::from_secs(59)));
/// assert!(!bans.is_banned(peer, now + Duration::from_secs(60)));
/// # Ok::<(), p2p_identity::InvalidPeerId>(())
/// ```
#[derive(Debug, Clone)]
pub struct BanList {
    peers: Table<PeerId>,
    ips: Table<IpAddr>,
}

impl BanList {
    /// Holds at most `max` peers and `max` addresses.
    pub fn new(max: usize) -> Self {
        Self { peers: Table::new(max), ips: Table::new(max) }
    }

    /// Bans for `duration` from now on. A ban that lasts longer already stays. `Duration::MAX` is for good, as long as
    /// the process runs.
    pub fn ban(&mut self, who: impl Into<PeerOrIp>, duration: Duration, now: Instant) {
        let until = now + duration.min(FOR_GOOD);
        match who.into() {
            PeerOrIp::Peer(peer) => self.peers.ban(peer, until, now),
            PeerOrIp::Ip(ip) => self.ips.ban(ip.to_canonical(), until, now),
        }
    }

    /// Lifts a ban; whether there was one.
    pub fn unban(&mut self, who: impl Into<PeerOrIp>) -> bool {
        match who.into() {
            PeerOrIp::Peer(peer) => self.peers.unban(peer),
            PeerOrIp::Ip(ip) => self.ips.unban(ip.to_canonical()),
        }
    }

    /// Whether there is a ban now.
    pub fn is_banned(&self, who: impl Into<PeerOrIp>, now: Instant) -> bool {
        self.until(who, now).is_some()
    }

    /// When the ban ends, if there is one now.
    pub fn until(&self, who: impl Into<PeerOrIp>, now: Instant) -> Option<Instant> {
        let until = match who.into() {
            PeerOrIp::Peer(peer) => self.peers.until.get(&peer),
            PeerOrIp::Ip(ip) => self.ips.until.get(&ip.to_canonical()),
        };
        until.copied().filter(|until| *until > now)
    }

    /// Bans that are remembered, ended ones included until the next ban.
    pub fn len(&self) -> usize {
        self.peers.until.len() + self.ips.until.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug, Clone)]
struct Table<K> {
    max: usize,
    until: BTreeMap<K, Instant>,
    by_end: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord> Table<K> {
    fn new(max: usize) -> Self {
        Self { max, until: BTreeMap::new(), by_end: BTreeSet::new() }
    }

    fn ban(&mut self, who: K, until: Instant, now: Instant) {
        while let Some((end, ended)) = self.by_end.first().copied().filter(|(end, _)| *end <= now) {
            self.by_end.remove(&(end, ended));
            self.until.remove(&ended);
        }
        if until <= now || self.until.get(&who).is_some_and(|longer| *longer >= until) {
            return;
        }
        self.unban(who);
        self.until.insert(who, until);
        self.by_end.insert((until, who));
        if self.until.len() > self.max
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.until.remove(&first);
        }
    }

    fn unban(&mut self, who: K) -> bool {
        let Some(until) = self.until.remove(&who) else { return false };
        self.by_end.remove(&(until, who))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn a_ban_lasts_and_ends() {
        let now = start();
        let mut bans = BanList::new(4);
        bans.ban(ip(1), Duration::from_secs(10), now);
        bans.ban(ip(1), Duration::from_secs(5), now);
        assert_eq!(bans.until(ip(1), now), Some(now + Duration::from_secs(10)), "the longer one stays");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert!(bans.is_banned(mapped, now));
        assert!(bans.unban(mapped) && !bans.unban(ip(1)) && !bans.is_banned(ip(1), now));
        bans.ban(ip(2), Duration::MAX, now);
        assert!(bans.is_banned(ip(2), now + Duration::from_secs(1 << 29)));
        bans.ban(ip(3), Duration::ZERO, now);
        assert_eq!(bans.len(), 1);
    }

    #[test]
    fn made_up_peers_push_no_address_out() {
        let now = start();
        let mut bans = BanList::new(3);
        bans.ban(ip(1), Duration::from_secs(1), now);
        for n in 2..200 {
            bans.ban(crate::KeyPair::from_seed([n; 32]).peer_id(), Duration::from_secs(60), now);
        }
        assert!(bans.is_banned(ip(1), now));
        assert_eq!(bans.len(), 4);
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_forgets_the_shortest(ops in prop::collection::vec((0u8..20, 0u64..100, 0u64..30), 0..100)) {
            let mut now = start();
            let mut bans = BanList::new(5);
            let mut model: BTreeMap<IpAddr, Instant> = BTreeMap::new();
            for (who, secs, wait) in ops {
                now += Duration::from_secs(wait);
                model.retain(|_, until| *until > now);
                bans.ban(ip(who), Duration::from_secs(secs), now);
                let until = now + Duration::from_secs(secs);
                if secs > 0 && model.get(&ip(who)).is_none_or(|longer| *longer < until) {
                    model.insert(ip(who), until);
                    if model.len() > 5 {
                        let first = model.iter().map(|(who, until)| (*until, *who)).min().unwrap().1;
                        model.remove(&first);
                    }
                }
                prop_assert!(bans.len() <= 5);
                for n in 0..20 {
                    prop_assert_eq!(bans.until(ip(n), now), model.get(&ip(n)).copied());
                }
                prop_assert_eq!(bans.ips.by_end.len(), bans.ips.until.len());
            }
        }
    }
}
