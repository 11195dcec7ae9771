//! Who has been reached, who has not, and whether a node knows that of itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::PeerRecord;
use p2p_kademlia::engine::{
    Action, Answered, Asker, Engine, Failure, KademliaEvent, Mode, QuestionId, ReplyId, Standing,
};
use p2p_kademlia::message::{Closer, DialBackOutcome, Padding};
use p2p_kademlia::{ClientReason, Joined, KademliaConfig, Key, Refused, Request, Response, Target};
use p2p_net::{Endpoint, Transport};

use crate::net::{Net, PRIVATE, address, endpoint, key_pair};

/// An engine, and what it wants done.
struct Node {
    engine: Engine,
    now: Instant,
    asked: Vec<(QuestionId, Target, Request)>,
    dialed_back: Vec<(QuestionId, Target, bool)>,
    replies: Vec<Response>,
    silent: bool,
    standing: Option<Standing>,
    events: Vec<KademliaEvent>,
}

fn quic(text: &str) -> Endpoint {
    format!("quic://{text}").parse().unwrap()
}

impl Node {
    fn new(listening: &[Endpoint], change: impl FnOnce(&mut KademliaConfig)) -> Self {
        let now = Net::new(0).now;
        let mut config = KademliaConfig::default();
        change(&mut config);
        let mut engine = Engine::new(&key_pair(0), &config, 0, now, Box::new(|| 1));
        engine.set_endpoints(now, listening.to_vec(), Vec::new());
        engine.start(now);
        let mut node = Self {
            engine,
            now,
            asked: Vec::new(),
            dialed_back: Vec::new(),
            replies: Vec::new(),
            silent: true,
            standing: None,
            events: Vec::new(),
        };
        node.take();
        node
    }

    fn take(&mut self) {
        while let Some(action) = self.engine.next_action() {
            match action {
                Action::Ask { id, target, request } => self.asked.push((id, target, request)),
                Action::DialBack { id, target, once } => self.dialed_back.push((id, target, once)),
                Action::Reply { response, .. } => self.replies.push(response),
                Action::Silence(silent) => self.silent = silent,
                Action::Standing(standing) => self.standing = Some(standing),
                Action::Event(event) => self.events.push(event),
                _ => {}
            }
        }
    }

    fn request(&mut self, asker: &Asker, request: Request) {
        self.engine.on_request(self.now, ReplyId(0), asker, request);
        self.take();
    }

    fn answer(&mut self, id: QuestionId, n: usize, response: Response) {
        let record = Some(record(n));
        let answered = Answered { peer_id: key_pair(n).peer_id(), endpoint: endpoint(n), record, response };
        self.engine.on_answer(self.now, id, answered);
        self.take();
    }

    fn joined(&self) -> Option<&Joined> {
        match self.standing.as_ref()? {
            Standing::Joined(joined) => Some(joined),
            _ => None,
        }
    }

    fn stays_client(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, KademliaEvent::StaysClient(_))).count()
    }
}

fn record(n: usize) -> PeerRecord {
    PeerRecord::builder().discovery_addr(endpoint(n)).sign(&key_pair(n), 1).unwrap()
}

/// Somebody without a record, who came in at `arrived`.
fn visitor(n: usize, arrived: &str) -> Asker {
    let (peer_id, arrived) = (key_pair(n).peer_id(), Some(arrived.parse().unwrap()));
    Asker { peer_id, address: address(n), arrived, unsolicited: true, record: None }
}

fn look() -> Request {
    Request::FindNode { target: Key::of_value(b"x") }
}

#[test]
fn a_first_server_is_one_as_soon_as_somebody_comes() {
    let here = address(0).ip().to_string();
    for (listening, arrived) in [(endpoint(0), &here[..]), (quic("0.0.0.0:4000"), &here[..])] {
        let mut node = Node::new(&[listening], |_| ());
        assert_eq!((node.engine.mode(), node.joined(), node.silent), (Mode::Client, Some(&Joined::First), true));
        node.request(&visitor(1, arrived), look());
        assert_eq!((node.engine.mode(), node.joined(), node.silent), (Mode::Server, Some(&Joined::Server), false));
        let closer = node.replies[0].closer().unwrap();
        assert!(closer.seq > 0, "who came learns at once that there is a record");
    }
}

