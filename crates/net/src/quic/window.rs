//! How much a remote may send before it is read.

use p2p_core::{ByteBudget, Reservation};
use quinn::VarInt;

use crate::NetConfig;

/// Streams that may each fill their window unread before the connection's window is full and the others have to wait.
const STALLED_STREAMS: u32 = 8;

/// The guaranteed part of a connection's window, in guaranteed stream windows.
const GUARANTEED_STREAMS: u32 = 16;

/// The largest window of one stream: enough for 160 Mbit/s at a round-trip time of 50 ms.
const MAX_STREAM_WINDOW: u32 = 1 << 20;

/// A new connection gets this part of what is left of QUIC's half of the byte budget.
const SHARE: usize = 16;

/// The credit that one connection gives its remote, in bytes.
///
/// QUIC has two levels of credit, one per stream and one per connection, and a byte counts against both until it is
/// read. What a stalled stream holds is therefore lost to the others, and only the smaller size of the stream
/// window keeps a stalled stream from stopping the connection: the connection's window is [`STALLED_STREAMS`] stream
/// windows or more. quinn fixes the stream window when the connection begins, and promised credit cannot be taken back;
/// so a connection reserves all of it from the budget, and the more is promised already the smaller new windows are.
/// The guaranteed part is not reserved: its sum is bounded by the number of connections.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) stream: VarInt,
    pub(super) connection: VarInt,
    /// Given back when the connection has ended.
    _reserved: Option<Reservation>,
}

impl Windows {
    /// What the next connection can have.
    pub(super) fn take(config: &NetConfig) -> Self {
        let guaranteed = config.stream_window.saturating_mul(GUARANTEED_STREAMS);
        let extra = share(&config.budget).min(config.connection_window);
        let reserved = config.budget.try_reserve(extra as usize);
        let connection = guaranteed.saturating_add(if reserved.is_some() { extra } else { 0 });
        let most = MAX_STREAM_WINDOW.max(config.stream_window);
        let stream = (connection / STALLED_STREAMS).clamp(config.stream_window, most);
        Self { stream: VarInt::from_u32(stream), connection: VarInt::from_u32(connection), _reserved: reserved }
    }
}

fn share(budget: &ByteBudget) -> u32 {
    let left = (budget.limit() / 2).saturating_sub(budget.used());
    u32::try_from(left / SHARE).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_connection_gets_large_windows() {
        let windows = Windows::take(&NetConfig::default());
        assert_eq!(windows.stream.into_inner(), 1 << 20);
        assert_eq!(windows.connection.into_inner(), (1 << 20) + (16 << 20));
    }

    #[test]
    fn the_budget_bounds_the_sum_and_nobody_is_refused() {
        let config = NetConfig::default();
        let all: Vec<_> = (0..5_000).map(|_| Windows::take(&config)).collect();
        assert!(config.budget.used() <= config.budget.limit() / 2);
        for windows in &all {
            assert!(windows.stream.into_inner() >= u64::from(config.stream_window));
            assert!(windows.stream.into_inner() * u64::from(STALLED_STREAMS) <= windows.connection.into_inner());
        }
        drop(all);
        assert_eq!(config.budget.used(), 0);
    }
}
