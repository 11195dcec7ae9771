//! A peer that speaks the wire format by hand and keeps to no rule that a test does not want it to keep to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt;
use p2p::endpoint::Transport;
use p2p::layers::identity::{KeyPair, TlsIdentity};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::in_time;
use super::udp::{Socket, Tokio};
use super::wire::{self, Hello, Key};

pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Credit of a stream at its beginning, without what the handshake and a header take.
const FIRST_CREDIT: usize = (64 << 10) - (4 << 10);

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Io for T {}

/// A connection of a hostile peer.
pub struct Attacker {
    pub carrier: Carrier,
    next: u32,
    /// An accept that came in place of a hello, which the listener's certificate has said.
    accept: Option<(u32, Vec<u8>)>,
}

pub enum Carrier {
    Mux(Mux),
    Quic(Quic),
}

/// How a connection was closed: with which code and reason, or without a word.
pub type Closed = Option<(u64, String)>;

pub struct Mux {
    pub io: Box<dyn Io>,
    input: Vec<u8>,
    streams: BTreeMap<u32, Inbound>,
    over: bool,
    closed: Closed,
    /// It has asked for all that the remote has to send.
    accepted: bool,
    /// Answers to its pings.
    pub pongs: u32,
}

#[derive(Default)]
struct Inbound {
    bytes: Vec<u8>,
    /// Credit that the remote has given for the other direction, beyond that of the beginning.
    granted: usize,
    end: Option<End>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Finished,
    Reset(u32),
    Refused,
    /// With the connection.
    Gone,
}

pub struct Quic {
    /// Keeps the socket open.
    _endpoint: quinn::Endpoint,
    pub socket: Arc<Socket>,
    pub connection: quinn::Connection,
    streams: BTreeMap<u32, (quinn::SendStream, quinn::RecvStream, Vec<u8>)>,
}

impl Quic {
    /// A stream, to be used by hand.
    pub fn take(&mut self, stream: u32) -> (quinn::SendStream, quinn::RecvStream) {
        let (send, recv, _) = self.streams.remove(&stream).expect("it is open");
        (send, recv)
    }
}

pub fn identity(key: &Key) -> TlsIdentity {
    TlsIdentity::new(&KeyPair::from_seed(key.seed)).unwrap()
}

pub async fn tcp_from(ip: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(ip, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub fn quic_socket(ip: IpAddr, hears: usize) -> (quinn::Endpoint, Arc<Socket>) {
    let socket = Socket::bind(SocketAddr::new(ip, 0), hears);
    let config = quinn::EndpointConfig::default_for_tests();
    let endpoint = quinn::Endpoint::new_with_abstract_socket(config, None, socket.clone(), Arc::new(Tokio)).unwrap();
    (endpoint, socket)
}

trait ForTests {
    fn default_for_tests() -> Self;
}

impl ForTests for quinn::EndpointConfig {
    fn default_for_tests() -> Self {
        Self::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[0; 64])))
    }
}

pub fn quic_client(tls: Arc<rustls::ClientConfig>, transport: quinn::TransportConfig) -> quinn::ClientConfig {
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    config
}

/// What an ordinary peer allows the other side.
pub fn ordinary_transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(None);
    transport
}

impl Attacker {
    pub fn over(io: impl Io + 'static) -> Self {
        let io = Box::new(io);
        let (input, streams) = (Vec::new(), BTreeMap::new());
        Self::new(Carrier::Mux(Mux { io, input, streams, over: false, closed: None, accepted: false, pongs: 0 }), 1)
    }

    fn new(carrier: Carrier, next: u32) -> Self {
        Self { carrier, next, accept: None }
    }

    pub async fn dial(transport: Transport, to: SocketAddr, key: &Key) -> Self {
        Self::try_dial(transport, LOCALHOST, to, identity(key).client_config().clone()).await.unwrap()
    }

    pub async fn dial_from(ip: IpAddr, transport: Transport, to: SocketAddr, key: &Key) -> Result<Self, String> {
        Self::try_dial(transport, ip, to, identity(key).client_config().clone()).await
    }