#[test]
fn who_comes_proves_nothing_if_it_was_spoken_to_or_is_here_itself_or_comes_to_another_address() {
    let here = address(0).ip().to_string();
    let spoken_to = Asker { unsolicited: false, ..visitor(1, &here) };
    let here_itself = Asker { address: address(0), ..visitor(1, &here) };
    let unknown = Asker { arrived: None, ..visitor(1, &here) };
    let inside = Asker { address: address(PRIVATE + 1), ..visitor(1, "192.168.0.9") };
    for asker in [spoken_to, here_itself, unknown, visitor(1, "9.9.9.9"), visitor(1, "10.0.0.2"), inside] {
        let mut node = Node::new(&[endpoint(0)], |_| ());
        node.request(&asker, look());
        assert_eq!((node.engine.mode(), node.silent), (Mode::Client, true), "{asker:?}");
    }
}

#[test]
fn who_comes_through_a_translation_proves_what_the_operator_says() {
    let public: IpAddr = [8, 8, 8, 8].into();
    for (told, mode) in [(Some(public), Mode::Server), (None, Mode::Client)] {
        let mut node = Node::new(&[quic("0.0.0.0:4000")], |config| config.public_ip = told);
        node.request(&visitor(1, "10.0.0.2"), look());
        assert_eq!(node.engine.mode(), mode);
        let mut external = Node::new(&[quic("0.0.0.0:4000")], |config| {
            config.external_endpoints = told.map(|ip| Endpoint::new(Transport::Quic, ip, 9000)).into_iter().collect();
        });
        external.request(&visitor(1, "10.0.0.2"), look());
        assert_eq!(external.engine.mode(), mode);
        if let Some(record) = external.engine.record() {
            let told = record.discovery_addrs()[0].endpoint.clone().with_peer_id(None);
            assert_eq!((told, record.discovery_addrs().len()), (quic("8.8.8.8:9000"), 1));
        }
        // Somebody from the same private network has not come by that way.
        let mut node = Node::new(&[quic("0.0.0.0:4000")], |config| config.public_ip = told);
        let neighbor = Asker { address: "10.0.0.3:1".parse().unwrap(), ..visitor(1, "10.0.0.2") };
        node.request(&neighbor, look());
        assert_eq!(node.engine.mode(), if told.is_some() { Mode::Client } else { Mode::Server });
        assert!(node.silent, "of strangers nothing is known");
    }
}

#[test]
fn what_is_told_word_for_word_comes_first_and_beside_what_is_found_out() {
    let own = key_pair(0).peer_id();
    let mut node = Node::new(&[quic("0.0.0.0:4000"), endpoint(0)], |config| {
        config.external_endpoints = vec![quic("8.8.8.8:9000"), quic("9.9.9.9:9001").with_peer_id(own)];
    });
    node.request(&visitor(1, &address(0).ip().to_string()), look());
    let record = node.engine.record().unwrap();
    let told: Vec<_> = record.discovery_addrs().iter().map(|addr| addr.endpoint.clone().with_peer_id(None)).collect();
    let found = Endpoint::new(Transport::Quic, address(0).ip(), 4000);
    assert_eq!(told, [quic("8.8.8.8:9000"), quic("9.9.9.9:9001"), found, endpoint(0)]);
}

/// One that has asked its bootstrap peer, which has answered.
fn joining(listening: &[Endpoint], change: impl FnOnce(&mut KademliaConfig)) -> Node {
    let mut node = Node::new(listening, |config| {
        config.bootstrap_peers = vec![endpoint(1)];
        change(config);
    });
    let (id, ..) = node.asked.remove(0);
    assert_eq!(node.standing, None, "nobody has answered yet");
    let closer = Closer { contacts: Vec::new(), seq: 1, observed: Some(address(0)) };
    node.answer(id, 1, Response::Contacts(closer));
    node
}

