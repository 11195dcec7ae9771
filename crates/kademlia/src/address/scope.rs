//! How far an address reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address reaches, after the registries of special addresses (RFC 6890 and its updates).
///
/// ```
/// use p2p_kademlia::address::Scope;
///
/// let scope = |ip: &str| ip.parse().map(Scope::of);
/// assert_eq!(scope("::ffff:10.1.2.3"), Ok(Scope::Private));
/// assert_eq!(scope("100.64.0.1"), Ok(Scope::Shared));
/// assert_eq!(scope("2606:4700::1111"), Ok(Scope::Public));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// No address at all: `0.0.0.0/8`, `::`.
    Unspecified,
    /// The host itself: `127.0.0.0/8`, `::1`.
    Loopback,
    /// One link: `169.254.0.0/16` (RFC 3927), `fe80::/10`.
    LinkLocal,
    /// A private network: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` (RFC 1918).
    Private,
    /// Between customers and a carrier's NAT: `100.64.0.0/10` (RFC 6598). Some overlay networks use it too.
    Shared,
    /// A private network: `fc00::/7` (RFC 4193).
    UniqueLocal,
    /// Set aside for examples: RFC 5737, RFC 3849, RFC 9637.
    Documentation,
    /// Many hosts: multicast and broadcast.
    Multicast,
    /// Set aside for something else, or not given out.
    Reserved,
    /// Anywhere.
    Public,
}

impl Scope {
    /// The scope of an address. An IPv4 address in IPv6 form has that of the IPv4 address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => of_v6(ip),
        }
    }
}

fn of_v4(ip: Ipv4Addr) -> Scope {
    match ip.octets() {
        [0, ..] => Scope::Unspecified,
        [127, ..] => Scope::Loopback,
        [169, 254, ..] => Scope::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Scope::Private,
        [100, 64..=127, ..] => Scope::Shared,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Scope::Documentation,
        // Protocol assignments (RFC 6890), relays of 6to4 (RFC 7526), and benchmarks (RFC 2544).
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] => Scope::Reserved,
        [224..=239, ..] | [255, 255, 255, 255] => Scope::Multicast,
        [240..=255, ..] => Scope::Reserved,
        _ => Scope::Public,
    }
}

fn of_v6(ip: Ipv6Addr) -> Scope {
    if ip.is_unspecified() {
        return Scope::Unspecified;
    }
    if ip.is_loopback() {
        return Scope::Loopback;
    }
    match ip.segments() {
        [0xfe80..=0xfebf, ..] => Scope::LinkLocal,
        [0xfc00..=0xfdff, ..] => Scope::UniqueLocal,
        [0xff00..=0xffff, ..] => Scope::Multicast,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Scope::Documentation,
        // Protocol assignments (RFC 2928), among them Teredo, whose addresses have an IPv4 address inside.
        [0x2001, 0..=0x1ff, ..] => Scope::Reserved,
        // 6to4 (RFC 3056) and NAT64 (RFC 6052) lead to an IPv4 address.
        [0x2002, a, b, ..] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] => leading_to(a, b),
        [0x2000..=0x3fff, ..] => Scope::Public,
        _ => Scope::Reserved,
    }
}

