//! Slots, replacement and random sequences.

use std::time::Instant;

use proptest::prelude::*;

use super::model::{limits, peer};
use super::room::MAX_WAITING;
use super::sequence::{ME, Op, Sequence};
use super::*;

fn registry() -> Registry<u8> {
    Registry::new(peer(ME), limits())
}

fn candidate(id: u64, who: usize, direction: Direction) -> Candidate<u8> {
    Candidate {
        id: ConnectionId::new(id),
        peer: peer(who),
        proven: true,
        boot: 1,
        direction,
        prefix: None,
        claim: false,
        dial: None,
        serial: Some(Serial::default()),
        may_speak: false,
    }
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
fn whoever_has_lost_a_connection_replaces_it_once_proven() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, Candidate { serial: Some(Serial { number: 3, ended_below: 1 }), ..inbound(1, 1) });
    let again = |id, number, ended_below| Candidate { serial: Some(Serial { number, ended_below }), ..inbound(id, 1) };
    assert_eq!(registry.decide(now, again(2, 4, 3)).0, Err(RejectReason::AlreadyConnected), "the third is still there");
    assert_eq!(registry.decide(now, again(3, 5, 5)), (Ok(()), vec![]), "a claim alone replaces nothing");
    let effects = registry.complete(now, ConnectionId::new(3)).unwrap();
    assert_eq!(effects, [Effect::Close(ConnectionId::new(1), DisconnectReason::Replaced)]);
    assert_eq!(registry.decide(now, again(4, 2, 2)).0, Err(RejectReason::AlreadyConnected), "it is an old one");
    assert_eq!(registry.removed(now, ConnectionId::new(1)), [Effect::Establish(ConnectionId::new(3))]);
    assert_eq!(registry.slots_taken(), (1, 0));
}

#[test]
fn a_claim_covers_no_connection_that_is_held_or_may_come_to_be() {
    let (mut registry, now) = (registry(), crate::clock::now());
    let id = ConnectionId::new;
    let whom = Some(peer(1));
    assert_eq!(registry.number(id(1), whom), Serial { number: 1, ended_below: 1 });
    assert_eq!(registry.number(id(2), Some(peer(2))), Serial { number: 2, ended_below: 2 });
    assert_eq!(registry.number(id(3), whom), Serial { number: 3, ended_below: 1 });
    assert_eq!(registry.number(id(4), None).ended_below, 0, "it is not known to whom this would be said");
    establish(&mut registry, now, candidate(1, 1, Direction::Outbound));
    establish(&mut registry, now, inbound(9, 2));
    assert_eq!(registry.serial(id(9)), Serial { number: 5, ended_below: 2 });
    registry.removed(now, id(3));
    assert_eq!(registry.number(id(5), whom).ended_below, 1, "the first is live");
    registry.removed(now, id(1));
    assert_eq!(registry.number(id(6), whom).ended_below, 4, "that one may be with the same peer");
    registry.removed(now, id(4));
    assert_eq!(registry.number(id(7), whom).ended_below, 6);
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
fn one_identity_takes_one_place_however_often_it_connects() {
    let (mut registry, now) = (registry(), crate::clock::now());
    let again = |id, boot| Candidate { boot, ..inbound(id, 1) };
    for n in 0..MAX_WAITING as u64 {
        assert_eq!(registry.decide(now, again(n, n)).0, Ok(()), "{n}");
    }
    assert_eq!(registry.slots_taken(), (1, 0));
    assert_eq!(registry.decide(now, again(9, 9)).0, Err(RejectReason::AlreadyConnected), "so many may wait");
    // Its place is there as long as any of them is.
    for n in 0..MAX_WAITING as u64 {
        assert_eq!(registry.slots_taken(), (1, 0), "{n}");
        registry.removed(now, ConnectionId::new(n));
    }
    assert_eq!(registry.slots_taken(), (0, 0));
}

#[test]
fn a_claim_without_a_proof_shares_no_place_but_that_of_its_own_range() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, Candidate { prefix: Some(1), ..inbound(0, 1) });
    let claim = |id, prefix| Candidate { proven: false, boot: 10 + id, prefix: Some(prefix), ..inbound(id, 1) };
    for n in 1..4 {
        assert_eq!(registry.decide(now, claim(n, 32 * (n as u8 + 1))).0, Ok(()), "{n}");
    }
    assert_eq!(registry.slots_taken(), (4, 0), "from elsewhere it is a stranger");
    assert_eq!(registry.decide(now, claim(5, 224)).0, Err(RejectReason::SlotsFull));
    assert_eq!(registry.decide(now, claim(6, 1)).0, Ok(()), "from there the peer may have restarted");
    assert_eq!(registry.slots_taken(), (4, 0));
    let proven = Candidate { boot: 7, prefix: Some(9), ..inbound(7, 1) };
    assert_eq!(registry.decide(now, proven).0, Ok(()), "whoever proves it is that peer wherever it is");
}

