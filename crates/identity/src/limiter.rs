//! How many handshakes with those who connected may be under way at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::prefix::{Prefix, is_local};

/// Bounds of a [`HandshakeLimiter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Inbound handshakes at the same time.
    pub total: usize,
    /// Of these, from one address prefix (IPv4 /24, IPv6 /48).
    pub per_prefix: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// Whether the limit per prefix holds for [local](crate::prefix::is_local) addresses too.
    pub limit_local: bool,
}

impl Default for HandshakeLimits {
    /// 256 in all, 16 from a prefix, 4 seconds each; local addresses are exempt from the limit per prefix.
    fn default() -> Self {
        Self { total: 256, per_prefix: 16, timeout: Duration::from_secs(4), limit_local: false }
    }
}

/// Bounds the inbound handshakes under way. When all are taken, or all of a prefix, the one (of that prefix) that has
/// been longest without progress makes room: those who connect and say nothing are in nobody's way.
///
/// Without I/O: the caller tells it what happens, and ends the handshakes that it names.
#[derive(Debug)]
pub struct HandshakeLimiter {
    limits: HandshakeLimits,
    next: u64,
    entries: BTreeMap<HandshakeId, Entry>,
    by_progress: BTreeSet<(Instant, HandshakeId)>,
    by_prefix: BTreeMap<Prefix, BTreeSet<(Instant, HandshakeId)>>,
    by_deadline: BTreeSet<(Instant, HandshakeId)>,
}

/// Names a handshake that was admitted. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandshakeId(u64);

/// A handshake may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the evicted handshake must end, and this one must be reported as finished"]
pub struct Admission {
    /// Its name.
    pub id: HandshakeId,
    /// When it must be over.
    pub deadline: Instant,
    /// The handshake that must end now to make room. The limiter has forgotten it already.
    pub evict: Option<HandshakeId>,
}

#[derive(Debug)]
struct Entry {
    /// The prefix it counts for, if any.
    prefix: Option<Prefix>,
    ip: IpAddr,
    progressed: Instant,
    deadline: Instant,
}

impl HandshakeLimiter {
    /// A limiter with nothing under way.
    pub fn new(limits: HandshakeLimits) -> Self {
        Self {
            limits,
            next: 0,
            entries: BTreeMap::new(),
            by_progress: BTreeSet::new(),
            by_prefix: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
        }
    }

    /// Lets the handshake of a new connection begin; `None` only if a limit is 0.
    pub fn admit(&mut self, ip: IpAddr, now: Instant) -> Option<Admission> {
        if self.limits.total == 0 {
            return None;
        }
        let prefix = (self.limits.limit_local || !is_local(ip)).then(|| Prefix::of(ip));
        let of_prefix = prefix.and_then(|prefix| self.by_prefix.get(&prefix));
        let evict = if prefix.is_some() && of_prefix.map_or(0, BTreeSet::len) >= self.limits.per_prefix {
            // With a limit of 0 there is nobody to make room.
            Some(of_prefix?.first()?.1)
        } else if self.entries.len() >= self.limits.total {
            self.by_progress.first().map(|(_, id)| *id)
        } else {
            None
        };
        if let Some(id) = evict {
            self.finish(id);
        }
        let id = HandshakeId(self.next);
        self.next += 1;
        let deadline = now + self.limits.timeout;
        self.by_progress.insert((now, id));
        self.by_deadline.insert((deadline, id));
        if let Some(prefix) = prefix {
            self.by_prefix.entry(prefix).or_default().insert((now, id));
        }
        self.entries.insert(id, Entry { prefix, ip: ip.to_canonical(), progressed: now, deadline });
        Some(Admission { id, deadline, evict })
    }

    /// A handshake got a message further. It does not move its deadline. Ignored for one that is over.
    pub fn progress(&mut self, id: HandshakeId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = entry.progressed;
        let after = now.max(before);
        entry.progressed = after;
        self.by_progress.remove(&(before, id));
        self.by_progress.insert((after, id));
        if let Some(of_prefix) = entry.prefix.and_then(|prefix| self.by_prefix.get_mut(&prefix)) {
            of_prefix.remove(&(before, id));
            of_prefix.insert((after, id));
        }
    }

    /// A handshake is over, however it went. Ignored for one that is over already.
    pub fn finish(&mut self, id: HandshakeId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.by_progress.remove(&(entry.progressed, id));
        self.by_deadline.remove(&(entry.deadline, id));
        if let Some(prefix) = entry.prefix
            && let Some(of_prefix) = self.by_prefix.get_mut(&prefix)
        {
            of_prefix.remove(&(entry.progressed, id));
            if of_prefix.is_empty() {
                self.by_prefix.remove(&prefix);
            }
        }
    }

    /// Forgets the handshakes whose time is over; each must end now.
    pub fn expire(&mut self, now: Instant) -> Vec<HandshakeId> {
        let expired: Vec<_> =
            self.by_deadline.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect();
        expired.iter().for_each(|id| self.finish(*id));
        expired
    }

