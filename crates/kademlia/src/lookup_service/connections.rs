//! Connections that others opened. Decides only; the caller closes what it is told to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::PrefixCounter;

/// Bounds them in all and by prefix. When all places are taken, whoever this side waits for makes room: the one longest without
/// a whole request.
#[derive(Debug)]
pub(super) struct Connections<T> {
    max: usize,
    /// How long whoever has begun to ask may take to go on before it can be evicted.
    patience: Duration,
    prefixes: PrefixCounter,
    live: BTreeMap<u64, Live<T>>,
    next: u64,
}

#[derive(Debug)]
struct Live<T> {
    connection: T,
    ip: IpAddr,
    /// Streams on which a request comes or an answer goes, which is up to the remote.
    moving: usize,
    /// Requests that are here as a whole and not answered yet, which is up to this side.
    answering: usize,
    /// Since when there was no whole request.
    since: Instant,
}

impl<T> Live<T> {
    fn makes_room(&self, now: Instant, patience: Duration) -> bool {
        self.answering == 0 && (self.moving == 0 || now.saturating_duration_since(self.since) >= patience)
    }
}

impl<T> Connections<T> {
    pub(super) fn new(max: usize, patience: Duration, prefixes: PrefixCounter) -> Self {
        Self { max, patience, prefixes, live: BTreeMap::new(), next: 0 }
    }

    /// Takes one in. When all places are taken one makes room, and is given to be closed.
    ///
    /// # Errors
    /// Gives it back when its prefix has no room, or when nobody makes room.
    pub(super) fn admit(&mut self, now: Instant, ip: IpAddr, connection: T) -> Result<(u64, Option<T>), T> {
        let mut evicted = None;
        if self.live.len() >= self.max {
            let waited_for = self.live.iter().filter(|(_, live)| live.makes_room(now, self.patience));
            let Some((_, id)) = waited_for.map(|(id, live)| (live.since, *id)).min() else { return Err(connection) };
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
        self.live.insert(id, Live { connection, ip, moving: 0, answering: 0, since: now });
        Ok((id, evicted))
    }

    /// A stream was opened to ask on.
    pub(super) fn begins(&mut self, id: u64) {
        self.change(id, |live| live.moving += 1);
    }

    /// What was asked is here as a whole.
    pub(super) fn asked(&mut self, id: u64, now: Instant) {
        self.change(id, |live| {
            live.since = now;
            live.answering += 1;
        });
    }

    /// There is an answer, which is to go to the remote.
    pub(super) fn answered(&mut self, id: u64) {
        self.change(id, |live| live.answering = live.answering.saturating_sub(1));
    }

    /// The stream is over.
    pub(super) fn ends(&mut self, id: u64) {
        self.change(id, |live| live.moving = live.moving.saturating_sub(1));
    }

    /// Ignored for one that is gone.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Live<T>)) {
        self.live.get_mut(&id).map(change);
    }

    /// When its place ends if no whole request comes before; `None` while one is answered, or when it is gone.
    pub(super) fn ends_at(&self, id: u64, idle: Duration) -> Option<Instant> {
        self.live.get(&id).filter(|live| live.answering == 0).map(|live| live.since + idle)
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
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(600);

    fn ip(prefix: u8, host: u8) -> IpAddr {
        IpAddr::from([8, 8, prefix, host])
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_idle_make_room_and_a_full_prefix_is_its_own_problem() {
        let now = start();
        let mut connections = Connections::new(4, PATIENCE, PrefixCounter::new(2));
        let (a, _) = connections.admit(now, ip(1, 1), 'a').unwrap();
        let (b, _) = connections.admit(now, ip(1, 2), 'b').unwrap();
        assert_eq!(connections.admit(now, ip(1, 3), 'x'), Err('x'));
        let (c, _) = connections.admit(now, ip(2, 1), 'c').unwrap();
        let (d, _) = connections.admit(now, ip(2, 2), 'd').unwrap();
        for (n, id) in [b, a, c, d].into_iter().enumerate() {
            connections.begins(id);
            connections.asked(id, now + Duration::from_millis(n as u64));
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(connections.admit(later, ip(3, 1), 'x'), Err('x'), "all are answered");
        for id in [a, b] {
            connections.answered(id);
            connections.ends(id);
        }
        assert_eq!(connections.admit(later, ip(2, 3), 'x'), Err('x'));
        assert_eq!(connections.admit(later, ip(3, 1), 'e').unwrap().1, Some('b'));
        connections.asked(a, later);
        assert_eq!(connections.admit(later, ip(3, 2), 'f').unwrap().1, Some('e'));
        assert_eq!((connections.remove(a), connections.remove(a), connections.len()), (Some('a'), None, 3));
    }

    #[test]
    fn whoever_asks_by_halves_makes_room_and_whoever_has_just_begun_does_not() {
        let now = start();
        let mut connections = Connections::new(2, PATIENCE, PrefixCounter::new(9));
        let ids = [1, 2].map(|n| connections.admit(now, ip(n, 1), n).unwrap().0);
        ids.into_iter().for_each(|id| connections.begins(id));
        let soon = now + PATIENCE / 2;
        assert_eq!(connections.admit(soon, ip(3, 1), 3), Err(3));
        connections.asked(ids[0], soon);
        connections.answered(ids[0]);
        let late = now + PATIENCE;
        // The one has been answered and does not read; the other has not asked as a whole.
        let (third, evicted) = connections.admit(late, ip(3, 1), 3).unwrap();
        assert_eq!(evicted, Some(2));
        connections.begins(third);
        assert_eq!(connections.admit(late, ip(4, 1), 4), Err(4));
        assert_eq!(connections.admit(soon + PATIENCE, ip(4, 1), 4).unwrap().1, Some(1));
    }

    #[test]
    fn what_is_opened_again_and_again_keeps_no_place() {
        let (now, idle) = (start(), Duration::from_secs(60));
        let mut connections = Connections::new(2, PATIENCE, PrefixCounter::new(9));
        let (id, _) = connections.admit(now, ip(1, 1), ()).unwrap();
        for _ in 0..100 {
            connections.begins(id);
            connections.ends(id);
            connections.begins(id);
        }
        assert_eq!(connections.ends_at(id, idle), Some(now + idle));
        connections.asked(id, now + idle / 2);
        assert_eq!(connections.ends_at(id, idle), None, "it is answered");
        connections.answered(id);
        assert_eq!(connections.ends_at(id, idle), Some(now + idle / 2 + idle));
    }
}
