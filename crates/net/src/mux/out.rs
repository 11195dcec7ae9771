//! Frames that wait to be written, in the order of their importance.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{HEADER_LEN, Header, Kind, MAX_DATA};

/// Chunks up to this long are copied next to their header, so that small frames go out as one buffer.
const COPY_MAX: usize = 1 << 10;

/// The most data that may wait here. What is here cannot be overtaken by a later ping but through [`Out::urgent`].
pub(super) const DATA_LIMIT: usize = 64 << 10;

/// Control frames that may wait: more means that the remote provokes answers and does not read them.
pub(super) const CONTROL_LIMIT: usize = 64 << 10;

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct Out {
    /// Data that may wait, at most [`DATA_LIMIT`].
    limit: usize,
    /// The line is slow: one frame at a time waits.
    single: bool,
    control: Segments,
    urgent: Segments,
    data: Segments,
    round: u64,
}

impl Default for Out {
    fn default() -> Self {
        let segments = Segments::default;
        Self { limit: DATA_LIMIT, single: false, control: segments(), urgent: segments(), data: segments(), round: 0 }
    }
}

impl Out {
    /// Sets how much data may wait, which is also the length of the longest frame: the next one, of whichever stream,
    /// waits for it.
    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes.min(DATA_LIMIT);
        self.single = self.limit < DATA_LIMIT;
    }

    /// The same where nothing is known of the line yet: several frames may wait, and are written together.
    pub(super) fn begin_with_limit(&mut self, bytes: usize) {
        self.limit = bytes.min(DATA_LIMIT);
    }

    /// The most payload of a frame.
    pub(super) fn longest_frame(&self) -> usize {
        if self.limit < DATA_LIMIT { self.limit } else { MAX_DATA }
    }

    /// Queues a frame that carries no stream data.
    pub(super) fn control(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        self.control.header(kind, payload.len(), stream);
        self.control.copy(payload);
    }

    /// Queues a data frame made of the first `len` bytes of `chunks`, which become so much shorter.
    pub(super) fn data(&mut self, fin: bool, urgent: bool, stream: u32, chunks: &mut [Bytes], len: usize) {
        let segments = if urgent { &mut self.urgent } else { &mut self.data };
        // A frame alone, which most are, gets what it needs and no more.
        segments.tail.reserve(HEADER_LEN + if len <= COPY_MAX { len } else { 0 });
        segments.header(if fin { Kind::DataFin } else { Kind::Data }, len, stream);
        let mut left = len;
        for chunk in chunks {
            if left == 0 {
                break;
            }
            let part = chunk.split_to(chunk.len().min(left));
            left -= part.len();
            segments.push(part);
        }
    }

    /// Queues the last frame of the connection, behind all data.
    pub(super) fn close(&mut self, code: u32, reason: &str) {
        self.data.header(Kind::Close, 4 + reason.len(), 0);
        self.data.copy(&code.to_be_bytes());
        self.data.copy(reason.as_bytes());
    }

    /// Whether stream data must wait.
    pub(super) fn is_full(&self) -> bool {
        let waiting = self.data.bytes + self.urgent.bytes;
        waiting >= self.limit || (self.single && waiting > 0)
    }

    /// Whether even a stream that goes ahead of others must wait.
    pub(super) fn is_urgent_full(&self) -> bool {
        self.urgent.bytes >= DATA_LIMIT
    }

    /// Whether the remote has provoked too many control frames.
    pub(super) fn is_control_full(&self) -> bool {
        self.control.bytes >= CONTROL_LIMIT
    }

    pub(super) fn is_empty(&self) -> bool {
        self.control.bytes + self.urgent.bytes + self.data.bytes == 0
    }

    /// Whether frames wait that go ahead of data.
    pub(super) fn has_urgent(&self) -> bool {
        self.control.bytes + self.urgent.bytes > 0
    }

    /// Moves the frames that go ahead of data to the end of `batch`, and gives their length.
    pub(super) fn take_urgent(&mut self, batch: &mut VecDeque<Bytes>) -> usize {
        let bytes = self.control.bytes + self.urgent.bytes;
        self.control.take(batch);
        self.urgent.take(batch);
        bytes
    }

    /// How often everything was taken.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Moves everything to the end of `batch`.
    pub(super) fn take(&mut self, batch: &mut VecDeque<Bytes>) {
        self.round += 1;
        let all = [&mut self.control, &mut self.urgent, &mut self.data];
        let bytes: usize = all.iter().map(|segments| segments.bytes).sum();
        if bytes > COPY_MAX {
            return all.into_iter().for_each(|segments| segments.take(batch));
        }
        // All of it was copied: one buffer is written for less than several.
        let mut one = BytesMut::new();
        for segments in all {
            match segments.take_tail() {
                tail if one.is_empty() => one = tail,
                tail => one.extend_from_slice(&tail),
            }
        }
        batch.extend((!one.is_empty()).then(|| one.freeze()));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Debug, Default)]
struct Segments {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Segments {
    fn header(&mut self, kind: Kind, len: usize, stream: u32) {
        // A payload is at most MAX_DATA bytes long.
        self.copy(&Header { kind, len: len as u32, stream }.encode());
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.tail.put_slice(bytes);
        self.bytes += bytes.len();
    }

    fn push(&mut self, chunk: Bytes) {
        if chunk.len() <= COPY_MAX {
            return self.copy(&chunk);
        }
        self.bytes += chunk.len();
        let before = self.seal();
        self.chunks.extend(before);
        self.chunks.push_back(chunk);
    }

    /// What was copied since the last chunk.
    fn seal(&mut self) -> Option<Bytes> {
        (!self.tail.is_empty()).then(|| std::mem::take(&mut self.tail).freeze())
    }

    /// Everything, where no chunk is too long to be copied.
    fn take_tail(&mut self) -> BytesMut {
        self.bytes = 0;
        std::mem::take(&mut self.tail)
    }

    fn take(&mut self, batch: &mut VecDeque<Bytes>) {
        batch.append(&mut self.chunks);
        batch.extend(self.seal());
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of each kind, the least important first; what they are written as.
    fn written(len: usize) -> Vec<Bytes> {
        let mut out = Out::default();
        for (urgent, byte) in [(false, 3), (true, 2)] {
            out.data(false, urgent, 1, &mut [Bytes::from(vec![byte; len])], len);
        }
        out.control(Kind::Window, 1, &[1; 4]);
        let mut batch = VecDeque::new();
        out.take(&mut batch);
        assert!(out.is_empty());
        batch.into()
    }

    #[test]
    fn small_frames_go_out_as_one_buffer_and_large_ones_are_not_copied() {
        let small = written(100);
        assert_eq!(small.len(), 1);
        let large = written(COPY_MAX + 1);
        assert_eq!(large.len(), 5, "a header goes with what was copied before it");
        for (batch, len) in [(small, 100), (large, COPY_MAX + 1)] {
            let bytes = batch.concat();
            let first = |byte| bytes[HEADER_LEN..].iter().position(|at| *at == byte);
            assert_eq!(bytes.len(), 3 * HEADER_LEN + 4 + 2 * len);
            assert!(first(1) < first(2) && first(2) < first(3), "the order of their importance");
        }
    }
}
