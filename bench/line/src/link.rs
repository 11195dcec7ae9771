//! One direction of a line: what becomes of each packet.

use std::time::Duration;

use bench_common::line::Direction;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this time.
    Arrives(Duration),
    /// It is lost on the way.
    Lost,
    /// The queue had no room for it.
    Dropped,
}

/// A queue in front of a wire: packets wait for those before them, take their time on the wire and then travel.
#[derive(Debug)]
pub struct Link {
    pub shape: Direction,
    /// Nothing arrives.
    pub is_out: bool,
    /// When the wire is free again.
    free_at: Duration,
    /// When the latest packet arrives: none overtakes it, whatever the delay has become.
    latest: Duration,
    rng: fastrand::Rng,
}

impl Link {
    /// The same seed loses the same packets of a sequence.
    pub fn new(shape: Direction, seed: u64) -> Self {
        let (free_at, latest) = (Duration::ZERO, Duration::ZERO);
        Self { shape, is_out: false, free_at, latest, rng: fastrand::Rng::with_seed(seed) }
    }

    /// A packet of so many bytes comes at `now`.
    pub fn offer(&mut self, now: Duration, bytes: usize) -> Fate {
        let Direction { delay_ms, mbit, queue_ms, loss } = self.shape;
        if self.is_out || (loss > 0.0 && self.rng.f64() * 100.0 < loss) {
            return Fate::Lost;
        }
        let mut leaves = now;
        if mbit > 0.0 {
            let on_wire = Duration::from_secs_f64(bytes as f64 * 8.0 / (mbit * 1e6));
            let starts = self.free_at.max(now);
            let waits = starts - now;
            // As the ring of a device, the queue has room for two packets, however slow the wire is.
            if waits + on_wire > millis(queue_ms) && waits > 2 * on_wire {
                return Fate::Dropped;
            }
            leaves = starts + on_wire;
            self.free_at = leaves;
        }
        self.latest = self.latest.max(leaves + millis(delay_ms));
        Fate::Arrives(self.latest)
    }

    /// How long a packet that comes now waits before it is on the wire.
    pub fn backlog(&self, now: Duration) -> Duration {
        self.free_at.saturating_sub(now)
    }
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn link(delay_ms: f64, mbit: f64, queue_ms: f64, loss: f64) -> Link {
        Link::new(Direction { delay_ms, mbit, queue_ms, loss }, 1)
    }

    #[test]
    fn a_packet_takes_the_delay_and_its_time_on_the_wire() {
        assert_eq!(link(50.0, 0.0, 100.0, 0.0).offer(7 * MS, 1500), Fate::Arrives(57 * MS));
        // 1,250 bytes are 10,000 bits: 10 ms at 1 Mbit/s.
        let mut slow = link(50.0, 1.0, 100.0, 0.0);
        assert_eq!(slow.offer(MS, 1250), Fate::Arrives(61 * MS));
        assert_eq!(slow.offer(MS, 1250), Fate::Arrives(71 * MS), "it waits for the one before");
        assert_eq!(slow.offer(100 * MS, 1250), Fate::Arrives(160 * MS), "and for none that is gone");
    }

    #[test]
    fn a_full_queue_drops_what_comes_last() {
        let mut slow = link(0.0, 1.0, 100.0, 0.0);
        let fates: Vec<_> = (0..12).map(|_| slow.offer(MS, 1250)).collect();
        assert_eq!(fates[9], Fate::Arrives(101 * MS));
        assert_eq!(fates[10..], [Fate::Dropped; 2]);
        assert_eq!(slow.backlog(MS), 100 * MS);
        assert_eq!(slow.offer(11 * MS, 1250), Fate::Arrives(111 * MS), "one has left");
        // Shorter than one packet, it holds two.
        let mut short = link(0.0, 1.0, 1.0, 0.0);
        assert_eq!((0..5).filter(|_| short.offer(MS, 1250) != Fate::Dropped).count(), 3);
    }

    #[test]
    fn the_share_that_is_asked_for_is_lost() {
        let lost = |seed| {
            let mut link = Link::new(Direction { delay_ms: 1.0, mbit: 0.0, queue_ms: 100.0, loss: 10.0 }, seed);
            (0..10_000).map(|n| link.offer(n * MS, 100) == Fate::Lost).collect::<Vec<_>>()
        };
        let share = lost(1).iter().filter(|lost| **lost).count();
        assert!((900..1_100).contains(&share), "{share} of 10,000");
        assert_eq!(lost(1), lost(1));
        assert_ne!(lost(1), lost(2));
    }

    #[test]
    fn changes_meet_packets_to_come_and_reorder_none() {
        let mut link = link(50.0, 0.0, 100.0, 0.0);
        link.offer(MS, 100);
        link.shape.delay_ms = 10.0;
        assert_eq!(link.offer(2 * MS, 100), Fate::Arrives(51 * MS));
        link.is_out = true;
        assert_eq!(link.offer(3 * MS, 100), Fate::Lost);
        link.is_out = false;
        assert_eq!(link.offer(60 * MS, 100), Fate::Arrives(70 * MS));
    }
}
