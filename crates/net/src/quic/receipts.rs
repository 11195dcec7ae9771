//! Receipts over quic: what became of streams that have ended.
//!
//! A stream of QUIC is acknowledged when the remote's transport has it, which says nothing of the remote's program. So each
//! side has one unidirectional stream on which it says which streams it has read to the end, or given up. It is opened
//! with the first receipt.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};

use bytes::{Buf, BytesMut};
use p2p_core::TaskGroup;
use quinn::{ConnectionError, Dir, RecvStream, SendStream, Side, StreamId, VarInt};
use tokio::sync::Notify;

use super::connection::Shared;
use crate::error::VIOLATION_CODE;
use crate::message::{decode_length, encode_length};
use crate::receipt::{self, Idle, Owed, Receipt};
use crate::{CloseReason, Error, Result};

/// Unidirectional streams that a side may have open: the one for its receipts.
pub(super) const STREAMS: u32 = 1;

/// Bytes of receipts that may wait to be sent. More means that the remote provokes receipts and does not read them.
const MAX_WAITING: usize = 64 << 10;

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

#[derive(Debug)]
struct State {
    owed: Owed,
    open: Open,
    waiting: BytesMut,
    /// The task that writes has been started.
    writes: bool,
    end: Option<CloseReason>,
}

/// Streams that have not ended here, and the remote's code if it has given one up.
#[derive(Debug)]
struct Open {
    streams: BTreeMap<u64, Option<u32>>,
    /// The same for streams that the remote has opened and nobody has taken.
    untaken: BTreeMap<u64, u32>,
    /// The remote's first such stream, and how many there may be.
    next: StreamId,
    most_untaken: usize,
}

