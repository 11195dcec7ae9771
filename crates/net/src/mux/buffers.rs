//! Buffers for payloads, used again.
//!
//! An allocator may give a large buffer back to the system as soon as it is freed, and the next one is then cleared page by
//! page. A receiver under load takes and frees one for each frame, so each thread keeps a few of the last ones.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::BytesMut;

/// Buffers that a thread keeps: as many as are under way on a busy stream.
const KEPT: usize = 8;

/// Buffers are multiples of this long, so that those of payloads of nearly the same length can stand for each other.
const STEP: usize = 4 << 10;

thread_local! {
    /// The oldest first. Whoever reads what was received may still hold a part of each.
    static SPENT: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
}

/// An empty buffer with this capacity, in whole [`STEP`]s. How much that is does not hang on what the thread has kept: so
/// the same input always takes the same course.
pub(super) fn take(capacity: usize) -> BytesMut {
    let capacity = capacity.next_multiple_of(STEP);
    let spent = SPENT.with_borrow_mut(|kept| {
        let mut oldest = kept.pop_front()?;
        oldest.clear();
        if oldest.try_reclaim(capacity) {
            return Some(oldest);
        }
        // Still read, as those that are younger will be, or too small for what is received now.
        kept.push_back(oldest);
        None
    });
    spent.filter(|spent| spent.capacity() == capacity).unwrap_or_else(|| BytesMut::with_capacity(capacity))
}

/// Keeps what is left of a buffer, which held a frame at most, when the rest of it has been handed on.
pub(super) fn keep(rest: BytesMut) {
    SPENT.with_borrow_mut(|kept| {
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(rest);
    });
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes};

    use super::*;

    /// A payload, and where its buffer lies.
    fn received() -> (Bytes, *const u8) {
        let mut buffer = take(1000);
        buffer.put_bytes(1, 600);
        let at = buffer.as_ptr();
        let rest = buffer.split_off(600);
        keep(rest);
        (buffer.freeze(), at)
    }

    fn forget() {
        SPENT.take();
    }

    #[test]
    fn a_buffer_is_used_again_when_what_was_in_it_is_read() {
        forget();
        let (payload, first) = received();
        let (other, second) = received();
        assert_ne!(first, second, "the first is still read");
        drop((payload, other));
        let mut again = [take(1000), take(1000)];
        assert!(again.iter().all(|buffer| buffer.is_empty() && buffer.capacity() == STEP));
        again.sort_by_key(|buffer| buffer.as_ptr());
        let mut before = [first, second];
        before.sort();
        assert_eq!(again.each_ref().map(|buffer| buffer.as_ptr()), before);
    }

    #[test]
    fn what_a_thread_has_kept_does_not_change_how_long_a_buffer_is() {
        for kept in [100, STEP, STEP + 1, 2 * STEP] {
            forget();
            keep(BytesMut::with_capacity(kept));
            assert_eq!(take(1000).capacity(), STEP);
            assert_eq!(take(STEP + 1).capacity(), 2 * STEP);
        }
    }

    #[test]
    fn a_thread_keeps_few_buffers() {
        forget();
        (0..2 * KEPT).for_each(|_| keep(BytesMut::with_capacity(1000)));
        assert_eq!(SPENT.with_borrow(VecDeque::len), KEPT);
    }
}
