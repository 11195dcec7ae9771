//! How many streams a remote may have open.
//!
//! quinn makes room for each stream that a remote may open when that is allowed, whether it ever does or not. So a remote may
//! have few at first, and twice as many whenever half of them have been accepted, until it may have all that it is granted.

use std::sync::atomic::{AtomicU32, Ordering};

use quinn::VarInt;

use crate::NetConfig;

/// The most streams that a remote may have open before this side has accepted half of them.
const FIRST: u32 = 64;

/// The allowance of one connection.
#[derive(Debug)]
pub(super) struct Allowance {
    now: AtomicU32,
    most: u32,
}

/// What a connection begins with.
pub(super) fn first_streams(config: &NetConfig) -> VarInt {
    let early = config.early_streams.as_ref().map_or(u32::MAX, |early| early.get());
    VarInt::from_u32(early.min(FIRST).min(config.max_inbound_streams))
}

impl Allowance {
    pub(super) fn new(config: &NetConfig) -> Self {
        let most = config.max_inbound_streams;
        Self { now: AtomicU32::new(FIRST.min(most)), most }
    }

    /// What a remote has that is accepted as a peer.
    pub(super) fn accepted(&self) -> VarInt {
        VarInt::from_u32(self.now.load(Ordering::Relaxed))
    }

    /// A stream was accepted, with which so many of the connection are `open`: what the remote may have from now on, if that
    /// is more.
    pub(super) fn on_accept(&self, open: impl FnOnce() -> usize) -> Option<VarInt> {
        let now = self.now.load(Ordering::Relaxed);
        if now == self.most || open() < now as usize / 2 {
            return None;
        }
        let next = now.saturating_mul(2).min(self.most);
        // Whoever was first has said so.
        let raised = self.now.compare_exchange(now, next, Ordering::Relaxed, Ordering::Relaxed);
        raised.is_ok().then(|| VarInt::from_u32(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_uses_half_of_its_streams_gets_twice_as_many_until_it_has_all() {
        let allowance = Allowance::new(&NetConfig { max_inbound_streams: 200, ..NetConfig::default() });
        assert_eq!(allowance.accepted(), VarInt::from_u32(FIRST));
        assert_eq!(allowance.on_accept(|| 31), None);
        assert_eq!(allowance.on_accept(|| 32), Some(VarInt::from_u32(128)));
        assert_eq!(allowance.on_accept(|| 63), None);
        assert_eq!(allowance.on_accept(|| 64), Some(VarInt::from_u32(200)));
        assert_eq!(allowance.on_accept(|| 200), None);
    }

    #[test]
    fn a_limit_below_the_first_streams_is_kept() {
        let allowance = Allowance::new(&NetConfig { max_inbound_streams: 4, ..NetConfig::default() });
        assert_eq!(allowance.accepted(), VarInt::from_u32(4));
        assert_eq!(allowance.on_accept(|| 4), None);
    }
}
