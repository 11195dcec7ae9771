//! What an engine never does, whatever it is told.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_identity::PeerRecord;
use p2p_kademlia::engine::{
    Action, Answered, Asker, Command, Engine, Failure, MAX_DIAL_BACKS, MAX_WAITING, Outcome, ReplyId,
};
use p2p_kademlia::message::{Closer, DialBackOutcome};
use p2p_kademlia::{KademliaConfig, Key, Refused, Request, Response, StoredValue};
use p2p_net::Endpoint;
use proptest::prelude::*;

use crate::net::{Net, address, endpoint, key_pair};

fn record(n: usize, seq: u64) -> PeerRecord {
    PeerRecord::builder().discovery_addr(endpoint(n)).sign(&key_pair(n), seq).unwrap()
}

fn asker(n: usize) -> Asker {
    let (peer_id, record) = (key_pair(n).peer_id(), Some(record(n, 1)));
    Asker { peer_id, address: address(n), arrived: Some(address(0).ip()), unsolicited: true, record }
}

/// An engine that has been told where it is, and the start of time.
fn engine() -> (Engine, std::time::Instant) {
    let now = Net::new(0).now;
    let mut state = 1u64;
    let random = Box::new(move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state
    });
    let mut engine = Engine::new(&key_pair(0), &KademliaConfig::default(), 0, now, random);
    engine.set_endpoints(now, vec![endpoint(0)], Vec::new());
    engine.start(now);
    while engine.next_action().is_some() {}
    (engine, now)
}

fn asks(engine: &mut Engine) -> Vec<(p2p_kademlia::engine::QuestionId, p2p_kademlia::Target, Request)> {
    let mut asks = Vec::new();
    while let Some(action) = engine.next_action() {
        match action {
            Action::Ask { id, target, request } => asks.push((id, target, request)),
            Action::DialBack { id, target, .. } => asks.push((id, target, Request::GetRecord)),
            _ => {}
        }
    }
    asks
}

#[test]
fn whoever_speaks_first_is_not_inserted_but_dialed_back_and_not_too_often() {
    let (mut engine, now) = engine();
    for n in 1..=100_000usize {
        // Half of the askers have a record.
        let asker = if n % 2 == 0 { asker(n) } else { Asker { record: None, ..asker(1) } };
        let later = now + Duration::from_millis(n as u64 / 100);
        engine.on_request(later, ReplyId(n as u64), &asker, Request::FindNode { target: Key::of_value(b"x") });
        let (_, questions) = engine.busy();
        assert!(questions <= MAX_DIAL_BACKS, "{questions}");
        if n > 1000 {
            while engine.next_action().is_some() {}
        }
    }
    assert_eq!(engine.table().len(), 0);
    // The queue behind those under way is bounded too: when they fail, only so many follow.
    let mut dialed = 0;
    let (mut engine, now) = self::engine();
    for n in 1..=1000 {
        engine.on_request(now, ReplyId(n as u64), &asker(n), Request::GetRecord);
    }
    loop {
        let asked = asks(&mut engine);
        if asked.is_empty() {
            break;
        }
        for (id, ..) in asked {
            dialed += 1;
            engine.on_failure(now, id, Failure::Unreachable);
        }
    }
    assert!((MAX_DIAL_BACKS..=MAX_DIAL_BACKS + MAX_WAITING).contains(&dialed), "{dialed}");
}

