//! What a user can ask a [`Dht`] for.

use std::sync::Arc;

use bytes::Bytes;
use p2p_core::PeerId;
use p2p_identity::{Error, PeerRecord, PublicKey, Result};
use tokio::sync::{mpsc, oneshot, watch};

use super::shared::{Shared, Waiter};
use super::{Dht, DhtError, PeerRecords, Providers, Providing};
use crate::engine::{Command, MAX_FOUND, OperationId, Outcome, Peer};
use crate::{Key, Refused, StoredValue};

/// What became of a value that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put {
    /// Under which key it is found.
    pub key: Key,
    /// How many other nodes keep it: at least one.
    pub stored: usize,
}

/// A value that its publisher can replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MutableValue {
    /// Which of the publisher's values under this salt it is; what [`Dht::put_mutable`] expects in order to replace it.
    pub seq: u64,
    /// The value.
    pub value: Bytes,
}

/// Gives an operation up when nobody waits for it any more.
pub(super) struct Running {
    shared: Arc<Shared>,
    id: OperationId,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing happens to one that is over.
        self.shared.cancel(self.id);
    }
}

impl Dht {
    /// Stores a value of at most 1,000 bytes under its hash with the nodes that are closest to it, for a day.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`]; [`DhtError::NoNodes`], also for a server that knows nobody, and [`DhtError::Refused`] inside
    /// [`Error::App`];
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub async fn put(&self, value: impl Into<Bytes>) -> Result<Put> {
        self.store(StoredValue::immutable(value)?, None).await
    }

