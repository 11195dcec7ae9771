//! The decider against random worlds, and rule by rule.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Action, Attempt, Decider, Kind, RaceLimits};

const STAGGER: u64 = 250;
const AGAIN: u64 = 2500;
const UNTIL: u64 = 10_000;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn start() -> Instant {
    Instant::now()
}

fn decider(begin: Instant, seeks: bool) -> Decider {
    Decider::new(RaceLimits::default(), begin, begin + ms(UNTIL), seeks)
}

fn address(priority: u16) -> Kind {
    Kind { priority, name: false }
}

fn first(candidate: usize) -> Attempt {
    Attempt { candidate, again: false }
}

fn second(candidate: usize) -> Attempt {
    Attempt { candidate, again: true }
}

/// Everything there is to do at a moment.
fn all(decider: &mut Decider, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| decider.poll(now)).take(1000).take_while(|action| *action != Action::End).collect()
}

use Action::{Late, Seek, Start, Stop};

#[test]
fn the_next_begins_after_a_while_or_as_soon_as_one_fails() {
    let begin = start();
    let mut decider = decider(begin, false);
    (0..4).for_each(|_| assert!(decider.add(address(0)).is_some()));
    assert_eq!(all(&mut decider, begin), [Start(first(0))]);
    assert_eq!(decider.deadline(), Some(begin + ms(STAGGER)));
    assert_eq!(all(&mut decider, begin + ms(STAGGER)), [Start(first(1))]);
    assert!(decider.failed(first(0)));
    assert_eq!(all(&mut decider, begin + ms(300)), [Start(first(2))]);
    assert_eq!(all(&mut decider, begin + ms(300 + STAGGER - 1)), []);
    assert_eq!(all(&mut decider, begin + ms(300 + STAGGER)), [Start(first(3))]);
}

#[test]
fn higher_priority_goes_first_also_when_it_comes_later_and_a_name_keeps_its_place() {
    let begin = start();
    let mut decider = decider(begin, false);
    decider.add(address(1));
    let name = decider.add(Kind { priority: 1, name: true }).unwrap();
    decider.add(address(1));
    decider.add(address(0));
    assert_eq!(all(&mut decider, begin), [Start(first(0))]);
    assert_eq!(all(&mut decider, begin + ms(STAGGER)), [Start(first(name))]);
    decider.resolved(first(name));
    let [one, two] = [(); 2].map(|()| decider.add_address(name).unwrap());
    let urgent = decider.add(address(9)).unwrap();
    let mut order = Vec::new();
    for n in 0..5 {
        order.extend(all(&mut decider, begin + ms(STAGGER + 1 + n * STAGGER)));
    }
    assert_eq!(order, [urgent, one, two, 2, 3].map(|candidate| Start(first(candidate))));
}

#[test]
fn a_source_is_asked_when_nobody_answers_at_once_or_one_fails_or_there_is_nobody() {
    let begin = start();
    let mut none = decider(begin, true);
    assert_eq!(all(&mut none, begin), [Seek]);
    assert_eq!(none.deadline(), Some(begin + ms(UNTIL)));
    none.source_ended();
    assert_eq!(none.poll(begin), Some(Action::End));

    let mut slow = decider(begin, true);
    (0..3).for_each(|_| assert!(slow.add(address(0)).is_some()));
    assert_eq!(all(&mut slow, begin), [Start(first(0))]);
    assert_eq!(all(&mut slow, begin + ms(STAGGER)), [Start(first(1)), Seek]);

    let mut failed = decider(begin, true);
    failed.add(address(0));
    assert_eq!(all(&mut failed, begin), [Start(first(0))]);
    failed.failed(first(0));
    assert_eq!(all(&mut failed, begin + ms(1)), [Seek]);
    // Who is found is dialed at once.
    failed.add(address(0));
    assert_eq!(all(&mut failed, begin + ms(2)), [Start(first(1))]);
}

