//! Endpoints, connections, and streams on them.

use std::net::{IpAddr, SocketAddr};

use bench_common::framed::{self, Ends};
use bench_common::line::{NEAR, listen_ip};
use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr};
use tokio::io::Join;

pub const ALPN: &[u8] = b"bench";

/// Both directions of a stream.
pub type Both = Join<RecvStream, SendStream>;

pub fn both((send, recv): (SendStream, RecvStream)) -> Both {
    tokio::io::join(recv, send)
}

/// An endpoint on loopback alone that others dial.
pub async fn listening() -> Endpoint {
    endpoint_at(listen_ip()).await
}

/// An endpoint on loopback alone that dials.
pub async fn endpoint() -> Endpoint {
    endpoint_at(NEAR.into()).await
}

/// It neither knows relays nor looks addresses up: others are told them.
async fn endpoint_at(ip: IpAddr) -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .bind_addr(SocketAddr::new(ip, 0))
        .unwrap()
        .alpns(vec![ALPN.to_vec()])
        .bind()
        .await
        .unwrap()
}

pub fn socket_address(endpoint: &Endpoint) -> SocketAddr {
    endpoint.bound_sockets()[0]
}

/// Who and where an endpoint is.
pub fn address(endpoint: &Endpoint) -> EndpointAddr {
    EndpointAddr::new(endpoint.id()).with_ip_addr(socket_address(endpoint))
}

/// Both ends of a new connection.
pub async fn connection(from: &Endpoint, to: &Endpoint) -> (Connection, Connection) {
    let dialing = async { from.connect(address(to), ALPN).await.unwrap() };
    let accepting = async { to.accept().await.unwrap().accept().unwrap().await.unwrap() };
    tokio::join!(dialing, accepting)
}

/// Both ends of a new stream, over which one byte has gone.
pub async fn stream((near, far): &(Connection, Connection)) -> Ends<Both> {
    let opening = async { both(near.open_bi().await.unwrap()) };
    let accepting = async { both(far.accept_bi().await.unwrap()) };
    framed::pair(opening, accepting).await
}

/// What must live as long as streams do.
pub type Held = (Vec<(Connection, Connection)>, Vec<Endpoint>);

/// A stream between two endpoints, and another one on the same connection.
pub async fn pair() -> (Ends<Both>, Ends<Both>, Held) {
    let (client, server) = (endpoint().await, listening().await);
    let connection = connection(&client, &server).await;
    (stream(&connection).await, stream(&connection).await, (vec![connection], vec![client, server]))
}

/// So many peers of a hub have an endpoint of their own; more share them, each with its own connection.
const ENDPOINTS: usize = 50;

/// A hub's ends of the streams to its peers, and theirs.
pub async fn hub(width: usize) -> (Vec<Ends<Both>>, Held) {
    let hub = listening().await;
    let mut endpoints = Vec::new();
    for _ in 0..width.min(ENDPOINTS) {
        endpoints.push(endpoint().await);
    }
    let (mut streams, mut connections) = (Vec::new(), Vec::new());
    for n in 0..width {
        let ends = connection(&endpoints[n % endpoints.len()], &hub).await;
        let (near, far) = stream(&ends).await;
        streams.push((far, near));
        connections.push(ends);
    }
    endpoints.push(hub);
    (streams, (connections, endpoints))
}
