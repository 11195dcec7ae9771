//! Endpoints: where a node listens or is reached, as URL text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use p2p_core::{InvalidPeerId, PeerId};

/// How bytes travel to an [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Plain TCP: peers prove who they are, but what they say is neither secret nor safe from change on the way.
    Tcp,
    /// TLS 1.3 over TCP.
    Tls,
    /// QUIC (RFC 9000).
    Quic,
    /// Single datagrams; no connections.
    Udp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Quic, Self::Udp];

    /// The URL scheme.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Udp => "udp",
        }
    }

    /// Whether connections run over it, which is all but [`Udp`](Self::Udp).
    pub fn is_connection(self) -> bool {
        self != Self::Udp
    }

    /// Whether it proves the remote's key and keeps secrets by itself.
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Quic)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.scheme())
    }
}

/// A host: an address or a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Addr {
    /// An IP address. IPv4-mapped IPv6 addresses are kept as IPv4.
    Ip(IpAddr),
    /// A DNS name, lower-case, at most 253 characters, labels at most 63.
    Name(String),
}

impl Addr {
    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl FromStr for Addr {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        use ParseEndpointError as E;
        // A name that ends with a dot is that name from the root of DNS, and means the same.
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(E::MissingHost);
        }
        if text.len() > MAX_NAME_LEN {
            return Err(E::HostTooLong(text.len()));
        }
        if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if ip.contains('%') {
                return Err(E::Zone(text.into()));
            }
            let ip: Ipv6Addr = ip.parse().map_err(|_| E::Host(text.into()))?;
            return Ok(IpAddr::V6(ip).into());
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(IpAddr::V4(ip).into());
        }
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let mut labels = text.split('.').rev();
        // A name whose last label is a number is a mistyped IPv4 address (WHATWG URL §3.5).
        let last_is_number = labels.next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if last_is_number || !text.split('.').all(label_ok) {
            return Err(E::Host(text.into()));
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

/// The longest host name (RFC 1035 §2.3.4).
pub const MAX_NAME_LEN: usize = 253;

/// The longest endpoint text: scheme, peer id, host and port.
pub const MAX_ENDPOINT_LEN: usize = 7 + PeerId::TEXT_LEN + 1 + MAX_NAME_LEN + 6;

/// Where a node listens or is reached: `tcp://`, `tls://`, `quic://` or `udp://`, an optional `PEERID@`, a host name,
/// an IPv4 or a bracketed IPv6 address, and a port. The scheme and the name may be in upper case, the name may end with a dot,
/// and white space around it all is passed over, such as the end of a line; it is written in one form.
///
/// ```
/// use p2p_net::{Endpoint, Transport};
///
/// let endpoint: Endpoint = "quic://[::1]:9000".parse()?;
/// assert_eq!(endpoint.transport(), Transport::Quic);
/// assert_eq!(endpoint.port(), 9000);
/// assert_eq!(endpoint.to_string(), "quic://[::1]:9000");
/// assert!("http://example.org:80".parse::<Endpoint>().is_err());
/// # Ok::<(), p2p_net::endpoint::ParseEndpointError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    transport: Transport,
    peer_id: Option<PeerId>,
    addr: Addr,
    port: u16,
}

impl Endpoint {
    /// An endpoint without a peer id.
    pub fn new(transport: Transport, addr: impl Into<Addr>, port: u16) -> Self {
        Self { transport, peer_id: None, addr: addr.into(), port }
    }

    /// The same, naming who must answer there. A connection to anybody else is refused.
    pub fn with_peer_id(mut self, peer_id: impl Into<Option<PeerId>>) -> Self {
        self.peer_id = peer_id.into();
        self
    }

    /// The same place at another port.
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How to get there.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Who must answer, if that is known.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.peer_id
    }

    /// The host.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// The port; 0 asks the system to choose one when listening.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket address, unless the host is a name.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.addr.ip().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The endpoint of a socket address.
    pub fn from_socket_addr(transport: Transport, addr: SocketAddr) -> Self {
        Self::new(transport, addr.ip(), addr.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.transport)?;
        if let Some(peer_id) = &self.peer_id {
            write!(f, "{peer_id}@")?;
        }
        write!(f, "{}:{}", self.addr, self.port)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        use ParseEndpointError as E;
        let text = text.trim_ascii();
        if text.len() > MAX_ENDPOINT_LEN {
            return Err(E::TooLong(text.len()));
        }
        let (scheme, rest) = text.split_once("://").ok_or(E::MissingScheme)?;
        let transport = Transport::ALL
            .into_iter()
            .find(|transport| transport.scheme().eq_ignore_ascii_case(scheme))
            .ok_or_else(|| E::Scheme(scheme.into()))?;
        let (peer_id, rest) = match rest.split_once('@') {
            Some((peer_id, rest)) => (Some(peer_id.parse()?), rest),
            None => (None, rest),
        };
        let (host, port) = rest.rsplit_once(':').ok_or(E::MissingPort)?;
        if host.starts_with('[') != host.ends_with(']') {
            return Err(E::MissingPort);
        }
        let canonical = port == "0" || (!port.starts_with('0') && port.bytes().all(|b| b.is_ascii_digit()));
        let port = port.parse().ok().filter(|_| canonical).ok_or_else(|| E::Port(port.into()))?;
        Ok(Self { transport, peer_id, addr: host.parse()?, port })
    }
}

/// Why text is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseEndpointError {
    /// Longer than any valid endpoint.
    #[error("an endpoint has at most {MAX_ENDPOINT_LEN} characters, not {0}")]
    TooLong(usize),
    /// There is no `://`.
    #[error("an endpoint starts with tcp://, tls://, quic:// or udp://")]
    MissingScheme,
    /// The scheme is none of ours.
    #[error("unknown scheme {0:?}: use tcp, tls, quic or udp")]
    Scheme(String),
    /// What stands before the `@` is not a peer id.
    #[error("before the @: {0}")]
    PeerId(#[from] InvalidPeerId),
    /// There is no host.
    #[error("the host is missing")]
    MissingHost,
    /// The host name is longer than DNS allows.
    #[error("a host name has at most {MAX_NAME_LEN} characters, not {0}")]
    HostTooLong(usize),
    /// Neither an address nor a name; IPv6 addresses stand in brackets.
    #[error("{0:?} is neither a host name, an IPv4 address, nor an IPv6 address in brackets")]
    Host(String),
    /// An IPv6 address with a zone, which names a network interface of one machine.
    #[error("{0:?} names a network interface, which endpoints cannot: use an address without %, not a link-local one")]
    Zone(String),
    /// There is no `:port`.
    #[error("the port is missing: an endpoint ends with :PORT")]
    MissingPort,
    /// Not a number from 0 to 65535.
    #[error("{0:?} is not a port: a number from 0 to 65535")]
    Port(String),
}

/// An endpoint of a peer and how much the peer likes it to be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PeerAddr {
    /// Where.
    pub endpoint: Endpoint,
    /// Higher is tried first; 0 unless there is a reason.
    pub priority: u16,
}

impl From<Endpoint> for PeerAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self { endpoint, priority: 0 }
    }
}

/// As its text.
#[cfg(feature = "serde")]
impl serde::Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