#[test]
fn one_more_attempt_is_made_beside_one_that_nobody_answers() {
    let begin = start();
    let mut decider = decider(begin, false);
    decider.add(address(0));
    all(&mut decider, begin);
    assert_eq!(decider.deadline(), Some(begin + ms(AGAIN)));
    assert_eq!(all(&mut decider, begin + ms(AGAIN)), [Start(second(0))]);
    assert_eq!(all(&mut decider, begin + ms(3 * AGAIN)), []);
    // The one that is answered is kept, and the other given up.
    decider.connected(begin + ms(3 * AGAIN), second(0));
    assert_eq!(all(&mut decider, begin + ms(3 * AGAIN)), [Stop(first(0))]);
    assert_eq!(all(&mut decider, begin + ms(UNTIL)), [], "who has answered goes on");
    assert!(decider.failed(second(0)), "both have failed now");
    assert_eq!(decider.poll(begin + ms(UNTIL)), Some(Action::End));
}

/// A packet was lost after the answer, and is sent again late.
#[test]
fn one_more_attempt_is_made_beside_one_whose_answer_leads_nowhere() {
    let begin = start();
    let mut decider = decider(begin, false);
    decider.add(address(0));
    all(&mut decider, begin);
    decider.connected(begin + ms(1000), first(0));
    assert_eq!(decider.deadline(), Some(begin + ms(1000 + AGAIN)));
    assert_eq!(all(&mut decider, begin + ms(1000 + AGAIN)), [Start(second(0))]);
    // Whichever shows first who is there.
    decider.connected(begin + ms(2000 + AGAIN), second(0));
    assert_eq!(all(&mut decider, begin + ms(2000 + AGAIN)), []);
    assert!(!decider.failed(first(0)), "the second goes on");
    assert_eq!(all(&mut decider, begin + ms(UNTIL)), []);

    let mut late = self::decider(begin, false);
    late.add(address(0));
    all(&mut late, begin);
    late.connected(begin + ms(UNTIL - AGAIN), first(0));
    assert_eq!((late.poll(begin + ms(UNTIL)), late.deadline()), (None, None), "nothing begins when time is over");
}

/// Else a name's second address would be dialed too wherever a handshake takes a while, and mostly it is the same node.
#[test]
fn an_answer_gives_time_to_show_who_it_is() {
    let begin = start();
    let mut decider = decider(begin, true);
    (0..2).for_each(|_| assert!(decider.add(address(0)).is_some()));
    assert_eq!(all(&mut decider, begin), [Start(first(0))]);
    decider.connected(begin + ms(200), first(0));
    assert_eq!(all(&mut decider, begin + ms(200 + STAGGER - 1)), []);
    assert_eq!(decider.deadline(), Some(begin + ms(200 + STAGGER)));
    assert_eq!(all(&mut decider, begin + ms(200 + STAGGER)), [Start(first(1)), Seek]);
}

#[test]
fn a_candidate_has_failed_when_both_of_its_attempts_have() {
    let begin = start();
    let mut decider = decider(begin, false);
    decider.add(address(0));
    all(&mut decider, begin);
    all(&mut decider, begin + ms(AGAIN));
    assert!(!decider.failed(first(0)));
    assert_eq!(decider.poll(begin + ms(AGAIN)), None);
    assert!(decider.failed(second(0)));
    assert_eq!(decider.poll(begin + ms(AGAIN)), Some(Action::End));
}

#[test]
fn when_time_is_over_nobody_else_begins() {
    let begin = start();
    let limits = RaceLimits { at_once: 1, ..RaceLimits::default() };
    let mut decider = Decider::new(limits, begin, begin + ms(UNTIL), true);
    (0..3).for_each(|_| assert!(decider.add(address(0)).is_some()));
    assert_eq!(all(&mut decider, begin), [Start(first(0))]);
    assert_eq!(all(&mut decider, begin + ms(UNTIL)), [Late(first(0))]);
    assert!(decider.failed(first(0)));
    assert_eq!((decider.poll(begin + ms(UNTIL)), decider.deadline()), (Some(Action::End), None));
}

