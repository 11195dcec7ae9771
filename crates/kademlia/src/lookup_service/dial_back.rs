//! Dials others back: to see whether they can be reached, over connections that are made for it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use p2p_identity::access::{Direction, Subject};
use p2p_identity::{Error, Result};
use p2p_net::Endpoint;

use super::authenticate::denied;
use super::client::{Answer, Inner};
use super::{LookupClient, Target};

/// How long after one of a node's endpoints the next is tried too.
const NEXT_ENDPOINT: Duration = Duration::from_millis(250);

/// Endpoints of one node that are tried.
const MAX_ENDPOINTS: usize = 4;

/// The part of the time for an answer that dialing back may take: who asked for it waits no longer.
const OF_THE_ANSWER: f64 = 0.6;

impl LookupClient {
    /// Asks a node over a new connection, to see whether there can be one. Where it may be `once` that somebody else is
    /// there, nothing is sent twice unless it is answered. Cancel-safe: a dropped call gives up.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub(crate) async fn ask_anew(&self, target: &Target, request: &Bytes, once: bool) -> Result<Answer> {
        let inner = &*self.0;
        // The semaphore is never closed.
        let _permit = inner.permits.acquire().await.map_err(|_| Error::ShutDown)?;
        inner.check_allowed(target)?;
        let mut after = Duration::ZERO;
        let mut asking: FuturesUnordered<_> = FuturesUnordered::new();
        for endpoint in target.endpoints.iter().take(MAX_ENDPOINTS) {
            asking.push(inner.ask_back(target, endpoint, request, (after, once)));
            after += NEXT_ENDPOINT;
        }
        let first = async {
            let mut last = Error::config("endpoints", "there is no endpoint to dial");
            while let Some(asked) = asking.next().await {
                match asked {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let limit = inner.request_timeout.min(inner.dial_timeout).mul_f64(OF_THE_ANSWER);
        inner.runtime.timeout(limit, first).await.unwrap_or(Err(Error::Timeout("dialing a node back")))
    }
}

impl Inner {
    async fn ask_back(
        &self,
        target: &Target,
        endpoint: &Endpoint,
        request: &Bytes,
        (after, once): (Duration, bool),
    ) -> Result<Answer> {
        let named = endpoint.clone().with_peer_id(target.peer_id);
        if !self.authenticator.allows(&Subject::Endpoint(&named), Direction::Outbound) {
            return Err(denied(&named));
        }
        if !after.is_zero() {
            self.runtime.sleep(after).await;
        }
        let connection = self.transports.dial_back(&named, once).await?;
        let deadline = self.runtime.now() + self.dial_timeout;
        let opened = self.authenticator.dial(connection, target.peer_id, request, deadline).await?;
        opened.sender.finish();
        let response = opened.receiver.recv().await?.ok_or(p2p_net::Error::Truncated)?;
        let endpoint = opened.connection.remote_endpoint().clone();
        self.keep(opened.remote.peer_id, opened.connection, opened.remote.record.clone());
        Ok(Answer { response, peer_id: opened.remote.peer_id, record: opened.remote.record, endpoint })
    }
}
