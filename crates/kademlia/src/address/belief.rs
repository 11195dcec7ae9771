//! Which addresses of a record to believe, and which to put into one's own.

use std::net::IpAddr;

use p2p_identity::{PeerRecord, RecordBuilder};
use p2p_net::{Endpoint, PeerAddr};

use super::Scope;

/// Whether to believe the address `told` from a node that was reached at `reached`: its own address, or one of
/// somebody else whose record it passed on.
///
/// A public address is believed from anybody, and one that can be nobody's, or that means something else on each link, from
/// nobody. Any other is believed from inside its own scope: who was reached at a private address is in our network and
/// knows it. Private IPv4 addresses and unique local IPv6 ones are two families of one network; and the networks of
/// this host are those of whoever was reached on its loopback.
pub fn is_believed(told: IpAddr, reached: IpAddr) -> bool {
    let reached = Scope::of(reached);
    match Scope::of(told) {
        Scope::Public => true,
        Scope::Private | Scope::UniqueLocal => {
            matches!(reached, Scope::Private | Scope::UniqueLocal | Scope::Loopback)
        }
        scope @ (Scope::Shared | Scope::Documentation) => reached == scope || reached == Scope::Loopback,
        Scope::Loopback => reached == Scope::Loopback,
        Scope::Unspecified | Scope::LinkLocal | Scope::Multicast | Scope::Reserved => false,
    }
}

/// Those of a record's addresses that are [believed](is_believed) from a node that was reached at `reached`. A node of which
/// none is left cannot be asked.
pub fn believed(addrs: &[PeerAddr], reached: IpAddr) -> impl Iterator<Item = &PeerAddr> {
    addrs.iter().filter(move |addr| addr.endpoint.addr().ip().is_some_and(|told| is_believed(told, reached)))
}

/// Whether whoever is at `ip`, and told of a record by us, has a reason to believe one of its addresses.
pub fn is_of_use(record: &PeerRecord, ip: IpAddr) -> bool {
    let addrs = record.discovery_addrs().iter().chain(record.addrs());
    addrs.filter_map(|addr| addr.endpoint.addr().ip()).any(|told| is_believed(told, ip))
}

/// Where others reach a node that listens on `listening`, is seen from outside at `external` (at most one address of
/// each family), and was reached at `reached`: at the external address, in place of its own, except on loopback and
/// link-local addresses, which nobody reaches from outside. Without one, listening on all addresses (`0.0.0.0` or `::`) is
/// listening where it was reached. Endpoints that no record may have are left out.
pub fn advertised(listening: &[Endpoint], external: &[IpAddr], reached: &[IpAddr]) -> Vec<Endpoint> {
    let mut advertised = Vec::new();
    for endpoint in listening {
        let Some(here) = endpoint.addr().ip() else { continue };
        let same_family = |ip: &&IpAddr| ip.is_ipv4() == here.is_ipv4();
        let inside = matches!(Scope::of(here), Scope::Loopback | Scope::LinkLocal);
        let there: Vec<IpAddr> = match external.iter().find(same_family) {
            Some(outside) if !inside => vec![*outside],
            None if here.is_unspecified() => reached.iter().filter(same_family).copied().collect(),
            _ => vec![here],
        };
        for ip in there {
            let endpoint = Endpoint::new(endpoint.transport(), ip, endpoint.port());
            if RecordBuilder::accepts(&endpoint) && !advertised.contains(&endpoint) {
                advertised.push(endpoint);
            }
        }
    }
    advertised
}

