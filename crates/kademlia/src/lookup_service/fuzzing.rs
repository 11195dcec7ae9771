//! What bounds the askers, without a connection, for fuzzing.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::PrefixCounter;

use super::{connections, rate};

/// How many requests are answered.
#[derive(Debug)]
pub struct RequestLimiter(rate::RequestLimiter);

impl RequestLimiter {
    /// So many a second of each peer, and of each prefix.
    pub fn new(per_peer: u32, per_prefix: u32, limit_local: bool) -> Self {
        Self(rate::RequestLimiter::new(per_peer, per_prefix, limit_local))
    }

    /// Whether to answer one more request.
    pub fn admit(&mut self, now: Instant, peer_id: PeerId, ip: IpAddr) -> bool {
        self.0.admit(now, peer_id, ip)
    }
}

/// Connections that others opened, each a number.
#[derive(Debug)]
pub struct Connections(connections::Connections<u64>);

impl Connections {
    /// At most `max` of them, and as many of a prefix as are counted. Whoever has begun to ask makes no room for so long.
    pub fn new(max: usize, patience: Duration, prefixes: PrefixCounter) -> Self {
        Self(connections::Connections::new(max, patience, prefixes))
    }

    /// Its id, and which one is to be closed; `None` when it is refused.
    pub fn admit(&mut self, now: Instant, ip: IpAddr, connection: u64) -> Option<(u64, Option<u64>)> {
        self.0.admit(now, ip, connection).ok()
    }

    /// A stream was opened to ask on.
    pub fn begins(&mut self, id: u64) {
        self.0.begins(id);
    }

    /// What was asked is here as a whole.
    pub fn asked(&mut self, id: u64, now: Instant) {
        self.0.asked(id, now);
    }

    /// There is an answer.
    pub fn answered(&mut self, id: u64) {
        self.0.answered(id);
    }

    /// A stream is over.
    pub fn ends(&mut self, id: u64) {
        self.0.ends(id);
    }

    /// It is gone.
    pub fn remove(&mut self, id: u64) -> Option<u64> {
        self.0.remove(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }
}
