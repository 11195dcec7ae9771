//! What holds for a whole world.

use std::time::Duration;

use p2p_core::runtime::{TCP_UNSENT_BYTES, UDP_BUFFER_BYTES};

use crate::link::Link;

/// What holds for a whole world. The default is a healthy network of ordinary machines.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The link between any two hosts that have none of their own.
    pub link: Link,
    /// The link of each host to itself.
    pub loopback: Link,
    /// How TCP-like streams behave.
    pub streams: StreamSettings,
    /// Bytes of datagrams that a socket holds for its reader; more are lost.
    pub udp_buffer: usize,
    /// How long a look-up of a name takes.
    pub lookup: Duration,
    /// Packets that one direction of a link keeps while it is [held](crate::SimNetwork::hold); more are lost.
    pub held_packets: usize,
    /// Sockets a host may have open, unless it says otherwise.
    pub max_sockets: usize,
    /// The latest virtual time that [`Sim::block_on`](crate::Sim::block_on) reaches before it gives up: nodes that ping each other
    /// for ever never come to rest, so a test that waits in vain must be ended by the clock.
    pub time_limit: Duration,
    /// Polls and events that may happen without time going on before the world is said to spin.
    pub max_steps_at_once: u64,
    /// Lines of the trace that are kept, the latest ones. The hash is over all of them.
    pub trace_lines: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            link: Link::WAN,
            loopback: Link::LOOPBACK,
            streams: StreamSettings::default(),
            udp_buffer: UDP_BUFFER_BYTES,
            lookup: Duration::from_millis(5),
            held_packets: 1 << 16,
            max_sockets: 1024,
            time_limit: Duration::from_secs(24 * 3600),
            max_steps_at_once: 1_000_000,
            trace_lines: 1000,
        }
    }
}

/// How TCP-like streams behave. The defaults are Linux's.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Bytes that may be under way to a reader or wait for it.
    pub window: usize,
    /// Bytes that may wait to be sent; a writer waits when there are more.
    pub unsent: usize,
    /// Connections that may wait to be accepted; a dialer that finds no room tries again.
    pub backlog: usize,
    /// How often a dialer tries again, first after one second, then after double the time before.
    pub connect_retries: u32,
    /// The least wait before a segment is sent again.
    pub min_retransmit: Duration,
    /// The most.
    pub max_retransmit: Duration,
    /// How long something may go unacknowledged before the stream has failed.
    pub timeout: Duration,
    /// How long a stream that its program has closed waits for the other side to close, too.
    pub fin_timeout: Duration,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            window: 1 << 20,
            unsent: TCP_UNSENT_BYTES as usize,
            backlog: 1024,
            connect_retries: 6,
            min_retransmit: Duration::from_millis(200),
            max_retransmit: Duration::from_secs(120),
            // `tcp_retries2` of 15.
            timeout: Duration::from_millis(924_600),
            fin_timeout: Duration::from_secs(60),
        }
    }
}
