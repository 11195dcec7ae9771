//! The scenarios: what kind of town it is and what befalls it.

mod basic;
mod crowds;
mod day;
mod dead;
mod dht;
mod faults;
mod goodbye;
mod keys;
mod lines;
mod machines;
mod moved;
mod places;
mod reach;
mod sockets;

use std::time::Duration;

use p2p_sim::{Line, Settings, Sim};

use crate::town::{Outcome, Town};

/// No world takes longer.
const LONGEST: Duration = Duration::from_secs(25 * 3600);

/// A kind of world. Each seed is another one of that kind.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// A costly one is run with one in so many of the seeds, unless it is asked for by name.
    pub(crate) every: u64,
    /// Runs one world to its end; panics when a rule is broken.
    play: fn(Sim) -> Outcome,
}

pub(crate) static SCENARIOS: &[Scenario] = &[
    Scenario { name: "mesh", about: "3 to 8 nodes on all transports, up to 20 % loss", every: 1, play: basic::mesh },
    Scenario {
        name: "crossing",
        about: "two nodes dial each other at the same moment, again and again",
        every: 1,
        play: basic::crossing,
    },
    Scenario {
        name: "slow-link",
        about: "full queues on 1 Mbit/s: pings must not starve",
        every: 1,
        play: basic::slow_link,
    },
    Scenario {
        name: "outage",
        about: "nothing passes for 8 to 20 seconds, which ends no connection; then for longer",
        every: 1,
        play: lines::outage,
    },
    Scenario { name: "lossy", about: "10 % loss for five minutes: no connection ends", every: 2, play: lines::lossy },
    Scenario {
        name: "slow-uplink",
        about: "a hub whose lines are full: nobody is lost and pings are prompt",
        every: 5,
        play: lines::slow_uplink,
    },
    Scenario {
        name: "long-fat",
        about: "50 Mbit/s with round trips of 300 to 400 ms: the line fills",
        every: 5,
        play: lines::long_fat,
    },
    Scenario { name: "crowd", about: "50 nodes on all transports", every: 1, play: basic::crowd },
    Scenario {
        name: "idle",
        about: "10 connected nodes with nothing to say, for an hour",
        every: 1,
        play: basic::idle,
    },
    Scenario {
        name: "day",
        about: "a small town for a day, with two restarts an hour: nothing may grow",
        every: 20,
        play: day::day,
    },
    Scenario {
        name: "partition",
        about: "partitions, one-way cuts, holds and bad links, then all is mended",
        every: 1,
        play: faults::partition,
    },
    Scenario {
        name: "handshake",
        about: "a crash, kill, pause or cut in the middle of a handshake",
        every: 1,
        play: faults::handshake,
    },
    Scenario {
        name: "restarts",
        about: "hosts crash, are killed, pause and come back",
        every: 1,
        play: faults::restarts,
    },
    Scenario {
        name: "churn",
        about: "nodes leave in good order and return while messages are in flight",
        every: 1,
        play: faults::churn,
    },
    Scenario {
        name: "good-bye",
        about: "streams are finished when a connection ends, on all transports, at any round trip and 5 % loss",
        every: 1,
        play: goodbye::goodbye,
    },
    Scenario {
        name: "places",
        about: "few slots: peers that are kept, found and asked for restart and leave",
        every: 1,
        play: places::places,
    },
    Scenario {
        name: "crowds",
        about: "an attacker takes all slots, and peers from elsewhere come and go",
        every: 1,
        play: crowds::crowds,
    },
    Scenario {
        name: "dead-peers",
        about: "lists of 100 and of 10,000 peers of which one lives",
        every: 20,
        play: dead::dead,
    },
    Scenario {
        name: "garbled",
        about: "datagrams are corrupted, doubled and reordered",
        every: 1,
        play: faults::garbled,
    },
    Scenario { name: "offline", about: "a node without network for a minute", every: 1, play: machines::offline },
    Scenario {
        name: "machines",
        about: "clocks jump by years, disks fill up, descriptors run out",
        every: 1,
        play: machines::machines,
    },
    Scenario {
        name: "killed",
        about: "a process is killed and starts again at once: its peer is back within a second",
        every: 1,
        play: sockets::killed,
    },
    Scenario {
        name: "sockets",
        about: "listeners and UDP sockets fail, once, until they are closed, and for a while",
        every: 1,
        play: sockets::sockets,
    },
    Scenario { name: "one-key", about: "two machines with one key keep the same peer", every: 5, play: keys::one_key },
    Scenario { name: "leaver", about: "a peer that accepts and leaves at once", every: 5, play: keys::leaver },
    Scenario {
        name: "redial",
        about: "one side loses a connection that the other still holds, and dials again",
        every: 1,
        play: moved::redial,
    },
    Scenario {
        name: "moved",
        about: "a listening host gets another address, and is told so or not",
        every: 1,
        play: moved::moved,
    },
    Scenario { name: "slept", about: "hosts sleep for seconds to hours and wake", every: 2, play: moved::slept },
    Scenario { name: "nat", about: "nodes behind NAT boxes of several kinds dial out", every: 1, play: machines::nat },
    Scenario {
        name: "dht",
        about: "nodes with one bootstrap address; then three in ten are gone",
        every: 10,
        play: dht::crash,
    },
    Scenario {
        name: "dht-churn",
        about: "nodes with a DHT crash and come back, again and again",
        every: 5,
        play: dht::churn,
    },
    Scenario {
        name: "dht-partition",
        about: "a network with a DHT is cut in two until both halves have forgotten each other",
        every: 5,
        play: dht::partition,
    },
    Scenario {
        name: "dht-moved",
        about: "a node with a DHT gets another address: it and others find out",
        every: 2,
        play: dht::moved,
    },
    Scenario { name: "dht-nat", about: "nodes with a DHT, some of them behind NAT boxes", every: 2, play: dht::nat },
    Scenario {
        name: "dht-carrier",
        about: "30 nodes with a DHT in one /24 of a carrier's address space",
        every: 5,
        play: dht::carrier,
    },
    Scenario {
        name: "one-server",
        about: "one server and its first clients: they are a network within two seconds",
        every: 1,
        play: reach::one_server,
    },
    Scenario {
        name: "kept-ports",
        about: "nodes behind boxes that keep ports: who cannot be reached is no server, and learns why",
        every: 1,
        play: reach::kept_ports,
    },
    Scenario {
        name: "firewall",
        about: "nodes with public addresses behind plain firewalls, some with an open port",
        every: 1,
        play: reach::firewall,
    },
    Scenario {
        name: "told-elsewhere",
        about: "nodes that say that they are elsewhere than they are seen, truly or not",
        every: 1,
        play: reach::told_elsewhere,
    },
    Scenario {
        name: "one-router",
        about: "nodes behind one router that does not lead back in",
        every: 1,
        play: reach::one_router,
    },
    Scenario {
        name: "dht-hostile",
        about: "nodes with a DHT, a quarter of them hostile",
        every: 10,
        play: dht::hostile,
    },
    Scenario {
        name: "dht-named",
        about: "a third party in whose name others lie: nobody dials it again and again",
        every: 5,
        play: dht::named,
    },
];

impl Scenario {
    /// Runs the world of this seed.
    ///
    /// # Panics
    /// With the rule that was broken, and the end of the trace if that is wanted.
    pub(crate) fn run(&'static self, seed: u64, trace: usize) -> Outcome {
        self.run_traced(seed, trace).0
    }

    /// As [`run`](Self::run), with the last `trace` lines of the trace.
    pub(crate) fn run_traced(&'static self, seed: u64, trace: usize) -> (Outcome, Vec<Line>) {
        let sim = Sim::with(seed, Settings { trace_lines: trace, time_limit: LONGEST, ..Settings::default() });
        let _dump = Dump((trace > 0).then(|| sim.clone()));
        ((self.play)(sim.clone()), sim.trace_lines())
    }
}

/// Shows the last lines of a trace when the run has failed.
struct Dump(Option<Sim>);

impl Drop for Dump {
    fn drop(&mut self) {
        if let Some(sim) = self.0.as_ref().filter(|_| std::thread::panicking()) {
            sim.trace_lines().iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Runs the story of a town to its end.
fn tell<F: Future<Output = Outcome>>(town: Town, story: impl FnOnce(Town) -> F) -> Outcome {
    let sim = town.sim.clone();
    sim.block_on(story(town))
}
