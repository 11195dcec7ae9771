//! What is underneath: one trait for the three transports.

use std::net::SocketAddr;
use std::sync::Arc;

use bench_common::framed::{self, Ends};
use bench_common::line::{NEAR, listen_ip};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls;

/// A transport with a listener.
pub trait Stack: Send + Sync + 'static {
    type Stream: framed::Stream;
    /// What must live as long as the stream, beside it.
    type Guard: Send + 'static;
    fn dial(&self) -> impl Future<Output = (Self::Stream, Self::Guard)> + Send;
    /// What has arrived, before any handshake.
    type Incoming: Send + 'static;
    fn incoming(&self) -> impl Future<Output = Self::Incoming> + Send;
    fn accept(&self, incoming: Self::Incoming) -> impl Future<Output = (Self::Stream, Self::Guard)> + Send;
    /// Work that a fair comparison adds to each side of a connect.
    fn prove(&self) {}
}

/// Both ends of a stream, over which one byte has gone, and what must live as long.
pub async fn pair<T: Stack>(stack: &T) -> (Ends<T::Stream>, [T::Guard; 2]) {
    let (mut near, mut far) = (None, None);
    let streams = framed::pair(
        async {
            let (stream, guard) = stack.dial().await;
            near = Some(guard);
            stream
        },
        async {
            let (stream, guard) = stack.accept(stack.incoming().await).await;
            far = Some(guard);
            stream
        },
    );
    let streams = streams.await;
    (streams, [near.unwrap(), far.unwrap()])
}

pub struct Tcp {
    listener: TcpListener,
    addr: SocketAddr,
    key: Ed25519KeyPair,
}

impl Tcp {
    pub async fn new() -> Self {
        let listener = TcpListener::bind((listen_ip(), 0)).await.unwrap();
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        Self { addr: listener.local_addr().unwrap(), listener, key }
    }
}

impl Stack for Tcp {
    type Stream = TcpStream;
    type Guard = ();

    async fn dial(&self) -> (TcpStream, ()) {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        (stream, ())
    }

    type Incoming = TcpStream;

    async fn incoming(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    async fn accept(&self, stream: TcpStream) -> (TcpStream, ()) {
        (stream, ())
    }

    /// Plain TCP proves nothing: one signature made and one verified on each side is what an identity costs.
    fn prove(&self) {
        let signature = self.key.sign(b"who I am");
        let public = UnparsedPublicKey::new(&ED25519, self.key.public_key().as_ref());
        public.verify(b"who I am", signature.as_ref()).unwrap();
    }
}

pub struct Tls {
    tcp: Tcp,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    pub async fn new() -> Self {
        let connector = TlsConnector::from(Arc::new(tls::client()));
        Self { tcp: Tcp::new().await, connector, acceptor: TlsAcceptor::from(Arc::new(tls::server())) }
    }
}

impl Stack for Tls {
    type Stream = tokio_rustls::TlsStream<TcpStream>;
    type Guard = ();

    async fn dial(&self) -> (Self::Stream, ()) {
        let (stream, ()) = self.tcp.dial().await;
        let name = ServerName::try_from("raw").unwrap();
        (self.connector.connect(name, stream).await.unwrap().into(), ())
    }

    type Incoming = TcpStream;

    async fn incoming(&self) -> TcpStream {
        self.tcp.incoming().await
    }

    async fn accept(&self, stream: TcpStream) -> (Self::Stream, ()) {
        (self.acceptor.accept(stream).await.unwrap().into(), ())
    }
}

pub struct Quic {
    client: quinn::Endpoint,
    server: quinn::Endpoint,
}

impl Quic {
    pub fn new() -> Self {
        let [near, far] = [NEAR.into(), listen_ip()].map(|ip| SocketAddr::new(ip, 0));
        let server = quinn::crypto::rustls::QuicServerConfig::try_from(tls::server()).unwrap();
        let client = quinn::crypto::rustls::QuicClientConfig::try_from(tls::client()).unwrap();
        let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(server)), far).unwrap();
        let mut endpoint = quinn::Endpoint::client(near).unwrap();
        endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));
        Self { client: endpoint, server }
    }
}

impl Stack for Quic {
    type Stream = tokio::io::Join<quinn::RecvStream, quinn::SendStream>;
    type Guard = quinn::Connection;

    async fn dial(&self) -> (Self::Stream, quinn::Connection) {
        let connection = self.client.connect(self.server.local_addr().unwrap(), "raw").unwrap().await.unwrap();
        let (send, recv) = connection.open_bi().await.unwrap();
        (tokio::io::join(recv, send), connection)
    }

    type Incoming = quinn::Incoming;

    async fn incoming(&self) -> quinn::Incoming {
        self.server.accept().await.unwrap()
    }

    async fn accept(&self, incoming: quinn::Incoming) -> (Self::Stream, quinn::Connection) {
        let connection = incoming.await.unwrap();
        let (send, recv) = connection.accept_bi().await.unwrap();
        (tokio::io::join(recv, send), connection)
    }
}
