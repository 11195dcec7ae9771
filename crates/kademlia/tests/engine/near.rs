//! Peers behind the same public address.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_kademlia::engine::{
    Action, Answered, Asker, Engine, KademliaEvent, MAX_DEPOSITS, MAX_NEARBY, QuestionId, ReplyId,
};
use p2p_kademlia::message::{Closer, MAX_NEAR};
use p2p_kademlia::{KademliaConfig, Key, Refused, Request, Response};
use p2p_net::Endpoint;

use crate::net::{Net, address, endpoint, key_pair};

const ROUTER: [u8; 4] = [62, 0, 0, 1];

fn engine(listening: &[&str], interfaces: &[&str]) -> (Engine, Instant) {
    let now = Net::new(0).now;
    let config = KademliaConfig { bootstrap_peers: vec![endpoint(1)], ..KademliaConfig::default() };
    let mut engine = Engine::new(&key_pair(0), &config, 0, now, Box::new(|| 1));
    engine.set_interfaces(&interfaces.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>());
    engine.set_endpoints(now, listening.iter().map(|text| text.parse().unwrap()).collect(), Vec::new());
    engine.start(now);
    (engine, now)
}

fn inside(n: usize, endpoints: &[String], seq: u64) -> PeerRecord {
    let builder = PeerRecord::builder();
    let add = |builder: p2p_identity::RecordBuilder, text: &String| builder.addr(text.parse::<Endpoint>().unwrap());
    endpoints.iter().fold(builder, add).sign(&key_pair(n), seq).unwrap()
}

fn at_home(n: usize) -> PeerRecord {
    inside(n, &[format!("quic://10.0.{}.{}:4003", n / 250, n % 250 + 1)], 0)
}

/// What is answered to a node that comes from an address and says where it is there.
fn ask(engine: &mut Engine, now: Instant, n: usize, from: IpAddr, record: PeerRecord) -> Response {
    let (peer_id, address) = (key_pair(n).peer_id(), SocketAddr::new(from, 1));
    let asker = Asker { peer_id, address, arrived: None, unsolicited: true, record: None };
    engine.on_request(now, ReplyId(7), &asker, Request::Near { record });
    let actions = std::iter::from_fn(|| engine.next_action());
    let mut replies = actions.filter_map(|action| match action {
        Action::Reply { id: ReplyId(7), response } => Some(response),
        _ => None,
    });
    replies.next().expect("it is answered at once")
}

fn told(response: Response) -> Vec<PeerId> {
    let Response::Near(near) = response else { panic!("{response:?}") };
    near.iter().map(PeerRecord::peer_id).collect()
}

#[test]
fn who_comes_from_the_same_address_is_told_and_nobody_else() {
    let (mut engine, now) = engine(&[], &[]);
    let (router, other) = (ROUTER.into(), [62, 0, 0, 2].into());
    assert_eq!(told(ask(&mut engine, now, 1, router, at_home(1))), []);
    assert_eq!(told(ask(&mut engine, now, 2, other, at_home(2))), [], "it is elsewhere");
    assert_eq!(told(ask(&mut engine, now, 3, router, at_home(3))), [key_pair(1).peer_id()]);
    let newest_first = [3, 1].map(|n| key_pair(n).peer_id());
    assert_eq!(told(ask(&mut engine, now, 4, router, at_home(4))), newest_first);
    // It moves, and is told of where it is.
    assert_eq!(told(ask(&mut engine, now, 1, other, at_home(1))), [key_pair(2).peer_id()]);
    // Who listens nowhere is told, and there is nothing to tell of it.
    assert_eq!(told(ask(&mut engine, now, 6, other, inside(6, &[], 0))).len(), 2);
    assert_eq!(told(ask(&mut engine, now, 7, other, inside(7, &[], 0))).len(), 2);
    let later = now + Duration::from_secs(25 * 60);
    assert_eq!(told(ask(&mut engine, later, 5, router, at_home(5))), [], "they have not come again");
}

