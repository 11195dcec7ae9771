//! Address prefixes: what one attacker has many addresses of.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The network an address belongs to, as far as limits are concerned: an IPv4 /24 or an IPv6 /48. Whoever has one
/// address usually has all of its prefix, and has to pay for another prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prefix {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first six bytes of an IPv6 address.
    V6([u8; 6]),
}

impl Prefix {
    /// The prefix of an address. An IPv4 address in IPv6 form counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// Whether an address is this host's, or of a link or a private network: RFC 1918, RFC 4193, and `100.64.0.0/10` between
/// customers and a carrier's NAT (RFC 6598). Strangers on the internet have none of these, and hosts that have one often
/// share a prefix for good reason, so limits for prefixes leave them alone unless told otherwise.
pub fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an address is between customers and a carrier's NAT: `100.64.0.0/10` (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}

/// Counts what there is from each [`Prefix`], up to a limit. Sized by what is counted.
///
/// ```
/// use p2p_identity::PrefixCounter;
///
/// let mut connections = PrefixCounter::new(2);
/// let [a, b, c, elsewhere] = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1"].map(|ip| ip.parse().unwrap());
/// assert!(connections.try_add(a) && connections.try_add(b));
/// assert!(!connections.try_add(c));
/// assert!(connections.try_add(elsewhere));
/// connections.remove(a);
/// assert!(connections.try_add(c));
/// ```
#[derive(Debug, Clone)]
pub struct PrefixCounter {
    max: usize,
    limit_local: bool,
    counts: BTreeMap<Prefix, usize>,
}

impl PrefixCounter {
    /// At most `max` of each prefix; [local](is_local) addresses do not count.
    pub fn new(max: usize) -> Self {
        Self { max, limit_local: false, counts: BTreeMap::new() }
    }

    /// Whether local addresses count too.
    pub fn limit_local(mut self, limit_local: bool) -> Self {
        self.limit_local = limit_local;
        self
    }

    /// Counts one more; `false`, and nothing counted, when its prefix is full.
    pub fn try_add(&mut self, ip: IpAddr) -> bool {
        if !self.counts_for(ip) {
            return true;
        }
        let count = self.counts.get(&Prefix::of(ip)).copied().unwrap_or(0);
        if count >= self.max {
            return false;
        }
        self.counts.insert(Prefix::of(ip), count + 1);
        true
    }

    /// Counts one less; once for each [`try_add`](Self::try_add) that said `true`.
    pub fn remove(&mut self, ip: IpAddr) {
        if !self.counts_for(ip) {
            return;
        }
        if let Some(count) = self.counts.get_mut(&Prefix::of(ip)) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&Prefix::of(ip));
            }
        }
    }

    /// How many of the address's prefix are counted.
    pub fn count(&self, ip: IpAddr) -> usize {
        self.counts.get(&Prefix::of(ip)).copied().unwrap_or(0)
    }

    /// Whether the address's prefix has room.
    pub fn has_room(&self, ip: IpAddr) -> bool {
        !self.counts_for(ip) || self.count(ip) < self.max
    }

    fn counts_for(&self, ip: IpAddr) -> bool {
        self.limit_local || !is_local(ip)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_those_of_the_limits() {
        assert_eq!(Prefix::of(ip("192.0.2.1")), Prefix::of(ip("192.0.2.254")));
        assert_ne!(Prefix::of(ip("192.0.2.1")), Prefix::of(ip("192.0.3.1")));
        assert_eq!(Prefix::of(ip("::ffff:192.0.2.1")), Prefix::of(ip("192.0.2.9")));
        assert_eq!(Prefix::of(ip("2001:db8:1:2::3")), Prefix::of(ip("2001:db8:1:ffff::")));
        assert_ne!(Prefix::of(ip("2001:db8:1::")), Prefix::of(ip("2001:db8:2::")));
    }

    #[test]
    fn local_addresses_count_only_when_told() {
        let local = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.1.1", "::1", "fd00::1", "fe80::1"];
        let shared = ["100.64.0.1", "100.127.255.255", "::ffff:100.100.1.1"];
        for local in local.into_iter().chain(shared) {
            let mut free = PrefixCounter::new(1);
            assert!((0..5).all(|_| free.try_add(ip(local))), "{local}");
            let mut limited = PrefixCounter::new(1).limit_local(true);
            assert!(limited.try_add(ip(local)) && !limited.try_add(ip(local)), "{local}");
        }
        for public in ["172.32.0.1", "100.63.255.255", "100.128.0.0", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_local(ip(public)), "{public}");
        }
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_list(ops in prop::collection::vec((any::<bool>(), 0u8..3, 0u8..3), 0..60)) {
            let mut counter = PrefixCounter::new(3);
            let mut list: Vec<IpAddr> = Vec::new();
            for (add, prefix, host) in ops {
                let ip = IpAddr::from([8, 8, prefix, host]);
                let same = |other: &&IpAddr| Prefix::of(**other) == Prefix::of(ip);
                let have = list.iter().filter(same).count();
                prop_assert_eq!(counter.count(ip), have);
                prop_assert_eq!(counter.has_room(ip), have < 3);
                if add {
                    prop_assert_eq!(counter.try_add(ip), have < 3);
                    if have < 3 { list.push(ip) }
                } else if let Some(at) = list.iter().position(|other| *other == ip) {
                    counter.remove(list.swap_remove(at));
                }
            }
            for ip in list { counter.remove(ip) }
            prop_assert!(counter.counts.is_empty());
        }
    }
}
