//! At which of its addresses this node has been reached, where it listens on all that it has.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{ObservedAddresses, Scope};

/// Addresses that are kept; the one seen longest ago is evicted.
pub const MAX_REACHED: usize = 8;

/// How long an address is kept that nobody has seen the node at, while others have seen it elsewhere.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// Whether a node at `responder` can know that this one is at `observed`: what it sees is an address of the network
/// that both are in. What is seen through a translation from one network into another is of use to neither.
pub fn is_seen_from(observed: IpAddr, responder: IpAddr) -> bool {
    let (observed, responder) = (observed.to_canonical(), responder.to_canonical());
    let has_hosts =
        !matches!(Scope::of(observed), Scope::Unspecified | Scope::LinkLocal | Scope::Multicast | Scope::Reserved);
    observed.is_ipv4() == responder.is_ipv4() && Scope::of(observed) == Scope::of(responder) && has_hosts
}

/// The addresses at which somebody saw this node and then reached it.
///
/// A dial-back at an address that arrived *at that address* proves that the address is ours, whoever made it: such an
/// address is *proven*. Behind a translation it arrives at a private address. Then a public one is taken on the word of
/// whoever saw it, for as long as more than half of all address prefixes see the same.
#[derive(Debug, Default)]
pub struct ReachedAddresses(Vec<Reached>);

#[derive(Debug)]
struct Reached {
    ip: IpAddr,
    seen: Instant,
    proven: bool,
}

impl ReachedAddresses {
    /// Somebody who saw this node at `ip` has dialed it there, and came in at `arrived`, where that is known. Whether
    /// that counts.
    pub fn reached(&mut self, now: Instant, ip: IpAddr, arrived: Option<IpAddr>, others: &ObservedAddresses) -> bool {
        let ip = ip.to_canonical();
        let proven = arrived.is_some_and(|arrived| arrived.to_canonical() == ip);
        let translated = arrived.is_none_or(|arrived| Scope::of(arrived) != Scope::Public);
        let borne_out = translated && others.seen_most(now, ip.is_ipv4()) == Some(ip);
        if !proven && !borne_out {
            return false;
        }
        self.0.retain(|one| one.ip != ip);
        if self.0.len() >= MAX_REACHED
            && let Some(oldest) = (0..self.0.len()).min_by_key(|n| self.0[*n].seen)
        {
            self.0.remove(oldest);
        }
        self.0.push(Reached { ip, seen: now, proven });
        true
    }

    /// Somebody saw this node at `ip`. Addresses are forgotten that are not seen any more, and those taken on somebody's
    /// word that others do not bear out.
    pub fn seen(&mut self, now: Instant, ip: IpAddr, others: &ObservedAddresses) {
        let ip = ip.to_canonical();
        self.0.iter_mut().filter(|one| one.ip == ip).for_each(|one| one.seen = now);
        self.0.retain(|one| {
            let is_borne_out = one.proven || others.seen_most(now, one.ip.is_ipv4()) == Some(one.ip);
            is_borne_out && now.saturating_duration_since(one.seen) < LIFETIME
        });
    }

    /// The machine has the addresses `present` now, where that is known. What was proven at another one is none of ours
    /// any more; and what was seen through a translation counts no more if an address is `gone`.
    pub fn moved(&mut self, present: Option<&[IpAddr]>, gone: bool) {
        self.0.retain(|one| match (one.proven, present) {
            (true, Some(present)) => one.ip.is_loopback() || present.contains(&one.ip),
            (true, None) => true,
            (false, _) => !gone,
        });
    }

    /// What is to be told: the public addresses, or where there are none all of them, in the order of their values.
    pub fn told(&self) -> Vec<IpAddr> {
        self.told_with(None)
    }