#[cfg(test)]
mod tests {
    use p2p_identity::KeyPair;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_believed_from_inside_its_scope() {
        let reached = ["8.8.8.8", "10.0.0.1", "127.0.0.1", "100.64.0.1", "fd00::1", "192.0.2.1", "169.254.0.1"];
        for (told, from) in [
            ("1.1.1.1", [true; 7]),
            ("2606:4700::1", [true; 7]),
            ("::ffff:1.1.1.1", [true; 7]),
            ("192.168.1.1", [false, true, true, false, true, false, false]),
            ("::ffff:192.168.1.1", [false, true, true, false, true, false, false]),
            ("fd00::2", [false, true, true, false, true, false, false]),
            ("127.0.0.1", [false, false, true, false, false, false, false]),
            ("::1", [false, false, true, false, false, false, false]),
            ("100.64.3.4", [false, false, true, true, false, false, false]),
            ("192.0.2.9", [false, false, true, false, false, true, false]),
            ("0.0.0.0", [false; 7]),
            ("169.254.0.1", [false; 7]),
            ("fe80::1", [false; 7]),
            ("224.0.0.1", [false; 7]),
            ("240.0.0.1", [false; 7]),
            ("2002:7f00:1::", [false; 7]),
        ] {
            for (reached, expected) in reached.iter().zip(from) {
                assert_eq!(is_believed(ip(told), ip(reached)), expected, "{told} from {reached}");
                let mapped = if let IpAddr::V4(ip) = ip(reached) { ip.to_ipv6_mapped().into() } else { ip(reached) };
                assert_eq!(is_believed(ip(told), mapped), expected, "{told} from {mapped}");
            }
        }
    }

    #[test]
    fn what_is_not_believed_of_a_record_is_passed_over() {
        let endpoints = ["quic://127.0.0.1:1", "quic://10.0.0.2:2", "quic://8.8.8.8:3", "quic://100.64.0.2:4"];
        let builder = endpoints
            .iter()
            .fold(PeerRecord::builder(), |builder, endpoint| builder.addr(endpoint.parse::<Endpoint>().unwrap()));
        let record = builder.sign(&KeyPair::from_seed([1; 32]), 1).unwrap();
        let ports =
            |reached| -> Vec<_> { believed(record.addrs(), ip(reached)).map(|addr| addr.endpoint.port()).collect() };
        assert_eq!(ports("9.9.9.9"), [3]);
        assert_eq!(ports("192.168.0.1"), [2, 3]);
        assert_eq!(ports("100.100.0.1"), [3, 4]);
        assert_eq!(ports("127.0.0.1"), [1, 2, 3, 4]);
    }

    #[test]
    fn what_is_seen_from_outside_takes_the_place_of_what_is_not() {
        let endpoints = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Endpoint>>();
        let listening = endpoints(&[
            "quic://0.0.0.0:1",
            "quic://[::]:2",
            "tls://192.168.0.5:3",
            "tcp://127.0.0.1:4",
            "udp://0.0.0.0:0",
            "tls://169.254.0.1:5",
        ]);
        assert_eq!(advertised(&listening, &[], &[]), endpoints(&["tls://192.168.0.5:3", "tcp://127.0.0.1:4"]));
        assert_eq!(
            advertised(&listening, &[ip("8.8.8.8")], &[]),
            endpoints(&["quic://8.8.8.8:1", "tls://8.8.8.8:3", "tcp://127.0.0.1:4"])
        );
        let both = advertised(&listening, &[ip("8.8.8.8"), ip("2606:4700::1")], &[ip("10.0.0.1")]);
        assert!(both.contains(&"quic://[2606:4700::1]:2".parse().unwrap()));
        let twice = endpoints(&["quic://0.0.0.0:1", "quic://10.0.0.1:1"]);
        assert_eq!(advertised(&twice, &[ip("8.8.8.8")], &[]), endpoints(&["quic://8.8.8.8:1"]));
    }
    #[test]
    fn where_it_was_reached_is_where_a_node_on_all_addresses_is() {
        let endpoints = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Endpoint>>();
        let listening = endpoints(&["quic://0.0.0.0:1", "quic://[::]:2", "tls://192.168.0.5:3"]);
        let reached = [ip("10.0.0.9"), ip("127.0.0.1")];
        assert_eq!(
            advertised(&listening, &[], &reached),
            endpoints(&["quic://10.0.0.9:1", "quic://127.0.0.1:1", "tls://192.168.0.5:3"])
        );
        assert_eq!(
            advertised(&listening, &[ip("8.8.8.8")], &[ip("fd00::1")]),
            endpoints(&["quic://8.8.8.8:1", "quic://[fd00::1]:2", "tls://8.8.8.8:3"])
        );
    }
}
