//! How many streams a remote may have open.
//!
//! quinn makes room for each stream that a remote may open when that is allowed, whether it ever does or not. So a remote may
//! have few at first, and all that it is granted once it has used some.

use std::sync::atomic::{AtomicU32, Ordering};

use quinn::VarInt;

use crate::NetConfig;

/// The most streams that a remote may have open before this side has accepted [`ENOUGH`] of them.
const FIRST: u32 = 64;
const ENOUGH: u32 = 32;

/// The allowance of one connection.
#[derive(Debug)]
pub(super) struct Allowance {
    accepted: AtomicU32,
    most: u32,
}

/// What a connection begins with.
pub(super) fn first_streams(config: &NetConfig) -> VarInt {
    let early = config.early_streams.as_ref().map_or(u32::MAX, |early| early.get());
    VarInt::from_u32(early.min(FIRST).min(config.max_inbound_streams))
}

impl Allowance {
    pub(super) fn new(config: &NetConfig) -> Self {
        Self { accepted: AtomicU32::new(0), most: config.max_inbound_streams }
    }

    /// What a remote may have that is accepted as a peer.
    pub(super) fn of_peer(&self) -> VarInt {
        let first = if self.accepted.load(Ordering::Relaxed) < ENOUGH { FIRST } else { u32::MAX };
        VarInt::from_u32(first.min(self.most))
    }

    /// A stream was accepted: whether the remote may have more from now on.
    pub(super) fn on_accept(&self) -> bool {
        self.accepted.fetch_add(1, Ordering::Relaxed) + 1 == ENOUGH && self.most > FIRST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_used_some_streams_may_have_all() {
        let allowance = Allowance::new(&NetConfig { max_inbound_streams: 200, ..NetConfig::default() });
        assert_eq!(allowance.of_peer(), VarInt::from_u32(FIRST));
        assert!((1..ENOUGH).all(|_| !allowance.on_accept()));
        assert!(allowance.on_accept());
        assert_eq!(allowance.of_peer(), VarInt::from_u32(200));
        assert!(!allowance.on_accept(), "it is told once");
    }

    #[test]
    fn a_limit_below_the_first_streams_is_kept() {
        let allowance = Allowance::new(&NetConfig { max_inbound_streams: 4, ..NetConfig::default() });
        assert_eq!(allowance.of_peer(), VarInt::from_u32(4));
        assert!((0..2 * ENOUGH).all(|_| !allowance.on_accept()));
        assert_eq!(allowance.of_peer(), VarInt::from_u32(4));
    }
}
