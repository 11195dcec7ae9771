//! The limiter of inbound handshakes against a plain list.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::prefix::is_local;
use p2p_identity::{HandshakeId, HandshakeLimiter, HandshakeLimits, Prefix};

use crate::input::{Input, ip, start};

struct Entry {
    id: HandshakeId,
    prefix: Option<Prefix>,
    progressed: Instant,
    deadline: Instant,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let limits = HandshakeLimits {
        total: input.below(8),
        per_prefix: input.below(5),
        timeout: Duration::from_millis(u64::from(input.byte()) * 16),
        limit_local: input.flag(),
    };
    let mut limiter = HandshakeLimiter::new(limits);
    let mut now = start();
    let mut ids = Vec::new();
    // In the order of admission, in which names count up.
    let mut list: Vec<Entry> = Vec::new();
    while !input.is_empty() {
        let (what, which) = (input.below(8), input.byte());
        let id = ids.get(usize::from(which) % ids.len().max(1)).copied();
        match (what, id) {
            (0..=3, _) => {
                let ip = ip(&mut input);
                let evicted = admit(&limits, &list, ip);
                let admission = limiter.admit(ip, now);
                assert_eq!(admission.is_some(), evicted.is_ok());
                let (Some(admission), Ok(evicted)) = (admission, evicted) else { continue };
                assert_eq!((admission.evict, admission.deadline), (evicted, now + limits.timeout));
                list.retain(|entry| Some(entry.id) != evicted);
                let prefix = (limits.limit_local || !is_local(ip)).then(|| Prefix::of(ip));
                list.push(Entry { id: admission.id, prefix, progressed: now, deadline: admission.deadline });
                ids.push(admission.id);
            }
            (4, Some(id)) => {
                limiter.progress(id, now);
                list.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.progressed = now);
            }
            (5, Some(id)) => {
                limiter.finish(id);
                list.retain(|entry| entry.id != id);
            }
            _ => {
                now += Duration::from_millis(which.into());
                let mut expired: Vec<_> = list.iter().filter(|entry| entry.deadline <= now).collect();
                expired.sort_by_key(|entry| (entry.deadline, entry.id));
                let expired: Vec<_> = expired.into_iter().map(|entry| entry.id).collect();
                assert_eq!(limiter.expire(now), expired);
                list.retain(|entry| entry.deadline > now);
            }
        }
        assert_eq!(limiter.len(), list.len());
        assert!(list.iter().all(|entry| limiter.contains(entry.id)));
        assert_eq!(limiter.next_deadline(), list.iter().map(|entry| entry.deadline).min());
        assert!(list.len() <= limits.total);
    }
}

/// Who has to make room for a handshake from `ip`, if anybody; an error where none may be.
fn admit(limits: &HandshakeLimits, list: &[Entry], ip: IpAddr) -> Result<Option<HandshakeId>, ()> {
    if limits.total == 0 {
        return Err(());
    }
    let prefix = (limits.limit_local || !is_local(ip)).then(|| Prefix::of(ip));
    let slowest = |entries: &[&Entry]| entries.iter().min_by_key(|entry| (entry.progressed, entry.id)).map(|e| e.id);
    let of_prefix: Vec<_> = list.iter().filter(|entry| prefix.is_some() && entry.prefix == prefix).collect();
    if prefix.is_some() && of_prefix.len() >= limits.per_prefix {
        return slowest(&of_prefix).map(Some).ok_or(());
    }
    let all: Vec<_> = list.iter().collect();
    Ok(if list.len() >= limits.total { slowest(&all) } else { None })
}

pub fn seeds() -> Vec<Vec<u8>> {
    let admit = |n: u8| vec![0, 0, n << 3, n];
    let many: Vec<u8> = (0..12).flat_map(|n| [admit(n), vec![6, 20, 4, n]].concat()).collect();
    vec![[vec![5, 2, 9, 0], many.clone()].concat(), [vec![3, 4, 200, 1], many].concat(), vec![0, 1, 1, 0, 0, 0, 0, 0]]
}
