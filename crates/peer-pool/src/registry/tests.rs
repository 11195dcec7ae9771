//! Slots, replacement and random sequences.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

pub(super) fn limits() -> SlotLimits {
    SlotLimits {
        inbound: 4,
        outbound: 3,
        inbound_per_prefix: 2,
        grace: Duration::from_millis(500),
        tie_break: Duration::from_secs(1),
    }
}

/// Peer ids in the order of `n`.
pub(super) fn peer(n: usize) -> PeerId {
    let mut bytes = [9; 32];
    bytes[0] = n as u8;
    PeerId::from_bytes(bytes).unwrap()
}

const ME: usize = 100;

fn registry() -> Registry<u8> {
    Registry::new(peer(ME), limits())
}

fn candidate(id: u64, who: usize, direction: Direction) -> Candidate<u8> {
    Candidate { id: ConnectionId::new(id), peer: peer(who), boot: 1, direction, prefix: None, dial: None }
}

fn inbound(id: u64, who: usize) -> Candidate<u8> {
    candidate(id, who, Direction::Inbound)
}

/// Brings a connection up all the way.
fn establish(registry: &mut Registry<u8>, now: Instant, new: Candidate<u8>) -> Vec<Effect> {
    let (verdict, mut effects) = registry.decide(now, new);
    verdict.unwrap();
    effects.extend(registry.complete(now, new.id).unwrap());
    effects
}

#[test]
fn a_lone_connection_is_established_when_complete() {
    let (mut registry, now) = (registry(), crate::clock::now());
    assert_eq!(establish(&mut registry, now, inbound(1, 1)), [Effect::Establish(ConnectionId::new(1))]);
    assert_eq!(registry.live(&peer(1)), Some(ConnectionId::new(1)));
    assert_eq!(registry.slots_taken(), (1, 0));
    registry.removed(now, ConnectionId::new(1));
    assert_eq!((registry.live(&peer(1)), registry.slots_taken()), (None, (0, 0)));
}

#[test]
fn a_second_connection_of_the_same_boot_is_refused_and_the_first_probed() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, inbound(1, 1));
    let (verdict, effects) = registry.decide(now, candidate(2, 1, Direction::Outbound));
    assert_eq!(verdict, Err(RejectReason::AlreadyConnected));
    assert_eq!(effects, [Effect::Probe(ConnectionId::new(1))]);
}

#[test]
fn another_boot_replaces_the_stale_connection_once_it_is_gone() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, inbound(1, 1));
    let restarted = Candidate { boot: 2, ..inbound(2, 1) };
    let effects = establish(&mut registry, now, restarted);
    assert_eq!(effects, [Effect::Close(ConnectionId::new(1), DisconnectReason::Replaced)]);
    assert_eq!(registry.live(&peer(1)), None);
    assert_eq!(registry.removed(now, ConnectionId::new(1)), [Effect::Establish(ConnectionId::new(2))]);
}

#[test]
fn a_claim_that_is_not_proven_replaces_nothing() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, inbound(1, 1));
    let (verdict, effects) = registry.decide(now, Candidate { boot: 2, ..inbound(2, 1) });
    assert_eq!((verdict, effects), (Ok(()), vec![]));
    assert_eq!(registry.removed(now, ConnectionId::new(2)), []);
    assert_eq!(registry.live(&peer(1)), Some(ConnectionId::new(1)));
}

#[test]
fn a_new_connection_waits_for_one_that_is_leaving() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, inbound(1, 1));
    registry.leaving(ConnectionId::new(1));
    assert_eq!(registry.slots_taken(), (0, 0), "its slot is free");
    assert_eq!(establish(&mut registry, now, inbound(2, 1)), []);
    assert_eq!(registry.removed(now, ConnectionId::new(1)), [Effect::Establish(ConnectionId::new(2))]);
}

#[test]
fn full_slots_refuse_unless_somebody_is_stuck_in_the_handshake() {
    let (mut registry, now) = (registry(), crate::clock::now());
    for n in 0..3 {
        establish(&mut registry, now, inbound(n, n as usize));
    }
    registry.decide(now, inbound(3, 3)).0.unwrap();
    assert_eq!(registry.decide(now, inbound(4, 4)).0, Err(RejectReason::SlotsFull));
    let later = now + limits().grace;
    let (verdict, effects) = registry.decide(later, inbound(4, 4));
    assert_eq!((verdict, effects), (Ok(()), vec![Effect::Drop(ConnectionId::new(3), RejectReason::Timeout)]));
    assert_eq!(registry.complete(later, ConnectionId::new(3)), None, "it was dropped");
}

#[test]
fn one_address_range_gets_its_share() {
    let (mut registry, now) = (registry(), crate::clock::now());
    for n in 0..2 {
        establish(&mut registry, now, Candidate { prefix: Some(1), ..inbound(n, n as usize) });
    }
    let third = Candidate { prefix: Some(1), ..inbound(2, 2) };
    assert_eq!(registry.decide(now, third).0, Err(RejectReason::PrefixFull));
    assert_eq!(registry.decide(now, Candidate { prefix: Some(2), ..third }).0, Ok(()));
}

