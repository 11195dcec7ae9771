//! A network of engines: messages take time, links can be cut, nodes can die, and the same seed gives the same run.

mod lies;
mod measure;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::{KeyPair, PeerRecord};
use p2p_kademlia::engine::{
    Action, Answered, Asker, Command, Engine, Failure, KademliaEvent, OperationId, Outcome, QuestionId, ReplyId,
};
use p2p_kademlia::{KademliaConfig, Key, Request, Response, Target};
use p2p_net::{Endpoint, Transport};

use self::random::Random;

#[path = "../support/random.rs"]
mod random;

/// How long a node that is not there is waited for.
const NO_ANSWER: Duration = Duration::from_secs(3);

/// Turns of one engine's clock within a second of virtual time; lookups have deadlines of their own.
const MAX_TURNS: u32 = 500;

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) nodes: BTreeMap<usize, Node>,
    by_address: BTreeMap<SocketAddr, usize>,
    events: BinaryHeap<Reverse<(Instant, u64, usize, Event)>>,
    next: u64,
    random: Random,
    /// Which part each node is in; nodes of different parts do not reach each other.
    pub(crate) part: BTreeMap<usize, u8>,
    /// Nodes that nobody can dial.
    pub(crate) unreachable: BTreeSet<usize>,
    /// Nodes that pretend to keep what they are given, have nothing, and know nobody but each other.
    pub(crate) sybils: BTreeSet<usize>,
    /// Nodes that listen on all their addresses and do not know which those are.
    pub(crate) everywhere: BTreeSet<usize>,
    /// Nodes behind a translation that lets everybody in.
    pub(crate) translated: BTreeSet<usize>,
    /// Nodes whose answers come without their record.
    pub(crate) reticent: BTreeSet<usize>,
    /// Nodes that tell others that they see them there, and that they reach them.
    pub(crate) liars: BTreeMap<usize, IpAddr>,
    /// Nodes that name others which do not exist, at these addresses in turn.
    pub(crate) inventors: BTreeMap<usize, Vec<SocketAddr>>,
    /// How many they have named.
    pub(crate) invented: u64,
    /// Every dial.
    pub(crate) dials: Vec<Dial>,
    /// Who asked to be dialed back, and what it told of itself.
    pub(crate) tried: Vec<(usize, PeerRecord)>,
    /// Messages delivered.
    pub(crate) messages: u64,
    replies: BTreeMap<u64, Pending>,
    next_reply: u64,
    /// When each engine will be woken.
    wakes: BTreeMap<usize, Instant>,
    /// How often each was woken in the current second.
    turns: BTreeMap<usize, (u64, u32)>,
}

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) address: SocketAddr,
    pub(crate) outcomes: BTreeMap<OperationId, Outcome>,
    pub(crate) providers: BTreeMap<OperationId, BTreeMap<PeerId, PeerRecord>>,
    pub(crate) seen: Vec<KademliaEvent>,
}

/// A dial of an address, for somebody who was there or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) at: Instant,
    pub(crate) by: usize,
    pub(crate) to: SocketAddr,
    pub(crate) met: bool,
}

struct Pending {
    from: usize,
    question: QuestionId,
    to: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Timeout,
    Ask(QuestionId, Target, Box<Request>),
    Ping(QuestionId, SocketAddr),
    Pong(QuestionId, Option<u64>),
    Reply(QuestionId, usize, Box<Response>),
    Failed(QuestionId),
}

// An order is needed for the queue only; time and number decide.
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

pub(crate) fn key_pair(n: usize) -> KeyPair {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
    KeyPair::from_seed(seed)
}

/// The first of the nodes in a private network.
pub(crate) const PRIVATE: usize = 1_000_000;

/// A public address in a /24 of its own; that of a node in the private network.
pub(crate) fn address(n: usize) -> SocketAddr {
    if n >= PRIVATE {
        return SocketAddr::new(IpAddr::from([192, 168, 0, (n - PRIVATE) as u8]), 4000);
    }
    SocketAddr::new(IpAddr::from([11 + (n / 65536) as u8, (n / 256) as u8, n as u8, 7]), 4000)
}