    /// The same, were `ip` one of them.
    pub fn told_with(&self, ip: Option<IpAddr>) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.0.iter().map(|one| one.ip).chain(ip).collect();
        let is_public = |ip: &IpAddr| Scope::of(*ip) == Scope::Public;
        if all.iter().any(is_public) {
            all.retain(is_public);
        }
        all.sort();
        all.dedup();
        all
    }

    /// Whether being reached at `ip` would add something to what is told.
    pub fn wants(&self, ip: IpAddr) -> bool {
        self.told_with(Some(ip)) != self.told()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ObservedConfig;
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// What others have said: each where it is, and what it saw.
    fn observed(now: Instant, says: &[(&str, &str)]) -> ObservedAddresses {
        let mut observed = ObservedAddresses::new(ObservedConfig::default());
        says.iter().for_each(|(responder, saw)| observed.observe(now, ip(responder), ip(saw)));
        observed
    }

    #[test]
    fn one_is_seen_from_inside_the_same_network() {
        for (observed, responder, expected) in [
            ("8.8.8.8", "9.9.9.9", true),
            ("::ffff:8.8.8.8", "9.9.9.9", true),
            ("192.168.0.2", "192.168.0.3", true),
            ("10.0.0.2", "192.168.0.3", true),
            ("127.0.0.1", "127.0.0.2", true),
            ("100.64.0.1", "100.64.3.1", true),
            ("fd00::1", "fd00::2", true),
            ("8.8.8.8", "192.168.0.3", false),
            ("192.168.0.2", "8.8.8.8", false),
            ("127.0.0.1", "192.168.0.3", false),
            ("2606:4700::1", "9.9.9.9", false),
            ("169.254.0.1", "169.254.0.2", false),
            ("0.0.0.0", "0.0.0.0", false),
            ("224.0.0.1", "224.0.0.1", false),
        ] {
            assert_eq!(is_seen_from(ip(observed), ip(responder)), expected, "{observed} from {responder}");
        }
    }

    #[test]
    fn where_a_dial_back_arrived_is_ours_and_anything_else_is_not() {
        let (now, nobody) = (start(), observed(start(), &[]));
        let mut reached = ReachedAddresses::default();
        for (at, arrived) in [("192.168.0.66", Some("192.168.0.2")), ("192.168.0.2", None), ("8.8.8.8", None)] {
            assert!(!reached.reached(now, ip(at), arrived.map(ip), &nobody), "{at}");
            assert!(reached.told().is_empty());
        }
        assert!(reached.reached(now, ip("192.168.0.2"), Some(ip("::ffff:192.168.0.2")), &nobody));
        assert_eq!(reached.told(), [ip("192.168.0.2")]);
        // That others see something else means nothing to what is proven.
        reached.seen(now, ip("192.168.0.66"), &nobody);
        assert!(!reached.wants(ip("192.168.0.2")) && reached.wants(ip("10.0.0.2")));
        assert_eq!(reached.told(), [ip("192.168.0.2")]);
    }

    #[test]
    fn behind_a_translation_the_word_of_one_counts_until_another_sees_something_else() {
        let now = start();
        let mut reached = ReachedAddresses::default();
        let mut others = observed(now, &[("9.9.1.1", "8.8.8.8")]);
        assert!(!reached.reached(now, ip("8.8.8.8"), Some(ip("8.8.4.4")), &others), "there is no translation");
        assert!(reached.reached(now, ip("8.8.8.8"), Some(ip("10.0.0.2")), &others));
        assert_eq!(reached.told(), [ip("8.8.8.8")]);
        others.observe(now, ip("9.9.2.1"), ip("8.8.4.4"));
        reached.seen(now, ip("8.8.4.4"), &others);
        assert_eq!(reached.told(), [] as [IpAddr; 0], "one against one");
        assert!(!reached.reached(now, ip("8.8.8.8"), Some(ip("10.0.0.2")), &others));
        others.observe(now, ip("9.9.3.1"), ip("8.8.8.8"));
        assert!(reached.reached(now, ip("8.8.8.8"), Some(ip("10.0.0.2")), &others));
    }

    #[test]
    fn a_private_address_is_not_told_beside_a_public_one() {
        let (now, nobody) = (start(), observed(start(), &[]));
        let mut reached = ReachedAddresses::default();
        for at in ["127.0.0.1", "10.0.0.2", "100.64.0.2"] {
            assert!(reached.reached(now, ip(at), Some(ip(at)), &nobody));
        }
        assert_eq!(reached.told(), [ip("10.0.0.2"), ip("100.64.0.2"), ip("127.0.0.1")]);
        assert_eq!(reached.told_with(Some(ip("8.8.8.8"))), [ip("8.8.8.8")]);
        for at in ["8.8.8.8", "2606:4700::1"] {
            assert!(reached.wants(ip(at)));
            assert!(reached.reached(now, ip(at), Some(ip(at)), &nobody));
        }
        assert_eq!(reached.told(), [ip("8.8.8.8"), ip("2606:4700::1")]);
        assert!(!reached.wants(ip("10.0.0.3")));
    }

    #[test]
    fn addresses_are_few_and_go_when_they_are_seen_no_more() {
        let (mut now, nobody) = (start(), observed(start(), &[]));
        let mut reached = ReachedAddresses::default();
        for host in 0..=255 {
            now += Duration::from_secs(1);
            let at = IpAddr::from([10, 0, 0, host]);
            assert!(reached.reached(now, at, Some(at), &nobody));
        }
        assert_eq!(reached.told().len(), MAX_REACHED);
        now += LIFETIME - Duration::from_secs(1);
        assert_eq!(reached.told().len(), MAX_REACHED, "while nobody sees anything, nothing is known to be wrong");
        reached.seen(now, IpAddr::from([10, 0, 0, 255]), &nobody);
        assert_eq!(reached.told(), [IpAddr::from([10, 0, 0, 255])]);
    }
}