#[test]
fn what_is_not_inside_or_not_ones_own_is_not_kept() {
    let (mut engine, now) = engine(&[], &[]);
    let router: IpAddr = ROUTER.into();
    let wrong = [
        (router, at_home(2), Refused::NotYours),
        (router, inside(1, &["quic://8.8.8.8:1".into()], 0), Refused::InvalidRecord),
        (router, inside(1, &["quic://10.0.0.1:1".into(), "quic://127.0.0.1:1".into()], 0), Refused::InvalidRecord),
        (router, inside(1, &["quic://10.0.0.1:1".into()], 1), Refused::InvalidRecord),
        ([10, 0, 0, 9].into(), at_home(1), Refused::InvalidRecord),
    ];
    for (from, record, expected) in wrong {
        assert_eq!(ask(&mut engine, now, 1, from, record), expected.into());
    }
    assert_eq!(told(ask(&mut engine, now, 3, router, at_home(3))), []);
}

#[test]
fn what_is_kept_for_others_is_bounded() {
    let (mut engine, now) = engine(&[], &[]);
    for n in 1..=100 {
        ask(&mut engine, now, n, ROUTER.into(), at_home(n));
    }
    assert_eq!(told(ask(&mut engine, now, 101, ROUTER.into(), at_home(101))).len(), MAX_NEAR);
    // A crowd at one address pushes only itself out; crowds at many, the oldest.
    let from = |n: usize| IpAddr::from((0x2e00_0000 + (n as u32 / 2) * 256).to_be_bytes());
    for n in 200..200 + 2 * MAX_DEPOSITS {
        ask(&mut engine, now, n, from(n), at_home(n));
    }
    let first = ask(&mut engine, now, 5000, from(200), at_home(5000));
    assert_eq!(told(first), [], "it was evicted");
    let last = 199 + 2 * MAX_DEPOSITS;
    assert_eq!(told(ask(&mut engine, now, 5001, from(last), at_home(5001))).len(), 2);
}

/// The bootstrap peer answers, and says that it sees the node there. Gives what the node then asks of it.
fn seen(engine: &mut Engine, now: Instant, observed: SocketAddr) -> Option<(QuestionId, PeerRecord)> {
    let actions: Vec<Action> = std::iter::from_fn(|| engine.next_action()).collect();
    let first = actions.iter().find_map(|action| match action {
        Action::Ask { id, request: Request::FindNode { .. }, .. } => Some(*id),
        _ => None,
    });
    let closer = Closer { contacts: Vec::new(), seq: 0, observed: Some(observed) };
    answer(engine, now, first.expect("it asks its bootstrap peer"), Response::Contacts(closer));
    std::iter::from_fn(|| engine.next_action()).find_map(|action| match action {
        Action::Ask { id, request: Request::Near { record }, .. } => Some((id, record)),
        _ => None,
    })
}

fn answer(engine: &mut Engine, now: Instant, id: QuestionId, response: Response) {
    let answered = Answered { peer_id: key_pair(1).peer_id(), endpoint: endpoint(1), record: None, response };
    engine.on_answer(now, id, answered);
}

#[test]
fn only_who_is_behind_a_box_asks_and_tells_where_it_is_there() {
    let outside = SocketAddr::new(ROUTER.into(), 20_000);
    let own = address(0).ip().to_string();
    let (home, public) = (["192.168.1.5"], [&own[..]]);
    let everywhere = ["quic://0.0.0.0:4003", "udp://0.0.0.0:4004"];
    for (listening, interfaces, observed, asks) in [
        (&everywhere[..], &home[..], outside, true),
        (&["quic://192.168.1.5:4003"][..], &home[..], outside, true),
        (&["quic://127.0.0.1:4003"][..], &home[..], outside, true),
        (&everywhere[..], &public[..], address(0), false),
        (&everywhere[..], &home[..], "192.168.1.5:1".parse().unwrap(), false),
        (&["udp://0.0.0.0:4004"][..], &home[..], outside, true),
        (&[][..], &home[..], outside, true),
    ] {
        let (mut engine, now) = engine(listening, interfaces);
        let asked = seen(&mut engine, now, observed);
        assert_eq!(asked.is_some(), asks, "{listening:?} {interfaces:?} {observed}");
        if let Some((_, record)) = asked {
            let addrs: Vec<_> = record.addrs().iter().map(|addr| addr.endpoint.clone().with_peer_id(None)).collect();
            let there = listening.iter().any(|at| at.starts_with("quic://") && !at.contains("127"));
            let expected: Vec<Endpoint> =
                there.then(|| "quic://192.168.1.5:4003".parse().unwrap()).into_iter().collect();
            assert_eq!((record.seq(), addrs), (0, expected), "{listening:?}");
        }
    }
}

