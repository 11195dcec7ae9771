//! From an endpoint's host to the addresses to try, in the order to try them.

use std::io;
use std::net::{IpAddr, SocketAddr};

use p2p_core::Runtime;

use crate::Endpoint;
use crate::endpoint::Addr;

/// Addresses of one host name that are tried; further ones are ignored.
const MAX_ADDRESSES: usize = 16;

/// The socket addresses of an endpoint: its own, or those of its host name, at least one.
///
/// # Errors
/// What the look-up said.
pub(super) async fn resolve(runtime: &dyn Runtime, endpoint: &Endpoint) -> io::Result<Vec<SocketAddr>> {
    let ips = match endpoint.addr() {
        Addr::Ip(ip) => vec![*ip],
        Addr::Name(name) => order(runtime.resolve(name).await?),
    };
    if ips.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port())).collect())
}

/// IPv6 and IPv4 in turns, IPv6 first (RFC 8305 §4), each in the order the system gave it; every address once.
fn order(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = found.into_iter().map(|ip| ip.to_canonical()).partition(IpAddr::is_ipv4);
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    let mut ordered = Vec::new();
    loop {
        let turn: Vec<_> = v6.next().into_iter().chain(v4.next()).collect();
        if turn.is_empty() || ordered.len() >= MAX_ADDRESSES {
            ordered.truncate(MAX_ADDRESSES);
            return ordered;
        }
        for ip in turn {
            if !ordered.contains(&ip) {
                ordered.push(ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        assert_eq!(order(ips("10.0.0.1 10.0.0.2 ::1 ::2 ::3")), ips("::1 10.0.0.1 ::2 10.0.0.2 ::3"));
        assert_eq!(order(ips("10.0.0.2 10.0.0.1")), ips("10.0.0.2 10.0.0.1"));
        assert_eq!(order(Vec::new()), Vec::<IpAddr>::new());
    }

    #[test]
    fn each_address_counts_once_in_any_notation() {
        assert_eq!(order(ips("::1 ::ffff:10.0.0.1 10.0.0.1 ::1")), ips("::1 10.0.0.1"));
    }

    #[test]
    fn a_name_with_very_many_addresses_is_cut() {
        let many = (0..=255).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(order(many).len(), MAX_ADDRESSES);
    }
}