    /// The value that hashes to `key`; `None` when nobody has it.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(self.find_value(*key).await?.map(|value| value.value().clone()))
    }

    /// Stores a value of at most 1,000 bytes that only this node's key can replace, under the key of its public key and
    /// `salt` (at most 64 bytes): [`Key::of_mutable`].
    ///
    /// With `expected_seq` it replaces the value of that sequence number, and none else; of two who try so at once, at
    /// most one succeeds with more nodes than it fails with. Without, it replaces whatever is found.
    ///
    /// # Errors
    /// [`DhtError::Conflict`] inside [`Error::App`] when another value is there; else as [`put`](Self::put), and
    /// [`Error::Config`] naming `salt`.
    pub async fn put_mutable(
        &self,
        salt: impl Into<Bytes>,
        value: impl Into<Bytes>,
        expected_seq: Option<u64>,
    ) -> Result<Put> {
        let (salt, value) = (salt.into(), value.into());
        let key_pair = &self.shared().key_pair;
        let before = match expected_seq {
            Some(seq) => seq,
            None => {
                // Whatever is wrong with it is found before anybody is asked.
                StoredValue::sign(key_pair, salt.clone(), 0, value.clone())?;
                let there = self.find_value(Key::of_mutable(&key_pair.public(), &salt)).await?;
                there.and_then(|value| value.seq()).unwrap_or(0)
            }
        };
        let seq = before.checked_add(1).ok_or_else(|| Error::config("expected_seq", "there is no number after it"))?;
        let put = self.store(StoredValue::sign(key_pair, salt, seq, value)?, expected_seq).await;
        match put {
            Err(error) => match DhtError::of(&error) {
                Some(DhtError::Refused(refused)) if is_conflict(&refused) => Err(DhtError::Conflict(refused).into()),
                _ => Err(error),
            },
            put => put,
        }
    }

    /// The newest value that a publisher stored under `salt`; `None` when nobody has one.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub async fn get_mutable(&self, publisher: &PublicKey, salt: impl AsRef<[u8]>) -> Result<Option<MutableValue>> {
        let value = self.find_value(Key::of_mutable(publisher, salt.as_ref())).await?;
        Ok(value.and_then(|value| Some(MutableValue { seq: value.seq()?, value: value.value().clone() })))
    }

    /// Tells the nodes closest to `key` that this node provides it, and again before they forget, until what is
    /// returned is dropped. What that means is the application's: a key is any 32 bytes.
    ///
    /// # Errors
    /// [`DhtError::NoRecord`] inside [`Error::App`] when this node has no address that others could reach; else as
    /// [`put`](Self::put).
    pub async fn provide(&self, key: Key) -> Result<Providing> {
        match self.run_operation(Command::Provide(key)).await? {
            Outcome::Provide { stored: 0, refused } => Err(not_stored(refused)),
            Outcome::Provide { .. } => Ok(Providing::begin(self.shared(), key, false)),
            _ => Err(DhtError::NoRecord.into()),
        }
    }

    /// Who provides `key`: verified records, each peer once, as they are found. Dropping the stream ends the search.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub fn providers(&self, key: &Key) -> Result<Providers> {
        let (sender, records) = mpsc::channel(MAX_FOUND);
        self.check_running()?;
        let id = self.shared().begin(Command::Providers(*key), Waiter::Providers(sender))?;
        Ok(Providers::new(records, Running { shared: self.shared().clone(), id }))
    }

    /// The record of a peer, wherever it is; `None` when nobody knows it, or it cannot be reached by others.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub async fn find_peer(&self, peer_id: &PeerId) -> Result<Option<PeerRecord>> {
        match self.run_operation(Command::FindPeer(*peer_id)).await? {
            Outcome::FindPeer(record) => Ok(record),
            _ => Ok(None),
        }
    }

    /// The same as it is found: each record that is newer than the one before, at once. Somebody who passes a record on may
    /// have an old one, so the last counts; but mostly the first leads to the peer, round trips before the search is over.
    /// Dropping what is returned ends the search.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub fn find_peer_records(&self, peer_id: &PeerId) -> Result<PeerRecords> {
        let (sender, newest) = watch::channel(None);
        self.check_running()?;
        let id = self.shared().begin(Command::FindPeer(*peer_id), Waiter::Peer(sender))?;
        Ok(PeerRecords::new(newest, Running { shared: self.shared().clone(), id }))
    }

    /// The live nodes closest to `key`, closest first: at most 20.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::ShutDown`].
    pub async fn closest(&self, key: &Key) -> Result<Vec<PeerRecord>> {
        Ok(self.closest_peers(*key).await?.iter().map(|peer| peer.record().clone()).collect())
    }

    pub(crate) async fn closest_peers(&self, key: Key) -> Result<Vec<Peer>> {
        match self.run_operation(Command::Closest(key)).await? {
            Outcome::Closest(peers) => Ok(peers),
            _ => Ok(Vec::new()),
        }
    }

    /// As [`provide`](Self::provide), without waiting: others are told as soon as that can be done.
    pub(crate) fn provide_soon(&self, key: Key) -> Providing {
        Providing::begin(self.shared(), key, true)
    }

    async fn store(&self, value: StoredValue, expected_seq: Option<u64>) -> Result<Put> {
        let key = value.key();
        match self.run_operation(Command::Put { value, expected_seq }).await? {
            Outcome::Put { stored, refused: None } if stored > 0 => Ok(Put { key, stored }),
            Outcome::Put { refused, .. } => Err(not_stored(refused)),
            _ => Err(not_stored(None)),
        }
    }

    async fn find_value(&self, key: Key) -> Result<Option<StoredValue>> {
        match self.run_operation(Command::Get(key)).await? {
            Outcome::Get(value) => Ok(value),
            _ => Ok(None),
        }
    }

    async fn run_operation(&self, command: Command) -> Result<Outcome> {
        self.check_running()?;
        let shared = self.shared();
        // The semaphore is never closed.
        let _permit = shared.permits.acquire().await.map_err(|_| Error::ShutDown)?;
        let (sender, outcome) = oneshot::channel();
        let id = shared.begin(command, Waiter::Outcome(sender))?;
        let _running = Running { shared: shared.clone(), id };
        outcome.await.map_err(|_| Error::ShutDown)
    }
}

fn not_stored(refused: Option<Refused>) -> Error {
    refused.map_or(DhtError::NoNodes, DhtError::Refused).into()
}

/// Whether the reason is a value that is there.
fn is_conflict(refused: &Refused) -> bool {
    matches!(refused, Refused::Older { .. } | Refused::Unexpected { .. } | Refused::Conflict)
}
