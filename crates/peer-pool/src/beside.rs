//! Futures that run beside others.

use std::future::Future;
use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// Any number of futures, whose outputs are taken as they come. Takes no memory before the first.
pub(crate) struct Beside<T>(Option<FuturesUnordered<Boxed<T>>>);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T> Default for Beside<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Beside<T> {
    pub(crate) fn push(&mut self, future: Boxed<T>) {
        self.0.get_or_insert_default().push(future);
    }

    /// The output of the one that is ready next; `None` when there is none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<T> {
        self.0.as_mut()?.next().await
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, FuturesUnordered::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
