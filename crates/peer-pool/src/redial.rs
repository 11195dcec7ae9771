//! When to dial a peer that is to be kept connected again. No I/O.

use std::time::Duration;

use p2p_core::Backoff;
use p2p_identity::{DisconnectReason, Origin};

/// The waits after dials that failed. The longest bounds how late a peer comes back after a network that was away for long.
const FAILED_BASE: Duration = Duration::from_millis(500);
const FAILED_MAX: Duration = Duration::from_secs(25);

/// A connection that lasted so long was a good one: what went wrong before it is forgotten.
const LASTED: Duration = Duration::from_secs(120);

/// One that was lost sooner than this was not lost to the network: the remote has dropped it.
const DROPPED: Duration = Duration::from_secs(5);

/// The waits after connections that the network took before they had [`LASTED`].
const LOST: [Duration; 4] = [ms(500), secs(2), secs(8), FAILED_MAX];

/// The waits after connections that a peer took and left at once: five in the first minute, then one in ten minutes.
const LEFT: [Duration; 5] = [ms(500), secs(5), secs(15), secs(30), secs(600)];

/// The waits after connections that another node with our key replaced. Both nodes wait like this: together they replace each
/// other four times in the first minute, then once in ten minutes.
const REPLACED: [Duration; 3] = [secs(10), secs(30), secs(600)];

/// A connection that lasted so long was fit to carry what was sent over it.
const SILENT: Duration = secs(600);

/// So many connections that fall silent, with handshakes in between that go well at once, are no coincidence.
const SUSPICIOUS: usize = 2;

/// Longer than two nodes with one key leave each other alone.
const UNDISPUTED: Duration = secs(1800);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The network took it, or this side ended it.
    Lost,
    /// The peer did not want it any longer.
    Left,
    /// Another node with our key took its place.
    Replaced,
}

impl End {
    /// What the end of a connection says that lived so long.
    pub(crate) fn of(reason: &DisconnectReason, lived: Duration) -> Self {
        match (reason, reason.origin()) {
            // This side replaces with the peer's new connection, which is there then.
            (DisconnectReason::Replaced, _) => Self::Replaced,
            (_, Origin::Remote) => Self::Left,
            (_, Origin::Transport) if lived < DROPPED => Self::Left,
            _ => Self::Lost,
        }
    }
}

/// When to dial again, and what to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Again {
    pub(crate) after: Duration,
    /// The peer, or somebody with our key, is to blame and not the network: a change of network is no reason to try sooner.
    pub(crate) patient: bool,
}

/// What went wrong with a peer so far.
#[derive(Debug)]
pub(crate) struct Redial {
    failures: Backoff,
    lost: usize,
    left: usize,
    replaced: usize,
    /// Connections in a row that fell silent after a handshake that went well.
    silent: usize,
    /// Which run of the peer left.
    boot: Option<u64>,
}

impl Redial {
    pub(crate) fn new() -> Self {
        Self { failures: Backoff::new(FAILED_BASE, FAILED_MAX), lost: 0, left: 0, replaced: 0, silent: 0, boot: None }
    }

    /// A dial failed. `random` is any uniformly drawn number, here and below.
    pub(crate) fn failed(&mut self, random: u64) -> Again {
        // What made it fall silent was the network as a whole.
        self.silent = 0;
        Again { after: self.failures.next_wait(random), patient: false }
    }

    /// The network has changed: dials that fail for that reason begin to wait anew.
    pub(crate) fn network_changed(&mut self) {
        self.failures.reset();
        self.lost = 0;
    }

    /// A connection to the run `boot` of the peer has ended, which lived so long. Without one it is the run of before.
    pub(crate) fn ended(&mut self, end: End, lived: Duration, boot: Option<u64>, random: u64) -> Again {
        self.failures.reset();
        if lived >= LASTED {
            (self.lost, self.left) = (0, 0);
        }
        if lived >= UNDISPUTED {
            self.replaced = 0;
        }
        // A peer that restarts again and again does not leave us: it comes back.
        if boot.is_some() && std::mem::replace(&mut self.boot, boot) != boot {
            self.left = 0;
        }
        let (steps, count): (&[Duration], _) = match end {
            End::Lost => (&LOST, &mut self.lost),
            End::Left => (&LEFT, &mut self.left),
            End::Replaced => (&REPLACED, &mut self.replaced),
        };
        let step = (*count).min(steps.len() - 1);
        *count = step + 1;
        // Up to a tenth more, so that those who were left together do not come back together.
        let more = (u128::from(random) * steps[step].as_nanos() / 10) >> 64;
        Again {
            after: steps[step] + Duration::from_nanos(more as u64),
            patient: end == End::Replaced || (end == End::Left && step > 0),
        }
    }

    /// A connection over tcp or tls has ended so. Whether it looks as if small packets pass and large ones do not: handshakes,
    /// which are small, go well at once, and each time the connection falls silent after that.
    pub(crate) fn swallows_large(&mut self, reason: &DisconnectReason, lived: Duration) -> bool {
        let fell_silent = matches!(reason, DisconnectReason::PingTimeout | DisconnectReason::Stalled);
        self.silent = if fell_silent && lived < SILENT { self.silent + 1 } else { 0 };
        self.silent >= SUSPICIOUS
    }

