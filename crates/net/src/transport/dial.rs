//! From an endpoint to a connection.

use std::net::IpAddr;
use std::sync::Arc;

use super::Inner;
use super::resolve::resolve;
use crate::{Connection, DialError, Endpoint, Error, Result};

/// What [`Transports::connect`](super::Transports::connect) does while nobody shuts down.
pub(super) async fn connect(inner: &Inner, endpoint: &Endpoint) -> Result<Connection> {
    let carrier = inner.carrier(endpoint)?;
    let unsupported = |why| Error::Unsupported { endpoint: endpoint.clone(), why };
    if let Some(why) = nowhere(endpoint) {
        return Err(unsupported(why));
    }
    let Some(addr) = endpoint.socket_addr() else {
        return Err(unsupported("a host name may have several addresses: resolve it, and dial those"));
    };
    let connected = inner.connect(carrier, addr).await;
    let connection = connected.map_err(|reason| Error::Dial { endpoint: endpoint.clone(), reason })?;
    Ok(Connection::new(connection, endpoint.clone()))
}

/// What [`Transports::dial`](super::Transports::dial) does while nobody shuts down.
pub(super) async fn dial(inner: &Inner, endpoint: &Endpoint) -> Result<Connection> {
    let late = |_| Err(Error::Dial { endpoint: endpoint.clone(), reason: DialError::TimedOut });
    let runtime = &**inner.tasks.runtime();
    runtime.timeout(inner.config.dial_timeout, connect(inner, endpoint)).await.unwrap_or_else(late)
}

/// What [`Transports::resolve`](super::Transports::resolve) does while nobody shuts down.
pub(super) async fn addresses(inner: &Inner, endpoint: &Endpoint) -> Result<Vec<Endpoint>> {
    let found = resolve(&**inner.tasks.runtime(), endpoint).await;
    let failed = |error| Error::Dial { endpoint: endpoint.clone(), reason: DialError::Resolve(Arc::new(error)) };
    let at = |addr| Endpoint::from_socket_addr(endpoint.transport(), addr).with_peer_id(endpoint.peer_id());
    Ok(found.map_err(failed)?.into_iter().map(at).collect())
}

/// What [`Transports::dial_back`](super::Transports::dial_back) does while nobody shuts down.
pub(super) async fn dial_back(inner: &Inner, endpoint: &Endpoint, once: bool) -> Result<Connection> {
    let carrier = inner.carrier(endpoint)?;
    let unsupported = |why| Error::Unsupported { endpoint: endpoint.clone(), why };
    if let Some(why) = nowhere(endpoint) {
        return Err(unsupported(why));
    }
    let addr = endpoint.socket_addr().ok_or_else(|| unsupported("a name may stand for many hosts: give an address"))?;
    let runtime = &**inner.tasks.runtime();
    let connecting = runtime.timeout(inner.config.dial_timeout, inner.connect_back(carrier, addr, once)).await;
    let connected = connecting.unwrap_or(Err(DialError::TimedOut));
    let connection = connected.map_err(|reason| Error::Dial { endpoint: endpoint.clone(), reason })?;
    Ok(Connection::new(connection, endpoint.clone()))
}

/// Why nobody can be reached there, whatever the network is like.
fn nowhere(endpoint: &Endpoint) -> Option<&'static str> {
    match endpoint.addr().ip() {
        _ if endpoint.port() == 0 => Some("port 0 is for listening: dial the port that the system chose"),
        Some(ip) if ip.is_unspecified() => Some(
            "this address is for listening on all addresses of a machine: dial one of them, such as 127.0.0.1 on the same \
             machine",
        ),
        Some(IpAddr::V6(ip)) if ip.is_unicast_link_local() => Some(
            "a link-local IPv6 address needs a network interface, which endpoints cannot name: dial another address of \
             that machine",
        ),
        _ => None,
    }
}
