//! Who never has to wait lets others go first from time to time.
//!
//! A task that sends, or receives, in a loop may find room, or a message, each time. Its executor cannot interrupt it: as
//! many such tasks as there are threads would keep all others from running, among them those of the other direction. So it
//! passes after a turn, the end of which is looked for where a queue is full or a chunk is read out: not for each message.

/// Bytes of one turn: 130,000 small messages or 128 of 64 KiB, some milliseconds. Each pass wakes an idle thread, which takes the
/// task from the caches it was in: after 1 MiB each, it costs bulk a fifth.
const BYTES: usize = 8 << 20;

/// Counts what was queued, or read.
#[derive(Debug, Default)]
pub(super) struct Turn(usize);

impl Turn {
    /// So many bytes more. Whether the turn is over, and the next begins: it is time to let others go first.
    pub(super) fn is_over(&mut self, bytes: usize) -> bool {
        self.0 += bytes;
        let over = self.0 >= BYTES;
        if over {
            self.0 = 0;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_so_many_bytes() {
        let mut turn = Turn::default();
        let over: Vec<_> = (1..=3 * BYTES / 1024).filter(|_| turn.is_over(1024)).collect();
        assert_eq!(over, [BYTES / 1024, 2 * BYTES / 1024, 3 * BYTES / 1024]);
        assert!(turn.is_over(BYTES) && !turn.is_over(BYTES - 1));
    }
}