fn dial_back(node: &mut Node) -> (QuestionId, Request) {
    let is_one = |request: &Request| matches!(request, Request::DialBack { .. } | Request::TryElsewhere { .. });
    let at = node.asked.iter().position(|(_, _, request)| is_one(request)).expect("it asks to be reached");
    let (id, _, request) = node.asked.remove(at);
    (id, request)
}

#[test]
fn who_is_not_reached_learns_why_and_is_told_once() {
    for listening in [endpoint(0), quic("0.0.0.0:4000")] {
        let mut node = joining(std::slice::from_ref(&listening), |_| ());
        assert_eq!(node.standing, None, "it is being tried");
        for round in 0..3 {
            let (id, request) = dial_back(&mut node);
            assert!(matches!(request, Request::DialBack { .. }));
            node.answer(id, 1, Response::DialBack(DialBackOutcome::Unreachable));
            let Some(Joined::Client(ClientReason::Unreached { tried })) = node.joined() else {
                panic!("round {round}: {:?}", node.standing)
            };
            assert_eq!((tried.len(), tried[0].addr().ip()), (1, Some(address(0).ip())));
            node.now += Duration::from_secs(61);
            node.engine.on_timeout(node.now);
            node.take();
            node.answer_lookups();
        }
        assert_eq!((node.stays_client(), node.engine.mode()), (1, Mode::Client));
        let ClientReason::Unreached { tried } = node.reason() else { panic!("it was not reached") };
        let text = ClientReason::Unreached { tried }.to_string();
        assert!(text.contains("open or forward the port") && text.contains(&address(0).ip().to_string()), "{text}");
    }
}

impl Node {
    /// Answers all that was asked but to be reached, so that there may be further rounds.
    fn answer_lookups(&mut self) {
        while let Some(at) = self.asked.iter().position(|(_, _, request)| request.target().is_some()) {
            let (id, ..) = self.asked.remove(at);
            let closer = Closer { contacts: Vec::new(), seq: 1, observed: Some(address(0)) };
            self.answer(id, 1, Response::Contacts(closer));
        }
    }

    fn reason(&self) -> ClientReason {
        let mut reasons = self.events.iter().filter_map(|event| match event {
            KademliaEvent::StaysClient(reason) => Some(reason.clone()),
            _ => None,
        });
        reasons.next_back().expect("it was told")
    }
}

#[test]
fn who_listens_nowhere_or_is_seen_nowhere_learns_that_at_once() {
    let udp: Endpoint = "udp://0.0.0.0:4000".parse().unwrap();
    for listening in [vec![], vec![udp]] {
        let node = joining(&listening, |_| ());
        assert_eq!(node.joined(), Some(&Joined::Client(ClientReason::NotListening)));
        assert_eq!(node.stays_client(), 1);
    }
    let mut node = Node::new(&[quic("0.0.0.0:4000")], |config| config.bootstrap_peers = vec![endpoint(1)]);
    let (id, ..) = node.asked.remove(0);
    let closer = Closer { contacts: Vec::new(), seq: 1, observed: Some("10.0.0.2:1".parse().unwrap()) };
    node.answer(id, 1, Response::Contacts(closer));
    assert_eq!(node.joined(), Some(&Joined::Client(ClientReason::NoAddress)));
    // Then it is reached after all.
    node.request(&visitor(1, &address(0).ip().to_string()), look());
    assert_eq!(node.joined(), Some(&Joined::Server));
}

#[test]
fn nobody_is_not_the_same_as_first() {
    let mut node = Node::new(&[endpoint(0)], |config| config.bootstrap_peers = vec![endpoint(1)]);
    assert_eq!(node.standing, None);
    let (id, ..) = node.asked.remove(0);
    node.engine.on_failure(node.now, id, Failure::Unreachable);
    node.take();
    assert_eq!(node.standing, Some(Standing::Nobody));
}

