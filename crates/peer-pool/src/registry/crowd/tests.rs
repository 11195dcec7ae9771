//! The rule against its promises, with crowds, attackers and chance.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::RejectReason;
use proptest::prelude::*;

use super::*;
use crate::Direction;
use crate::registry::model::{limits, peer};
use crate::registry::sequence::ME;
use crate::registry::{Effect, SlotLimits};

/// Somebody who is connected, as the test sees it.
#[derive(Debug, Clone, Copy)]
struct Holder {
    id: ConnectionId,
    who: usize,
    from: Option<Prefix>,
    since: Instant,
    standing: Standing,
}

/// A node whose peers leave as soon as they are evicted.
struct Door {
    registry: Registry<Prefix>,
    slots: usize,
    now: Instant,
    holders: Vec<Holder>,
    next: u64,
}

fn net(text: &str) -> Option<Prefix> {
    text.parse::<IpAddr>().ok().map(Prefix::of)
}

impl Door {
    fn new(slots: usize) -> Self {
        let registry = Registry::new(peer(ME), SlotLimits { inbound: slots, ..limits() });
        Self { registry, slots, now: crate::clock::now(), holders: Vec::new(), next: 0 }
    }

    /// Somebody connects. Gives who went for it.
    fn comes(&mut self, who: usize, from: Option<Prefix>, claim: bool) -> Result<Option<Holder>, RejectReason> {
        self.next += 1;
        let id = ConnectionId::new(self.next);
        let (peer, direction, serial) = (peer(who), Direction::Inbound, Some(Default::default()));
        let candidate = Candidate {
            id,
            peer,
            proven: true,
            boot: 1,
            direction,
            prefix: from,
            claim,
            dial: None,
            serial,
            may_speak: false,
        };
        let (verdict, effects) = self.registry.decide(self.now, candidate);
        verdict?;
        assert_eq!(self.registry.complete(self.now, id), Some(vec![Effect::Establish(id)]));
        let mut gone = effects.into_iter().map(|effect| match effect {
            Effect::Evict(id) => self.goes(id),
            other => panic!("{other:?}"),
        });
        let first = gone.next();
        assert_eq!(gone.count(), 0, "one goes for one");
        let standing = Standing { claim, used: None };
        self.holders.push(Holder { id, who, from, since: self.now, standing });
        assert!(self.holders.len() <= self.slots && self.registry.slots_taken() == (self.holders.len(), 0));
        Ok(first)
    }

    fn goes(&mut self, id: ConnectionId) -> Holder {
        self.registry.removed(self.now, id);
        let at = self.holders.iter().position(|holder| holder.id == id).expect("it is there");
        self.holders.remove(at)
    }

    fn used(&mut self, at: usize) {
        let (holder, now) = (&mut self.holders[at], self.now);
        holder.standing.used = Some(now);
        self.registry.set_standing(holder.id, holder.standing);
    }

    fn has(&self, who: usize) -> bool {
        self.holders.iter().any(|holder| holder.who == who)
    }

    /// The crowding, counted anew.
    fn crowding<'a>(holders: impl Iterator<Item = &'a Holder> + Clone) -> i64 {
        let of_width = |width: usize| {
            let mut counts = BTreeMap::<Prefix, i64>::new();
            let ranges = holders.clone().filter_map(|holder| holder.from).map(|from| from.at_width(width));
            ranges.for_each(|range| *counts.entry(range).or_default() += 1);
            counts.values().map(|count| count * count).sum::<i64>()
        };
        WEIGHTS.iter().enumerate().map(|(width, weight)| weight * of_width(width)).sum()
    }

    /// By how much it becomes less when a newcomer, who is alone in its range if it is exempt, takes the place of somebody.
    fn relief(&self, holder: &Holder, new: Option<Prefix>) -> i64 {
        let newcomer = Holder { from: new.or(net("200.200.200.200")), ..*holder };
        let others = self.holders.iter().filter(|other| other.id != holder.id);
        Self::crowding(self.holders.iter()) - Self::crowding(others.chain([&newcomer]))
    }

    /// Whether somebody may go for a newcomer.
    fn may_go(&self, holder: &Holder, new: Option<Prefix>) -> bool {
        let idle = self.now.saturating_duration_since(holder.since) >= USEFUL;
        let relief = self.relief(holder, new);
        holder.from.is_some() && !holder.standing.is_useful(self.now) && (relief > 0 || (relief == 0 && idle))
    }
}

#[test]
fn a_crowd_of_one_address_gets_in_while_there_is_room() {
    let mut door = Door::new(64);
    for who in 0..64 {
        assert!(matches!(door.comes(who, net("8.8.8.8"), false), Ok(None)), "{who}");
    }
    assert_eq!(door.comes(70, net("8.8.8.9"), false).err(), Some(RejectReason::SlotsFull), "of the same range");
}

