//! The table of cases, by the numbers under which they are known.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use p2p::Config;
use p2p::endpoint::Endpoint;
use p2p::endpoint::Transport::{self, Quic, Tcp, Tls, Udp};

use crate::attacks::{claims, contacts, control, ends, forge, identity, lookups, reconnect, silence, streams, vanish};
use crate::field::{Field, Figures};

type Attack = fn(Field) -> Pin<Box<dyn Future<Output = Figures> + Send>>;

/// One case: an attack over each of its transports.
pub(crate) struct Case {
    pub(crate) number: u8,
    /// What the peer does: "a peer that ...".
    pub(crate) name: &'static str,
    /// What must hold, beside what holds for all: the honest peers are served, the memory is bounded, the end is orderly.
    pub(crate) must: &'static str,
    pub(crate) transports: &'static [Transport],
    /// How the node differs from an ordinary one on this machine.
    pub(crate) node: fn(&mut Config),
    pub(crate) attack: Attack,
    /// MiB that the node's process may have at most.
    pub(crate) memory: u64,
    /// Why it is known not to hold.
    pub(crate) open: Option<&'static str>,
}

/// What most cases have in common.
const CASE: Case = Case {
    number: 0,
    name: "",
    must: "",
    transports: &[Tcp, Tls, Quic],
    node: |_| (),
    attack: |_| Box::pin(async { Figures::new() }),
    memory: 64,
    open: None,
};

/// It finds out soon that a peer has gone or takes nothing.
fn soon(config: &mut Config) {
    (config.ping_interval, config.ping_timeout) = (Duration::from_secs(1), Duration::from_secs(4));
    config.stall_timeout = Duration::from_secs(4);
}

/// Where the DHT serves beside the ports for peers.
fn datagrams() -> Vec<Endpoint> {
    vec!["udp://127.0.0.1:0".parse().expect("an endpoint")]
}

/// Ports of the DHT's own.
const LOOKUPS: [&str; 4] = ["udp://127.0.0.1:0", "tcp://127.0.0.1:0", "tls://127.0.0.1:0", "quic://127.0.0.1:0"];

