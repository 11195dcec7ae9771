//! Endpoints, connections, and streams on them.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use iroh::endpoint::{Connection, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr};
use tokio::io::Join;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

pub const ALPN: &[u8] = b"bench";

/// A stream with the codec that raw sockets have.
pub type Codec = Framed<Join<RecvStream, SendStream>, LengthDelimitedCodec>;

pub fn framed((send, recv): (SendStream, RecvStream)) -> Codec {
    Framed::new(tokio::io::join(recv, send), LengthDelimitedCodec::new())
}

/// An endpoint on loopback alone. It neither knows relays nor looks addresses up: others are told them.
pub async fn endpoint() -> Endpoint {
    Endpoint::builder(presets::Minimal)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
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
pub async fn stream((near, far): &(Connection, Connection)) -> (Codec, Codec) {
    let opening = async {
        let mut stream = framed(near.open_bi().await.unwrap());
        stream.send(Bytes::from_static(b"x")).await.unwrap();
        stream
    };
    let accepting = async {
        let mut stream = framed(far.accept_bi().await.unwrap());
        stream.next().await.unwrap().unwrap();
        stream
    };
    tokio::join!(opening, accepting)
}