#[test]
fn an_attacker_keeps_out_nobody_from_elsewhere() {
    for ranges in [1u8, 4, 16] {
        let mut door = Door::new(64);
        let hostile = |n: usize| net(&format!("8.{}.9.{}", n as u8 % ranges, 1 + n as u8 % 200));
        for n in 0..64 {
            door.comes(n, hostile(n), false).expect("there is room");
        }
        for honest in 0..40usize {
            // It comes again and again, from all that it has.
            for n in 0..200 {
                door.now += Duration::from_millis(7);
                if !door.has(n % 90) {
                    let _ = door.comes(n % 90, hostile(n), false);
                }
            }
            let from = net(&format!("9.{honest}.1.1"));
            let gone = door.comes(150 + honest, from, false).expect("it gets in").expect("somebody goes for it");
            assert!(gone.who < 90, "{ranges} ranges: an honest peer went: {gone:?}");
        }
        assert!((0..40).all(|honest| door.has(150 + honest)), "{ranges} ranges");
    }
}

#[test]
fn whoever_owns_many_narrow_ranges_is_one_crowd() {
    let mut door = Door::new(32);
    for n in 0..32 {
        let from = if n % 2 == 0 { format!("8.8.{n}.1") } else { format!("2001:db8:{n:x}::1") };
        door.comes(n, net(&from), false).expect("there is room");
    }
    for (n, from) in ["9.9.9.9", "2a01::1", "8.9.1.1", "2001:db9::1"].into_iter().enumerate() {
        assert!(matches!(door.comes(110 + n, net(from), false), Ok(Some(gone)) if gone.who < 32), "{from}");
    }
}

#[test]
fn neighbors_of_an_attacker_are_not_taken_for_it() {
    let mut door = Door::new(32);
    for who in 0..32 {
        door.comes(who, net("8.8.8.8"), false).expect("there is room");
    }
    // Of the same /16, and all of one other /16.
    for n in 0..8 {
        for from in [format!("8.8.{}.1", 9 + n), format!("9.9.{n}.1")] {
            let gone = door.comes(110 + door.next as usize, net(&from), false).expect("it gets in");
            assert!(gone.is_some_and(|gone| gone.who < 32), "{from}");
        }
    }
    let refused = door.comes(90, net("8.8.8.9"), false).err();
    assert_eq!(refused, Some(RejectReason::SlotsFull), "it is one of the crowd");
}

#[test]
fn two_crowds_come_to_rest() {
    // One owns a /16 with all of its /24s, the other has one /24; each comes again whenever it is sent away.
    let mut door = Door::new(32);
    let mut evictions = 0;
    for n in 0..2000usize {
        door.now += Duration::from_millis(100);
        let from = if n % 2 == 0 { format!("8.8.{}.1", n / 2 % 250) } else { "9.9.9.9".into() };
        let who = n % 250;
        if who != ME && !door.has(who) {
            evictions += usize::from(matches!(door.comes(who, net(&from), false), Ok(Some(_))));
        }
    }
    let office = door.holders.iter().filter(|holder| holder.from == net("9.9.9.9")).count();
    assert!((4..16).contains(&office), "the office has {office}");
    assert!(evictions < 40, "{evictions} evictions");
}

#[test]
fn peers_that_were_useful_stay() {
    let mut door = Door::new(8);
    for who in 0..8 {
        door.comes(who, net("8.8.8.8"), who == 0).expect("there is room");
    }
    (1..5).for_each(|at| door.used(at));
    for who in 20..23 {
        let gone = door.comes(who, net(&format!("9.{who}.1.1")), false).expect("it gets in").expect("somebody goes");
        // The one that came last goes first.
        assert_eq!(gone.who, 7 - (who - 20));
    }
    assert_eq!(door.comes(30, net("10.1.1.1"), false).err(), Some(RejectReason::SlotsFull), "all others are useful");
    door.now += USEFUL;
    let gone = door.comes(31, net("11.1.1.1"), false).expect("it gets in").expect("somebody goes");
    assert_eq!(gone.who, 4, "it has said nothing for ten minutes");
    assert!(door.has(0), "who was named stays for good");
}

#[test]
fn even_ranges_do_not_evict_each_other_in_turns() {
    let mut door = Door::new(4);
    for who in 0..4 {
        door.comes(who, net(&format!("8.{who}.1.1")), false).expect("there is room");
    }
    assert_eq!(door.comes(9, net("9.9.9.9"), false).err(), Some(RejectReason::SlotsFull));
    door.used(1);
    door.now += USEFUL - Duration::from_secs(1);
    assert_eq!(door.comes(9, net("9.9.9.9"), false).err(), Some(RejectReason::SlotsFull), "they may yet say something");
    door.now += Duration::from_secs(1);
    door.used(2);
    assert!(matches!(door.comes(9, net("9.9.9.9"), false), Ok(Some(gone)) if gone.who == 3));
    assert!(matches!(door.comes(10, net("10.9.9.9"), false), Ok(Some(gone)) if gone.who == 1));
}

