//! What a user may set about peers.

use std::time::Duration;

use p2p_identity::{Error, HandshakeLimits, Result, Version};
use p2p_net::Endpoint;

use crate::ping::PingTimes;
use crate::registry::SlotLimits;

/// Settings of a pool.
///
/// ```
/// use p2p_peer_pool::PoolConfig;
///
/// let config = PoolConfig { network: "my-network".into(), inbound_slots: 8, ..PoolConfig::default() };
/// config.validate()?;
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Nodes of different networks refuse each other.
    pub network: String,
    /// The application's version, and the versions of other nodes that it works with.
    pub version: Version,
    /// Peers that dialed us. When all slots are taken, a newcomer takes the place of a peer that is not useful and comes from a
    /// more crowded address range.
    pub inbound_slots: usize,
    /// Peers that we dialed, and dials under way.
    pub outbound_slots: usize,
    /// Peers that are kept connected.
    pub dial_peers: Vec<Endpoint>,
    /// Further tries of a dial that failed.
    pub max_connect_retries: usize,
    /// From the transport's connection to both sides' agreement. Over tcp, where a packet of the dial was lost, the next one that
    /// is lost is sent again after three seconds, and after six more (RFC 6298 §5.7).
    pub handshake_timeout: Duration,
    /// From the first dial to the transport's connection: for all addresses, names, searches and tries of one call
    /// together.
    pub dial_timeout: Duration,
    /// From one ping to the next. One of the peer's spares one of ours.
    pub ping_interval: Duration,
    /// How much longer than `ping_interval` a peer may be silent: after both it is given up, and never before. Whatever
    /// comes from the peer counts. The sum should cover several retransmissions of the transport.
    pub ping_timeout: Duration,
    /// How long a peer that is not silent may leave a ping unanswered: it reads nothing, or its connection takes nothing.
    pub stall_timeout: Duration,
    /// How long an orderly end may take.
    pub drain_timeout: Duration,
    /// Length of the first timed ban; each further one of the same peer is twice as long.
    pub ban_time: Duration,
    /// Whether monitor events are made.
    pub enable_monitor: bool,
    /// Bounds.
    pub limits: Limits,
}

/// The least bytes per second of a node: with less, one full packet takes more than a second.
const MIN_RATE: u64 = 1_500;

/// How long a remote may let others wait for its place, of a usual `handshake_timeout`.
const GRACE: Duration = Duration::from_millis(500);

/// Bounds of everything that a remote can make grow.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a message.
    pub message: usize,
    /// Streams that a remote may have open on a connection. Over quic room that comes back is told in steps: up to an
    /// eighth of the streams may stay untold until further ones end.
    pub inbound_streams: u32,
    /// Raw streams of a protocol that may wait for `accept_stream`.
    pub waiting_streams: usize,
    /// Messages that may wait to be sent, for each protocol of each peer.
    pub queue_messages: usize,
    /// Bytes that may wait to be sent, for each protocol of each peer.
    pub queue_bytes: usize,
    /// Bytes that a remote may always send on a stream before they are read; at least 64 KiB over tcp and tls.
    pub stream_window: u32,
    /// Bytes by which all windows of a connection together may exceed the guaranteed ones.
    pub connection_window: u32,
    /// Bytes that all connections together may hold.
    pub memory: usize,
    /// Bytes per second that are sent to all peers together, who share them fairly. At least 1,500; `None` for a
    /// rate that is found while many peers fill a slow line, and else for no bound.
    pub upload: Option<u64>,
    /// Bytes per second that are read from all peers together, in the same way.
    pub download: Option<u64>,
    /// Inbound handshakes at the same time.
    pub handshakes: usize,
    /// Inbound handshakes at the same time from an IPv4 /24 or IPv6 /48.
    pub handshakes_per_prefix: usize,
    /// Whether loopback addresses, private ones, and those of a carrier's NAT are exempt from the limits per prefix, from
    /// eviction by prefix, and from bans by address.
    pub exempt_private: bool,
    /// Bytes of a handshake message.
    pub handshake_message: usize,
    /// Protocols of a node.
    pub protocols: usize,
    /// Peers that are kept connected. They take no slot.
    pub kept: usize,
    /// Dials at the same time that the application waits for. In the background twice as many for peers that were found, and four
    /// times for peers that are kept connected and again for those of them that were before; half of it at most that have begun
    /// within the last 150 ms, and beyond all of them the longest silent gives way.
    pub dials: usize,
    /// Peers and addresses whose offences are remembered, and bans.
    pub offenders: usize,
    /// Events that a listener may leave unread before it loses the oldest.
    pub event_queue: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            network: "default".into(),
            version: "0.1.0".parse().expect("a semantic version"),
            inbound_slots: 64,
            outbound_slots: 32,
            dial_peers: Vec::new(),
            max_connect_retries: 3,
            handshake_timeout: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            ban_time: Duration::from_secs(600),
            enable_monitor: true,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 1 << 20,
            inbound_streams: 128,
            waiting_streams: 128,
            queue_messages: 128,
            queue_bytes: 4 << 20,
            stream_window: 64 << 10,
            connection_window: 16 << 20,
            memory: 512 << 20,
            upload: None,
            download: None,
            handshakes: 256,
            handshakes_per_prefix: 16,
            exempt_private: true,
            handshake_message: 16 << 10,
            protocols: 64,
            kept: 16_384,
            dials: 64,
            offenders: 4096,
            event_queue: 1024,
        }
    }
}