pub(crate) fn endpoint(n: usize) -> Endpoint {
    Endpoint::from_socket_addr(Transport::Tcp, address(n))
}

impl Net {
    #[expect(clippy::disallowed_methods, reason = "virtual time needs some instant to begin with")]
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            nodes: BTreeMap::new(),
            by_address: BTreeMap::new(),
            events: BinaryHeap::new(),
            next: 0,
            random: Random(seed),
            part: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            sybils: BTreeSet::new(),
            everywhere: BTreeSet::new(),
            translated: BTreeSet::new(),
            reticent: BTreeSet::new(),
            liars: BTreeMap::new(),
            inventors: BTreeMap::new(),
            invented: 0,
            dials: Vec::new(),
            tried: Vec::new(),
            messages: 0,
            replies: BTreeMap::new(),
            next_reply: 0,
            wakes: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random.next()
    }

    /// Adds a node that knows these others, and starts it.
    pub(crate) fn add(&mut self, n: usize, bootstrap: &[usize], change: impl FnOnce(&mut KademliaConfig)) {
        let mut config = KademliaConfig {
            bootstrap_peers: bootstrap.iter().map(|n| endpoint(*n)).collect(),
            ..KademliaConfig::default()
        };
        change(&mut config);
        let mut random = Random(self.random());
        let random = Box::new(move || random.next());
        let mut engine = Engine::new(&key_pair(n), &config, 0, self.now, random);
        engine.set_pings(true);
        let udp = Endpoint::from_socket_addr(Transport::Udp, address(n));
        let everywhere = self.everywhere.contains(&n);
        let listening = |at: Endpoint| {
            if everywhere { Endpoint::new(at.transport(), IpAddr::from([0; 4]), at.port()) } else { at }
        };
        engine.set_endpoints(self.now, vec![listening(endpoint(n)), listening(udp)], Vec::new());
        engine.start(self.now);
        let (outcomes, providers, seen) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        self.nodes.insert(n, Node { engine, address: address(n), outcomes, providers, seen });
        self.by_address.insert(address(n), n);
        self.carry_out(n);
    }

    /// It vanishes without a word.
    pub(crate) fn kill(&mut self, n: usize) {
        self.nodes.remove(&n);
    }

    pub(crate) fn engine(&self, n: usize) -> &Engine {
        &self.nodes[&n].engine
    }

    pub(crate) fn with<T>(&mut self, n: usize, input: impl FnOnce(&mut Engine, Instant) -> T) -> Option<T> {
        let now = self.now;
        let result = input(&mut self.nodes.get_mut(&n)?.engine, now);
        self.carry_out(n);
        Some(result)
    }

    pub(crate) fn begin(&mut self, n: usize, command: Command) -> OperationId {
        self.with(n, |engine, now| engine.begin(now, command)).expect("the node is there")
    }

    /// Runs until an operation is over.
    pub(crate) fn outcome(&mut self, n: usize, command: Command) -> Outcome {
        let id = self.begin(n, command);
        let end = self.now + Duration::from_secs(300);
        while self.now < end {
            if let Some(outcome) = self.nodes.get_mut(&n).expect("the node is there").outcomes.remove(&id) {
                return outcome;
            }
            assert!(self.step(end), "nothing happens any more, and the operation is not over");
        }
        panic!("the operation takes too long");
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// One event, if there is one before `end`.
    fn step(&mut self, end: Instant) -> bool {
        match self.events.peek() {
            Some(Reverse((at, ..))) if *at <= end => {}
            _ => return false,
        }
        let Some(Reverse((at, _, n, event))) = self.events.pop() else { return false };
        self.now = self.now.max(at);
        self.deliver(n, event);
        true
    }

    fn deliver(&mut self, n: usize, event: Event) {
        match event {
            Event::Timeout => {
                let now = self.now;
                if self.wakes.get(&n).is_none_or(|at| *at > now) {
                    return;
                }
                self.wakes.remove(&n);
                self.count_turn(n);
                let due = self.nodes.get(&n).and_then(|node| node.engine.next_timeout(now));
                if due.is_some_and(|due| due <= now) {
                    self.with(n, |engine, now| engine.on_timeout(now));
                } else {
                    self.carry_out(n);
                }
            }
            Event::Ask(question, target, request) => self.ask(n, question, &target, *request),
            Event::Ping(question, to) => {
                let seq = self.reach(n, to).map(|to| self.engine(to).record().map_or(0, |record| record.seq()));
                let delay = if seq.is_some() { self.delay() } else { NO_ANSWER };
                self.after(delay, n, Event::Pong(question, seq));
            }
            Event::Pong(question, seq) => {
                self.with(n, |engine, now| match seq {
                    Some(seq) => engine.on_pong(now, question, seq),
                    None => engine.on_failure(now, question, Failure::Unreachable),
                });
            }
            Event::Reply(question, from, response) => {
                let Some(node) = self.nodes.get(&from) else {
                    self.with(n, |engine, now| engine.on_failure(now, question, Failure::Unreachable));
                    return;
                };
                let answered = Answered {
                    peer_id: node.engine.peer_id(),
                    endpoint: endpoint(from),
                    record: node.engine.record().filter(|_| !self.reticent.contains(&from)).cloned(),
                    response: *response,
                };
                self.messages += 1;
                self.with(n, |engine, now| engine.on_answer(now, question, answered));
            }
            Event::Failed(question) => {
                self.with(n, |engine, now| engine.on_failure(now, question, Failure::Unreachable));
            }
        }
    }

    /// An engine must not ask to be woken again and again for nothing.
    fn count_turn(&mut self, n: usize) {
        let second = (self.now - self.start).as_secs();
        let turns = self.turns.entry(n).or_insert((second, 0));
        *turns = if turns.0 == second { (second, turns.1 + 1) } else { (second, 1) };
        if turns.1 > MAX_TURNS {
            let engine = &self.nodes[&n].engine;
            let (table, store) = (engine.table().next_due(self.now), engine.store().next_due());
            panic!("node {n} at {:?}: table {table:?}, store {store:?}, busy {:?}", self.now, engine.busy());
        }
    }

    fn ask(&mut self, n: usize, question: QuestionId, target: &Target, request: Request) {
        let (dials, to) = self.dial(n, question, target);
        let (Some(to), Some(asker)) = (to, self.nodes.get(&n)) else {
            let wait = if dials == 0 { Duration::ZERO } else { NO_ANSWER };
            return self.after(wait, n, Event::Failed(question));
        };
        let (peer_id, record) = (asker.engine.peer_id(), asker.engine.record().cloned());
        let unsolicited = true;
        let asker = Asker { peer_id, address: asker.address, arrived: Some(self.arrival(to)), unsolicited, record };
        self.messages += 1;
        self.with(n, |engine, now| engine.on_connected(now, question));
        let lie = self.sybils.contains(&to).then(|| self.lie(&request)).flatten();
        if let Some(lie) = lie.or_else(|| self.invent(to, &request)) {
            let delay = self.delay();
            return self.after(delay, n, Event::Reply(question, to, Box::new(lie)));
        }
        if let Request::DialBack { record } = &request {
            self.tried.push((n, record.clone()));
        }
        if self.liars.contains_key(&to) && matches!(request, Request::DialBack { .. }) {
            return self.come_and_lie(n, question, to);
        }
        let reply = self.next_reply;
        self.next_reply += 1;
        self.replies.insert(reply, Pending { from: n, question, to });
        // What is written can be read.
        let request = Request::decode(&request.encode().expect("within bounds")).expect("what is written can be read");
        self.with(to, |engine, now| engine.on_request(now, ReplyId(reply), &asker, request));
    }

    /// Dials the endpoints of a node one after the other until it is there: how many, and who that is.
    fn dial(&mut self, n: usize, question: QuestionId, target: &Target) -> (usize, Option<usize>) {
        let mut dials = 0;
        for at in &target.endpoints {
            let Some(to) = at.socket_addr() else { continue };
            if self.with(n, |engine, now| engine.may_dial(now, question, at)) != Some(true) {
                continue;
            }
            dials += 1;
            let there = self.reach(n, to);
            let there = there.filter(|to| target.peer_id.is_none_or(|peer_id| key_pair(*to).peer_id() == peer_id));
            self.dials.push(Dial { at: self.now, by: n, to, met: there.is_some() });
            if there.is_some() {
                self.with(n, |engine, now| engine.on_met(now, question, at));
                return (dials, there);
            }
        }
        (dials, None)
    }

    /// Who is at an address, if `from` gets there.
    fn reach(&self, from: usize, to: SocketAddr) -> Option<usize> {
        let to = *self.by_address.get(&to)?;
        let same = self.part.get(&from) == self.part.get(&to);
        (same && self.nodes.contains_key(&to) && !self.unreachable.contains(&to)).then_some(to)
    }

    fn carry_out(&mut self, n: usize) {
        while let Some(action) = self.nodes.get_mut(&n).and_then(|node| node.engine.next_action()) {
            match action {
                Action::Ask { id, target, request } => {
                    let delay = self.delay();
                    self.after(delay, n, Event::Ask(id, target, Box::new(request)));
                }
                Action::DialBack { id, target, .. } => {
                    let delay = self.delay();
                    self.after(delay, n, Event::Ask(id, target, Box::new(Request::GetRecord)));
                }
                Action::Ping { id, address, .. } => {
                    let delay = self.delay();
                    self.after(delay, n, Event::Ping(id, address));
                }
                Action::Reply { id, response } => {
                    if let Some(Pending { from, question, to }) = self.replies.remove(&id.0) {
                        let delay = self.delay();
                        let response = Response::decode(&response.encode().expect("within bounds"));
                        let mut response = Box::new(response.expect("what is written can be read"));
                        if let (Some(lie), Response::Contacts(closer)) = (self.liars.get(&n), &mut *response) {
                            closer.observed = Some(SocketAddr::new(*lie, 4000));
                        }
                        self.after(delay, from, Event::Reply(question, to, response));
                    }
                }
                other => {
                    let Some(node) = self.nodes.get_mut(&n) else { return };
                    match other {
                        Action::Done { id, outcome } => _ = node.outcomes.insert(id, outcome),
                        Action::Provider { id, record, .. } => {
                            node.providers.entry(id).or_default().insert(record.peer_id(), record);
                        }
                        Action::Event(event) => node.seen.push(event),
                        _ => {}
                    }
                }
            }
        }
        let now = self.now;
        if let Some(at) = self.nodes.get(&n).and_then(|node| node.engine.next_timeout(now)) {
            // An engine that is never content would stop the time.
            let at = at.max(now + Duration::from_micros(100));
            if self.wakes.get(&n).is_none_or(|wakes| at < *wakes) {
                self.wakes.insert(n, at);
                self.push(at, n, Event::Timeout);
            }
        }
    }

    /// 20 to 60 ms, one way.
    fn delay(&mut self) -> Duration {
        Duration::from_micros(20_000 + self.random() % 40_000)
    }

    fn after(&mut self, delay: Duration, n: usize, event: Event) {
        self.push(self.now + delay, n, event);
    }

    fn push(&mut self, at: Instant, n: usize, event: Event) {
        self.next += 1;
        self.events.push(Reverse((at, self.next, n, event)));
    }
}

/// A network of `count` nodes that joined through the first one, a second apart, and had time to settle.
pub(crate) fn joined(count: usize, seed: u64, change: impl Fn(&mut KademliaConfig) + Copy) -> Net {
    let mut net = Net::new(seed);
    net.add(0, &[], change);
    for n in 1..count {
        net.run(Duration::from_millis(500));
        net.add(n, &[0], change);
    }
    net.run(Duration::from_secs(180));
    net
}
