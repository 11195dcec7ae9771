//! What bounds the askers, without a connection, for fuzzing.

use std::net::IpAddr;
use std::time::Instant;

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
    /// At most `max` of them, and as many of a prefix as are counted.
    pub fn new(max: usize, prefixes: PrefixCounter) -> Self {
        Self(connections::Connections::new(max, prefixes))
    }

    /// Its id, and which one is to be closed; `None` when it is refused.
    pub fn admit(&mut self, ip: IpAddr, connection: u64) -> Option<(u64, Option<u64>)> {
        self.0.admit(ip, connection).ok()
    }

    /// Something of it is being answered.
    pub fn set_busy(&mut self, id: u64) {
        self.0.set_busy(id);
    }

    /// Nothing is any more.
    pub fn set_idle(&mut self, id: u64, now: Instant) {
        self.0.set_idle(id, now);
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