impl PoolConfig {
    pub(crate) fn ping_times(&self) -> PingTimes {
        PingTimes { interval: self.ping_interval, timeout: self.ping_timeout, stall: self.stall_timeout }
    }

    pub(crate) fn slot_limits(&self) -> SlotLimits {
        let patience = self.handshake_timeout;
        SlotLimits {
            inbound: self.inbound_slots,
            outbound: self.outbound_slots,
            kept: self.limits.kept,
            // Half a second and a second of the default's ten; more of a shorter time, since a machine has its pauses.
            grace: (patience / 8).min((patience / 20).max(GRACE)),
            tie_break: (patience / 4).min((patience / 10).max(2 * GRACE)),
        }
    }

    pub(crate) fn handshake_limits(&self) -> HandshakeLimits {
        HandshakeLimits {
            total: self.limits.handshakes,
            per_prefix: self.limits.handshakes_per_prefix,
            timeout: self.handshake_timeout,
            limit_local: !self.limits.exempt_private,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is not valid.
    pub fn validate(&self) -> Result<()> {
        let durations = [
            ("handshake_timeout", self.handshake_timeout),
            ("dial_timeout", self.dial_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("stall_timeout", self.stall_timeout),
            ("drain_timeout", self.drain_timeout),
        ];
        if let Some((field, _)) = durations.into_iter().find(|(_, duration)| duration.is_zero()) {
            return Err(Error::config(field, "must be longer than zero"));
        }
        let limits = &self.limits;
        let counts = [
            ("limits.message", limits.message),
            ("limits.inbound_streams", limits.inbound_streams as usize),
            ("limits.waiting_streams", limits.waiting_streams),
            ("limits.queue_messages", limits.queue_messages),
            ("limits.queue_bytes", limits.queue_bytes),
            ("limits.handshakes", limits.handshakes),
            ("limits.handshakes_per_prefix", limits.handshakes_per_prefix),
            ("limits.handshake_message", limits.handshake_message),
            ("limits.dials", limits.dials),
            ("limits.event_queue", limits.event_queue),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(Error::config(field, "must be at least 1"));
        }
        if self.dial_peers.len() > limits.kept {
            let (given, most) = (self.dial_peers.len(), limits.kept);
            return Err(Error::config("dial_peers", format!("{given} are more than the {most} of `limits.kept`")));
        }
        if limits.memory < limits.message {
            return Err(Error::config("limits.memory", "must hold at least one message of `limits.message` bytes"));
        }
        let rates = [("limits.upload", limits.upload), ("limits.download", limits.download)];
        if let Some((field, _)) = rates.into_iter().find(|(_, rate)| rate.is_some_and(|rate| rate < MIN_RATE)) {
            return Err(Error::config(field, "must be at least 1500 bytes per second, which is one packet"));
        }
        Ok(())
    }
}
