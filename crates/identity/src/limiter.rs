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
/// An address that may be forged is held against nobody: it takes no place of a prefix before it is proven, and nobody makes
/// room for it. What bounds those is their number.
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
    /// Those whose address may be forged.
    unproven: usize,
}

/// One of so many places may be taken by handshakes whose address may be forged.
const UNPROVEN_SHARE: usize = 2;

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
    /// The prefix it counts for, if any, once its address is proven.
    prefix: Option<Prefix>,
    ip: IpAddr,
    proven: bool,
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
            unproven: 0,
        }
    }

    /// Lets the handshake of a new connection begin; `None` only if a limit is 0.
    pub fn admit(&mut self, ip: IpAddr, now: Instant) -> Option<Admission> {
        if self.limits.total == 0 {
            return None;
        }
        let prefix = self.counts_for(ip);
        let evict = if self.is_full(prefix) {
            // With a limit of 0 there is nobody to make room.
            Some(self.oldest_of(prefix)?)
        } else if self.entries.len() >= self.limits.total {
            self.by_progress.first().map(|(_, id)| *id)
        } else {
            None
        };
        if let Some(id) = evict {
            self.finish(id);
        }
        Some(Admission { evict, ..self.begin(ip, prefix, true, now) })
    }

    /// The same for somebody at an address that may be forged. `None` when so many are under way that this one must prove its
    /// address first.
    pub fn admit_unproven(&mut self, ip: IpAddr, now: Instant) -> Option<Admission> {
        let prefix = self.counts_for(ip);
        let most = (self.limits.total / UNPROVEN_SHARE).max(1);
        let room = self.unproven < most && self.entries.len() < self.limits.total;
        let never = prefix.is_some() && self.limits.per_prefix == 0;
        (room && !never).then(|| self.begin(ip, prefix, false, now))
    }

    fn begin(&mut self, ip: IpAddr, prefix: Option<Prefix>, proven: bool, now: Instant) -> Admission {
        let id = HandshakeId(self.next);
        self.next += 1;
        let deadline = now + self.limits.timeout;
        self.by_progress.insert((now, id));
        self.by_deadline.insert((deadline, id));
        if let Some(prefix) = prefix.filter(|_| proven) {
            self.by_prefix.entry(prefix).or_default().insert((now, id));
        }
        self.unproven += usize::from(!proven);
        self.entries.insert(id, Entry { prefix, ip: ip.to_canonical(), proven, progressed: now, deadline });
        Admission { id, deadline, evict: None }
    }

    fn counts_for(&self, ip: IpAddr) -> Option<Prefix> {
        (self.limits.limit_local || !is_local(ip)).then(|| Prefix::of(ip))
    }

    fn is_full(&self, prefix: Option<Prefix>) -> bool {
        let taken = |prefix| self.by_prefix.get(&prefix).map_or(0, BTreeSet::len);
        prefix.is_some_and(|prefix| taken(prefix) >= self.limits.per_prefix)
    }

    fn oldest_of(&self, prefix: Option<Prefix>) -> Option<HandshakeId> {
        Some(self.by_prefix.get(&prefix?)?.first()?.1)
    }

    /// A handshake got a message further, which proves its address too. It does not move its deadline. Ignored for one that is
    /// over. Gives the handshake that must end now, if the prefix is full; the limiter has forgotten that one already.
    #[must_use = "the evicted handshake must end"]
    pub fn progress(&mut self, id: HandshakeId, now: Instant) -> Option<HandshakeId> {
        let entry = self.entries.get(&id)?;
        let (prefix, first) = (entry.prefix, !entry.proven);
        let evict = if first && self.is_full(prefix) { self.oldest_of(prefix) } else { None };
        evict.into_iter().for_each(|evicted| self.finish(evicted));
        let entry = self.entries.get_mut(&id)?;
        let before = entry.progressed;
        let after = now.max(before);
        entry.progressed = after;
        self.by_progress.remove(&(before, id));
        self.by_progress.insert((after, id));
        if !std::mem::replace(&mut entry.proven, true) {
            self.unproven -= 1;
        }
        if let Some(prefix) = prefix {
            let of_prefix = self.by_prefix.entry(prefix).or_default();
            of_prefix.remove(&(before, id));
            of_prefix.insert((after, id));
        }
        evict
    }

    /// A handshake is over, however it went. Ignored for one that is over already.
    pub fn finish(&mut self, id: HandshakeId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.by_progress.remove(&(entry.progressed, id));
        self.by_deadline.remove(&(entry.deadline, id));
        self.unproven -= usize::from(!entry.proven);
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
        assert_eq!(limiter.progress(first.id, ms(2)), None);
        assert_eq!(limiter.admit(ip(3, 1), ms(3)).unwrap().evict, Some(second.id));
        assert_eq!(limiter.admit(ip(4, 1), ms(4)).unwrap().evict, Some(first.id));
        limiter.finish(first.id);
        assert_eq!(limiter.progress(first.id, ms(5)), None);
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
    fn a_forged_address_costs_its_owner_nothing() {
        let now = start();
        let mut limiter = HandshakeLimiter::new(limits(16, 2));
        let owner = [1, 2].map(|host| limiter.admit(ip(1, host), now).unwrap().id);
        let forged: Vec<_> = (0..100).filter_map(|n| limiter.admit_unproven(ip(1, n), now)).collect();
        assert_eq!(forged.len(), 8, "half of all");
        assert!(forged.iter().all(|admission| admission.evict.is_none()));
        assert!(owner.into_iter().all(|id| limiter.contains(id)));
        // Whoever turns out to be there counts as all others there do.
        assert_eq!(limiter.progress(forged[0].id, now), Some(owner[0]));
        assert_eq!(limiter.progress(forged[0].id, now), None);
        assert!(limiter.admit_unproven(ip(1, 9), now).is_some(), "one is proven");
        // And with all places taken those who may be forged get none.
        limiter.expire(now + Duration::from_secs(4));
        assert!((2..18).all(|prefix| limiter.admit(ip(prefix, 1), now).is_some()));
        assert!(limiter.admit_unproven(ip(1, 1), now).is_none());
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
        assert_eq!(limiter.progress(first.id, now + Duration::from_secs(3)), None);
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
        fn bounds_hold_whatever_happens(ops in prop::collection::vec((0u8..5, 0u8..4, 0usize..50, 0u64..900), 0..200)) {
            let mut now = start();
            let mut limiter = HandshakeLimiter::new(limits(7, 3));
            let mut ids = Vec::new();
            let mut live = BTreeMap::new();
            let mut unproven = BTreeSet::new();
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
                    (2, Some(id)) => {
                        if let Some(evicted) = limiter.progress(id, now) {
                            prop_assert!(evicted != id && live.remove(&evicted).is_some());
                        }
                        if live.contains_key(&id) {
                            unproven.remove(&id);
                        }
                    }
                    (4, _) => {
                        if let Some(admission) = limiter.admit_unproven(ip(prefix, which as u8), now) {
                            live.insert(admission.id, (prefix, admission.deadline));
                            unproven.insert(admission.id);
                            ids.push(admission.id);
                        }
                    }
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
                unproven.retain(|id| live.contains_key(id));
                prop_assert_eq!(limiter.unproven, unproven.len());
                prop_assert!(unproven.len() <= 7 / UNPROVEN_SHARE);
                for prefix in 0..4 {
                    let proven = live.iter().filter(|(id, (of, _))| *of == prefix && !unproven.contains(id));
                    prop_assert!(proven.count() <= 3);
                }
                let indexed: usize = limiter.by_prefix.values().map(BTreeSet::len).sum();
                prop_assert_eq!((limiter.by_progress.len(), limiter.by_deadline.len(), indexed), (live.len(), live.len(), live.len() - unproven.len()));
            }
        }
    }
}
