//! The limiter of inbound handshakes against a plain list.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::prefix::is_local;
use p2p_identity::{HandshakeId, HandshakeLimiter, HandshakeLimits, Prefix};

use crate::input::{Input, ip, start};

struct Entry {
    id: HandshakeId,
    prefix: Option<Prefix>,
    /// Whether its address is.
    proven: bool,
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
            (0..=2, _) => {
                let ip = ip(&mut input);
                let evicted = admit(&limits, &list, ip);
                let admission = limiter.admit(ip, now);
                assert_eq!(admission.is_some(), evicted.is_ok());
                let (Some(admission), Ok(evicted)) = (admission, evicted) else { continue };
                assert_eq!((admission.evict, admission.deadline), (evicted, now + limits.timeout));
                list.retain(|entry| Some(entry.id) != evicted);
                let prefix = (limits.limit_local || !is_local(ip)).then(|| Prefix::of(ip));
                list.push(Entry {
                    id: admission.id,
                    prefix,
                    proven: true,
                    progressed: now,
                    deadline: admission.deadline,
                });
                ids.push(admission.id);
            }
            (3, _) => {
                let ip = ip(&mut input);
                let prefix = (limits.limit_local || !is_local(ip)).then(|| Prefix::of(ip));
                let unproven = list.iter().filter(|entry| !entry.proven).count();
                let room = unproven < (limits.total / 2).max(1) && list.len() < limits.total;
                let never = prefix.is_some() && limits.per_prefix == 0;
                let admission = limiter.admit_unproven(ip, now);
                assert_eq!(admission.is_some(), room && !never);
                let Some(admission) = admission else { continue };
                assert_eq!((admission.evict, admission.deadline), (None, now + limits.timeout));
                list.push(Entry {
                    id: admission.id,
                    prefix,
                    proven: false,
                    progressed: now,
                    deadline: admission.deadline,
                });
                ids.push(admission.id);
            }
            (4, Some(id)) => {
                let proves = list.iter().find(|entry| entry.id == id && !entry.proven);
                let evicted = proves.and_then(|entry| full(&limits, &list, entry.prefix)).flatten();
                assert_eq!(limiter.progress(id, now), evicted);
                list.retain(|entry| Some(entry.id) != evicted);
                list.iter_mut().filter(|entry| entry.id == id).for_each(|entry| entry.proven = true);
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
    if let Some(evicted) = full(limits, list, prefix) {
        return evicted.map(Some).ok_or(());
    }
    Ok(if list.len() >= limits.total { slowest(list.iter()) } else { None })
}

/// If a prefix is full, who makes room.
fn full(limits: &HandshakeLimits, list: &[Entry], prefix: Option<Prefix>) -> Option<Option<HandshakeId>> {
    let of_prefix = || list.iter().filter(|entry| entry.proven && entry.prefix == prefix);
    (prefix.is_some() && of_prefix().count() >= limits.per_prefix).then(|| slowest(of_prefix()))
}

fn slowest<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<HandshakeId> {
    entries.min_by_key(|entry| (entry.progressed, entry.id)).map(|entry| entry.id)
}

pub fn seeds() -> Vec<Vec<u8>> {
    let admit = |n: u8| vec![0, 0, n << 3, n];
    let many: Vec<u8> = (0..12).flat_map(|n| [admit(n), vec![6, 20, 4, n]].concat()).collect();
    vec![[vec![5, 2, 9, 0], many.clone()].concat(), [vec![3, 4, 200, 1], many].concat(), vec![0, 1, 1, 0, 0, 0, 0, 0]]
}