impl Receipts {
    /// For a connection on which the remote may have so many streams open.
    pub(super) fn new(connection: &quinn::Connection, most_streams: u32, tasks: &Arc<TaskGroup>) -> Arc<Self> {
        Arc::new(Self {
            connection: connection.clone(),
            tasks: Arc::downgrade(tasks),
            shared: OnceLock::new(),
            state: Mutex::new(State::new(!connection.side(), most_streams)),
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

    /// A stream was opened here.
    pub(super) fn opened(&self, stream: StreamId) {
        self.lock().open.streams.insert(stream.into(), None);
    }

    /// Takes a stream that the remote opened. No receipt is looked at meanwhile, so that it is known which are for streams to
    /// come and which for those that are over.
    pub(super) fn take<T>(
        &self,
        accept: impl FnOnce() -> Poll<Result<(SendStream, T), ConnectionError>>,
    ) -> Poll<Result<(SendStream, T), ConnectionError>> {
        let mut state = self.lock();
        let taken = accept();
        if let Poll::Ready(Ok((stream, _))) = &taken {
            state.open.taken(stream.id());
        }
        taken
    }

    /// A stream ends here now, and nobody waits for what becomes of it.
    pub(super) fn close(&self, stream: StreamId) {
        self.lock().open.streams.remove(&stream.into());
    }

    /// A stream ends here now.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the remote has given it up with another code than 0. The stream has not ended then.
    pub(super) fn expect(&self, stream: StreamId) -> Result<Arc<Receipt>> {
        let receipt = Arc::<Receipt>::default();
        self.lock().expect(stream.into(), &receipt)?;
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
        if starts && let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn("quic receipts", self.clone().write());
        }
        self.given.notify_one();
    }

    /// Waits until no receipt is awaited.
    pub(super) async fn delivered(&self) {
        receipt::delivered(|| self.awaited()).await;
    }

    fn awaited(&self) -> Option<Arc<Idle>> {
        self.lock().owed.awaited()
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

    /// Takes the remote's receipts as they come. Never ends by itself.
    pub(super) async fn read(&self) {
        if let Ok(mut stream) = self.connection.accept_uni().await {
            self.read_from(&mut stream).await;
        }
        pending().await
    }

    async fn read_from(&self, stream: &mut RecvStream) {
        let mut bytes = BytesMut::new();
        while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
            bytes.extend_from_slice(&chunk.bytes);
            let mut wake = Vec::new();
            let taken = self.lock().settle(&mut bytes, &mut wake);
            wake.into_iter().for_each(Waker::wake);
            if taken.is_err() {
                return self.violated("a receipt that is malformed");
            }
        }
    }
}

impl State {
    fn new(remote: Side, most_untaken: u32) -> Self {
        let open = Open {
            streams: BTreeMap::new(),
            untaken: BTreeMap::new(),
            next: StreamId::new(remote, Dir::Bi, 0),
            most_untaken: most_untaken as usize,
        };
        Self { owed: Owed::default(), open, waiting: BytesMut::new(), writes: false, end: None }
    }

    /// A stream ends here now; whether the remote has given it up before.
    fn expect(&mut self, stream: u64, receipt: &Arc<Receipt>) -> Result<()> {
        if let Some(end) = &self.end {
            return Err(Error::Closed(end.clone()));
        }
        match self.open.streams.get(&stream) {
            Some(&Some(code)) if code != 0 => return Err(Error::Stopped(code)),
            Some(&Some(code)) => drop(receipt.settle(Err(Error::Stopped(code)))),
            _ => self.owed.expect(stream, receipt.clone()),
        }
        self.open.streams.remove(&stream);
        Ok(())
    }

    /// Takes the whole receipts at the start of `bytes`.
    fn settle(&mut self, bytes: &mut BytesMut, wake: &mut Vec<Waker>) -> Result<()> {
        while let Some((stream, stopped, len)) = next(bytes)? {
            bytes.advance(len);
            let outcome = stopped.map_or(Ok(()), |code| Err(Error::Stopped(code)));
            if !self.owed.settle(stream, outcome, wake)
                && let Some(code) = stopped
            {
                self.open.given_up(stream, code);
            }
        }
        Ok(())
    }
}

impl Open {
    /// The remote's next stream was taken.
    fn taken(&mut self, stream: StreamId) {
        let code = self.untaken.remove(&stream.into());
        self.streams.insert(stream.into(), code);
        self.next = StreamId::new(stream.initiator(), Dir::Bi, stream.index() + 1);
    }

    fn given_up(&mut self, stream: u64, code: u32) {
        if let Some(known) = self.streams.get_mut(&stream) {
            known.get_or_insert(code);
        } else if self.is_untaken(stream) {
            self.untaken.entry(stream).or_insert(code);
            // One more than may be open is none that there is.
            if self.untaken.len() > self.most_untaken {
                self.untaken.pop_last();
            }
        }
    }

    fn is_untaken(&self, stream: u64) -> bool {
        let next = u64::from(self.next);
        // Who opened a stream, and whether it has two directions, is in its last two bits.
        stream >= next && stream % 4 == next % 4
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

    const MOST: u32 = 16;

    /// The client's, to which odd streams are the remote's.
    fn state() -> State {
        State::new(Side::Server, MOST)
    }

    fn take(state: &mut State, bytes: &[u8]) -> Result<usize> {
        let mut bytes = BytesMut::from(bytes);
        state.settle(&mut bytes, &mut Vec::new())?;
        Ok(bytes.len())
    }

    fn id(stream: u64) -> StreamId {
        VarInt::from_u64(stream).unwrap().into()
    }

    #[test]
    fn receipts_arrive_in_any_pieces() {
        let mut state = state();
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
            state.settle(&mut bytes, &mut Vec::new()).unwrap();
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
        let mut state = state();
        // A code beyond 32 bits, and numbers that are not in their shortest form.
        assert!(take(&mut state, &receipt(4, (1 << 32) + 1)).is_err());
        assert!(take(&mut state, &[0x40, 4, 0]).is_err());
        assert!(take(&mut state, &[4, 0x40, 0]).is_err());
    }

    #[test]
    fn a_stream_given_up_before_it_ends_is_remembered_until_then() {
        let mut state = state();
        for stream in [0, 4, 8] {
            state.open.streams.insert(stream, None);
            take(&mut state, &receipt(stream, 1 + stream)).unwrap();
            // Only the first counts.
            take(&mut state, &receipt(stream, 100)).unwrap();
            take(&mut state, &receipt(stream, 0)).unwrap();
        }
        let given = Arc::<Receipt>::default();
        state.expect(0, &given).unwrap();
        assert!(matches!(given.outcome(), Some(Err(Error::Stopped(0)))));
        for _ in 0..2 {
            assert!(matches!(state.expect(4, &Arc::default()), Err(Error::Stopped(4))));
        }
        state.open.streams.remove(&8);
        // It is over.
        take(&mut state, &receipt(8, 1)).unwrap();
        assert_eq!(state.open.streams.keys().collect::<Vec<_>>(), [&4]);
        assert!(state.open.untaken.is_empty());
    }

    #[test]
    fn a_stream_given_up_before_it_is_taken_is_remembered_within_bounds() {
        let mut state = state();
        // Of either side, of both directions and of one.
        for stream in 0..1000 {
            take(&mut state, &receipt(stream, 3)).unwrap();
        }
        assert_eq!(state.open.untaken.len(), MOST as usize);
        for stream in (1..4 * u64::from(MOST)).step_by(4) {
            state.open.taken(id(stream));
            assert!(matches!(state.expect(stream, &Arc::default()), Err(Error::Stopped(2))), "{stream}");
            state.open.streams.remove(&stream);
            take(&mut state, &receipt(stream, 3)).unwrap();
        }
        assert!(state.open.untaken.is_empty() && state.open.streams.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut state = state();
            if let Ok(left) = take(&mut state, &bytes) {
                prop_assert!(left < 16);
            }
            prop_assert!(state.open.streams.is_empty() && state.open.untaken.len() <= MOST as usize);
        }
    }
}