#[test]
fn claims_from_many_ranges_do_not_share_the_place_of_one() {
    let (mut registry, now) = (registry(), crate::clock::now());
    let claim = |id, prefix| Candidate { proven: false, prefix: Some(prefix), ..inbound(id, 1) };
    for range in 1..40u8 {
        let ids = [0, 1].map(|n| u64::from(range) * 2 + n);
        ids.into_iter().for_each(|id| _ = registry.decide(now, claim(id, range)));
        registry.removed(now, ConnectionId::new(ids[0]));
        assert_eq!(registry.entries.len(), registry.slots_taken().0, "each has the place of its range");
    }
}

#[test]
fn claims_from_where_a_peer_has_no_place_do_not_share_the_one_that_it_has_elsewhere() {
    let (mut registry, now) = (registry(), crate::clock::now());
    establish(&mut registry, now, Candidate { prefix: Some(1), ..inbound(0, 1) });
    let again = Candidate { boot: 2, prefix: Some(33), ..inbound(1, 1) };
    registry.decide(now, again).0.unwrap();
    assert_eq!(registry.slots_taken(), (1, 0), "it is the same peer");
    let claim = Candidate { boot: 3, proven: false, prefix: Some(33), ..inbound(2, 1) };
    registry.decide(now, claim).0.unwrap();
    assert_eq!(registry.slots_taken(), (2, 0));
}

#[test]
fn claims_of_a_peer_do_not_keep_it_from_connecting() {
    let (mut registry, now) = (registry(), crate::clock::now());
    for n in 0..20 {
        let _ = registry.decide(now, Candidate { proven: false, boot: n, ..inbound(n, 1) });
    }
    assert_eq!(registry.decide(now, Candidate { boot: 99, ..inbound(99, 1) }).0, Ok(()));
}

#[test]
fn who_waits_for_the_word_of_its_remote_makes_room_too() {
    // The smaller ids choose, and have yet to say what: two connections of each.
    let (mut registry, now) = (Registry::<u8>::new(peer(200), limits()), crate::clock::now());
    for who in 0..4u64 {
        for id in [2 * who, 2 * who + 1] {
            registry.decide(now, inbound(id, who as usize)).0.unwrap();
        }
        assert_eq!(registry.complete(now, ConnectionId::new(2 * who)), Some(vec![]), "it waits for `Stay`");
    }
    let other = inbound(50, 50);
    assert_eq!(registry.decide(now, other).0, Err(RejectReason::SlotsFull));
    let (verdict, effects) = registry.decide(now + limits().grace, other);
    assert_eq!(verdict, Ok(()));
    // Both connections of somebody, who has one place.
    assert!(
        !effects.is_empty() && effects.iter().all(|effect| matches!(effect, Effect::Drop(_, RejectReason::Timeout)))
    );
    assert_eq!(registry.slots_taken(), (4, 0));
}

#[test]
fn dials_hold_outbound_slots_and_those_of_discovery_delay_nobody() {
    let (mut registry, now) = (registry(), crate::clock::now());
    let found: Vec<_> = std::iter::from_fn(|| registry.begin_dial(DialKind::Found)).collect();
    assert_eq!(found.len(), 3);
    assert!(!registry.may_dial(DialKind::Found), "though no peer has a slot");
    let asked = registry.begin_dial(DialKind::Asked).unwrap();
    establish(&mut registry, now, Candidate { dial: Some(asked), ..candidate(1, 1, Direction::Outbound) });
    registry.end_dial(asked);
    assert_eq!(registry.slots_taken(), (0, 1));
    found.into_iter().for_each(|dial| registry.end_dial(dial));
    assert!(registry.begin_dial(DialKind::Found).is_some());
    assert!(registry.may_dial(DialKind::Found));
    assert!(registry.begin_dial(DialKind::Found).is_some());
    assert!(registry.begin_dial(DialKind::Found).is_none(), "one of three slots is a live peer's");
    assert!((0..100).all(|_| registry.begin_dial(DialKind::Kept).is_some()), "those take a place when they answer");
}

