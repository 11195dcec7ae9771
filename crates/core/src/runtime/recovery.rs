//! What to do about a socket that fails.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Backoff;

/// The first and the longest pause of a socket that stays open.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The first and the longest wait before a socket that failed again, or could not be bound, is bound anew.
const REBIND: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// Failures in a row after which the socket is given up. The first is tried again at once, so this is reached after 0.2
/// to 0.4 s.
const REBIND_AFTER: u32 = 5;

/// Reports in a row that are passed over; further ones count as failures, or a socket that gives nothing else would be
/// asked for ever.
const REPORTS: u32 = 64;

/// A failure that comes later than this after the one before begins a new row.
const CALM: Duration = Duration::from_secs(5);

/// Decides what follows when receiving or accepting fails: passed over, waited out with back-off, or bound anew. Time
/// and entropy are arguments.
#[derive(Debug)]
pub struct Recovery {
    pauses: Backoff,
    rebinds: Backoff,
    reports: u32,
    failures: u32,
    /// When the socket was last tried again.
    resumed: Option<Instant>,
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Try the socket again at once.
    Retry,
    /// Try the socket again after a pause.
    Wait(Duration),
    /// Close the socket; after so long bind another to the same address.
    Rebind(Duration),
}

/// Something happened to a socket that is bound anew when it fails.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SocketEvent {
    /// It has failed for good and was closed; another one follows.
    Failed(Arc<io::Error>),
    /// It is bound again, to the same address.
    Bound,
}

impl Default for Recovery {
    fn default() -> Self {
        Self {
            pauses: Backoff::new(PAUSE.0, PAUSE.1),
            rebinds: Backoff::new(REBIND.0, REBIND.1),
            reports: 0,
            failures: 0,
            resumed: None,
        }
    }
}

impl Recovery {
    /// The socket has given something other than an error.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// Receiving or accepting has failed; `random` is any uniformly drawn number.
    pub fn failed(&mut self, now: Instant, error: &io::Error, random: u64) -> Remedy {
        if self.resumed.is_some_and(|resumed| now.saturating_duration_since(resumed) > CALM) {
            self.worked();
        }
        self.resumed.get_or_insert(now);
        if is_report(error) && self.reports < REPORTS {
            self.reports += 1;
            return Remedy::Retry;
        }
        if is_shortage(error) {
            // To close the socket would help nobody, and lose what waits in it.
            return Remedy::Wait(self.pauses.next_wait(random));
        }
        self.failures += 1;
        match self.failures {
            1 => Remedy::Retry,
            ..REBIND_AFTER => Remedy::Wait(self.pauses.next_wait(random)),
            REBIND_AFTER => Remedy::Rebind(Duration::ZERO),
            _ => Remedy::Rebind(self.rebinds.next_wait(random)),
        }
    }

    /// A pause is over, or the socket is bound anew.
    pub fn resumed(&mut self, now: Instant) {
        self.resumed = Some(now);
    }

    /// The socket could not be bound anew; the wait before the next try.
    pub fn bind_failed(&mut self, random: u64) -> Duration {
        self.rebinds.next_wait(random)
    }
}

/// Whether an error of receiving is about a datagram sent earlier (ICMP), or nothing at all, and not about this socket.
fn is_report(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::NetworkDown
            | K::TimedOut
            | K::Interrupted
    )
}

/// Whether the process or the system is out of file descriptors or memory.
fn is_shortage(error: &io::Error) -> bool {
    /// `ENFILE` and `EMFILE` of every Unix; `WSAEMFILE`.
    const CODES: &[i32] = if cfg!(windows) { &[10024] } else { &[23, 24] };
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error().is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn begin() -> (Recovery, Instant) {
        (Recovery::default(), Instant::now())
    }

    fn broken() -> io::Error {
        io::Error::other("no buffer space")
    }

    /// What follows each failure when a socket gives nothing else, with the longest waits.
    fn remedies(error: &io::Error, count: usize) -> Vec<Remedy> {
        let (mut recovery, mut now) = begin();
        let next = |_| {
            let remedy = recovery.failed(now, error, u64::MAX);
            if let Remedy::Wait(wait) | Remedy::Rebind(wait) = remedy {
                now += wait;
                recovery.resumed(now);
            }
            remedy
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn one_failure_is_passed_over_and_a_row_of_them_ends_the_socket() {
        use Remedy::{Rebind, Retry, Wait};
        let expected = [
            Retry,
            Wait(50 * MS),
            Wait(100 * MS),
            Wait(200 * MS),
            Rebind(Duration::ZERO),
            Rebind(50 * MS),
            Rebind(100 * MS),
        ];
        assert_eq!(remedies(&broken(), 7), expected);
        assert_eq!(remedies(&broken(), 40)[39], Rebind(REBIND.1), "the waits are bounded");
    }

    #[test]
    fn failures_far_apart_or_with_success_between_are_passed_over() {
        let (mut recovery, mut now) = begin();
        for _ in 0..100 {
            assert_eq!(recovery.failed(now, &broken(), 0), Remedy::Retry);
            now += CALM + MS;
        }
        for _ in 0..100 {
            recovery.worked();
            assert_eq!(recovery.failed(now, &broken(), 0), Remedy::Retry);
        }
    }

    #[test]
    fn reports_about_the_network_are_passed_over_but_not_for_ever() {
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::NetworkDown] {
            let remedies = remedies(&kind.into(), REPORTS as usize + 6);
            let (reports, rest) = remedies.split_at(REPORTS as usize + 1);
            assert!(reports.iter().all(|remedy| *remedy == Remedy::Retry), "{reports:?}");
            assert!(matches!(rest, [Remedy::Wait(_), .., Remedy::Rebind(_)]), "{rest:?}");
        }
    }

    #[test]
    fn a_shortage_is_waited_out_with_the_socket_open() {
        let shortages = [io::Error::from_raw_os_error(if cfg!(windows) { 10024 } else { 24 })];
        for error in shortages.into_iter().chain([io::ErrorKind::OutOfMemory.into()]) {
            let remedies = remedies(&error, 100);
            assert!(remedies.iter().all(|remedy| matches!(remedy, Remedy::Wait(wait) if *wait <= PAUSE.1)));
            assert_eq!((remedies[0], remedies[99]), (Remedy::Wait(PAUSE.0), Remedy::Wait(PAUSE.1)));
        }
    }

    #[test]
    fn who_cannot_bind_waits_longer_and_longer() {
        let (mut recovery, _) = begin();
        let waits: Vec<_> = (0..20).map(|_| recovery.bind_failed(u64::MAX)).collect();
        assert_eq!((waits[0], waits[1], waits[19]), (REBIND.0, 2 * REBIND.0, REBIND.1));
    }
}