pub(crate) static CASES: &[Case] = &[
    Case {
        number: 1,
        name: "claims lengths that nothing follows",
        must: "closed with a reason each time; nothing is allocated for what is claimed",
        attack: |field| Box::pin(streams::claim_lengths(field)),
        ..CASE
    },
    Case {
        number: 2,
        name: "says nothing, in a handshake or before it",
        must: "each is given up by itself, with all its tasks",
        node: |config| {
            config.limits.exempt_private = false;
            config.handshake_timeout = Duration::from_secs(1);
        },
        attack: |field| Box::pin(silence::say_nothing(field)),
        memory: 96,
        ..CASE
    },
    Case {
        number: 3,
        name: "grants no credit in the handshake",
        must: "each handshake is given up",
        transports: &[Quic],
        node: |config| config.handshake_timeout = Duration::from_secs(1),
        attack: |field| Box::pin(vanish::grant_nothing(field)),
        ..CASE
    },
    Case {
        number: 4,
        name: "reads nothing of what is broadcast",
        must: "it is disconnected, and costs no more than its queue meanwhile",
        node: soon,
        attack: |field| Box::pin(streams::read_nothing(field)),
        memory: 192,
        ..CASE
    },
    Case {
        number: 5,
        name: "opens streams for protocols nobody speaks",
        must: "banned after 200 streams at most",
        attack: |field| Box::pin(streams::stray(field)),
        ..CASE
    },
    Case {
        number: 5,
        name: "holds streams that nobody accepts",
        must: "as many as one peer may have, and its other protocols go on",
        attack: |field| Box::pin(streams::hold_streams(field)),
        ..CASE
    },
    Case {
        number: 6,
        name: "pretends to be somebody else",
        must: "never believed, and its owner connects",
        attack: |field| Box::pin(identity::pretend(field)),
        ..CASE
    },
    Case {
        number: 7,
        name: "comes ten thousand times from one range",
        must: "as many tasks as the range's handshakes take",
        transports: &[Tcp, Tls],
        node: |config| config.limits.exempt_private = false,
        attack: |field| Box::pin(silence::crowd(field)),
        ..CASE
    },
    Case {
        number: 8,
        name: "talks nonsense after the handshake",
        must: "banned after 10 times at most",
        attack: |field| Box::pin(reconnect::talk_nonsense(field)),
        ..CASE
    },
    Case {
        number: 8,
        name: "comes and goes without a good-bye",
        must: "banned after 200 times at most",
        attack: |field| Box::pin(reconnect::flap(field)),
        ..CASE
    },
    Case {
        number: 10,
        name: "floods the ports for datagrams",
        must: "no more bytes come back than were sent",
        transports: &[Udp, Quic],
        node: |config| config.discovery_endpoints = datagrams(),
        attack: |field| Box::pin(forge::flood(field)),
        ..CASE
    },
    Case {
        number: 11,
        name: "says hello beyond the bounds",
        must: "refused with a reason each time",
        attack: |field| Box::pin(identity::exaggerate(field)),
        ..CASE
    },
    Case {
        number: 12,
        name: "vanishes without a word",
        must: "noticed, each once",
        node: soon,
        attack: |field| Box::pin(vanish::fall_silent(field)),
        ..CASE
    },
    Case {
        number: 23,
        name: "dials in the name of others' addresses",
        must: "their owner gets in over every transport",
        transports: &[Quic],
        node: |config| {
            config.limits.exempt_private = false;
            config.handshake_timeout = Duration::from_secs(1);
        },
        attack: |field| Box::pin(forge::blame(field)),
        ..CASE
    },
    Case {
        number: 24,
        name: "floods the control stream, and is banned",
        must: "its connection takes 4 MiB at most, and ends by the ban or by rule",
        attack: |field| Box::pin(control::flood(field)),
        ..CASE
    },
    Case {
        number: 25,
        name: "fills streams before its hello",
        must: "no more streams than a handshake takes",
        attack: |field| Box::pin(streams::fill_early(field)),
        ..CASE
    },
    Case {
        number: 26,
        name: "sends empty messages and reads nothing",
        must: "the memory, as for large messages",
        node: soon,
        attack: |field| Box::pin(streams::send_nothing(field)),
        memory: 128,
        ..CASE
    },
    Case {
        number: 27,
        name: "takes places without a proof, or many with one",
        must: "an honest peer waits for the end of a claim at most",
        node: |config| config.inbound_slots = 8,
        attack: |field| Box::pin(claims::take_places(field)),
        ..CASE
    },
    Case {
        number: 28,
        name: "is banned, and asks where peers connect",
        must: "no lookup and no peer",
        node: |config| config.discovery_endpoints = datagrams(),
        attack: |field| Box::pin(lookups::ask_while_banned(field)),
        ..CASE
    },
    Case {
        number: 28,
        name: "is banned, and asks at the DHT's own port",
        must: "no lookup and no peer",
        node: |config| {
            config.discovery_endpoints = LOOKUPS.iter().map(|text| text.parse().expect("an endpoint")).collect();
        },
        attack: |field| Box::pin(lookups::ask_while_banned(field)),
        ..CASE
    },
    Case {
        number: 29,
        name: "offers no name of a protocol in TLS",
        must: "never accepted",
        transports: &[Tls, Quic],
        attack: |field| Box::pin(identity::offer_nothing(field)),
        ..CASE
    },
    Case {
        number: 30,
        name: "takes places with half a request",
        must: "others' lookups are served within 40 tries",
        node: |config| {
            config.discovery_endpoints = datagrams();
            config.kademlia.limits.inbound_connections = 64;
        },
        attack: |field| Box::pin(lookups::half_send(field)),
        ..CASE
    },
    Case {
        number: 31,
        name: "has the node answer an address not proven",
        must: "three times the bytes that came, and one datagram, at most",
        transports: &[Quic],
        node: |config| config.handshake_timeout = Duration::from_secs(1),
        attack: |field| Box::pin(forge::amplify(field)),
        ..CASE
    },
    Case {
        number: 32,
        name: "names node after node at a third party's address",
        must: "the third party is dialed 4 times, and once a minute after that, at most",
        transports: &[Tcp],
        node: |config| {
            config.bootstrap_peers = std::mem::take(&mut config.dial_peers);
            config.discovery_endpoints = LOOKUPS[..2].iter().map(|text| text.parse().expect("an endpoint")).collect();
            config.seeding_interval = Duration::from_millis(200);
            (config.kademlia.prefix_caps, config.kademlia.limit_local) = (true, true);
        },
        attack: |field| Box::pin(contacts::invent(field)),
        ..CASE
    },
    Case {
        number: 33,
        name: "begins handshakes that lead nowhere",
        must: "banned after 500 times at most",
        transports: &[Tls, Quic],
        attack: |field| Box::pin(reconnect::lead_nowhere(field)),
        ..CASE
    },
    Case {
        number: 34,
        name: "is the dead one of 100 on the node's list",
        must: "the living one is met",
        attack: |field| Box::pin(ends::list_the_dead(field)),
        ..CASE
    },
    Case {
        number: 35,
        name: "floods while the node shuts down",
        must: "it ends all the same, with nothing left",
        attack: |field| Box::pin(ends::flood_on(field)),
        memory: 128,
        ..CASE
    },
];
