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
        match (state.early.remove(&stream), &state.end) {
            (Some(code), _) if code != 0 => return Err(Error::Stopped(code)),
            (Some(code), _) => drop(receipt.settle(Err(Error::Stopped(code)))),
            (None, Some(end)) => return Err(Error::Closed(end.clone())),
            (None, None) => state.owed.expect(stream, receipt.clone()),
        }
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
            if self.take(&mut bytes).is_err() {
                return self.violated("a receipt that is malformed");
            }
        }
    }

    /// Takes the whole receipts at the start of `bytes`.
    fn take(&self, bytes: &mut BytesMut) -> Result<()> {
        let mut wake = Vec::new();
        let mut state = self.lock();
        let mut taken = Ok(());
        while let Some((stream, stopped, len)) = match next(bytes) {
            Ok(next) => next,
            Err(error) => {
                taken = Err(error);
                None
            }
        } {
            bytes.advance(len);
            let outcome = stopped.map_or(Ok(()), |code| Err(Error::Stopped(code)));
            if !state.owed.settle(stream, outcome, &mut wake)
                && let Some(code) = stopped
            {
                state.early.insert(stream, code);
                if state.early.len() > MAX_EARLY {
                    state.early.pop_first();
                }
            }
        }
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        taken
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
