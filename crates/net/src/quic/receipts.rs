//! Receipts over quic: what became of streams that have ended.
//!
//! A stream of QUIC is acknowledged when the remote's transport has it, which says nothing of the remote's program. So each
//! side has one unidirectional stream on which it says which streams it has read to the end, or given up. It is opened
//! with the first receipt, and read from the first stream on that ends here: a connection without such streams has neither.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use p2p_core::TaskGroup;
use quinn::{StreamId, VarInt};
use tokio::sync::Notify;

use super::connection::Shared;
use crate::error::VIOLATION_CODE;
use crate::message::{decode_length, encode_length};
use crate::receipt::{Owed, Receipt};
use crate::{CloseReason, Error, Result};

/// Unidirectional streams that a side may have open: the one for its receipts.
pub(super) const STREAMS: u32 = 1;

/// Bytes of receipts that may wait to be sent. More means that the remote provokes receipts and does not read them.
const MAX_WAITING: usize = 64 << 10;

/// Streams that the remote has given up before they ended here. A stale one makes way, which an honest remote with fewer
/// open streams never sees.
const MAX_EARLY: usize = 1024;

/// The receipts of one connection.
#[derive(Debug)]
pub(super) struct Receipts {
    connection: quinn::Connection,
    tasks: Weak<TaskGroup>,
    /// The connection's own handle, which knows how it ended.
    shared: OnceLock<Weak<Shared>>,
    state: Mutex<State>,
    /// There are receipts to send.
    given: Notify,
    violation: OnceLock<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    owed: Owed,
    /// Streams that the remote gave up before they ended here, with its code.
    early: BTreeMap<u64, u32>,
    waiting: BytesMut,
    /// The tasks that write and read have been started.
    writes: bool,
    reads: bool,
    end: Option<CloseReason>,
}

impl Receipts {
    pub(super) fn new(connection: &quinn::Connection, tasks: &Arc<TaskGroup>) -> Arc<Self> {
        Arc::new(Self {
            connection: connection.clone(),
            tasks: Arc::downgrade(tasks),
            shared: OnceLock::new(),
            state: Mutex::default(),
            given: Notify::new(),
            violation: OnceLock::new(),
        })
    }

    pub(super) fn set_shared(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream ends here now.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the remote has given it up with another code than 0.
    pub(super) fn expect(self: &Arc<Self>, stream: StreamId) -> Result<Arc<Receipt>> {
        let stream = u64::from(stream);
        let receipt = Arc::<Receipt>::default();
        let mut state = self.lock();
        state.expect(stream, &receipt)?;
        if !std::mem::replace(&mut state.reads, true) {
            drop(state);
            self.spawn("quic receipts", Self::read);
        }
        Ok(receipt)
    }

    /// This side has read a stream to its end, or given it up with a code.
    pub(super) fn give(self: &Arc<Self>, stream: StreamId, stopped: Option<u32>) {
        if self.connection.close_reason().is_some() {
            return;
        }
        let mut state = self.lock();
        encode_length(stream.into(), &mut state.waiting);
        encode_length(stopped.map_or(0, |code| u64::from(code) + 1), &mut state.waiting);
        let full = state.waiting.len() > MAX_WAITING;
        let starts = !std::mem::replace(&mut state.writes, true);
        drop(state);
        if full {
            return self.violated("it provokes more receipts than it reads");
        }
        if starts {
            self.spawn("quic receipts", Self::write);
        }
        self.given.notify_one();
    }

    /// Ready when no receipt is awaited.
    pub(super) fn poll_delivered(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().owed.poll_idle(cx)
    }

    /// What the remote did wrong, if that ended the connection.
    pub(super) fn violation(&self) -> Option<&'static str> {
        self.violation.get().copied()
    }

    fn violated(&self, what: &'static str) {
        if self.connection.close_reason().is_none() {
            let _ = self.violation.set(what);
            self.connection.close(VarInt::from_u32(VIOLATION_CODE), what.as_bytes());
        }
    }

    /// The connection has ended. Nothing is awaited from now on.
    fn end(&self) {
        let shared = self.shared.get().and_then(Weak::upgrade);
        // Without one its driver was ended from outside, before the connection was.
        let reason = shared.and_then(|shared| shared.close_reason());
        let reason = reason.unwrap_or_else(|| CloseReason::Local { code: 0, reason: "shut down".into() });
        let mut wake = Vec::new();
        let mut state = self.lock();
        state.owed.close(&reason, &mut wake);
        state.end = Some(reason);
        drop(state);
        wake.into_iter().for_each(Waker::wake);
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, name: &'static str, task: fn(Arc<Self>) -> F) {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn(name, task(self.clone()));
        }
    }

    async fn write(self: Arc<Self>) {
        let Ok(mut stream) = self.connection.open_uni().await else { return };
        // Nothing that the application sends may delay them.
        let _ = stream.set_priority(1);
        loop {
            let mut given = pin!(self.given.notified());
            given.as_mut().enable();
            let bytes = std::mem::take(&mut self.lock().waiting).freeze();
            if !bytes.is_empty() {
                if stream.write_chunk(bytes).await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                biased;
                () = given => {}
                _ = self.connection.closed() => return,
            }
        }
    }

    async fn read(self: Arc<Self>) {
        let Ok(mut stream) = self.connection.accept_uni().await else { return };
        let mut bytes = BytesMut::new();
        while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
            bytes.extend_from_slice(&chunk.bytes);
            let mut wake = Vec::new();
            let taken = self.lock().take(&mut bytes, &mut wake);
            wake.into_iter().for_each(Waker::wake);
            if taken.is_err() {
                return self.violated("a receipt that is malformed");
            }
        }
    }
}