#[test]
fn who_is_seen_elsewhere_than_it_says_asks_to_be_tried_there() {
    let public: IpAddr = [8, 8, 8, 8].into();
    let mut node = joining(&[quic("0.0.0.0:4000")], |config| config.public_ip = Some(public));
    let (id, _) = dial_back(&mut node);
    node.answer(id, 1, Response::Refused(Refused::InvalidRecord));
    let (id, request) = dial_back(&mut node);
    let Request::TryElsewhere { record, .. } = request else { panic!("{request:?}") };
    assert_eq!(record.discovery_addrs()[0].endpoint.addr().ip(), Some(public));
    // It comes, and says that it did.
    node.request(&visitor(1, "10.0.0.2"), Request::GetRecord);
    node.answer(id, 1, Response::DialBack(DialBackOutcome::Reached));
    assert_eq!((node.engine.mode(), node.silent), (Mode::Server, false));
}

#[test]
fn a_dial_back_that_may_have_been_let_in_as_an_answer_proves_nothing() {
    for (unsolicited, mode) in [(false, Mode::Client), (true, Mode::Server)] {
        let mut node = joining(&[endpoint(0)], |_| ());
        let (id, _) = dial_back(&mut node);
        // At another address than its own, so that it has not come by itself.
        let asker = Asker { unsolicited, ..visitor(1, "9.9.9.9") };
        node.request(&asker, Request::GetRecord);
        node.answer(id, 1, Response::DialBack(DialBackOutcome::Reached));
        assert_eq!(node.engine.mode(), mode);
    }
}

fn elsewhere(n: usize, endpoints: &[&str]) -> Request {
    let builder = endpoints
        .iter()
        .fold(PeerRecord::builder(), |builder, text| builder.discovery_addr(text.parse::<Endpoint>().unwrap()));
    Request::TryElsewhere { record: builder.sign(&key_pair(n), 2).unwrap(), padding: Padding }
}

#[test]
fn a_third_party_is_dialed_with_care_and_seldom() {
    let here = address(0).ip().to_string();
    let mut node = Node::new(&[endpoint(0)], |_| ());
    let many = ["quic://8.8.8.8:1", "quic://8.8.8.8:2", "tls://8.8.8.8:3", "tcp://8.8.8.8:4", "tcp://8.8.8.8:5"];
    node.request(&visitor(1, &here), elsewhere(1, &[&many[..], &["tls://9.9.9.9:6"]].concat()));
    let (_, target, once) = &node.dialed_back[0];
    let ports: Vec<u16> = target.endpoints.iter().map(Endpoint::port).collect();
    assert_eq!((ports, *once), (vec![1, 3, 4], true), "one datagram and two connections, to one host");
    // Nor is anybody in that range dialed again soon, whoever asks.
    for n in 2..50 {
        node.replies.clear();
        node.request(&visitor(n, &here), elsewhere(n, &["quic://8.8.8.9:1"]));
        assert_eq!(node.replies, [Response::Refused(Refused::Busy)]);
    }
    assert_eq!(node.dialed_back.len(), 1);
    node.now += Duration::from_secs(12);
    node.request(&visitor(50, &here), elsewhere(50, &["quic://8.8.8.9:1"]));
    assert_eq!(node.dialed_back.len(), 2);
}

#[test]
fn a_third_party_in_a_private_network_is_not_dialed() {
    let mut node = Node::new(&[endpoint(PRIVATE)], |_| ());
    for told in ["quic://192.168.0.77:1", "quic://10.0.0.1:1", "quic://127.0.0.1:1", "quic://100.64.0.1:1"] {
        for from in [address(1), address(PRIVATE + 1), "127.0.0.1:1".parse().unwrap()] {
            node.replies.clear();
            node.request(&Asker { address: from, ..visitor(1, "192.168.0.0") }, elsewhere(1, &[told]));
            assert_eq!(node.replies, [Response::Refused(Refused::InvalidRecord)], "{told} for {from}");
        }
    }
    node.replies.clear();
    node.request(&visitor(2, "192.168.0.0"), elsewhere(1, &["quic://8.8.8.8:1"]));
    assert_eq!(node.replies, [Response::Refused(Refused::NotYours)]);
    assert!(node.dialed_back.is_empty());
}
