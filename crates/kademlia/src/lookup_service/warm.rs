//! Connections that are kept for the next question. Decides only; the caller closes what it is given.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_net::Endpoint;

/// Connections by peer, at most one each.
#[derive(Debug)]
pub(super) struct WarmPool<T> {
    max: usize,
    idle_timeout: Duration,
    entries: BTreeMap<PeerId, Entry<T>>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    /// Tells this entry from earlier and later ones of the same peer.
    number: u64,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// One of these.
    Dialing(Vec<Endpoint>),
    Ready {
        connection: T,
        users: usize,
        used: Instant,
    },
}

/// One use of an entry, to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    peer_id: PeerId,
    number: u64,
}

/// What there is for a peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Take<T> {
    /// A connection. Give the lease back with [`WarmPool::release`] or [`WarmPool::discard`].
    Ready(T, Lease),
    /// Somebody dials one of these.
    Dialing(Vec<Endpoint>),
    /// Nothing: the caller dials, and says how that went with [`WarmPool::ready`] or [`WarmPool::discard`].
    Dial(Lease),
}

impl<T: Clone> WarmPool<T> {
    pub(super) fn new(max: usize, idle_timeout: Duration) -> Self {
        Self { max, idle_timeout, entries: BTreeMap::new(), next: 0 }
    }

    /// What there is for a peer, which the caller would dial at `endpoints`.
    pub(super) fn take(&mut self, now: Instant, peer_id: PeerId, endpoints: &[Endpoint]) -> Take<T> {
        if let Some(entry) = self.entries.get_mut(&peer_id) {
            return match &mut entry.state {
                State::Dialing(at) => Take::Dialing(at.clone()),
                State::Ready { connection, users, used } => {
                    (*users, *used) = (*users + 1, now);
                    Take::Ready(connection.clone(), Lease { peer_id, number: entry.number })
                }
            };
        }
        let number = self.number();
        self.entries.insert(peer_id, Entry { number, state: State::Dialing(endpoints.to_vec()) });
        Take::Dial(Lease { peer_id, number })
    }

    /// Whether somebody dials the peer, or there is a connection.
    pub(super) fn contains(&self, peer_id: &PeerId) -> bool {
        self.entries.contains_key(peer_id)
    }

    /// A dialed connection is there and in use by the dialer. Gives the connections to close to make room.
    pub(super) fn ready(&mut self, now: Instant, lease: Lease, connection: T) -> Vec<T> {
        if let Some(entry) = self.entries.get_mut(&lease.peer_id).filter(|entry| entry.number == lease.number) {
            entry.state = State::Ready { connection, users: 1, used: now };
        }
        self.make_room()
    }

    /// As [`ready`](Self::ready), for one whose peer was not known before. `None` when there is one of that peer, which
    /// stays.
    pub(super) fn insert(&mut self, now: Instant, peer_id: PeerId, connection: T) -> Option<(Lease, Vec<T>)> {
        if self.contains(&peer_id) {
            return None;
        }
        let number = self.number();
        self.entries.insert(peer_id, Entry { number, state: State::Ready { connection, users: 1, used: now } });
        Some((Lease { peer_id, number }, self.make_room()))
    }

    /// A use is over.
    pub(super) fn release(&mut self, now: Instant, lease: Lease) {
        if let Some(Entry { number, state: State::Ready { users, used, .. } }) = self.entries.get_mut(&lease.peer_id)
            && *number == lease.number
        {
            *users = users.saturating_sub(1);
            *used = now;
        }
    }

    /// The connection is of no use, or could not be opened.
    pub(super) fn discard(&mut self, lease: Lease) -> Option<T> {
        if self.entries.get(&lease.peer_id)?.number != lease.number {
            return None;
        }
        match self.entries.remove(&lease.peer_id)?.state {
            State::Dialing(_) => None,
            State::Ready { connection, .. } => Some(connection),
        }
    }

