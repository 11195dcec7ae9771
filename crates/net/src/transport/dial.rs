//! From an endpoint to a connection.

use std::sync::Arc;

use super::Inner;
use super::race::race;
use super::resolve::resolve;
use crate::{Connection, DialError, Endpoint, Error, Result};

/// What [`Transports::dial`](super::Transports::dial) does while nobody shuts down.
pub(super) async fn dial(inner: &Inner, endpoint: &Endpoint) -> Result<Connection> {
    let carrier = inner.carrier(endpoint)?;
    let runtime = &**inner.tasks.runtime();
    let connecting = async {
        let addrs = resolve(runtime, endpoint).await.map_err(|error| DialError::Resolve(Arc::new(error)))?;
        race(runtime, addrs, |addr| inner.connect(carrier, addr)).await
    };
    let (addr, connection) = runtime
        .timeout(inner.config.dial_timeout, connecting)
        .await
        .unwrap_or(Err(DialError::TimedOut))
        .map_err(|reason| Error::Dial { endpoint: endpoint.clone(), reason })?;
    let remote = Endpoint::from_socket_addr(endpoint.transport(), addr).with_peer_id(endpoint.peer_id());
    Ok(Connection::new(connection, remote))
}