#[test]
fn a_liar_cannot_make_a_node_knock_at_other_doors_than_those_of_its_own_network() {
    let (mut engine, now) = engine(&["quic://0.0.0.0:4003"], &["192.168.1.5", "10.7.0.1"]);
    let (id, _) = seen(&mut engine, now, SocketAddr::new(ROUTER.into(), 1)).expect("it asks");
    let all =
        ["8.8.8.8:1", "127.0.0.1:1", "10.8.0.1:1", "172.16.0.1:1", "192.168.1.5:1", "192.168.7.9:2", "10.7.3.3:3"];
    let record = inside(2, &all.map(|at| format!("quic://{at}")), 0);
    let elsewhere = inside(3, &["quic://172.16.0.1:1".into()], 0);
    let own = inside(0, &["quic://192.168.1.9:1".into()], 0);
    answer(&mut engine, now, id, Response::Near(vec![record.clone(), elsewhere, own]));
    let addrs: Vec<_> = engine.nearby_addrs(&key_pair(2).peer_id());
    let ports: Vec<_> = addrs.iter().map(|addr| addr.endpoint.port()).collect();
    assert_eq!(ports, [2, 3], "those of its two networks");
    assert_eq!(engine.nearby().count(), 1);
    let events = std::iter::from_fn(|| engine.next_action());
    let nearby = |action: &Action| matches!(action, Action::Event(KademliaEvent::Nearby(told)) if *told == record);
    assert_eq!(events.filter(nearby).count(), 1);
    // Nor to remember them without end.
    for round in 0..20 {
        let later = now + Duration::from_secs(400 * (round + 1));
        engine.on_timeout(later);
        if let Some((id, _)) = seen(&mut engine, later, SocketAddr::new(ROUTER.into(), 1)) {
            let at = |n: usize| format!("quic://192.168.{}.{}:1", round, n + 1);
            let crowd = (0..MAX_NEAR).map(|n| inside(100 + 8 * round as usize + n, &[at(n)], 0));
            answer(&mut engine, later, id, Response::Near(crowd.collect()));
        }
    }
    assert_eq!(engine.nearby().count(), MAX_NEARBY);
}

/// All who share an address ask the same nodes, however many there are.
#[test]
fn those_who_are_closest_to_the_position_of_the_address_are_asked() {
    let (mut engine, now) = engine(&["quic://0.0.0.0:4003"], &["192.168.1.5"]);
    let outside = SocketAddr::new(ROUTER.into(), 1);
    let position = Key::of_value(b"p2p/1 dht near\x0062.0.0.1");
    let record = |n: usize| PeerRecord::builder().discovery_addr(endpoint(n)).sign(&key_pair(n), 1).unwrap();
    let mut closest: Vec<usize> = (1..=12).collect();
    closest.sort_by_key(|n| Key::of_peer("default", &key_pair(*n).peer_id()).distance(&position));
    // Whoever is asked knows all others.
    let (mut looked, mut asked) = (false, Vec::new());
    for round in 0..200 {
        let later = now + Duration::from_millis(10 * round);
        engine.on_timeout(later);
        while let Some(action) = engine.next_action() {
            let Action::Ask { id, target, request } = action else { continue };
            let n = (1..=12).find(|n| target.endpoints[0].socket_addr() == Some(address(*n))).unwrap();
            let response = match request {
                Request::FindNode { target } => {
                    looked |= target == position;
                    let contacts = (1..=12).map(record).collect();
                    Response::Contacts(Closer { contacts, seq: 1, observed: Some(outside) })
                }
                Request::GetRecord => Response::Record(record(n)),
                Request::Near { .. } => {
                    asked.push((looked, n));
                    Response::Near(Vec::new())
                }
                _ => Response::Refused(Refused::Busy),
            };
            let answered =
                Answered { peer_id: key_pair(n).peer_id(), endpoint: endpoint(n), record: Some(record(n)), response };
            engine.on_answer(later, id, answered);
        }
    }
    let all: Vec<usize> = asked.iter().map(|(_, n)| *n).collect();
    assert!(looked && closest[..3].iter().all(|keeper| all.contains(keeper)), "{closest:?}: {asked:?}");
    assert!(asked.len() <= 7, "four as they come along, and three: {asked:?}");
}