    pub async fn try_dial(
        transport: Transport,
        ip: IpAddr,
        to: SocketAddr,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        match transport {
            Transport::Tcp => Ok(Self::over(in_time("dial", tcp_from(ip, to)).await.map_err(text)?)),
            Transport::Tls => {
                let stream = in_time("dial", tcp_from(ip, to)).await.map_err(text)?;
                let name = ServerName::try_from("peer.invalid").unwrap();
                let connect = tokio_rustls::TlsConnector::from(tls).connect(name, stream);
                Ok(Self::over(in_time("TLS", connect).await.map_err(text)?))
            }
            _ => Self::dial_quic(ip, to, quic_client(tls, ordinary_transport())).await,
        }
    }

    pub async fn dial_quic(ip: IpAddr, to: SocketAddr, config: quinn::ClientConfig) -> Result<Self, String> {
        let (endpoint, socket) = quic_socket(ip, usize::MAX);
        let connecting = endpoint.connect_with(config, to, "peer.invalid").unwrap();
        let connection = in_time("QUIC", connecting).await.map_err(|error| error.to_string())?;
        Ok(Self::new(Carrier::Quic(Quic { _endpoint: endpoint, socket, connection, streams: BTreeMap::new() }), 1))
    }

    /// Opens a stream. The remote learns of it with the first bytes.
    pub async fn open(&mut self) -> u32 {
        let id = self.next;
        self.next += 2;
        match &mut self.carrier {
            Carrier::Mux(mux) => {
                mux.streams.entry(id).or_default();
                mux.write(&wire::frame(wire::OPEN, id, &[])).await;
            }
            Carrier::Quic(quic) => {
                if let Ok((send, recv)) = in_time("a stream", quic.connection.open_bi()).await {
                    quic.streams.insert(id, (send, recv, Vec::new()));
                }
            }
        }
        id
    }

    /// Writes as much as the remote takes before the connection ends.
    pub async fn write(&mut self, stream: u32, bytes: &[u8]) {
        match &mut self.carrier {
            Carrier::Mux(mux) => {
                for chunk in bytes.chunks(60_000) {
                    mux.write(&wire::frame(wire::DATA, stream, chunk)).await;
                }
            }
            Carrier::Quic(quic) => {
                if let Some((send, ..)) = quic.streams.get_mut(&stream) {
                    let _ = send.write_all(bytes).await;
                }
            }
        }
    }

    /// Writes the same again and again, as fast as the remote gives credit, until the connection ends, or `most` bytes
    /// are written; gives how many it took.
    pub async fn flood(&mut self, stream: u32, block: &[u8], most: usize) -> usize {
        let mut taken = 0;
        while taken + block.len() <= most {
            let written = match &mut self.carrier {
                Carrier::Mux(mux) => in_time("a flood", mux.write_on_credit(stream, block, taken)).await,
                Carrier::Quic(quic) => {
                    let Some((send, ..)) = quic.streams.get_mut(&stream) else { break };
                    in_time("a flood", send.write_all(block)).await.is_ok()
                }
            };
            if !written {
                break;
            }
            taken += block.len();
        }
        taken
    }

    /// Over quic: writes as much as the remote takes right now, at most `wanted`.
    pub fn cram(&mut self, stream: u32, wanted: usize) -> usize {
        let Carrier::Quic(quic) = &mut self.carrier else { panic!("not quic") };
        let (send, ..) = quic.streams.get_mut(&stream).unwrap();
        let (block, mut written) = (vec![0; wanted], 0);
        while let Some(taken) = send.write(&block[written..]).now_or_never() {
            written += taken.unwrap();
        }
        written
    }

    pub async fn send(&mut self, stream: u32, message: &[u8]) {
        self.write(stream, &wire::message(message)).await;
    }

    /// Ends the sending direction.
    pub async fn finish(&mut self, stream: u32) {
        match &mut self.carrier {
            Carrier::Mux(mux) => mux.write(&wire::frame(wire::DATA_FIN, stream, &[])).await,
            Carrier::Quic(quic) => {
                if let Some((send, ..)) = quic.streams.get_mut(&stream) {
                    let _ = send.finish();
                }
            }
        }
    }

    /// Gives the sending direction up.
    pub async fn reset(&mut self, stream: u32, code: u32) {
        match &mut self.carrier {
            Carrier::Mux(mux) => mux.write(&wire::frame(wire::RESET, stream, &code.to_be_bytes())).await,
            Carrier::Quic(quic) => {
                if let Some((send, ..)) = quic.streams.get_mut(&stream) {
                    let _ = send.reset(code.into());
                }
            }
        }
    }

