//! Lists of who is allowed, or is not.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use p2p_core::PeerId;

use super::{AccessControl, Action, ChangeNotifier, Changes, Subject};

/// A peer or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerOrIp {
    /// A peer, wherever it is.
    Peer(PeerId),
    /// An address, whoever is there. An IPv4 address in IPv6 form is the IPv4 address.
    Ip(IpAddr),
}

impl From<PeerId> for PeerOrIp {
    fn from(peer_id: PeerId) -> Self {
        Self::Peer(peer_id)
    }
}

impl From<IpAddr> for PeerOrIp {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

/// What both lists are: a set that many hold.
#[derive(Debug, Clone, Default)]
struct Shared(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<BTreeSet<PeerOrIp>>,
    changed: ChangeNotifier,
}

impl Shared {
    fn with<T>(&self, look: impl FnOnce(&mut BTreeSet<PeerOrIp>) -> T) -> T {
        // A set is valid after each of its operations, whoever panicked.
        look(&mut self.0.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<PeerOrIp>) -> bool) -> bool {
        let changed = self.with(change);
        if changed {
            self.0.changed.notify();
        }
        changed
    }

    fn names(&self, subject: &Subject<'_>) -> bool {
        self.with(|entries| {
            subject.ip().is_some_and(|ip| entries.contains(&ip.into()))
                || subject.peer_id().is_some_and(|peer_id| entries.contains(&peer_id.into()))
        })
    }
}

macro_rules! list {
    ($list:ident) => {
        impl $list {
            /// An empty list.
            pub fn new() -> Self {
                Self::default()
            }

            /// Adds a peer or an address; whether it was not there before. Takes effect at once, also for peers that are
            /// connected.
            pub fn insert(&self, who: impl Into<PeerOrIp>) -> bool {
                let who = canonical(who.into());
                self.0.change(|entries| entries.insert(who))
            }

            /// Takes a peer or an address out; whether it was there. Takes effect at once, also for peers that are
            /// connected.
            pub fn remove(&self, who: impl Into<PeerOrIp>) -> bool {
                let who = canonical(who.into());
                self.0.change(|entries| entries.remove(&who))
            }

            /// Whether it is there.
            pub fn contains(&self, who: impl Into<PeerOrIp>) -> bool {
                let who = canonical(who.into());
                self.0.with(|entries| entries.contains(&who))
            }

            /// Everybody on the list now.
            pub fn entries(&self) -> BTreeSet<PeerOrIp> {
                self.0.with(|entries| entries.clone())
            }
        }

        impl<T: Into<PeerOrIp>> FromIterator<T> for $list {
            fn from_iter<I: IntoIterator<Item = T>>(who: I) -> Self {
                let list = Self::new();
                who.into_iter().for_each(|who| {
                    list.insert(who);
                });
                list
            }
        }
    };
}

fn canonical(who: PeerOrIp) -> PeerOrIp {
    match who {
        PeerOrIp::Ip(ip) => ip.into(),
        peer => peer,
    }
}

/// Allows those on it and nobody else: a peer is allowed when it or its address is there. Clones are handles to the
/// same list. An endpoint that does not say who is there is let through as far as the handshake if the list has
/// peers, and a host name as far as its address is known.
///
/// ```
/// use p2p_identity::{AllowList, PeerId};
///
/// let friend = PeerId::from_bytes([9; 32])?;
/// let list = AllowList::new();
/// list.insert(friend);
/// assert!(list.clone().contains(friend));
/// # Ok::<(), p2p_identity::InvalidPeerId>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct AllowList(Shared);

list!(AllowList);

impl AccessControl for AllowList {
    fn allow(&self, subject: &Subject<'_>, _: Action) -> bool {
        if self.0.names(subject) {
            return true;
        }
        // What is not known yet is asked about again once it is.
        let (peer_open, ip_open) = match subject {
            Subject::Endpoint(endpoint) => (endpoint.peer_id().is_none(), endpoint.addr().ip().is_none()),
            Subject::Peer(_) => (false, false),
        };
        self.0.with(|entries| {
            entries.iter().any(|entry| match entry {
                PeerOrIp::Peer(_) => peer_open,
                PeerOrIp::Ip(_) => ip_open,
            })
        })
    }

    /// Whoever is on the list.
    fn vouches(&self, subject: &Subject<'_>) -> bool {
        self.0.names(subject)
    }

    fn changes(&self) -> Option<Changes> {
        Some(self.0.0.changed.subscribe())
    }
}

/// Allows everybody but those on it: a peer is refused when it or its address is there. Clones are handles to the same
/// list.
#[derive(Debug, Clone, Default)]
pub struct DenyList(Shared);

list!(DenyList);

impl AccessControl for DenyList {
    fn allow(&self, subject: &Subject<'_>, _: Action) -> bool {
        !self.0.names(subject)
    }

    fn changes(&self) -> Option<Changes> {
        Some(self.0.0.changed.subscribe())
    }
}
