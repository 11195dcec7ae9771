//! The stack that everything is compared with: tokio TCP, tokio-rustls or quinn, with a four-byte length codec.

mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_common::{Scenario, Transport, median_us, rate, resident};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

fn main() {
    bench_common::run(|scenario, transport| async move {
        match transport {
            Transport::Tcp => measure(Tcp::new().await, scenario, transport).await,
            Transport::Tls => measure(Tls::new().await, scenario, transport).await,
            Transport::Quic => measure(Quic::new(), scenario, transport).await,
        }
    });
}

/// A transport with a listener.
trait Stack: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
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

type Codec<S> = Framed<S, LengthDelimitedCodec>;

fn framed<S: AsyncRead + AsyncWrite>(stream: S) -> Codec<S> {
    Framed::new(stream, LengthDelimitedCodec::new())
}

/// A pair of connected, framed streams, over which one byte has gone.
async fn pair<T: Stack>(stack: &T) -> ((Codec<T::Stream>, T::Guard), (Codec<T::Stream>, T::Guard)) {
    let dial = async {
        let (stream, guard) = stack.dial().await;
        let mut stream = framed(stream);
        stream.send(Bytes::from_static(b"x")).await.unwrap();
        (stream, guard)
    };
    let accept = async {
        let (stream, guard) = stack.accept(stack.incoming().await).await;
        let mut stream = framed(stream);
        stream.next().await.unwrap().unwrap();
        (stream, guard)
    };
    tokio::join!(dial, accept)
}

async fn measure<T: Stack>(stack: T, scenario: Scenario, transport: Transport) -> (f64, Option<Duration>) {
    let count = scenario.count(transport);
    match scenario {
        Scenario::Rtt => {
            let ((client, _a), (mut server, _b)) = pair(&stack).await;
            tokio::spawn(async move {
                while let Some(Ok(message)) = server.next().await {
                    server.send(message.freeze()).await.unwrap();
                }
            });
            let client = Arc::new(Mutex::new(client));
            let message = Bytes::from(vec![7; 64]);
            let task = tokio::spawn(async move {
                median_us(count, || {
                    let (client, message) = (client.clone(), message.clone());
                    async move {
                        let mut client = client.lock().await;
                        client.send(message).await.unwrap();
                        client.next().await.unwrap().unwrap();
                    }
                })
                .await
            });
            (task.await.unwrap(), None)
        }
        Scenario::Small | Scenario::Bulk => {
            let len = if scenario == Scenario::Small { 64 } else { 64 << 10 };
            let ((mut client, _a), (mut server, _b)) = pair(&stack).await;
            let message = Bytes::from(vec![7; len]);
            let start = Instant::now();
            let sender = tokio::spawn(async move {
                for _ in 0..count {
                    client.feed(message.clone()).await.unwrap();
                }
                SinkExt::<Bytes>::flush(&mut client).await.unwrap();
                client
            });
            let receiver = tokio::spawn(async move {
                for _ in 0..count {
                    server.next().await.unwrap().unwrap();
                }
            });
            receiver.await.unwrap();
            let seconds = start.elapsed().as_secs_f64();
            drop(sender.await.unwrap());
            let amount =
                if scenario == Scenario::Small { count as f64 } else { (count * len) as f64 / f64::from(1 << 20) };
            (amount / seconds, None)
        }
        Scenario::Connect | Scenario::Connect64 => {
            let in_flight = if scenario == Scenario::Connect { 1 } else { 64 };
            let stack = Arc::new(stack);
            let server = stack.clone();
            tokio::spawn(async move {
                loop {
                    let incoming = server.incoming().await;
                    let server = server.clone();
                    tokio::spawn(async move {
                        let (stream, guard) = server.accept(incoming).await;
                        let mut stream = framed(stream);
                        server.prove();
                        let message = stream.next().await.unwrap().unwrap();
                        stream.send(message.freeze()).await.unwrap();
                        // The client closes first.
                        let _ = stream.next().await;
                        drop(guard);
                    });
                }
            });
            rate(count, in_flight, move || {
                let stack = stack.clone();
                async move {
                    let (stream, guard) = stack.dial().await;
                    stack.prove();
                    let mut stream = framed(stream);
                    stream.send(Bytes::from(vec![7; 64])).await.unwrap();
                    stream.next().await.unwrap().unwrap();
                    drop((stream, guard));
                }
            })
            .await
        }
        Scenario::Hol | Scenario::Stalled => panic!("a scenario of stacks with more than one stream"),
        Scenario::Conns => {
            let mut held = Vec::with_capacity(count);
            held.push(pair(&stack).await);
            let before = resident();
            for _ in 0..count {
                held.push(pair(&stack).await);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            ((resident() - before) as f64 / 1024.0 / count as f64, None)
        }
    }
}

struct Tcp {
    listener: TcpListener,
    addr: SocketAddr,
    key: Ed25519KeyPair,
}

impl Tcp {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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

struct Tls {
    tcp: Tcp,
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Tls {
    async fn new() -> Self {
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

struct Quic {
    client: quinn::Endpoint,
    server: quinn::Endpoint,
}

impl Quic {
    fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = quinn::crypto::rustls::QuicServerConfig::try_from(tls::server()).unwrap();
        let client = quinn::crypto::rustls::QuicClientConfig::try_from(tls::client()).unwrap();
        let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(server)), any).unwrap();
        let mut endpoint = quinn::Endpoint::client(any).unwrap();
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