    /// The next message on a stream; `None` once it has ended.
    pub async fn message(&mut self, stream: u32) -> Option<Vec<u8>> {
        if let Some((_, accept)) = self.accept.take_if(|(of, _)| *of == stream) {
            return Some(accept);
        }
        in_time("a message", async {
            match &mut self.carrier {
                Carrier::Mux(mux) => loop {
                    let inbound = mux.streams.entry(stream).or_default();
                    if let Some(message) = wire::take_message(&mut inbound.bytes) {
                        return Some(message);
                    }
                    if inbound.end.is_some() || !mux.pump().await {
                        return None;
                    }
                },
                Carrier::Quic(quic) => {
                    let (_, recv, bytes) = quic.streams.get_mut(&stream)?;
                    loop {
                        if let Some(message) = wire::take_message(bytes) {
                            return Some(message);
                        }
                        bytes.extend(&recv.read_chunk(1 << 16, true).await.ok()??.bytes);
                    }
                }
            }
        })
        .await
    }

    /// Reads a stream to its end.
    pub async fn ended(&mut self, stream: u32) -> End {
        in_time("the end of a stream", async {
            match &mut self.carrier {
                Carrier::Mux(mux) => loop {
                    if let Some(end) = mux.streams.entry(stream).or_default().end {
                        return end;
                    }
                    if !mux.pump().await {
                        return End::Gone;
                    }
                },
                Carrier::Quic(quic) => {
                    let Some((_, recv, _)) = quic.streams.get_mut(&stream) else { return End::Gone };
                    loop {
                        match recv.read_chunk(1 << 16, true).await {
                            Ok(Some(_)) => {}
                            Ok(None) => return End::Finished,
                            Err(quinn::ReadError::Reset(code)) => return End::Reset(code.into_inner() as u32),
                            Err(_) => return End::Gone,
                        }
                    }
                }
            }
        })
        .await
    }

    /// Reads until the remote closes the connection.
    pub async fn closed(&mut self) -> Closed {
        in_time("the end of a connection", async {
            match &mut self.carrier {
                Carrier::Mux(mux) => {
                    while mux.pump().await {}
                    // So that the remote need not wait for us.
                    let _ = mux.io.shutdown().await;
                    mux.closed.clone()
                }
                Carrier::Quic(quic) => match quic.connection.closed().await {
                    quinn::ConnectionError::ApplicationClosed(close) => {
                        Some((close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned()))
                    }
                    quinn::ConnectionError::ConnectionClosed(close) => {
                        Some((u64::from(close.error_code), String::from_utf8_lossy(&close.reason).into_owned()))
                    }
                    _ => None,
                },
            }
        })
        .await
    }

    /// Closes the connection as the wire format wants it.
    pub async fn close(mut self, code: u32, reason: &str) {
        match &mut self.carrier {
            Carrier::Mux(mux) => {
                mux.write(&wire::frame(wire::CLOSE, 0, &[&code.to_be_bytes(), reason.as_bytes()].concat())).await;
                let _ = mux.io.shutdown().await;
                in_time("the other half", async { while mux.pump().await {} }).await;
            }
            Carrier::Quic(quic) => {
                quic.connection.close(code.into(), reason.as_bytes());
                in_time("idle", quic._endpoint.wait_idle()).await;
            }
        }
    }

    pub fn mux(&mut self) -> &mut Mux {
        match &mut self.carrier {
            Carrier::Mux(mux) => mux,
            Carrier::Quic(_) => panic!("quic has no multiplexer"),
        }
    }

    pub fn quic(&self) -> &Quic {
        match &self.carrier {
            Carrier::Quic(quic) => quic,
            Carrier::Mux(_) => panic!("not quic"),
        }
    }

    fn is_plain(&self) -> bool {
        // What a TLS stream says of itself begins so.
        matches!(&self.carrier, Carrier::Mux(mux) if !format!("{:?}", mux.io).starts_with("TlsStream"))
    }