#[test]
fn who_is_exempt_stays_and_who_was_named_gets_in() {
    let mut door = Door::new(4);
    for who in 0..4 {
        door.comes(who, None, false).expect("there is room");
    }
    assert_eq!(door.comes(9, net("9.9.9.9"), true).err(), Some(RejectReason::SlotsFull), "exempt ones stay");
    let mut door = Door::new(4);
    for who in 0..4 {
        door.comes(who, net(&format!("8.{who}.1.1")), false).expect("there is room");
    }
    assert!(matches!(door.comes(9, net("8.3.1.7"), true), Ok(Some(gone)) if gone.who == 3), "it was named");
    assert_eq!(door.comes(10, None, false).err(), Some(RejectReason::SlotsFull), "nobody here is a crowd");
    door.goes(door.holders[0].id);
    door.comes(11, net("8.1.1.9"), false).expect("there is room");
    assert!(matches!(door.comes(12, None, false), Ok(Some(gone)) if gone.who == 11), "an exempt one is one of few");
}

#[test]
fn a_handshake_under_way_is_no_use_to_anybody() {
    let mut door = Door::new(2);
    let candidate = |id, who, from: &str| Candidate {
        id: ConnectionId::new(id),
        peer: peer(who),
        proven: true,
        boot: 1,
        direction: Direction::Inbound,
        prefix: net(from),
        claim: false,
        dial: None,
        serial: None,
        may_speak: false,
    };
    for n in 0..2 {
        door.registry.decide(door.now, candidate(n, n as usize, "8.8.8.8")).0.expect("there is room");
    }
    let (verdict, effects) = door.registry.decide(door.now, candidate(5, 5, "9.9.9.9"));
    assert_eq!((verdict, effects), (Ok(()), vec![Effect::Drop(ConnectionId::new(1), RejectReason::SlotsFull)]));
    // Over a long line it takes its time, which a crowd does not take from it.
    let late = door.now + limits().grace;
    door.registry.complete(late, ConnectionId::new(0)).expect("it is there");
    assert_eq!(door.registry.decide(late, candidate(6, 6, "8.8.8.9")).0, Err(RejectReason::SlotsFull));
    let elsewhere = door.registry.decide(late, candidate(7, 7, "10.1.1.1")).0;
    assert_eq!(elsewhere, Ok(()), "of as many as it the one that waits is dropped");
}

#[derive(Debug, Clone)]
enum Op {
    Comes { who: usize, from: Option<(u8, u8)>, claim: bool },
    Goes(usize),
    Used(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0usize..90, prop::option::weighted(0.9, (0u8..3, 0u8..3)), prop::bool::weighted(0.1))
            .prop_map(|(who, from, claim)| Op::Comes { who, from, claim }),
        1 => (0usize..20).prop_map(Op::Goes),
        3 => (0usize..20).prop_map(Op::Used),
        1 => (0u64..700).prop_map(Op::Wait),
    ]
}

proptest! {
    #[test]
    fn whoever_goes_may_go_and_nobody_is_refused_in_vain(ops in prop::collection::vec(op(), 0..200)) {
        let mut door = Door::new(8);
        for op in ops {
            match op {
                Op::Comes { who, from, claim } if !door.has(who) => {
                    let from = from.map(|(wide, narrow)| Prefix::V4([8, wide, narrow]));
                    let before: Vec<Holder> = door.holders.clone();
                    let full = before.len() == 8;
                    let evictable = |holder: &&Holder| match claim {
                        true => holder.from.is_some() && !holder.standing.is_useful(door.now),
                        false => door.may_go(holder, from),
                    };
                    let may_go: Vec<_> = before.iter().filter(evictable).map(|holder| holder.id).collect();
                    match door.comes(who, from, claim) {
                        Ok(None) => prop_assert!(!full),
                        Ok(Some(gone)) => prop_assert!(full && may_go.contains(&gone.id), "{gone:?} went for {from:?}"),
                        Err(reason) => {
                            prop_assert_eq!(reason, RejectReason::SlotsFull);
                            prop_assert!(full && may_go.is_empty(), "refused beside {may_go:?}");
                        }
                    }
                }
                Op::Goes(n) if !door.holders.is_empty() => {
                    let id = door.holders[n % door.holders.len()].id;
                    door.goes(id);
                }
                Op::Used(n) if !door.holders.is_empty() => door.used(n % door.holders.len()),
                Op::Wait(secs) => door.now += Duration::from_secs(secs),
                _ => {}
            }
        }
        for id in door.holders.iter().map(|holder| holder.id).collect::<Vec<_>>() {
            door.goes(id);
        }
        prop_assert!(door.registry.counts.crowds().is_empty());
    }
}
