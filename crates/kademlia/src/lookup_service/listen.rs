//! Takes connections in: listeners, and the handshakes of those who come.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use p2p_core::TaskHandle;
use p2p_identity::access::{Direction, Subject};
use p2p_identity::{HandshakeId, HandshakeLimiter, HandshakeLimits, Result};
use p2p_net::{Endpoint, Incoming, Listener};

use super::LookupServer;
use super::serve::Inner;

/// Inbound handshakes under way.
pub(super) struct Handshakes {
    limiter: HandshakeLimiter,
    tasks: BTreeMap<HandshakeId, TaskHandle>,
}

impl Handshakes {
    pub(super) fn new(limits: HandshakeLimits) -> Self {
        Self { limiter: HandshakeLimiter::new(limits), tasks: BTreeMap::new() }
    }
}

/// Reports a handshake as finished, however its task ends.
struct Finish {
    inner: Arc<Inner>,
    id: HandshakeId,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let mut handshakes = self.inner.handshakes();
        handshakes.limiter.finish(self.id);
        handshakes.tasks.remove(&self.id);
    }
}

impl LookupServer {
    /// Listens; the endpoint with the port that the system chose.
    ///
    /// # Errors
    /// Those of [`Transports::listen`](p2p_net::Transports::listen).
    pub(crate) async fn listen(&self, endpoint: &Endpoint) -> Result<Endpoint> {
        let listener = self.0.transports.listen(endpoint).await?;
        let local = listener.local_endpoint();
        self.0.tasks.spawn("lookup listener", self.0.clone().accept_all(listener));
        Ok(local)
    }
}

impl Inner {
    fn handshakes(&self) -> MutexGuard<'_, Handshakes> {
        // Limiter and map are valid after each statement.
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept_all(self: Arc<Self>, listener: Listener) {
        // An error is the end: shut down, or a socket that has failed for good.
        while let Ok(incoming) = listener.accept().await {
            self.begin_handshake(incoming);
        }
    }

    /// Starts the handshake of somebody who connected; the one that has been silent for the longest time makes room.
    fn begin_handshake(self: &Arc<Self>, incoming: Incoming) {
        let endpoint = incoming.remote_endpoint();
        if !self.authenticator.allows(&Subject::Endpoint(&endpoint), Direction::Inbound) {
            return incoming.refuse();
        }
        let mut handshakes = self.handshakes();
        let Some(admission) = handshakes.limiter.admit(incoming.remote_addr().ip(), self.runtime.now()) else {
            return incoming.refuse();
        };
        let evicted = admission.evict.and_then(|id| handshakes.tasks.remove(&id));
        drop(handshakes);
        evicted.iter().for_each(TaskHandle::abort);
        let id = admission.id;
        let finish = Finish { inner: self.clone(), id };
        // Not under the lock: a group that is shut down drops the future here, and with it `finish`, which locks.
        let task = self.tasks.spawn("lookup handshake", async move {
            let inner = finish.inner.clone();
            let progress = || inner.handshakes().limiter.progress(finish.id, inner.runtime.now());
            inner.handshake(incoming, admission.deadline, &progress).await;
        });
        let mut handshakes = self.handshakes();
        if handshakes.limiter.contains(id) {
            handshakes.tasks.insert(id, task);
        } else {
            // It has ended already, or had to make room before it was on the list.
            task.abort();
        }
    }

    async fn handshake(self: &Arc<Self>, incoming: Incoming, deadline: Instant, progress: &(dyn Fn() + Send + Sync)) {
        let endpoint = incoming.remote_endpoint();
        let opened = async {
            let connection = incoming.accept().await?;
            progress();
            self.authenticator.accept(connection, deadline, progress).await
        };
        match opened.await {
            Ok(opened) => {
                self.tasks.spawn("lookup connection", self.clone().serve(opened));
            }
            Err(error) => tracing::debug!(%endpoint, %error, "a handshake for a lookup failed"),
        }
    }
}
