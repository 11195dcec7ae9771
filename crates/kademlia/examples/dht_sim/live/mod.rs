//! A network that lives: nodes come and go, check their contacts, refresh their buckets and look for their neighbors, each
//! with its production table and lookups, as the engine does it.

mod search;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_kademlia::{Key, Lookup, RttEstimator, Table, TableConfig};

use crate::random::Random;
use crate::world::{K, Peer, World, start};

/// The upkeep of a node beside what its table says is due, and how often: the engine has the same figures.
const SEEDING_INTERVAL: Duration = Duration::from_secs(60);
const MAX_CHECKS: usize = 16;
const MAX_REFRESHES: usize = 2;
const DIAL_BACK_AGAIN: Duration = Duration::from_secs(60);
const BOOTSTRAP_WIDTH: usize = 3;

/// How many contacts, drawn from the whole table, the search for neighbors begins with.
const SEEDS: usize = 8;

/// When a node looks what is due; in production it is told to the moment.
const TURN: Duration = Duration::from_secs(5);

/// When whoever waits for a dead node gives up.
const GIVE_UP: Duration = Duration::from_secs(3);

/// What of a node's upkeep is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upkeep {
    pub(crate) checks: bool,
    pub(crate) searches: bool,
}

struct Node {
    peer: Peer,
    table: Table<Peer>,
    died: Option<Instant>,
    joined: Option<Instant>,
    rtt: RttEstimator,
    seed_at: Instant,
    checks: usize,
    refreshes: usize,
    dialed_back: BTreeMap<Key, Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Seed,
    Refresh,
    /// Only to measure: it teaches nobody anything.
    Probe {
        begun: Instant,
    },
}

struct Search {
    owner: usize,
    purpose: Purpose,
    lookup: Lookup<Peer>,
    wake: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Answer { search: u64, from: usize, sent: Instant, arrived: Instant },
    Failure { search: u64, from: usize },
    Wake { search: u64 },
    Pong { by: usize, of: usize, sent: Instant, arrived: Instant },
    Unreached { by: usize, of: usize },
    Turn { node: usize },
    Death { node: usize },
}

/// What the probes found.
#[derive(Debug, Default, Clone)]
pub(crate) struct Found {
    pub(crate) probes: usize,
    /// How many of them reached the closest node that was there all the time.
    pub(crate) closest: usize,
    pub(crate) recall: Vec<f64>,
}

pub(crate) struct Live {
    random: Random,
    upkeep: Upkeep,
    now: Instant,
    count: u64,
    events: BTreeMap<(Instant, u64), Event>,
    nodes: Vec<Node>,
    by_key: BTreeMap<Key, usize>,
    /// Nodes that are alive.
    alive: Vec<usize>,
    searches: BTreeMap<u64, Search>,
    /// How long the median node stays; `None`: nobody goes.
    sessions: Option<Duration>,
    /// Whether nodes with odd and with even numbers cannot reach each other.
    split: bool,
    found: Found,
}

impl Live {
    /// A network that has been quiet for long.
    pub(crate) fn new(world: &World, sessions: Option<Duration>, upkeep: Upkeep, random: &Random) -> Self {
        let mut live = Self {
            random: random.fork(3),
            upkeep,
            now: start(),
            count: 0,
            events: BTreeMap::new(),
            nodes: Vec::new(),
            by_key: BTreeMap::new(),
            alive: Vec::new(),
            searches: BTreeMap::new(),
            sessions,
            split: false,
            found: Found::default(),
        };
        for index in 0..world.len() {
            let key = world.key(index);
            let joined = Some(live.now);
            live.add(key, world.table(&key), joined);
        }
        live
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(event) = self.events.first_entry().filter(|event| event.key().0 <= end) {
            self.now = event.key().0;
            let event = event.remove();
            self.handle(event);
        }
        self.now = end;
    }

    /// Runs on, with so many probes spread over the time, and gives what they found.
    pub(crate) fn probe(&mut self, time: Duration, probes: usize) -> Found {
        self.found = Found::default();
        for _ in 0..probes {
            self.run_for(time / probes as u32);
            let joined: Vec<usize> =
                self.alive.iter().copied().filter(|node| self.nodes[*node].joined.is_some()).collect();
            let owner = joined[self.random.below(joined.len())];
            let target = self.random.key();
            self.begin(owner, target, Purpose::Probe { begun: self.now }, Vec::new());
        }
        self.run_for(Duration::from_secs(60));
        self.found.clone()
    }

    pub(crate) fn split(&mut self, split: bool) {
        self.split = split;
    }

    /// Makes everyone forget the nodes of the other half, and then one node of each half meet.
    pub(crate) fn meet_once(&mut self) {
        for node in 0..self.nodes.len() {
            for other in self.by_key.values().copied().filter(|other| (node + other) % 2 == 1).collect::<Vec<_>>() {
                let key = self.nodes[other].peer.key;
                self.nodes[node].table.remove(&key);
            }
        }
        let (one, other) = (self.alive[0], self.alive[1]);
        let (now, peer) = (self.now, self.nodes[other].peer);
        let local = self.nodes[one].peer.key;
        let depth = |known: &Peer| local.common_prefix_len(&known.key);
        let table = &mut self.nodes[one].table;
        // Should its bucket be full, one of its contacts makes place.
        let full = table.iter().filter(|known| depth(known) == depth(&peer)).nth(K - 1).copied();
        if let Some(last) = full {
            table.remove(&last.key);
        }
        self.nodes[one].table.on_alive(now, peer, None);
    }

