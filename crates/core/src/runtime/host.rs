//! What tokio and smol share: making sockets, and UDP batches through `quinn-udp`.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use quinn_udp::{EcnCodepoint, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Datagrams, RecvMeta, TCP_SMALL_SEGMENT, TCP_UNSENT_BYTES, UDP_BUFFER_BYTES, UnsentLimit};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Datagrams taken from the system in one call.
const BATCH: usize = quinn_udp::BATCH_SIZE;

thread_local! {
    /// What the system says of a batch. To make it anew for each call would take longer than to receive one datagram.
    static METAS: RefCell<[quinn_udp::RecvMeta; BATCH]> = RefCell::new([quinn_udp::RecvMeta::default(); BATCH]);
}

pub(super) fn fill_random(bytes: &mut [u8]) {
    use ring::rand::SecureRandom;
    ring::rand::SystemRandom::new().fill(bytes).expect("the system's random source works; without it nothing is safe");
}

pub(super) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A listener must be able to start again while old connections linger in TIME_WAIT. On Windows the option
    // means something else: sharing the port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for [`Runtime::tcp_connect_small`](super::Runtime::tcp_connect_small), not connected yet.
pub(super) fn small_segments(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_mss(TCP_SMALL_SEGMENT)?;
    #[cfg(not(target_os = "linux"))]
    let _ = TCP_SMALL_SEGMENT;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether a non-blocking connect has begun and goes on by itself.
#[cfg(feature = "smol")]
pub(super) fn is_in_progress(error: &io::Error) -> bool {
    // EINPROGRESS of Linux and of the BSDs; Windows says that it would block.
    error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(115 | 36))
}

/// See [`Runtime::local_addresses`](super::Runtime::local_addresses).
pub(super) fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<_> = if_addrs::get_if_addrs()?
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Whether an error of `accept` concerns one connection that is gone, not the listener (see accept(2)).
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

pub(super) fn passed_over(peer_addr: SocketAddr, error: &io::Error) {
    tracing::debug!(%peer_addr, %error, "a connection broke off before it was accepted");
}

/// Gives a new TCP connection the options every one has.
pub(super) fn tune<'a>(stream: impl Into<SockRef<'a>>) -> io::Result<()> {
    let stream: SockRef<'a> = stream.into();
    stream.set_tcp_nodelay(true)?;
    limit_unsent(stream, TCP_UNSENT_BYTES);
    Ok(())
}

/// Best effort: a system may lack the option, and only promptness hangs on it.
fn limit_unsent(stream: SockRef<'_>, bytes: u32) {
    #[cfg(target_os = "linux")]
    let _ = stream.set_tcp_notsent_lowat(bytes);
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, bytes);
}

/// The limit of unsent bytes that a stream has, and that it is to have.
#[derive(Debug)]
pub(super) struct Unsent {
    wanted: UnsentLimit,
    set: u32,
}

impl Unsent {
    pub(super) fn new() -> Self {
        Self { wanted: UnsentLimit::default(), set: TCP_UNSENT_BYTES }
    }

    pub(super) fn limit(&self) -> UnsentLimit {
        self.wanted.clone()
    }

    /// Before a write.
    #[inline]
    pub(super) fn apply<'a>(&mut self, stream: impl FnOnce() -> SockRef<'a>) {
        let wanted = self.wanted.get();
        if wanted != self.set {
            self.set = wanted;
            limit_unsent(stream(), wanted);
        }
    }
}

/// A UDP socket that talks to one remote.
pub(super) fn connect(remote: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(remote), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.connect(&remote.into())?;
    Ok(socket.into())
}

/// Sends on a connected socket, whatever the runtime knows of its readiness: nobody waits for one small datagram.
pub(super) fn send_connected<'a>(socket: impl Into<SockRef<'a>>, contents: &[u8]) -> io::Result<()> {
    let socket: SockRef<'a> = socket.into();
    match socket.send(contents) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// Whether a datagram was not sent because it is larger than the network takes, which is what path MTU discovery asks.
fn is_too_large(error: &io::Error) -> bool {
    /// `EMSGSIZE`.
    const CODE: i32 = if cfg!(windows) {
        10040
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        90
    } else {
        40
    };
    error.raw_os_error() == Some(CODE)
}

/// A bound UDP socket with what the system can do with it.
#[derive(Debug)]
pub(super) struct Udp {
    state: UdpSocketState,
    pub(super) local_addr: SocketAddr,
}

impl Udp {
    pub(super) fn bind(addr: SocketAddr) -> io::Result<(UdpSocket, Self)> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Best effort: a system may allow less.
        let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
        socket.bind(&addr.into())?;
        let socket: UdpSocket = socket.into();
        let state = UdpSocketState::new((&socket).into())?;
        socket.set_nonblocking(true)?;
        let local_addr = socket.local_addr()?;
        Ok((socket, Self { state, local_addr }))
    }

    pub(super) fn send(&self, socket: UdpSockRef<'_>, datagrams: &Datagrams<'_>) -> io::Result<()> {
        let sent = self.state.try_send(
            socket,
            &Transmit {
                destination: datagrams.destination,
                ecn: datagrams.ecn.and_then(EcnCodepoint::from_bits),
                contents: datagrams.contents,
                segment_size: datagrams.segment_size,
                src_ip: datagrams.src_ip,
            },
        );
        sent.or_else(|error| if is_too_large(&error) { Ok(()) } else { Err(error) })
    }

    pub(super) fn recv(
        &self,
        socket: UdpSockRef<'_>,
        bufs: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let count = bufs.len().min(metas.len()).min(BATCH);
        METAS.with_borrow_mut(|raw| {
            let received = self.state.recv(socket, &mut bufs[..count], &mut raw[..count])?;
            for (meta, raw) in metas.iter_mut().zip(&raw[..received]) {
                *meta = RecvMeta {
                    addr: raw.addr,
                    len: raw.len,
                    stride: raw.stride,
                    ecn: raw.ecn.map(|ecn| ecn as u8),
                    dst_ip: raw.dst_ip,
                };
            }
            Ok(received)
        })
    }

    pub(super) fn max_send_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    pub(super) fn max_recv_segments(&self) -> usize {
        self.state.gro_segments()
    }

    pub(super) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}
