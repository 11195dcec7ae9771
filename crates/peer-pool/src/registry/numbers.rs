//! Numbers of connections, and those that were dialed and have not said who is there.

use std::collections::BTreeMap;

use p2p_core::PeerId;

use crate::ConnectionId;

/// Counts connections, so that a peer can be told which of them have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    last: u64,
    /// Connections that were dialed, to whom if that is known, whose number the other side may have heard already.
    dialing: BTreeMap<ConnectionId, (u64, Option<PeerId>)>,
}

impl Numbers {
    /// The number of a connection that was dialed; it is under way until it is identified or forgotten.
    pub(super) fn dialing(&mut self, id: ConnectionId, peer: Option<PeerId>) -> u64 {
        let number = self.next();
        self.dialing.insert(id, (number, peer));
        number
    }

    /// The number of a connection whose peer is known from now on.
    pub(super) fn identified(&mut self, id: ConnectionId) -> u64 {
        match self.dialing.remove(&id) {
            Some((number, _)) => number,
            None => self.next(),
        }
    }

    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.dialing.remove(&id);
    }

    /// The numbers of the dialed connections that may turn out to be with `peer`.
    pub(super) fn under_way(&self, peer: PeerId) -> impl Iterator<Item = u64> {
        let may_be = move |whom: &Option<PeerId>| whom.is_none_or(|whom| whom == peer);
        self.dialing.values().filter(move |(_, whom)| may_be(whom)).map(|(number, _)| *number)
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