    fn add(&mut self, key: Key, table: Table<Peer>, joined: Option<Instant>) -> usize {
        let node = self.nodes.len();
        let first = self.now + TURN.mul_f64(self.random.fraction());
        let seed_at = self.now + SEEDING_INTERVAL.mul_f64(self.random.fraction());
        let (rtt, peer) = (RttEstimator::default(), Peer { key, ip: None });
        let dialed_back = BTreeMap::new();
        self.nodes.push(Node { peer, table, died: None, joined, rtt, seed_at, checks: 0, refreshes: 0, dialed_back });
        self.by_key.insert(key, node);
        self.alive.push(node);
        self.schedule(first, Event::Turn { node });
        if let Some(median) = self.sessions {
            let death = self.now + self.random.session(median);
            self.schedule(death, Event::Death { node });
        }
        node
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// Whether a message that was sent at this time got through.
    fn reaches(&self, from: usize, to: usize, at: Instant) -> bool {
        self.nodes[to].died.is_none_or(|died| died > at) && (!self.split || (from + to).is_multiple_of(2))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Turn { node } => self.turn(node),
            Event::Death { node } => self.die(node),
            Event::Wake { search } => self.pump(search),
            Event::Answer { search, from, sent, arrived } => self.answered(search, from, sent, arrived),
            Event::Failure { search, from } => self.failed(search, from),
            Event::Pong { by, of, sent, arrived } => {
                if self.reaches(by, of, arrived) {
                    let peer = self.nodes[of].peer;
                    self.nodes[by].checks = self.nodes[by].checks.saturating_sub(1);
                    self.nodes[by].table.on_alive(self.now, peer, None);
                } else {
                    self.schedule(sent + GIVE_UP, Event::Unreached { by, of });
                }
            }
            Event::Unreached { by, of } => {
                let key = self.nodes[of].peer.key;
                self.nodes[by].checks = self.nodes[by].checks.saturating_sub(1);
                self.nodes[by].table.on_failed(self.now, &key);
            }
        }
    }

    fn turn(&mut self, node: usize) {
        if self.nodes[node].died.is_some() {
            return;
        }
        self.schedule(self.now + TURN, Event::Turn { node });
        while self.upkeep.checks && self.nodes[node].checks < MAX_CHECKS {
            let Some(peer) = self.nodes[node].table.due_check(self.now) else { break };
            self.nodes[node].checks += 1;
            self.ping(node, self.by_key[&peer.key]);
        }
        let lonely = self.nodes[node].table.is_empty();
        if self.nodes[node].seed_at <= self.now && (self.upkeep.searches || lonely) {
            let jitter = 0.75 + 0.5 * self.random.fraction();
            self.nodes[node].seed_at = self.now + SEEDING_INTERVAL.mul_f64(jitter);
            let bootstrap = if lonely { self.bootstrap() } else { Vec::new() };
            self.begin(node, self.nodes[node].peer.key, Purpose::Seed, bootstrap);
        }
        while self.upkeep.searches && self.nodes[node].refreshes < MAX_REFRESHES {
            let (now, random) = (self.now, &mut self.random);
            let Some(target) = self.nodes[node].table.due_refresh(now, &mut || random.next()) else { break };
            self.nodes[node].refreshes += 1;
            self.begin(node, target, Purpose::Refresh, Vec::new());
        }
    }

    fn die(&mut self, node: usize) {
        self.nodes[node].died = Some(self.now);
        self.nodes[node].table = Table::new(self.nodes[node].peer.key, TableConfig::default());
        self.alive.retain(|alive| *alive != node);
        self.searches.retain(|_, search| search.owner != node);
        // Somebody else comes, and joins at once.
        let key = self.random.key();
        let born = self.add(key, Table::new(key, TableConfig::default()), None);
        self.nodes[born].seed_at = self.now;
    }

    fn bootstrap(&mut self) -> Vec<Peer> {
        let any = (0..BOOTSTRAP_WIDTH).map(|_| self.alive[self.random.below(self.alive.len())]);
        any.map(|node| self.nodes[node].peer).collect()
    }

    fn ping(&mut self, by: usize, of: usize) {
        if self.reaches(by, of, self.now) {
            let rtt = self.random.rtt();
            let arrived = self.now + rtt / 2;
            self.schedule(self.now + rtt, Event::Pong { by, of, sent: self.now, arrived });
        } else {
            self.schedule(self.now + GIVE_UP, Event::Unreached { by, of });
        }
    }

    /// Who asks and is not known is dialed back.
    fn consider(&mut self, node: usize, asker: usize) {
        let (now, key) = (self.now, self.nodes[asker].peer.key);
        let this = &mut self.nodes[node];
        let again = this.dialed_back.get(&key).is_none_or(|last| *last + DIAL_BACK_AGAIN <= now);
        if this.died.is_none() && this.table.get(&key).is_none() && again {
            this.dialed_back.insert(key, now);
            this.dialed_back.retain(|_, last| *last + DIAL_BACK_AGAIN > now);
            this.checks += 1;
            self.ping(node, asker);
        }
    }
}