    /// Opens the control stream, says hello, and gives the remote's, which is empty where its certificate has said it; its
    /// refusal is the error.
    pub async fn hello(&mut self, hello: &Hello) -> Result<(u32, Vec<u8>), Vec<u8>> {
        let control = self.open().await;
        self.send(control, &hello.encode()).await;
        match self.message(control).await {
            Some(answer) if answer.get(1) == Some(&wire::HELLO) => Ok((control, answer)),
            Some(accept) if accept.get(1) == Some(&wire::ACCEPT) && !self.is_plain() => {
                // With two numbers, which are small in a test.
                assert!(accept[2] == 2 && accept.len() >= 5, "{accept:?}");
                self.accept = Some((control, accept));
                Ok((control, Vec::new()))
            }
            Some(refusal) => {
                // The remote need not wait for us.
                self.finish(control).await;
                Err(refusal)
            }
            None => Err(Vec::new()),
        }
    }

    /// Goes through the handshake as `key` and opens the echo protocol's stream: control stream, echo stream.
    pub async fn join(&mut self, key: &Key) -> Result<(u32, u32), Vec<u8>> {
        let hello = Hello::new(key.id(), rand_nonce());
        self.join_with(key, &hello).await
    }

    pub async fn join_with(&mut self, key: &Key, hello: &Hello) -> Result<(u32, u32), Vec<u8>> {
        let control = self.shake(key, hello).await?;
        let echo = self.open().await;
        self.send(echo, &wire::header(super::ECHO, false)).await;
        Ok((control, echo))
    }

    /// Goes through the handshake as `key`: the control stream.
    pub async fn shake(&mut self, key: &Key, hello: &Hello) -> Result<u32, Vec<u8>> {
        let (control, answer) = self.hello(hello).await?;
        match self.message(control).await {
            Some(accept) if accept.get(1) == Some(&wire::ACCEPT) => {}
            other => return Err(other.unwrap_or_default()),
        }
        let transcript = wire::transcript(&hello.encode(), &answer);
        let signature = self.is_plain().then(|| key.sign("p2p/1 handshake", &[&[0], &transcript]));
        self.send(control, &wire::accept(signature.as_deref())).await;
        Ok(control)
    }
}

/// A number that was not there before.
pub fn rand_nonce() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

impl Mux {
    pub async fn write(&mut self, bytes: &[u8]) {
        let mut all = Vec::new();
        if !std::mem::replace(&mut self.accepted, true) {
            all.extend(wire::frame(wire::ACCEPTED, 0, &[]));
        }
        all.extend(bytes);
        // Whoever closed the connection finds out by reading.
        let _ = self.io.write_all(&all).await;
        let _ = self.io.flush().await;
    }

    /// Says word for word what another one said from its beginning on.
    pub async fn replay(&mut self, bytes: &[u8]) {
        self.accepted = true;
        self.write(bytes).await;
    }

    /// Writes once the remote has given enough credit, beyond that for the `taken` bytes before; `false` at the end of the
    /// connection.
    async fn write_on_credit(&mut self, stream: u32, block: &[u8], taken: usize) -> bool {
        while FIRST_CREDIT + self.streams.entry(stream).or_default().granted < taken + block.len() {
            if !self.pump().await {
                return false;
            }
            // Nobody looks at what comes back.
            self.streams.values_mut().for_each(|inbound| inbound.bytes.clear());
        }
        self.io.write_all(&wire::frame(wire::DATA, stream, block)).await.is_ok()
    }

    /// Waits until the remote has taken all frames so far; `false` at the end of the connection.
    pub async fn ping(&mut self) -> bool {
        let before = self.pongs;
        self.write(&wire::frame(wire::PING, 0, &[0; 4])).await;
        while self.pongs == before {
            if !super::in_time("an answer", self.pump()).await {
                return false;
            }
        }
        true
    }

    /// How the remote's direction of a stream has ended, as far as that was read.
    pub fn end(&self, stream: u32) -> Option<End> {
        self.streams.get(&stream)?.end
    }