#[test]
fn a_dial_back_goes_where_the_asker_is_and_nowhere_else() {
    let (mut engine, now) = engine();
    let victim: Endpoint = "tcp://8.8.8.8:53".parse().unwrap();
    let both = PeerRecord::builder().discovery_addr(victim.clone()).discovery_addr(endpoint(1));
    let both = both.sign(&key_pair(1), 2).unwrap();
    engine.on_request(now, ReplyId(1), &asker(1), Request::DialBack { record: both });
    let asked = asks(&mut engine);
    let (id, target, request) = &asked[0];
    assert_eq!((asked.len(), request), (1, &Request::GetRecord));
    assert_eq!(target.endpoints, [endpoint(1).with_peer_id(key_pair(1).peer_id())]);
    let answered = Answered {
        peer_id: key_pair(1).peer_id(),
        endpoint: endpoint(1),
        record: Some(record(1, 1)),
        response: Response::Refused(Refused::NoRecord),
    };
    engine.on_answer(now, *id, answered);
    let replied = std::iter::from_fn(|| engine.next_action())
        .any(|action| matches!(action, Action::Reply { response: Response::DialBack(DialBackOutcome::Reached), .. }));
    assert!(replied && engine.table().len() == 1);

    let elsewhere = PeerRecord::builder().discovery_addr(victim).sign(&key_pair(2), 2).unwrap();
    for (n, record, expected) in [(2, elsewhere, Refused::InvalidRecord), (3, record(4, 1), Refused::NotYours)] {
        engine.on_request(now, ReplyId(9), &Asker { record: None, ..asker(n) }, Request::DialBack { record });
        match engine.next_action() {
            Some(Action::Reply { response: Response::Refused(refused), .. }) => assert_eq!(refused, expected),
            other => panic!("{other:?}"),
        }
    }
    assert!(asks(&mut engine).is_empty());
}

#[test]
fn an_answer_by_somebody_else_or_of_another_kind_is_a_failure() {
    let (mut engine, now) = engine();
    let request = Request::DialBack { record: record(1, 1) };
    engine.on_request(now, ReplyId(1), &Asker { record: None, ..asker(1) }, request);
    let (id, ..) = asks(&mut engine).remove(0);
    let wrong = Answered {
        peer_id: key_pair(2).peer_id(),
        endpoint: endpoint(1),
        record: Some(record(2, 1)),
        response: Response::Record(record(2, 1)),
    };
    engine.on_answer(now, id, wrong.clone());
    assert_eq!(engine.table().len(), 0);
    engine.on_answer(now, id, wrong);
    assert_eq!(engine.busy(), (0, 0));
}

#[test]
fn a_stolen_or_forged_record_gets_nobody_in() {
    // Somebody answers, proven to be itself, and says that it is at an address where it was not asked.
    let (mut engine, now) = engine();
    engine.on_request(now, ReplyId(1), &asker(1), Request::GetRecord);
    let (id, ..) = asks(&mut engine).remove(0);
    let mut forged = record(3, 9).as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let forged = PeerRecord::decode(&forged).unwrap();
    let answered = |response| Answered {
        peer_id: key_pair(1).peer_id(),
        endpoint: endpoint(1),
        record: Some(forged.clone()),
        response,
    };
    engine.on_answer(now, id, answered(Response::Record(forged.clone())));
    let known: Vec<_> = engine.table().iter().map(|peer| (peer.peer_id(), peer.record().seq())).collect();
    assert_eq!(known, [(key_pair(1).peer_id(), 1)]);
    asks(&mut engine);
    // In answers, too: it is not asked, since nobody knows what the real one would say.
    let operation = engine.begin(now, Command::Closest(Key::of_value(b"x")));
    let (id, ..) = asks(&mut engine).remove(0);
    let closer = Closer { contacts: vec![forged.clone(), record(4, 1)], seq: 0, observed: None };
    engine.on_answer(now, id, answered(Response::Contacts(closer)));
    let asked = asks(&mut engine);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].1.peer_id, Some(key_pair(4).peer_id()));
    engine.on_failure(now, asked[0].0, Failure::Unreachable);
    let outcome = std::iter::from_fn(|| engine.next_action()).find_map(|action| match action {
        Action::Done { id, outcome } if id == operation => Some(outcome),
        _ => None,
    });
    let Some(Outcome::Closest(found)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.len(), 1);
}

