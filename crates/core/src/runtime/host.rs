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
    take_one_family(&socket, addr)?;
    // A listener should be able to start again while old connections linger in TIME_WAIT. On Windows the option
    // means something else: sharing the port.
    #[cfg(not(windows))]
    best_effort("SO_REUSEADDR", socket.set_reuse_address(true));
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A socket for [`Runtime::tcp_connect_small`](super::Runtime::tcp_connect_small), not connected yet.
pub(super) fn small_segments(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    limit_segments(&socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn limit_segments<'a>(socket: impl Into<SockRef<'a>>) {
    #[cfg(target_os = "linux")]
    best_effort("TCP_MAXSEG", socket.into().set_tcp_mss(TCP_SMALL_SEGMENT));
    #[cfg(not(target_os = "linux"))]
    let _ = (socket.into(), TCP_SMALL_SEGMENT);
}

/// An IPv6 socket takes IPv6 only, so that one for IPv4 can be beside it.
fn take_one_family(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    if addr.is_ipv6() { needed("IPV6_V6ONLY", socket.set_only_v6(true)) } else { Ok(()) }
}

/// Sandboxes, such as gVisor and those of phones, lack socket options: what is only better with one goes on without it.
fn best_effort(option: &'static str, set: io::Result<()>) {
    if let Err(error) = set {
        tracing::debug!(option, %error, "this system lacks a socket option");
    }
}

/// Says what lacks where there is no way without it.
fn needed<T>(options: &'static str, set: io::Result<T>) -> io::Result<T> {
    set.map_err(|error| {
        io::Error::new(error.kind(), format!("the socket option {options} does not work here: {error}"))
    })
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

/// Gives a new TCP connection the options every one has, as far as the system has them: only promptness hangs on them.
pub(super) fn tune<'a>(stream: impl Into<SockRef<'a>>) {
    let stream: SockRef<'a> = stream.into();
    best_effort("TCP_NODELAY", stream.set_tcp_nodelay(true));
    limit_unsent(stream, TCP_UNSENT_BYTES);
}

fn limit_unsent(stream: SockRef<'_>, bytes: u32) {
    #[cfg(target_os = "linux")]
    best_effort("TCP_NOTSENT_LOWAT", stream.set_tcp_notsent_lowat(bytes));
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

/// Sets up batches, which come with the address that a datagram was sent to: quic answers from there.
fn batches(socket: UdpSockRef<'_>) -> io::Result<UdpSocketState> {
    needed("IP_PKTINFO or IPV6_RECVPKTINFO", UdpSocketState::new(socket))
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
        take_one_family(&socket, addr)?;
        // A system may allow less.
        best_effort("SO_RCVBUF", socket.set_recv_buffer_size(UDP_BUFFER_BYTES));
        best_effort("SO_SNDBUF", socket.set_send_buffer_size(UDP_BUFFER_BYTES));
        socket.bind(&addr.into())?;
        let socket: UdpSocket = socket.into();
        let state = batches((&socket).into())?;
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

/// A sandbox is played by a socket of another kind, which has no such options either.
#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn without_options() -> UnixDatagram {
        UnixDatagram::unbound().unwrap()
    }

    #[test]
    fn a_connection_is_accepted_in_a_sandbox_without_tcp_options() {
        let socket = without_options();
        assert!(SockRef::from(&socket).set_tcp_nodelay(true).is_err(), "it plays the sandbox");
        tune(&socket);
        limit_segments(&socket);
        let mut unsent = Unsent::new();
        unsent.limit().set(1);
        unsent.apply(|| (&socket).into());
    }

    #[test]
    fn a_udp_socket_in_a_sandbox_without_packet_info_says_what_lacks() {
        let socket = without_options();
        let error = batches((&socket).into()).unwrap_err();
        assert!(error.to_string().contains("IP_PKTINFO"), "{error}");
    }
}