    /// When [`expire`](Self::expire) has something to say next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Whether a handshake is under way: not finished, expired or evicted.
    pub fn contains(&self, id: HandshakeId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Whether a handshake with somebody at this address is under way.
    pub fn has_from(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.entries.values().any(|entry| entry.ip == ip)
    }

    /// Handshakes under way.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(total: usize, per_prefix: usize) -> HandshakeLimits {
        HandshakeLimits { total, per_prefix, ..HandshakeLimits::default() }
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn ip(prefix: u8, host: u8) -> IpAddr {
        IpAddr::from([8, 8, prefix, host])
    }

    #[test]
    fn the_silent_make_room_for_those_who_speak() {
        let now = start();
        let ms = |n| now + Duration::from_millis(n);
        let mut limiter = HandshakeLimiter::new(limits(2, 2));
        let first = limiter.admit(ip(1, 1), ms(0)).unwrap();
        let second = limiter.admit(ip(2, 1), ms(1)).unwrap();
        limiter.progress(first.id, ms(2));
        assert_eq!(limiter.admit(ip(3, 1), ms(3)).unwrap().evict, Some(second.id));
        assert_eq!(limiter.admit(ip(4, 1), ms(4)).unwrap().evict, Some(first.id));
        limiter.finish(first.id);
        limiter.progress(first.id, ms(5));
        assert_eq!(limiter.len(), 2);
    }

    #[test]
    fn a_full_prefix_is_its_own_problem() {
        let now = start();
        let mut limiter = HandshakeLimiter::new(limits(256, 16));
        let honest = limiter.admit(ip(1, 1), now).unwrap().id;
        let crowd: Vec<_> = (0..1000u32).map(|n| limiter.admit(ip(2, n as u8), now).unwrap()).collect();
        assert_eq!(limiter.len(), 17);
        assert!(crowd.iter().all(|admission| admission.evict != Some(honest)));
        assert_eq!(crowd[16].evict, Some(crowd[0].id));
    }

    #[test]
    fn local_addresses_share_the_total_only() {
        let now = start();
        let local = IpAddr::from([127, 0, 0, 1]);
        let mut limiter = HandshakeLimiter::new(limits(20, 2));
        assert!((0..20).all(|_| limiter.admit(local, now).unwrap().evict.is_none()));
        assert!(limiter.admit(local, now).unwrap().evict.is_some());
        let mut limiter = HandshakeLimiter::new(HandshakeLimits { limit_local: true, ..limits(20, 2) });
        assert!((0..3).any(|_| limiter.admit(local, now).unwrap().evict.is_some()));
    }

    #[test]
    fn each_ends_at_its_deadline_whatever_it_does() {
        let now = start();
        let mut limiter = HandshakeLimiter::new(limits(10, 10));
        let first = limiter.admit(ip(1, 1), now).unwrap();
        let second = limiter.admit(ip(1, 2), now + Duration::from_secs(1)).unwrap();
        limiter.progress(first.id, now + Duration::from_secs(3));
        assert_eq!(limiter.next_deadline(), Some(now + Duration::from_secs(4)));
        assert!(limiter.expire(now + Duration::from_millis(3999)).is_empty());
        assert_eq!(limiter.expire(now + Duration::from_secs(4)), [first.id]);
        assert_eq!(limiter.expire(now + Duration::from_secs(60)), [second.id]);
        assert!(limiter.is_empty() && limiter.next_deadline().is_none());
    }

    #[test]
    fn nothing_is_admitted_where_nothing_may_be() {
        assert!(HandshakeLimiter::new(limits(0, 5)).admit(ip(1, 1), start()).is_none());
        assert!(HandshakeLimiter::new(limits(5, 0)).admit(ip(1, 1), start()).is_none());
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_happens(ops in prop::collection::vec((0u8..4, 0u8..4, 0usize..50, 0u64..900), 0..200)) {
            let mut now = start();
            let mut limiter = HandshakeLimiter::new(limits(7, 3));
            let mut ids = Vec::new();
            let mut live = BTreeMap::new();
            for (op, prefix, which, wait) in ops {
                now += Duration::from_millis(wait);
                let id = ids.get(which % ids.len().max(1)).copied();
                match (op, id) {
                    (0 | 1, _) => {
                        let admission = limiter.admit(ip(prefix, which as u8), now).unwrap();
                        if let Some(evicted) = admission.evict {
                            prop_assert!(live.remove(&evicted).is_some(), "only what is under way makes room");
                        }
                        live.insert(admission.id, (prefix, admission.deadline));
                        ids.push(admission.id);
                    }
                    (2, Some(id)) => limiter.progress(id, now),
                    (3, Some(id)) => { limiter.finish(id); live.remove(&id); }
                    _ => {}
                }
                for expired in limiter.expire(now) {
                    let (_, deadline) = live.remove(&expired).unwrap();
                    prop_assert!(deadline <= now);
                }
                prop_assert!(live.values().all(|(_, deadline)| *deadline > now));
                prop_assert_eq!(limiter.len(), live.len());
                prop_assert!(limiter.len() <= 7);
                for prefix in 0..4 {
                    prop_assert!(live.values().filter(|(of, _)| *of == prefix).count() <= 3);
                }
                let indexed: usize = limiter.by_prefix.values().map(BTreeSet::len).sum();
                prop_assert_eq!((limiter.by_progress.len(), limiter.by_deadline.len(), indexed), (live.len(), live.len(), live.len()));
            }
        }
    }
}
