//! Dials others back: to see whether they can be reached, over connections that are made for it.

use bytes::Bytes;
use p2p_core::PeerId;
use p2p_identity::{Error, Judge, Race, RaceLimits, Result};
use p2p_net::{Connection, Endpoint, Transports};

use super::client::{Answer, Asking, Inner, Warm, check_dial, nobody};
use super::{LookupClient, Target};

/// The part of the time for an answer that dialing back may take: who asked for it waits no longer.
const OF_THE_ANSWER: f64 = 0.6;

impl LookupClient {
    /// Asks a node over a new connection, to see whether there can be one. Where it may be `once` that somebody else is
    /// there, nothing is sent twice unless it is answered. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub(crate) async fn ask_anew(
        &self,
        target: &Target,
        request: &Bytes,
        once: bool,
        asking: &dyn Asking,
    ) -> Result<Answer> {
        let inner = &*self.0;
        // The semaphore is never closed.
        let _permit = inner.permits.acquire().await.map_err(|_| Error::ShutDown)?;
        inner.check_allowed(target)?;
        let patience = inner.request_timeout.min(inner.dial_timeout).mul_f64(OF_THE_ANSWER);
        // No second attempt: it would be sent to somebody who may not be the one that asked.
        let limits = RaceLimits { again_after: patience, ..RaceLimits::default() };
        let race = Race { transports: &inner.transports, limits, until: inner.runtime.now() + patience };
        let back = DialBack { inner, expected: target.peer_id, request, once, asking };
        let mut candidates = Inner::candidates(target);
        let asked = inner.runtime.timeout(patience, race.run(&back, &mut candidates, None)).await;
        let asked = asked.map_err(|_| Error::Timeout("dialing a node back"))?;
        asked.map_err(|error| error.unwrap_or_else(nobody))
    }
}

/// Asks whoever is the target, over connections that nothing of this node's has made a way for.
struct DialBack<'a> {
    inner: &'a Inner,
    expected: Option<PeerId>,
    request: &'a Bytes,
    once: bool,
    asking: &'a dyn Asking,
}

impl Judge for DialBack<'_> {
    type Won = Answer;
    type Error = Error;

    fn allow(&self, endpoint: &Endpoint) -> Result<()> {
        self.inner.may_dial(endpoint)
    }

    async fn connect(&self, transports: &Transports, endpoint: &Endpoint) -> p2p_net::Result<Connection> {
        check_dial(self.asking, endpoint)?;
        transports.dial_back(endpoint, self.once).await
    }

    async fn ask(&self, connection: Connection) -> Result<Answer> {
        let inner = self.inner;
        let deadline = inner.runtime.now() + inner.dial_timeout;
        let opened = inner.authenticator.dial(connection, self.expected, self.request, deadline).await?;
        self.asking.met(opened.connection.remote_endpoint());
        opened.sender.finish();
        let response = opened.receiver.recv().await?.ok_or(p2p_net::Error::Truncated)?;
        let warm = Warm { connection: opened.connection, record: opened.remote.record };
        inner.keep(opened.remote.peer_id, warm.clone());
        Ok(warm.answer(opened.remote.peer_id, response))
    }

    fn failed(&self, endpoint: &Endpoint, error: &Error) {
        tracing::trace!(%endpoint, %error, "a node is not reached at one of its addresses");
    }
}
