//! What can be measured, over what, and how much of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::line::Shape;
use crate::lines::{CONNECTS, ROUNDS};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// 64 B there and back, one in flight: p50 in µs.
    Rtt,
    /// 64 B one way: messages/s.
    Small,
    /// 64 KiB one way: MiB/s.
    Bulk,
    /// Connect, first message, close, one after another: per second.
    Connect,
    /// The same, 64 in flight.
    Connect64,
    /// A hub sends messages of 1 KiB to each of 50 peers: delivered/s.
    Fanout,
    /// The same to 500 peers.
    Fanout500,
    /// The same to 2,000 peers.
    Fanout2000,
    /// 1,000 idle connections, both ends in this process: KiB of memory for each pair.
    Conns,
    /// The same with 5,000.
    Conns5000,
    /// One protocol stops reading: the rate of another on the same connection, in % of its rate alone.
    Hol,
    /// 64 B there and back, one in flight, while messages of 64 KiB fill the same connection: the 99th percentile in ms.
    Busy,
    /// One of 50 peers stops reading: what a hub delivers to the others, in % of before.
    Stalled,
    /// 1,000 connections that say nothing: what an honest connect takes, against none of them.
    SlowHandshake,
    /// Questions of the DHT that one node answers, per second.
    Lookup,
    /// On a long line: from the dial to the first echo, in ms.
    Dial,
    /// 64 KiB one way on a long line of some bandwidth: Mbit/s.
    Fill,
    /// The same on a node's hundredth connection.
    Hundredth,
    /// The same on a longer line of more bandwidth.
    LongFat,
    /// The same on a short line of much bandwidth.
    Gigabit,
    /// 64 B there and back while 64 KiB of another protocol fill a line of little bandwidth: the median in ms.
    Thin,
    /// Connects on a line that loses packets: how many of a hundred give an echo in time.
    Lossy,
    /// A hub on a line of little bandwidth gives 200 messages of 1 KiB to each of 50 peers: peers that get all of them.
    Uplink,
    /// Nothing passes for a while: how many connections of a hundred live on.
    Outage,
    /// A peer is killed and starts anew: seconds until it is connected again.
    Restart,
    /// A peer that was dialed gets another address: seconds until it is connected again.
    Moved,
    /// A node starts on a long line: ms until the first echo of a peer that it knows by its id only.
    Find,
}

/// Where a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    /// On loopback as it is.
    Loopback,
    /// On a long line: `bench --line`.
    Line(Shape),
    /// On two hosts with a cable between them, of which one moves: with `--line` too.
    TwoHosts,
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The same over raw sockets.
    Raw,
    /// Itself, without what is in the way: raw sockets have nothing to show.
    Itself,
}

