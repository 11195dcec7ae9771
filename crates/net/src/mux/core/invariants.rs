//! What holds between any two calls. For tests and fuzzing.

use super::Core;
use crate::receipt::MAX_ORPHANS;

impl Core {
    /// Panics where a bound or a sum of this state does not hold.
    pub(in crate::mux) fn check(&self) {
        let unread: usize = self.streams.values().map(|state| state.recv.inbox.bytes()).sum();
        assert_eq!(self.unread, unread, "bytes that nobody has read");
        let held: usize = self.streams.values().map(|state| state.recv.inbox.held()).sum();
        assert_eq!(self.held, held, "the memory that they take");
        assert!(self.held >= self.unread, "it takes less than there is");
        let borrowed: u64 = self.streams.values().map(|state| u64::from(state.recv.borrowed)).sum();
        let shared = borrowed + u64::from(self.shared_window);
        assert_eq!(shared, u64::from(self.limits.shared_window), "the shared window");
        let inbound = self.streams.keys().filter(|id| !self.side.opened(**id)).count();
        assert_eq!(self.inbound as usize, inbound, "streams that the remote opened");
        assert!(self.inbound <= self.limits.inbound_streams, "more streams than the remote may have");
        assert!(self.unaccepted.iter().all(|id| self.streams.contains_key(id)), "a stream to accept that is over");
        let existed = |id: u64| {
            id < if id % 2 == u64::from(self.side.first_stream() % 2) {
                self.next_local.into()
            } else {
                u64::from(self.last_remote) + 1
            }
        };
        assert!(self.owed.streams().all(existed), "a receipt for a stream that never was");
        assert!(self.end.is_none() || self.owed.streams().next().is_none(), "a receipt that cannot come");
        assert!(self.owed.orphans().count() <= MAX_ORPHANS + 1, "receipts that nobody waits for");
        self.streams.values().for_each(|state| state.recv.check(self.limits.stream_window));
    }

    /// Streams that are not over on this side.
    pub(in crate::mux) fn open_streams(&self) -> usize {
        self.streams.len()
    }
}