impl State {
    /// A stream ends here now; whether the remote has given it up before.
    fn expect(&mut self, stream: u64, receipt: &Arc<Receipt>) -> Result<()> {
        match (self.early.remove(&stream), &self.end) {
            (Some(code), _) if code != 0 => return Err(Error::Stopped(code)),
            (Some(code), _) => drop(receipt.settle(Err(Error::Stopped(code)))),
            (None, Some(end)) => return Err(Error::Closed(end.clone())),
            (None, None) => self.owed.expect(stream, receipt.clone()),
        }
        Ok(())
    }

    /// Takes the whole receipts at the start of `bytes`.
    fn take(&mut self, bytes: &mut BytesMut, wake: &mut Vec<Waker>) -> Result<()> {
        while let Some((stream, stopped, len)) = next(bytes)? {
            bytes.advance(len);
            let outcome = stopped.map_or(Ok(()), |code| Err(Error::Stopped(code)));
            if !self.owed.settle(stream, outcome, wake)
                && let Some(code) = stopped
            {
                self.early.insert(stream, code);
                if self.early.len() > MAX_EARLY {
                    self.early.pop_first();
                }
            }
        }
        Ok(())
    }
}

/// The driver of a connection that may await receipts. When it is gone, however it went, nobody waits for them in vain.
pub(super) struct Awaiting(pub(super) Arc<Receipts>);

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The receipt at the start of `bytes`: the stream, the code if it was given up, and the bytes it took.
fn next(bytes: &[u8]) -> Result<Option<(u64, Option<u32>, usize)>> {
    let Some((stream, first)) = decode_length(bytes)? else { return Ok(None) };
    let Some((outcome, second)) = decode_length(&bytes[first..])? else { return Ok(None) };
    let stopped = outcome.checked_sub(1).map(|code| u32::try_from(code).map_err(|_| Error::LengthEncoding));
    Ok(Some((stream, stopped.transpose()?, first + second)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt(stream: u64, outcome: u64) -> BytesMut {
        let mut bytes = BytesMut::new();
        encode_length(stream, &mut bytes);
        encode_length(outcome, &mut bytes);
        bytes
    }

    fn take(state: &mut State, bytes: &[u8]) -> Result<usize> {
        let mut bytes = BytesMut::from(bytes);
        state.take(&mut bytes, &mut Vec::new())?;
        Ok(bytes.len())
    }

    #[test]
    fn receipts_arrive_in_any_pieces() {
        let mut state = State::default();
        let receipts = [(4, 0, None), (8, 1, Some(0)), (70_000, 1 << 32, Some(u32::MAX))];
        let expected: Vec<_> = receipts.iter().map(|_| Arc::<Receipt>::default()).collect();
        let mut all = BytesMut::new();
        for ((stream, outcome, _), expected) in receipts.iter().zip(&expected) {
            state.expect(*stream, expected).unwrap();
            all.extend_from_slice(&receipt(*stream, *outcome));
        }
        let mut bytes = BytesMut::new();
        for byte in all {
            bytes.extend_from_slice(&[byte]);
            state.take(&mut bytes, &mut Vec::new()).unwrap();
        }
        assert!(bytes.is_empty());
        for ((_, _, code), expected) in receipts.iter().zip(&expected) {
            match (expected.outcome(), code) {
                (Some(Ok(())), None) => {}
                (Some(Err(Error::Stopped(told))), Some(code)) => assert_eq!(told, *code),
                (outcome, _) => panic!("{outcome:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_receipt_is_refused() {
        let mut state = State::default();
        // A code beyond 32 bits, and numbers that are not in their shortest form.
        assert!(take(&mut state, &receipt(4, (1 << 32) + 1)).is_err());
        assert!(take(&mut state, &[0x40, 4, 0]).is_err());
        assert!(take(&mut state, &[4, 0x40, 0]).is_err());
    }

    #[test]
    fn a_stream_given_up_before_it_ends_is_remembered_within_bounds() {
        let mut state = State::default();
        for stream in 0..3 * MAX_EARLY as u64 {
            take(&mut state, &receipt(stream, 1 + stream % 2)).unwrap();
            // That it was read says nothing of a stream that has not ended.
            take(&mut state, &receipt(stream + 1, 0)).unwrap();
        }
        assert_eq!(state.early.len(), MAX_EARLY);
        let last = 3 * MAX_EARLY as u64 - 1;
        let (with_1, with_0) = (Arc::<Receipt>::default(), Arc::<Receipt>::default());
        assert!(matches!(state.expect(last, &with_1), Err(Error::Stopped(1))));
        state.expect(last - 1, &with_0).unwrap();
        assert!(matches!(with_0.outcome(), Some(Err(Error::Stopped(0)))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut state = State::default();
            if let Ok(left) = take(&mut state, &bytes) {
                prop_assert!(left < 16);
            }
            prop_assert!(state.early.len() <= MAX_EARLY);
        }
    }
}
