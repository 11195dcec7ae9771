//! [`Providing`] and [`Providers`].

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_core::Stream;
use p2p_identity::PeerRecord;
use tokio::sync::mpsc;

use super::calls::Running;
use super::shared::Shared;
use crate::Key;

/// Others are told that a node provides a key for as long as this is there; from [`Dht::provide`](crate::Dht::provide).
/// Dropping it ends that: they forget within two hours. It keeps the node from nothing: after a shutdown it does
/// nothing.
#[must_use = "the key is provided no more when this is dropped"]
pub struct Providing {
    shared: Weak<Shared>,
    key: Key,
    number: u64,
}

impl Providing {
    /// `at_once`: others have not been told yet.
    pub(super) fn begin(shared: &Arc<Shared>, key: Key, at_once: bool) -> Self {
        let number = shared.engine(|engine, now| engine.provide(now, key, at_once));
        Self { shared: Arc::downgrade(shared), key, number }
    }

    /// What is provided.
    pub fn key(&self) -> Key {
        self.key
    }
}

impl Drop for Providing {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.engine(|engine, _| engine.unprovide(&self.key, self.number));
        }
    }
}

impl fmt::Debug for Providing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providing").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The providers of a key as they are found; from [`Dht::providers`](crate::Dht::providers). Ends when the search has.
pub struct Providers {
    records: mpsc::Receiver<(PeerRecord, IpAddr)>,
    /// Ends the search when it is dropped.
    _running: Running,
}

impl Providers {
    pub(super) fn new(records: mpsc::Receiver<(PeerRecord, IpAddr)>, running: Running) -> Self {
        Self { records, _running: running }
    }

    /// The next one; `None` when there are no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<PeerRecord> {
        self.next_with_source().await.map(|(record, _)| record)
    }

    /// With from where it was told, which decides what addresses of it are believed.
    pub(crate) async fn next_with_source(&mut self) -> Option<(PeerRecord, IpAddr)> {
        self.records.recv().await
    }
}

impl Stream for Providers {
    type Item = PeerRecord;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PeerRecord>> {
        self.records.poll_recv(cx).map(|next| next.map(|(record, _)| record))
    }
}

impl fmt::Debug for Providers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Providers").finish_non_exhaustive()
    }
}
