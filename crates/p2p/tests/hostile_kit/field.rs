//! What an attack is given, and what it gives back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p::endpoint::Transport;

use crate::cases::Case;
use crate::process::NodeProcess;

/// Whom an attack is aimed at, over what, and for how long.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) case: &'static Case,
    pub(crate) node: Arc<NodeProcess>,
    pub(crate) transport: Transport,
    /// As little as shows what must hold.
    pub(crate) short: bool,
    until: Instant,
}

impl Field {
    /// What lasts for `time`, or in the short form as little as shows what must hold.
    pub(crate) fn new(
        case: &'static Case,
        node: Arc<NodeProcess>,
        transport: Transport,
        time: Option<Duration>,
    ) -> Self {
        let until = Instant::now() + time.unwrap_or_default();
        Self { case, node, transport, short: time.is_none(), until }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.node.addr(self.transport)
    }

    /// Whether a further round is to be made: until there were `least`, and until the time is over.
    pub(crate) fn goes_on(&self, rounds: u32, least: u32) -> bool {
        rounds < least || Instant::now() < self.until
    }

    /// A number for the short form, or for the long one.
    pub(crate) fn many<T>(&self, short: T, long: T) -> T {
        if self.short { short } else { long }
    }
}

/// Something that was counted, and what must hold for it on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) count: u64,
    pub(crate) must: Must,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    Be(u64),
    BeAtMost(u64),
    BeAtLeast(u64),
    /// Only shown.
    Show,
}

impl Figure {
    pub(crate) fn new(what: &'static str, count: impl TryInto<u64>, must: Must) -> Self {
        Self { what, count: count.try_into().unwrap_or(u64::MAX), must }
    }

    pub(crate) fn holds(&self) -> bool {
        match self.must {
            Must::Be(count) => self.count == count,
            Must::BeAtMost(most) => self.count <= most,
            Must::BeAtLeast(least) => self.count >= least,
            Must::Show => true,
        }
    }
}

pub(crate) type Figures = Vec<Figure>;