#[test]
fn its_own_record_is_newer_than_what_others_have_of_it() {
    let (mut engine, now) = engine();
    engine.on_request(now, ReplyId(1), &asker(1), Request::GetRecord);
    let (id, ..) = asks(&mut engine).remove(0);
    let answered = |response| Answered {
        peer_id: key_pair(1).peer_id(),
        endpoint: endpoint(1),
        record: Some(record(1, 1)),
        response,
    };
    engine.on_answer(now, id, answered(Response::Record(record(1, 1))));
    asks(&mut engine);
    engine.begin(now, Command::Closest(Key::of_value(b"x")));
    let (id, ..) = asks(&mut engine).remove(0);
    let closer = Closer { contacts: vec![record(0, 1_000_000)], seq: 0, observed: None };
    engine.on_answer(now, id, answered(Response::Contacts(closer)));
    let saved = std::iter::from_fn(|| engine.next_action()).find_map(|action| match action {
        Action::Record { seq, .. } => Some(seq),
        _ => None,
    });
    assert_eq!(saved, Some(1_000_001));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_is_survived(steps in prop::collection::vec((0u8..9, 0usize..40, 0u64..5000), 1..150)) {
        survive(steps)?;
    }
}

/// Whatever comes in, in whatever order: every question is about somebody else, nobody is in the table who did not
/// answer, and what is kept is bounded.
fn survive(steps: Vec<(u8, usize, u64)>) -> Result<(), TestCaseError> {
    let (mut engine, mut now) = engine();
    let mut open: Vec<(p2p_kademlia::engine::QuestionId, p2p_kademlia::Target, Request)> = Vec::new();
    let mut answered_by = std::collections::BTreeSet::new();
    for (step, (what, n, wait)) in steps.into_iter().enumerate() {
        now += Duration::from_millis(wait);
        let n = n + 1;
        match what {
            0 | 1 => engine.on_request(
                now,
                ReplyId(step as u64),
                &asker(n),
                Request::FindNode { target: Key::of_value(&[n as u8]) },
            ),
            2 => _ = engine.begin(now, Command::Get(Key::of_value(&[n as u8]))),
            3 => {
                _ = engine.begin(
                    now,
                    Command::Put { value: StoredValue::immutable(vec![n as u8]).unwrap(), expected_seq: None },
                )
            }
            4 => engine.on_timeout(now),
            5 if !open.is_empty() => {
                let (id, ..) = open.swap_remove(n % open.len());
                engine.on_failure(now, id, Failure::Unreachable);
            }
            _ if !open.is_empty() => {
                let (id, target, request) = open.swap_remove(n % open.len());
                let Some(who) = (1..=41).find(|n| Some(key_pair(*n).peer_id()) == target.peer_id) else { continue };
                let contacts: Vec<_> =
                    (1..=(n % 12)).map(|other| record(1 + (other * 7 + n) % 41, 1)).chain([record(0, 1)]).collect();
                let closer =
                    Closer { contacts, seq: wait % 3, observed: Some(SocketAddr::from(([1, 2, 3, n as u8], 1))) };
                let response = match (what, request) {
                    (6, _) => Response::Stored,
                    (_, Request::FindNode { .. }) => Response::Contacts(closer),
                    (_, Request::GetValue { .. }) => {
                        Response::Value { value: StoredValue::immutable("wrong").ok(), closer }
                    }
                    (_, Request::PutValue { .. }) => Response::Stored,
                    (_, Request::GetRecord) => Response::Record(record(who, 1 + wait % 3)),
                    _ => Response::Refused(Refused::Busy),
                };
                answered_by.insert(key_pair(who).peer_id());
                let answered = Answered {
                    peer_id: key_pair(who).peer_id(),
                    endpoint: endpoint(who),
                    record: Some(record(who, 1)),
                    response,
                };
                engine.on_answer(now, id, answered);
            }
            _ => {}
        }
        while let Some(action) = engine.next_action() {
            match action {
                Action::Ask { id, target, request } => {
                    prop_assert_ne!(target.peer_id, Some(engine.peer_id()));
                    open.push((id, target, request));
                }
                Action::DialBack { id, target, .. } => open.push((id, target, Request::GetRecord)),
                Action::Done { outcome: Outcome::Get(value), .. } => {
                    prop_assert!(value.is_none_or(|value| value.value().len() == 1))
                }
                _ => {}
            }
        }
        for peer in engine.table().iter() {
            prop_assert!(answered_by.contains(&peer.peer_id()));
        }
        prop_assert_eq!(engine.busy().1, open.len(), "each question is asked once and waits for its end");
        prop_assert!(engine.next_timeout(now).is_some());
    }
    Ok(())
}