    /// How often the peer has left, or was replaced, without a good connection in between.
    pub(crate) fn times(&self, end: End) -> usize {
        match end {
            End::Lost => self.lost,
            End::Left => self.left,
            End::Replaced => self.replaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = secs(60);

    /// How many connections there are in each minute if each ends as soon as it stands.
    fn connects(end: End, boot: impl Fn(usize) -> u64, minutes: usize, random: u64) -> Vec<usize> {
        let (mut redial, mut now, mut counts) = (Redial::new(), Duration::ZERO, vec![0; minutes]);
        for n in 0.. {
            let minute = (now.as_secs() / 60) as usize;
            if minute >= minutes {
                break;
            }
            counts[minute] += 1;
            now += redial.ended(end, Duration::ZERO, Some(boot(n)), random).after;
        }
        counts
    }

    #[test]
    fn a_peer_that_leaves_at_once_is_tried_five_times_and_then_every_ten_minutes() {
        for random in [0, u64::MAX / 2, u64::MAX] {
            let counts = connects(End::Left, |_| 1, 61, random);
            assert!(counts[0] <= 5 && counts[0] >= 4, "{counts:?}");
            assert!(counts[1..].iter().sum::<usize>() <= 7, "{counts:?}");
        }
    }

    /// Whoever has lost the connection waits and takes it back from the other.
    #[test]
    fn two_nodes_with_one_key_replace_each_other_ever_more_rarely() {
        for random in [0, u64::MAX / 2, u64::MAX] {
            let mut nodes = [Redial::new(), Redial::new()];
            let (mut now, mut since, mut changes) = (secs(1), Duration::ZERO, Vec::new());
            for loser in (0..2).cycle() {
                changes.push(now);
                let after = nodes[loser].ended(End::Replaced, now - since, Some(1), random).after;
                since = now;
                now += after;
                if now > 100 * MINUTE {
                    break;
                }
            }
            let first = changes.iter().take_while(|at| **at <= MINUTE).count();
            assert!(first <= 5, "{changes:?}");
            // Each ten minutes after the first two have one at most.
            let later: Vec<_> = changes.iter().filter(|at| **at > 2 * MINUTE).collect();
            assert!(later.len() >= 8 && later.windows(2).all(|two| *two[1] - *two[0] >= 10 * MINUTE), "{changes:?}");
        }
    }

    #[test]
    fn who_restarts_again_and_again_is_awaited() {
        let counts = connects(End::Left, |n| n as u64, 2, 0);
        assert_eq!(counts, [120, 120]);
    }

    #[test]
    fn a_network_that_comes_and_goes_is_awaited_for_half_a_minute_at_most() {
        let mut redial = Redial::new();
        for n in 0..1000 {
            assert!(redial.failed(u64::MAX).after <= FAILED_MAX && redial.failed(0).after > Duration::ZERO);
            let again = redial.ended(End::Lost, secs(n % 100), Some(1), u64::MAX);
            assert!(again.after <= secs(28) && !again.patient);
        }
        redial.network_changed();
        assert_eq!(redial.failed(u64::MAX).after, FAILED_BASE);
    }

    #[test]
    fn a_good_connection_makes_up_for_the_bad_ones() {
        let mut redial = Redial::new();
        for _ in 0..10 {
            redial.ended(End::Left, Duration::ZERO, None, 0);
            redial.ended(End::Replaced, Duration::ZERO, None, 0);
        }
        assert_eq!((redial.times(End::Left), redial.times(End::Replaced)), (5, 3));
        assert_eq!(redial.ended(End::Left, LASTED, None, 0), Again { after: ms(500), patient: false });
        assert_eq!(redial.ended(End::Replaced, LASTED, None, 0), Again { after: secs(600), patient: true });
        assert_eq!(redial.ended(End::Replaced, UNDISPUTED, None, 0), Again { after: secs(10), patient: true });
    }

    #[test]
    fn large_packets_are_suspected_when_handshakes_pass_and_nothing_after_them() {
        use DisconnectReason as R;
        let mut redial = Redial::new();
        assert!(!redial.swallows_large(&R::PingTimeout, secs(50)));
        redial.failed(0);
        assert!(!redial.swallows_large(&R::PingTimeout, secs(50)), "nothing passed in between");
        assert!(!redial.swallows_large(&R::Lost("reset".into()), secs(50)));
        assert!(!redial.swallows_large(&R::Stalled, secs(50)));
        assert!(redial.swallows_large(&R::PingTimeout, secs(50)));
        assert!(redial.swallows_large(&R::PingTimeout, secs(50)));
        assert!(!redial.swallows_large(&R::PingTimeout, SILENT), "that one was fine");
    }

    #[test]
    fn the_reason_says_who_is_to_blame() {
        use DisconnectReason as R;
        let lost = || R::Lost("reset".into());
        for (reason, lived, end) in [
            (R::Replaced, secs(100), End::Replaced),
            (R::RemoteShutdown, secs(100), End::Left),
            (R::Remote { code: 7, reason: String::new() }, secs(1), End::Left),
            (lost(), secs(1), End::Left),
            (lost(), secs(6), End::Lost),
            (R::PingTimeout, secs(1), End::Lost),
            (R::Local { code: 7, reason: String::new() }, secs(1), End::Lost),
        ] {
            assert_eq!(End::of(&reason, lived), end, "{reason:?} after {lived:?}");
        }
    }
}
