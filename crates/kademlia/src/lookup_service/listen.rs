//! Takes connections in: listeners, and the handshakes of those who come.

use std::sync::Arc;
use std::time::Instant;

use p2p_identity::Result;
use p2p_identity::access::{Direction, Subject};
use p2p_net::{Endpoint, Incoming, Listener};

use super::LookupServer;
use super::serve::Inner;
use crate::socket_events::pass_on;

impl LookupServer {
    /// Listens; the endpoint with the port that the system chose.
    ///
    /// # Errors
    /// Those of [`Transports::listen`](p2p_net::Transports::listen).
    pub(crate) async fn listen(&self, endpoint: &Endpoint) -> Result<Endpoint> {
        let listener = self.0.transports.listen(endpoint).await?;
        let local = listener.local_endpoint();
        self.0.tasks.spawn("lookup socket", pass_on(local.clone(), listener.events(), self.0.events.clone()));
        self.0.tasks.spawn("lookup listener", self.0.clone().accept_all(listener));
        Ok(local)
    }
}

impl Inner {
    async fn accept_all(self: Arc<Self>, listener: Listener) {
        // An error is the end: shut down.
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
        let now = self.runtime.now();
        let Some((incoming, place)) = self.handshakes.take_in(incoming, now) else { return };
        let inner = self.clone();
        place.run(&self.tasks, "lookup handshake", |place| async move {
            let progress = || place.progress(inner.runtime.now());
            inner.handshake(incoming, place.deadline(), &progress).await;
        });
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