    /// Reads once and takes the frames apart; `false` at the end of the connection.
    async fn pump(&mut self) -> bool {
        if self.over {
            return false;
        }
        let mut buf = vec![0; 1 << 16];
        match self.io.read(&mut buf).await {
            Ok(0) | Err(_) => {
                self.over = true;
                return false;
            }
            Ok(len) => self.input.extend(&buf[..len]),
        }
        while self.input.len() >= 8 {
            let len = u32::from_be_bytes([0, self.input[1], self.input[2], self.input[3]]) as usize;
            if self.input.len() < 8 + len {
                break;
            }
            let rest = self.input.split_off(8 + len);
            let frame = std::mem::replace(&mut self.input, rest);
            let stream = u32::from_be_bytes(frame[4..8].try_into().unwrap());
            let (kind, payload) = (frame[0], &frame[8..]);
            let number = || payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            let inbound = self.streams.entry(stream).or_default();
            match kind {
                wire::DATA => inbound.bytes.extend(payload),
                wire::DATA_FIN => {
                    inbound.bytes.extend(payload);
                    inbound.end = Some(End::Finished);
                }
                wire::WINDOW => inbound.granted += number() as usize,
                wire::RESET => inbound.end = Some(End::Reset(number())),
                wire::REFUSE => inbound.end = Some(End::Refused),
                wire::PONG => self.pongs += 1,
                wire::CLOSE => {
                    self.closed = Some((number().into(), String::from_utf8(payload[4..].to_vec()).unwrap()));
                }
                _ => {}
            }
        }
        true
    }
}

/// Listens as a hostile peer, and takes what dials.
pub enum Trap {
    Stream(TcpListener, Option<Arc<rustls::ServerConfig>>),
    Quic(quinn::Endpoint, Arc<Socket>),
}

impl Trap {
    pub async fn new(transport: Transport, key: &Key, allow: quinn::TransportConfig) -> (Self, SocketAddr) {
        Self::with_tls(transport, identity(key).server_config().clone(), allow).await
    }

    pub async fn with_tls(
        transport: Transport,
        tls: Arc<rustls::ServerConfig>,
        allow: quinn::TransportConfig,
    ) -> (Self, SocketAddr) {
        match transport {
            Transport::Tcp | Transport::Tls => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                (Self::Stream(listener, (transport == Transport::Tls).then_some(tls)), addr)
            }
            _ => {
                let tls = QuicServerConfig::try_from(tls).unwrap();
                let token = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&[0; 64]);
                let mut server = quinn::ServerConfig::new(Arc::new(tls), Arc::new(token));
                server.transport_config(Arc::new(allow));
                let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), usize::MAX);
                let addr = quinn::AsyncUdpSocket::local_addr(&*socket).unwrap();
                let config = quinn::EndpointConfig::default_for_tests();
                let endpoint =
                    quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket.clone(), Arc::new(Tokio));
                (Self::Quic(endpoint.unwrap(), socket), addr)
            }
        }
    }

    /// The next one who walks in.
    pub async fn catch(&self) -> Attacker {
        let carrier = match self {
            Self::Stream(listener, tls) => {
                let (stream, _) = listener.accept().await.unwrap();
                let Some(tls) = tls else { return Attacker { next: 2, ..Attacker::over(stream) } };
                let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
                return Attacker { next: 2, ..Attacker::over(acceptor.accept(stream).await.unwrap()) };
            }
            Self::Quic(endpoint, socket) => Carrier::Quic(Quic {
                _endpoint: endpoint.clone(),
                socket: socket.clone(),
                connection: endpoint.accept().await.unwrap().await.unwrap(),
                streams: BTreeMap::new(),
            }),
        };
        Attacker::new(carrier, 2)
    }
}

impl Attacker {
    /// As a listener: takes the dialer's control stream and its hello.
    pub async fn greeted(&mut self) -> (u32, Vec<u8>) {
        let control = 1;
        if let Carrier::Quic(quic) = &mut self.carrier {
            let (send, recv) = in_time("a stream", quic.connection.accept_bi()).await.unwrap();
            quic.streams.insert(control, (send, recv, Vec::new()));
        }
        (control, self.message(control).await.unwrap())
    }

    /// As a listener: answers a hello as `key` would.
    pub async fn welcome(&mut self, key: &Key) -> u32 {
        let (control, theirs) = self.greeted().await;
        let ours = Hello::new(key.id(), rand_nonce()).encode();
        self.send(control, &ours).await;
        let transcript = wire::transcript(&theirs, &ours);
        let signature = self.is_plain().then(|| key.sign("p2p/1 handshake", &[&[1], &transcript]));
        self.send(control, &wire::accept(signature.as_deref())).await;
        assert_eq!(self.message(control).await.unwrap()[1], wire::ACCEPT);
        control
    }
}