/// Only a public address may be behind a translation: there is no other reason to write it that way.
fn leading_to(a: u16, b: u16) -> Scope {
    match of_v4(Ipv4Addr::from(u32::from(a) << 16 | u32::from(b))) {
        Scope::Public => Scope::Public,
        _ => Scope::Reserved,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_have_the_scope_of_the_registries() {
        for (scope, addresses) in [
            (Scope::Unspecified, &["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"][..]),
            (Scope::Loopback, &["127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"]),
            (Scope::LinkLocal, &["169.254.0.1", "fe80::1", "febf::1", "::ffff:169.254.9.9"]),
            (Scope::Private, &["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "::ffff:192.168.0.1"]),
            (Scope::Shared, &["100.64.0.1", "100.127.255.255", "::ffff:100.64.0.1"]),
            (Scope::UniqueLocal, &["fc00::1", "fd12:3456::1"]),
            (Scope::Documentation, &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff:fff::1"]),
            (Scope::Multicast, &["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1"]),
            (
                Scope::Reserved,
                &[
                    "192.0.0.8",
                    "192.88.99.1",
                    "198.18.0.1",
                    "240.0.0.1",
                    "255.255.255.254",
                    "::7f00:1",
                    "100::1",
                    "fec0::1",
                    "2001::1",
                    "4000::1",
                    "2002:7f00:1::",
                    "2002:a00:1::1",
                    "64:ff9b::c0a8:1",
                ],
            ),
            (
                Scope::Public,
                &[
                    "1.1.1.1",
                    "100.63.0.1",
                    "100.128.0.1",
                    "172.32.0.1",
                    "172.15.0.1",
                    "192.0.1.1",
                    "198.20.0.1",
                    "223.255.255.255",
                    "::ffff:8.8.8.8",
                    "2606:4700::1111",
                    "2001:200::1",
                    "2002:808:808::1",
                    "64:ff9b::808:808",
                    "3fff:1000::1",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(Scope::of(address.parse().unwrap()), scope, "{address}");
            }
        }
    }

    proptest! {
        /// What counts by prefix is what has no scope of its own.
        #[test]
        fn limits_by_prefix_leave_alone_what_reaches_no_further_than_a_network(
            octets: [u8; 4], segments: [u16; 8],
            head in prop::sample::select(vec![[100u8, 64], [100, 127], [10, 0], [172, 16], [192, 168], [169, 254], [127, 0]]),
            first in prop::sample::select(vec![0xfc00u16, 0xfd00, 0xfe80, 0x2001]),
        ) {
            let v4 = [octets, [head[0], head[1], octets[2], octets[3]], [head[0], octets[1], octets[2], octets[3]]];
            let [_, rest @ ..] = segments;
            let v6 = std::iter::once(first).chain(rest).collect::<Vec<_>>();
            let v6 = <[u16; 8]>::try_from(v6).unwrap();
            let ips = v4.map(IpAddr::from).into_iter().chain([IpAddr::from(segments), IpAddr::from(v6)]);
            for ip in ips {
                use Scope::{LinkLocal, Loopback, Private, Shared, UniqueLocal};
                let near = matches!(Scope::of(ip), Loopback | LinkLocal | Private | Shared | UniqueLocal);
                prop_assert_eq!(p2p_identity::prefix::is_local(ip), near, "{}", ip);
            }
        }

        /// Where the standard library has an opinion, it is the same.
        #[test]
        fn it_agrees_with_the_standard_library(octets: [u8; 4], head in any::<u8>()) {
            for ip in [Ipv4Addr::from(octets), Ipv4Addr::from([head, octets[1], octets[2], octets[3]])] {
                let scope = Scope::of(ip.into());
                prop_assert_eq!(ip.is_loopback(), scope == Scope::Loopback);
                prop_assert_eq!(ip.is_private(), scope == Scope::Private);
                prop_assert_eq!(ip.is_link_local(), scope == Scope::LinkLocal);
                prop_assert_eq!(ip.is_documentation(), scope == Scope::Documentation);
                prop_assert_eq!(ip.is_multicast() || ip.is_broadcast(), scope == Scope::Multicast);
                prop_assert_eq!(scope, Scope::of(ip.to_ipv6_mapped().into()));
            }
        }

        #[test]
        fn it_agrees_with_the_standard_library_on_ipv6(segments: [u16; 8], head in prop::sample::select(vec![0u16, 0xfe80, 0xfd00, 0xff02, 0x2002])) {
            for first in [segments[0], head] {
                let ip = Ipv6Addr::from([first, segments[1], segments[2], segments[3], segments[4], segments[5], segments[6], segments[7]]);
                if ip.to_ipv4_mapped().is_none() {
                    let scope = Scope::of(ip.into());
                    prop_assert_eq!(ip.is_loopback(), scope == Scope::Loopback);
                    prop_assert_eq!(ip.is_unique_local(), scope == Scope::UniqueLocal);
                    prop_assert_eq!(ip.is_unicast_link_local(), scope == Scope::LinkLocal);
                    prop_assert_eq!(ip.is_multicast(), scope == Scope::Multicast);
                }
            }
        }
    }
}
