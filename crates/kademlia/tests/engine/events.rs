//! What those who watch are told, and how much of it somebody else can cause.

use std::net::IpAddr;
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_kademlia::engine::{Action, Answered, Asker, Command, Engine, KademliaEvent, QuestionId, ReplyId};
use p2p_kademlia::message::Closer;
use p2p_kademlia::{KademliaConfig, Key, Request, Response, Target};
use p2p_net::{Endpoint, Transport};

use crate::net::{Net, endpoint, key_pair};

fn id(n: usize) -> PeerId {
    key_pair(n).peer_id()
}

fn record(n: usize, at: &Endpoint, seq: u64) -> PeerRecord {
    PeerRecord::builder().discovery_addr(at.clone()).sign(&key_pair(n), seq).unwrap()
}

/// An address of one prefix.
fn crowded(host: u8) -> Endpoint {
    Endpoint::new(Transport::Tcp, IpAddr::from([77, 0, 0, host]), 4000)
}

/// An engine, what it asked, and which contacts came and went.
struct Watched {
    engine: Engine,
    now: Instant,
    asked: Vec<(QuestionId, Target, Request)>,
    events: Vec<KademliaEvent>,
}

impl Watched {
    fn new() -> Self {
        let now = Net::new(0).now;
        let mut engine = Engine::new(&key_pair(0), &KademliaConfig::default(), 0, now, Box::new(|| 1));
        engine.set_endpoints(now, vec![endpoint(0)], Vec::new());
        let mut watched = Self { engine, now, asked: Vec::new(), events: Vec::new() };
        watched.take();
        watched
    }

    fn take(&mut self) {
        while let Some(action) = self.engine.next_action() {
            match action {
                Action::Ask { id, target, request } => self.asked.push((id, target, request)),
                Action::DialBack { id, target, .. } => self.asked.push((id, target, Request::GetRecord)),
                Action::Event(event @ (KademliaEvent::ContactAdded(_) | KademliaEvent::ContactRemoved(_))) => {
                    self.events.push(event);
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, question: QuestionId, n: usize, at: &Endpoint, record: PeerRecord, response: Response) {
        self.events.clear();
        let answered = Answered { peer_id: id(n), endpoint: at.clone(), record: Some(record), response };
        self.engine.on_answer(self.now, question, answered);
        self.take();
    }

    /// A node asks, is dialed back, and answers.
    fn meet(&mut self, n: usize, at: &Endpoint) {
        let address = at.socket_addr().unwrap();
        let record = record(n, at, 1);
        let asker = Asker { peer_id: id(n), address, arrived: None, unsolicited: true, record: Some(record.clone()) };
        self.engine.on_request(self.now, ReplyId(n as u64), &asker, Request::GetRecord);
        self.take();
        let (question, ..) = self.asked.pop().unwrap();
        self.answer(question, n, at, record.clone(), Response::Record(record));
    }

    /// Looks for something, and gives the question to the only contact.
    fn look(&mut self) -> QuestionId {
        self.asked.clear();
        self.engine.begin(self.now, Command::Closest(Key::of_value(b"x")));
        self.take();
        self.asked.remove(0).0
    }
}

#[test]
fn an_answer_causes_two_events_of_contacts_at_most_whatever_it_says() {
    let mut watched = Watched::new();
    watched.meet(1, &endpoint(1));
    assert_eq!(watched.events, [KademliaEvent::ContactAdded(record(1, &endpoint(1), 1))]);
    let question = watched.look();
    let contacts = (2..22).map(|n| record(n, &endpoint(n), 1)).collect();
    let closer = Closer { contacts, seq: u64::MAX, observed: Some(([9, 9, 9, 9], 1).into()) };
    watched.answer(question, 1, &endpoint(1), record(1, &endpoint(1), 2), Response::Contacts(closer));
    assert_eq!(watched.events, [], "who is told of has not answered");
    // Those who are asked then come and go one by one: each answer is about the one who gave it.
    for (question, target, _) in std::mem::take(&mut watched.asked) {
        let Some(n) = (2..22).find(|n| target.peer_id == Some(id(*n))) else { continue };
        let closer = Closer { contacts: Vec::new(), seq: 1, observed: None };
        watched.answer(question, n, &endpoint(n), record(n, &endpoint(n), 1), Response::Contacts(closer));
        assert!(watched.events.len() <= 2, "{:?}", watched.events);
        watched.asked.clear();
    }
}

#[test]
fn who_leaves_because_it_moved_to_a_crowded_prefix_is_told_of() {
    let mut watched = Watched::new();
    // Three in one bucket: those that have nothing in common with us.
    let here = Key::of_peer("default", &id(0));
    let far = |n: &usize| here.common_prefix_len(&Key::of_peer("default", &id(*n))) == 0;
    let far: Vec<usize> = (1..50).filter(far).take(3).collect();
    watched.meet(far[0], &endpoint(far[0]));
    let question = watched.look();
    watched.meet(far[1], &crowded(1));
    watched.meet(far[2], &crowded(2));
    assert_eq!(watched.engine.table().len(), 3);
    // The first is said to have moved there, is asked there, and answers.
    watched.asked.clear();
    let moved = record(far[0], &crowded(3), 2);
    let closer = Closer { contacts: Vec::new(), seq: 1, observed: None };
    watched.answer(question, far[0], &crowded(3), moved, Response::Contacts(closer));
    assert_eq!(watched.engine.table().len(), 2);
    assert_eq!(watched.events, [KademliaEvent::ContactRemoved(id(far[0]))]);
}