#[test]
fn candidates_are_bounded() {
    let begin = start();
    let limits = RaceLimits { candidates: 3, ..RaceLimits::default() };
    let mut decider = Decider::new(limits, begin, begin + ms(UNTIL), false);
    let name = decider.add(Kind { priority: 0, name: true }).unwrap();
    assert!(decider.add_address(name).is_some() && decider.add(address(9)).is_some());
    assert!(decider.add_address(name).is_none() && decider.add(address(9)).is_none());
}

/// One candidate of a random world: what becomes of its first and of its second attempt.
#[derive(Debug, Clone)]
struct Place {
    priority: u16,
    /// It comes from the source, so long after that was asked.
    found: Option<u64>,
    /// It is a name with so many addresses, of which nothing comes.
    name: Option<usize>,
    attempts: [Fate; 2],
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Silent,
    Refused(u64),
    /// It is answered after so long, and somebody else shows after so long.
    Wrong(u64, u64),
    Right(u64, u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    let time = 0u64..6000;
    prop_oneof![
        Just(Fate::Silent),
        time.clone().prop_map(Fate::Refused),
        (time.clone(), time.clone()).prop_map(|(a, b)| Fate::Wrong(a, b)),
        (time.clone(), time).prop_map(|(a, b)| Fate::Right(a, b)),
    ]
}

fn place() -> impl Strategy<Value = Place> {
    let (found, name) = (prop::option::of(0u64..5000), prop::option::weighted(0.2, 0usize..4));
    let places = (0u16..3, found, name, [fate(), fate()]);
    places.prop_map(|(priority, found, name, attempts)| Place { priority, found, name, attempts })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Connected(Attempt),
    Failed(Attempt),
    Resolved(Attempt),
    Found(usize),
    SourceOver,
    Won(Attempt),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_the_world_is_like(
        places in prop::collection::vec(place(), 0..12),
        at_once in 1usize..6,
        candidates in 1usize..20,
        seeks: bool,
    ) {
        run(&places, RaceLimits { at_once, candidates, ..RaceLimits::default() }, seeks);
    }
}

/// Races in a world and checks every rule on the way.
fn run(places: &[Place], limits: RaceLimits, seeks: bool) {
    let begin = start();
    let until = begin + ms(UNTIL);
    let mut decider = Decider::new(limits, begin, until, seeks);
    // By number of the candidate; `None` is an address of a name.
    let mut known: Vec<Option<usize>> = Vec::new();
    for (index, place) in places.iter().enumerate().filter(|(_, place)| place.found.is_none()) {
        if decider.add(Kind { priority: place.priority, name: place.name.is_some() }).is_some() {
            known.push(Some(index));
        }
    }
    let mut events: BTreeSet<(Instant, Event)> = BTreeSet::new();
    let mut running: BTreeMap<Attempt, bool> = BTreeMap::new();
    let (mut began, mut answered) = (BTreeMap::new(), BTreeMap::new());
    let (mut starts, mut started): (Vec<Instant>, BTreeSet<Attempt>) = (Vec::new(), BTreeSet::new());
    let (mut failures, mut now, mut sought) = (0, begin, false);
    loop {
        let mut polls = 0;
        let mut ended = false;
        while let Some(action) = decider.poll(now) {
            polls += 1;
            assert!(polls < 200, "it has no end");
            match action {
                Action::Start(attempt) => {
                    assert!(now < until, "too late");
                    assert!(started.insert(attempt), "{attempt:?} is begun twice");
                    let place = known[attempt.candidate].map(|index| &places[index]);
                    if attempt.again {
                        let first = first(attempt.candidate);
                        let since: Instant = *answered.get(&first).unwrap_or(&began[&first]);
                        assert!(running.contains_key(&first), "the first is still tried");
                        assert!(now >= since + limits.again_after, "the first may lead somewhere");
                        assert!(place.is_none_or(|place| place.name.is_none()), "a name is looked up once");
                    } else {
                        let may = match starts.last() {
                            Some(last) => now >= *last + limits.stagger || failures > 0 || running.is_empty(),
                            None => true,
                        };
                        assert!(may, "too early");
                        failures = 0;
                        starts.push(now);
                    }
                    running.insert(attempt, false);
                    began.insert(attempt, now);
                    let busy: BTreeSet<usize> = running.keys().map(|attempt| attempt.candidate).collect();
                    assert!(busy.len() <= limits.at_once, "too many at the same time");
                    match place.map(|place| (place.name, place.attempts[usize::from(attempt.again)])) {
                        Some((Some(_), _)) => {
                            events.insert((now + ms(20), Event::Resolved(attempt)));
                        }
                        None => {
                            events.insert((now + ms(30), Event::Failed(attempt)));
                        }
                        Some((None, Fate::Silent)) => {}
                        Some((None, Fate::Refused(after))) => {
                            events.insert((now + ms(after), Event::Failed(attempt)));
                        }
                        Some((None, Fate::Wrong(after, then))) => {
                            events.insert((now + ms(after), Event::Connected(attempt)));
                            events.insert((now + ms(after + then), Event::Failed(attempt)));
                        }
                        Some((None, Fate::Right(after, then))) => {
                            events.insert((now + ms(after), Event::Connected(attempt)));
                            events.insert((now + ms(after + then), Event::Won(attempt)));
                        }
                    }
                }
                Action::Stop(attempt) => {
                    assert_eq!(running.remove(&attempt), Some(false), "who is answered is not given up");
                    let other = Attempt { again: !attempt.again, ..attempt };
                    assert!(answered.get(&other).is_some_and(|at| *at >= began[&attempt]), "given up for nobody");
                }
                Action::Late(attempt) => {
                    assert!(now >= until);
                    assert_eq!(running.remove(&attempt), Some(false), "who is answered is not given up");
                    decider.failed(attempt);
                }
                Action::Seek => {
                    assert!(!std::mem::replace(&mut sought, true) && seeks);
                    let found = places.iter().enumerate().filter_map(|(index, place)| Some((index, place.found?)));
                    events.extend(found.map(|(index, after)| (now + ms(after), Event::Found(index))));
                    events.insert((now + ms(5000), Event::SourceOver));
                }
                Action::End => {
                    assert!(running.is_empty(), "{running:?} are still tried");
                    let all_tried = (0..known.len()).all(|candidate| started.contains(&first(candidate)));
                    assert!(all_tried || now >= until, "not all were tried");
                    ended = true;
                    break;
                }
            }
        }
        if ended {
            return;
        }
        let due = decider.deadline();
        assert!(due.is_none_or(|due| due > now), "what is due was not done");
        let event = events.first().map(|(at, _)| *at);
        now = due.into_iter().chain(event).min().expect("it hangs").max(now);
        while let Some((at, event)) = events.first().copied().filter(|(at, _)| *at <= now) {
            events.remove(&(at, event));
            match event {
                Event::Connected(attempt) => {
                    if let Some(is_answered) = running.get_mut(&attempt) {
                        *is_answered = true;
                        answered.insert(attempt, now);
                        decider.connected(now, attempt);
                    }
                }
                Event::Failed(attempt) => {
                    if running.remove(&attempt).is_some() && decider.failed(attempt) {
                        failures += 1;
                    }
                }
                Event::Resolved(attempt) => {
                    if running.remove(&attempt).is_some() {
                        decider.resolved(attempt);
                        failures += 1;
                        let addresses = known[attempt.candidate].and_then(|index| places[index].name).unwrap_or(0);
                        for _ in 0..addresses {
                            known.extend(decider.add_address(attempt.candidate).map(|_| None));
                        }
                    }
                }
                Event::Found(index) if now < until => {
                    let kind = Kind { priority: places[index].priority, name: places[index].name.is_some() };
                    known.extend(decider.add(kind).map(|_| Some(index)));
                }
                Event::SourceOver => decider.source_ended(),
                Event::Won(attempt) if running.contains_key(&attempt) => return,
                Event::Found(_) | Event::Won(_) => {}
            }
            assert!(known.len() <= limits.candidates);
        }
    }
}