impl Scenario {
    pub const ALL: [Self; 27] = [
        Self::Rtt,
        Self::Small,
        Self::Bulk,
        Self::Connect,
        Self::Connect64,
        Self::Fanout,
        Self::Fanout500,
        Self::Fanout2000,
        Self::Conns,
        Self::Conns5000,
        Self::Hol,
        Self::Busy,
        Self::Stalled,
        Self::SlowHandshake,
        Self::Lookup,
        Self::Dial,
        Self::Fill,
        Self::Hundredth,
        Self::LongFat,
        Self::Gigabit,
        Self::Thin,
        Self::Lossy,
        Self::Uplink,
        Self::Outage,
        Self::Restart,
        Self::Moved,
        Self::Find,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rtt => "rtt",
            Self::Small => "small",
            Self::Bulk => "bulk",
            Self::Connect => "connect",
            Self::Connect64 => "connect64",
            Self::Fanout => "fanout",
            Self::Fanout500 => "fanout500",
            Self::Fanout2000 => "fanout2000",
            Self::Conns => "conns",
            Self::Conns5000 => "conns5000",
            Self::Hol => "hol",
            Self::Busy => "busy",
            Self::Stalled => "stalled",
            Self::SlowHandshake => "slowhandshake",
            Self::Lookup => "lookup",
            Self::Dial => "dial",
            Self::Fill => "fill",
            Self::Hundredth => "hundredth",
            Self::LongFat => "longfat",
            Self::Gigabit => "gigabit",
            Self::Thin => "thin",
            Self::Lossy => "lossy",
            Self::Uplink => "uplink",
            Self::Outage => "outage",
            Self::Restart => "restart",
            Self::Moved => "moved",
            Self::Find => "find",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Rtt => "µs",
            Self::Small => "messages/s",
            Self::Bulk => "MiB/s",
            Self::Connect | Self::Connect64 => "connections/s",
            Self::Fanout | Self::Fanout500 | Self::Fanout2000 => "delivered/s",
            Self::Conns | Self::Conns5000 => "KiB/pair",
            Self::Hol | Self::Stalled | Self::Lossy | Self::Outage => "%",
            Self::Busy | Self::Dial | Self::Thin | Self::Find => "ms",
            Self::SlowHandshake => "×",
            Self::Lookup => "answers/s",
            Self::Fill | Self::Hundredth | Self::LongFat | Self::Gigabit => "Mbit/s",
            Self::Uplink => "peers",
            Self::Restart | Self::Moved => "s",
        }
    }

    pub fn against(self) -> Against {
        match self {
            Self::Hol | Self::Busy | Self::Stalled | Self::SlowHandshake | Self::Lookup => Against::Itself,
            Self::Restart | Self::Moved | Self::Find => Against::Itself,
            _ => Against::Raw,
        }
    }

    /// Whether a smaller figure is the better one.
    pub fn less_is_better(self) -> bool {
        matches!(
            self,
            Self::Rtt
                | Self::Conns
                | Self::Conns5000
                | Self::Busy
                | Self::SlowHandshake
                | Self::Dial
                | Self::Thin
                | Self::Restart
                | Self::Moved
                | Self::Find
        )
    }

    /// Where it runs.
    pub fn place(self) -> Place {
        Place::Line(match self {
            Self::Dial | Self::Find => Shape::rtt(100.0),
            Self::Fill | Self::Hundredth => Shape::rtt(100.0).mbit(100.0).queue(100.0),
            Self::LongFat => Shape::rtt(200.0).mbit(200.0).queue(100.0),
            Self::Gigabit => Shape::rtt(20.0).mbit(1_000.0).queue(100.0),
            Self::Thin => Shape::rtt(50.0).mbit_up(1.0).queue(500.0),
            Self::Lossy => Shape::rtt(50.0).loss(10.0),
            // The hub listens at the far end.
            Self::Uplink => Shape::rtt(50.0).mbit_down(10.0).queue(100.0),
            // Enough to fill windows, and not the machine.
            Self::Outage => Shape::rtt(50.0).mbit(20.0).queue(100.0),
            Self::Restart => Shape::rtt(20.0),
            Self::Moved => return Place::TwoHosts,
            _ => return Place::Loopback,
        })
    }

    /// Mbit/s of its line from the dialer to the listener; 0 is unlimited.
    pub fn mbit(self) -> f64 {
        if let Place::Line(shape) = self.place() { shape.up.mbit } else { 0.0 }
    }

    /// A run that takes longer has come to a standstill.
    pub fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Lossy | Self::Moved => 420,
            Self::Outage => 300,
            Self::Thin | Self::Uplink | Self::Restart | Self::Find => 240,
            _ => 90,
        })
    }

    /// Peers of a hub, connections held, or connections in flight.
    pub fn width(self) -> usize {
        match self {
            Self::Fanout | Self::Stalled | Self::Uplink => 50,
            Self::Hundredth => 100,
            Self::Find => 30,
            Self::Outage => 3,
            Self::Fanout500 => 500,
            Self::Fanout2000 => 2_000,
            Self::Connect64 => 64,
            Self::Conns | Self::SlowHandshake => 1_000,
            Self::Conns5000 => 5_000,
            _ => 1,
        }
    }

    /// How often the scenario does its thing in one run: messages, connections, or answers; of all peers together. Bulk on
    /// a long line is counted in seconds.
    pub fn count(self, transport: Transport) -> usize {
        let of = |tcp, tls, quic| match transport {
            Transport::Tcp => tcp,
            Transport::Tls => tls,
            Transport::Quic => quic,
        };
        match self {
            Self::Rtt => 50_000,
            Self::Small => of(4_000_000, 4_000_000, 2_000_000),
            Self::Bulk => of(30_000, 30_000, 8_000),
            Self::Connect => of(4_000, 1_000, 1_000),
            Self::Connect64 => of(6_016, 2_048, 2_048),
            Self::Fanout => of(1_000_000, 1_000_000, 400_000),
            Self::Fanout500 | Self::Fanout2000 => of(1_000_000, 1_000_000, 400_000),
            Self::Conns => 1_000,
            Self::Conns5000 => 5_000,
            Self::Hol => 400_000,
            Self::Busy => 2_000,
            Self::Stalled => 4_000,
            Self::SlowHandshake => 100,
            Self::Lookup => 50_000,
            Self::Dial | Self::Lossy => CONNECTS,
            Self::Uplink => self.width() * ROUNDS,
            // Seconds.
            Self::Fill | Self::Hundredth | Self::LongFat | Self::Gigabit => 20,
            Self::Thin => 60,
            Self::Outage | Self::Restart | Self::Moved | Self::Find => 1,
        }
    }
}

/// What carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Tls,
    Quic,
}

impl Transport {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::Quic];

    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.name() == name)
    }
}
