//! Where this node has met itself.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use p2p_net::Endpoint;

/// Addresses that are remembered. A machine has few; further ones are dialed again.
const MAX: usize = 64;

/// Addresses at which this node was dialed by itself: once is enough, until the network changes.
#[derive(Debug, Default)]
pub struct OwnAddresses(Mutex<BTreeSet<Endpoint>>);

impl OwnAddresses {
    /// None so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this node has met itself there.
    pub fn contains(&self, endpoint: &Endpoint) -> bool {
        let own = self.lock();
        !own.is_empty() && own.contains(&endpoint.clone().with_peer_id(None))
    }

    /// This node has met itself there. Whether that is news.
    pub fn insert(&self, endpoint: &Endpoint) -> bool {
        let mut own = self.lock();
        own.len() < MAX && own.insert(endpoint.clone().with_peer_id(None))
    }

    /// The network has changed: the addresses may be somebody else's.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Endpoint>> {
        // A set is valid whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_address_is_news_once_until_the_network_changes_and_there_are_not_many() {
        let at = |port: u16| format!("tcp://192.0.2.1:{port}").parse::<Endpoint>().unwrap();
        let own = OwnAddresses::new();
        assert!(!own.contains(&at(1)) && own.insert(&at(1)));
        assert!(own.contains(&at(1)) && !own.insert(&at(1)));
        assert_eq!((1..200).filter(|port| own.insert(&at(*port))).count(), MAX - 1);
        own.clear();
        assert!(!own.contains(&at(1)) && own.insert(&at(1)));
    }
}