/// As it is dialed.
fn dialed(registry: &mut Registry<u8>, kind: DialKind, id: u64) -> Candidate<u8> {
    let dial = Some(registry.begin_dial(kind).expect("a slot"));
    Candidate { dial, ..candidate(id, id as usize, Direction::Outbound) }
}

#[test]
fn kept_peers_have_places_of_their_own() {
    let (mut registry, now) = (registry(), crate::clock::now());
    for id in 0..3 {
        let found = dialed(&mut registry, DialKind::Found, id);
        establish(&mut registry, now, found);
    }
    assert!(!registry.may_dial(DialKind::Found));
    for (id, kind) in [(3, DialKind::Kept), (4, DialKind::Again)] {
        let kept = dialed(&mut registry, kind, id);
        assert_eq!(establish(&mut registry, now, kept), [Effect::Establish(kept.id)]);
    }
    assert_eq!(registry.slots_taken(), (0, 3));
    assert!(registry.begin_dial(DialKind::Kept).is_none(), "there are two such places");
    registry.removed(now, ConnectionId::new(3));
    assert!(registry.begin_dial(DialKind::Again).is_some());
    assert!(!registry.may_dial(DialKind::Found), "its place is no slot");
}

#[test]
fn who_was_found_is_evicted_for_who_is_asked_for() {
    let (mut registry, now) = (registry(), crate::clock::now());
    for id in 0..3 {
        let found = dialed(&mut registry, DialKind::Found, id);
        establish(&mut registry, now, found);
    }
    for (id, leaves) in [(3, 2), (4, 1), (5, 0)] {
        let asked = dialed(&mut registry, DialKind::Asked, id);
        let effects = [Effect::Evict(ConnectionId::new(leaves)), Effect::Establish(asked.id)];
        assert_eq!(establish(&mut registry, now, asked), effects);
        assert_eq!(registry.slots_taken(), (0, 3));
    }
    assert!(registry.begin_dial(DialKind::Asked).is_none(), "they make no way for each other");
    for id in 3..6 {
        registry.removed(now, ConnectionId::new(id));
    }
    // Nobody who was found is connected yet: one that is on the way is evicted.
    for id in 10..13 {
        let found = dialed(&mut registry, DialKind::Found, id);
        registry.decide(now, found).0.unwrap();
    }
    let asked = dialed(&mut registry, DialKind::Asked, 3);
    let dropped = Effect::Drop(ConnectionId::new(12), RejectReason::SlotsFull);
    assert_eq!(establish(&mut registry, now, asked), [dropped, Effect::Establish(asked.id)]);
    for id in 10..12 {
        registry.removed(now, ConnectionId::new(id));
    }
    for id in 4..6 {
        let asked = dialed(&mut registry, DialKind::Asked, id);
        establish(&mut registry, now, asked);
    }
    // There is a bound: where too many leave and do not go, they keep their places, and nobody else is evicted.
    for id in 3..6 {
        registry.leaving(ConnectionId::new(id));
    }
    assert_eq!(registry.slots_taken(), (0, 3));
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

fn serial() -> impl Strategy<Value = Serial> {
    (0u64..20, 0u64..20).prop_map(|(number, below)| Serial { number, ended_below: below.min(number) })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (95usize..105, 0u64..2, any::<bool>(), 0u8..3, serial(), any::<bool>()).prop_map(
            |(who, boot, outbound, prefix, serial, may_speak)| {
                Op::Decide { who, boot, outbound, prefix, serial, may_speak }
            }
        ),
        3 => (0usize..40, serial()).prop_map(|(nth, serial)| Op::Complete(nth, serial)),
        1 => (0usize..40).prop_map(Op::Stay),
        1 => (0usize..40).prop_map(Op::Used),
        1 => (0usize..40).prop_map(Op::Leaving),
        2 => (0usize..40).prop_map(Op::Removed),
        1 => (0u64..1500).prop_map(Op::Wait),
        2 => prop::sample::select(vec![DialKind::Asked, DialKind::Found, DialKind::Kept]).prop_map(Op::BeginDial),
        1 => (0usize..40).prop_map(Op::EndDial),
    ]
}

proptest! {
    #[test]
    fn limits_hold_over_any_sequence(ops in prop::collection::vec(op(), 0..120)) {
        let mut sequence = Sequence::new(crate::clock::now());
        ops.iter().for_each(|op| sequence.step(op));
        sequence.finish();
    }
}
