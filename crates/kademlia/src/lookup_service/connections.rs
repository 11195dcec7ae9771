//! Connections that others opened. Decides only; the caller closes what it is told to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use p2p_identity::PrefixCounter;

/// Bounds them in all and by prefix.
#[derive(Debug)]
pub(super) struct Connections<T> {
    max: usize,
    prefixes: PrefixCounter,
    live: BTreeMap<u64, Live<T>>,
    next: u64,
}

#[derive(Debug)]
struct Live<T> {
    connection: T,
    ip: IpAddr,
    /// Since when nothing of it is being answered; `None` while something is.
    idle: Option<Instant>,
}

impl<T> Connections<T> {
    pub(super) fn new(max: usize, prefixes: PrefixCounter) -> Self {
        Self { max, prefixes, live: BTreeMap::new(), next: 0 }
    }

    /// Takes one in, which counts as busy. When all places are taken the longest idle makes room, and is given to be
    /// closed.
    ///
    /// # Errors
    /// Gives it back when its prefix has no room, or when nobody is idle.
    pub(super) fn admit(&mut self, ip: IpAddr, connection: T) -> Result<(u64, Option<T>), T> {
        let mut evicted = None;
        if self.live.len() >= self.max {
            let idle = self.live.iter().filter_map(|(id, live)| Some((live.idle?, *id)));
            let Some((_, id)) = idle.min() else { return Err(connection) };
            if !self.prefixes.has_room(ip) {
                return Err(connection);
            }
            evicted = self.remove(id);
        }
        if !self.prefixes.try_add(ip) {
            return Err(connection);
        }
        let id = self.next;
        self.next += 1;
        self.live.insert(id, Live { connection, ip, idle: None });
        Ok((id, evicted))
    }

    pub(super) fn set_busy(&mut self, id: u64) {
        if let Some(live) = self.live.get_mut(&id) {
            live.idle = None;
        }
    }

    pub(super) fn set_idle(&mut self, id: u64, now: Instant) {
        if let Some(live) = self.live.get_mut(&id) {
            live.idle = Some(now);
        }
    }

    /// Ignored for one that is gone.
    pub(super) fn remove(&mut self, id: u64) -> Option<T> {
        let live = self.live.remove(&id)?;
        self.prefixes.remove(live.ip);
        Some(live.connection)
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn the_idle_make_room_and_a_full_prefix_is_its_own_problem() {
        let now = Instant::now();
        let ip = |prefix, host| IpAddr::from([8, 8, prefix, host]);
        let mut connections = Connections::new(4, PrefixCounter::new(2));
        let (a, _) = connections.admit(ip(1, 1), 'a').unwrap();
        let (b, _) = connections.admit(ip(1, 2), 'b').unwrap();
        assert_eq!(connections.admit(ip(1, 3), 'x'), Err('x'));
        connections.admit(ip(2, 1), 'c').unwrap();
        connections.admit(ip(2, 2), 'd').unwrap();
        assert_eq!(connections.admit(ip(3, 1), 'x'), Err('x'), "all are busy");
        connections.set_idle(b, now);
        connections.set_idle(a, now + Duration::from_secs(1));
        assert_eq!(connections.admit(ip(2, 3), 'x'), Err('x'));
        assert_eq!(connections.admit(ip(3, 1), 'e').unwrap().1, Some('b'));
        connections.set_busy(a);
        assert_eq!(connections.admit(ip(3, 2), 'x'), Err('x'));
        assert_eq!((connections.remove(a), connections.remove(a), connections.len()), (Some('a'), None, 3));
    }
}