    /// Takes out what has been idle for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<T> {
        let idle_timeout = self.idle_timeout;
        self.take_idle(|used| now.saturating_duration_since(used) >= idle_timeout)
    }

    /// Takes out everything that is idle.
    pub(super) fn clear_idle(&mut self) -> Vec<T> {
        self.take_idle(|_| true)
    }

    fn take_idle(&mut self, over: impl Fn(Instant) -> bool) -> Vec<T> {
        let is_over = |entry: &Entry<T>| matches!(entry.state, State::Ready { users: 0, used, .. } if over(used));
        let idle: Vec<PeerId> = self.entries.iter().filter(|(_, entry)| is_over(entry)).map(|(id, _)| *id).collect();
        idle.into_iter().filter_map(|peer_id| self.remove(&peer_id)).collect()
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) -> Vec<T> {
        let all: Vec<PeerId> = self.entries.keys().copied().collect();
        all.into_iter().filter_map(|peer_id| self.remove(&peer_id)).collect()
    }

    /// Connections, those being dialed included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn make_room(&mut self) -> Vec<T> {
        let mut closed = Vec::new();
        while self.entries.len() > self.max {
            let idle = self.entries.iter().filter_map(|(peer_id, entry)| match &entry.state {
                State::Ready { users: 0, used, .. } => Some((*used, *peer_id)),
                _ => None,
            });
            // All are in use: the number of questions in flight bounds them.
            let Some((_, peer_id)) = idle.min() else { break };
            closed.extend(self.remove(&peer_id));
        }
        closed
    }

    fn remove(&mut self, peer_id: &PeerId) -> Option<T> {
        match self.entries.remove(peer_id)?.state {
            State::Dialing(_) => None,
            State::Ready { connection, .. } => Some(connection),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use p2p_identity::KeyPair;
    use p2p_net::Transport;

    use super::*;

    fn peer(n: u8) -> PeerId {
        KeyPair::from_seed([n; 32]).peer_id()
    }

    fn dial(pool: &mut WarmPool<u8>, now: Instant, n: u8) -> (Lease, Vec<u8>) {
        let at = [Endpoint::new(Transport::Tcp, IpAddr::from([9, 9, 9, n]), 1)];
        let Take::Dial(lease) = pool.take(now, peer(n), &at) else { panic!("{n} is there") };
        assert_eq!(pool.take(now, peer(n), &[]), Take::Dialing(at.to_vec()));
        (lease, pool.ready(now, lease, n))
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn the_longest_idle_makes_room_and_what_is_in_use_stays() {
        let now = Instant::now();
        let second = |n| now + Duration::from_secs(n);
        let mut pool = WarmPool::new(2, Duration::from_secs(30));
        let (first, _) = dial(&mut pool, second(0), 1);
        let (other, _) = dial(&mut pool, second(1), 2);
        pool.release(second(5), first);
        pool.release(second(4), other);
        let (third, closed) = dial(&mut pool, second(6), 3);
        assert_eq!(closed, [2], "idle since 4 s");
        let Take::Ready(1, again) = pool.take(second(7), peer(1), &[]) else { panic!() };
        let (_, closed) = dial(&mut pool, second(8), 4);
        assert!(closed.is_empty() && pool.len() == 3, "all are in use");

        pool.release(second(9), again);
        assert!(pool.expire(second(38)).is_empty());
        assert_eq!(pool.expire(second(39)), [1]);
        assert_eq!(pool.discard(third), Some(3));
        assert_eq!(pool.discard(third), None);
        let (newer, _) = dial(&mut pool, second(40), 3);
        assert_eq!(pool.discard(third), None, "an old lease has no say about a new connection");
        pool.release(second(40), newer);
        assert_eq!(pool.insert(second(41), peer(3), 33), None);
        assert!(pool.insert(second(41), peer(5), 5).is_some_and(|(_, closed)| closed == [3]));
        let mut all = pool.clear();
        all.sort_unstable();
        assert_eq!((all, pool.len()), (vec![4, 5], 0));
    }
}
