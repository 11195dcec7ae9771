//! Addresses inside a record.

use std::net::IpAddr;

use p2p_core::PeerId;
use p2p_net::{Endpoint, PeerAddr, Transport};

use super::InvalidRecord;

/// The kind of an address that is a transport, a port and an IP address. Other kinds may come.
pub(super) const KIND_IP: u8 = 1;

/// Bytes before the IP address: transport, priority and port, the latter two big-endian.
const HEAD: usize = 5;

/// Says why an endpoint cannot be in a record.
pub(super) fn check(endpoint: &Endpoint) -> Result<IpAddr, InvalidRecord> {
    let refuse = |why| Err(InvalidRecord::Address { endpoint: endpoint.clone(), why });
    let Some(ip) = endpoint.addr().ip() else { return refuse("a record has IP addresses only") };
    let this_network = matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 0);
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if endpoint.port() == 0 {
        refuse("the port is 0")
    } else if ip.is_unspecified() || this_network {
        refuse("the address is unspecified")
    } else if link_local {
        refuse("the address is link-local")
    } else if ip.is_multicast() || broadcast {
        refuse("the address is not one host's")
    } else {
        Ok(ip)
    }
}

fn transport_number(transport: Transport) -> Option<u8> {
    match transport {
        Transport::Tcp => Some(0),
        Transport::Tls => Some(1),
        Transport::Quic => Some(2),
        Transport::Udp => Some(3),
        _ => None,
    }
}

/// The value of an address of [`KIND_IP`]. One of a transport without a number cannot be in a record.
pub(super) fn encode(addr: &PeerAddr) -> Result<Vec<u8>, InvalidRecord> {
    let endpoint = &addr.endpoint;
    let ip = check(endpoint)?;
    let Some(transport) = transport_number(endpoint.transport()) else {
        return Err(InvalidRecord::Address { endpoint: endpoint.clone(), why: "its transport has no number yet" });
    };
    let mut value = vec![transport];
    value.extend(addr.priority.to_be_bytes());
    value.extend(endpoint.port().to_be_bytes());
    match ip {
        IpAddr::V4(ip) => value.extend(ip.octets()),
        IpAddr::V6(ip) => value.extend(ip.octets()),
    }
    Ok(value)
}

/// Reads an address; `None` when its kind or transport is not known here.
pub(super) fn decode(kind: u8, value: &[u8], peer_id: PeerId) -> Result<Option<PeerAddr>, InvalidRecord> {
    if kind != KIND_IP {
        return Ok(None);
    }
    let malformed = || InvalidRecord::Malformed("an address".into());
    let (&[transport, p0, p1, q0, q1], ip) = value.split_first_chunk::<HEAD>().ok_or_else(malformed)?;
    let ip: IpAddr = if let Ok(v4) = <[u8; 4]>::try_from(ip) {
        v4.into()
    } else if let Ok(v6) = <[u8; 16]>::try_from(ip) {
        v6.into()
    } else {
        return Err(malformed());
    };
    if ip != ip.to_canonical() {
        return Err(InvalidRecord::Malformed("an IPv4 address in IPv6 form".into()));
    }
    let Some(transport) = Transport::ALL.into_iter().find(|known| transport_number(*known) == Some(transport)) else {
        return Ok(None);
    };
    let endpoint = Endpoint::new(transport, ip, u16::from_be_bytes([q0, q1])).with_peer_id(peer_id);
    check(&endpoint)?;
    Ok(Some(PeerAddr { endpoint, priority: u16::from_be_bytes([p0, p1]) }))
}