#[test]
fn dials_hold_outbound_slots_and_those_of_discovery_delay_nobody() {
    let (mut registry, now) = (registry(), crate::clock::now());
    let found: Vec<_> = std::iter::from_fn(|| registry.begin_dial(DialKind::Found)).collect();
    assert_eq!(found.len(), 3);
    let asked = registry.begin_dial(DialKind::Asked).unwrap();
    establish(&mut registry, now, Candidate { dial: Some(asked), ..candidate(1, 1, Direction::Outbound) });
    registry.end_dial(asked);
    assert_eq!(registry.slots_taken(), (0, 1));
    found.into_iter().for_each(|dial| registry.end_dial(dial));
    assert!(registry.begin_dial(DialKind::Found).is_some());
    assert!(registry.begin_dial(DialKind::Found).is_some());
    assert!(registry.begin_dial(DialKind::Found).is_none(), "one of three slots is a live peer's");
    assert!((0..100).all(|_| registry.begin_dial(DialKind::Kept).is_some()), "those take a slot when they answer");
}

#[test]
fn the_arbiter_gives_its_own_dial_a_little_time() {
    let (mut registry, now) = (registry(), crate::clock::now());
    let larger = ME + 1;
    registry.decide(now, candidate(1, larger, Direction::Outbound)).0.unwrap();
    assert_eq!(establish(&mut registry, now, inbound(2, larger)), []);
    assert_eq!(registry.deadline(), Some(now + limits().tie_break));
    let effects = registry.poll(now + limits().tie_break);
    let (stays, goes) = (ConnectionId::new(2), ConnectionId::new(1));
    assert_eq!(effects, [Effect::Drop(goes, RejectReason::AlreadyConnected), Effect::Establish(stays)]);
}

#[derive(Debug, Clone)]
enum Op {
    Decide { who: usize, boot: u64, outbound: bool, prefix: u8 },
    Complete(usize),
    Stay(usize),
    Leaving(usize),
    Removed(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (95usize..105, 0u64..2, any::<bool>(), 0u8..3)
            .prop_map(|(who, boot, outbound, prefix)| Op::Decide { who, boot, outbound, prefix }),
        3 => (0usize..40).prop_map(Op::Complete),
        1 => (0usize..40).prop_map(Op::Stay),
        1 => (0usize..40).prop_map(Op::Leaving),
        2 => (0usize..40).prop_map(Op::Removed),
        1 => (0u64..1500).prop_map(Op::Wait),
    ]
}

proptest! {
    /// Whatever happens in whatever order: limits hold, one peer has at most one live connection, nothing is
    /// established twice, and when all is gone all slots are free.
    #[test]
    fn limits_hold_over_any_sequence(ops in prop::collection::vec(op(), 0..120)) {
        let (mut registry, mut now) = (registry(), crate::clock::now());
        let mut known: Vec<ConnectionId> = Vec::new();
        let mut established = BTreeSet::new();
        let mut next = 0;
        for op in ops {
            let pick = |n: usize| known.get(n % known.len().max(1)).copied();
            let effects = match op {
                Op::Decide { who, boot, outbound, prefix } => {
                    next += 1;
                    let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
                    let new = Candidate { boot, prefix: (prefix > 0).then_some(prefix), ..candidate(next, who, direction) };
                    let (verdict, effects) = registry.decide(now, new);
                    if verdict.is_ok() { known.push(new.id); }
                    effects
                }
                Op::Complete(n) => pick(n)
                    .filter(|id| registry.entries.get(id).is_some_and(|e| e.phase == Phase::Accepted))
                    .and_then(|id| registry.complete(now, id)).unwrap_or_default(),
                Op::Stay(n) => pick(n).map(|id| registry.stay(now, id)).unwrap_or_default(),
                Op::Leaving(n) => { if let Some(id) = pick(n) { registry.leaving(id); } Vec::new() }
                Op::Removed(n) => match pick(n) {
                    Some(id) => { known.retain(|k| *k != id); registry.removed(now, id) }
                    None => Vec::new(),
                },
                Op::Wait(ms) => { now += Duration::from_millis(ms); registry.poll(now) }
            };
            for effect in effects {
                match effect {
                    Effect::Establish(id) => prop_assert!(established.insert(id)),
                    Effect::Drop(id, _) => { prop_assert!(!established.contains(&id)); known.retain(|k| *k != id); }
                    Effect::Close(id, _) | Effect::Probe(id) => prop_assert!(established.contains(&id)),
                }
            }
            // A second connection of a peer may add one to the count while it lasts, never a peer.
            for (direction, limit) in [(Direction::Inbound, limits().inbound), (Direction::Outbound, limits().outbound)] {
                let live: BTreeSet<_> = registry.entries.values()
                    .filter(|e| e.candidate.direction == direction && e.phase == Phase::Live)
                    .map(|e| e.candidate.peer).collect();
                prop_assert!(live.len() <= limit);
            }
            for ids in registry.by_peer.values() {
                prop_assert!(ids.iter().filter(|id| registry.entries[id].phase >= Phase::Live).count() <= 1);
            }
        }
        for id in known { registry.removed(now, id); }
        prop_assert_eq!(registry.slots_taken(), (0, 0));
        prop_assert!(registry.entries.is_empty() && registry.by_peer.is_empty());
    }
}
