//! What address others see this node at.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::Prefix;

use super::Scope;

/// Bounds of [`ObservedAddresses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedConfig {
    /// From how many address prefixes (IPv4 /24, IPv6 /48) an address must have been seen.
    pub min_prefixes: usize,
    /// How long what somebody saw counts.
    pub lifetime: Duration,
    /// How many prefixes are listened to in each family; the one heard of longest ago is evicted.
    pub max_prefixes: usize,
    /// The address that the operator set: of its family, nothing else counts.
    pub public_ip: Option<IpAddr>,
}

impl Default for ObservedConfig {
    /// Seen from 4 prefixes within an hour, of at most 128.
    fn default() -> Self {
        Self { min_prefixes: 4, lifetime: Duration::from_secs(60 * 60), max_prefixes: 128, public_ip: None }
    }
}

/// Finds out the address that this node is reached at from outside: the one that more than half of all address prefixes saw it
/// at, and enough of them.
///
/// Each prefix has one say, its last one, so a crowd in one subnet counts for as much as one honest node. Tell it only what nodes
/// said that *this node* chose to ask: otherwise whoever has many addresses could have many says.
#[derive(Debug)]
pub struct ObservedAddresses {
    config: ObservedConfig,
    v4: Votes,
    v6: Votes,
}

/// What each prefix saw, and when.
type Votes = BTreeMap<Prefix, (IpAddr, Instant)>;

impl ObservedAddresses {
    /// Nobody has seen anything yet.
    pub fn new(config: ObservedConfig) -> Self {
        Self { config, v4: Votes::new(), v6: Votes::new() }
    }

    /// Nobody has seen anything yet: this node is elsewhere now.
    pub fn forget(&mut self) {
        self.v4.clear();
        self.v6.clear();
    }

    /// A node that answered at `responder` saw this node at `observed`. Only what one public address says of another
    /// counts: from inside a private network one sees something else.
    pub fn observe(&mut self, now: Instant, responder: IpAddr, observed: IpAddr) {
        let (responder, observed) = (responder.to_canonical(), observed.to_canonical());
        let public = Scope::of(responder) == Scope::Public && Scope::of(observed) == Scope::Public;
        if !public || responder.is_ipv4() != observed.is_ipv4() || self.config.max_prefixes == 0 {
            return;
        }
        let prefix = Prefix::of(responder);
        let votes = if observed.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let oldest = votes.iter().min_by_key(|(_, (_, at))| *at).map(|(oldest, _)| *oldest);
        if votes.len() >= self.config.max_prefixes
            && !votes.contains_key(&prefix)
            && let Some(oldest) = oldest
        {
            votes.remove(&oldest);
        }
        votes.insert(prefix, (observed, now));
    }

    /// The addresses that this node is reached at: at most one of each family.
    pub fn external(&self, now: Instant) -> Vec<IpAddr> {
        let set = self.config.public_ip.map(|ip| ip.to_canonical());
        let found = [(true, &self.v4), (false, &self.v6)].into_iter().filter_map(|(is_v4, votes)| match set {
            Some(set) if set.is_ipv4() == is_v4 => Some(set),
            _ => self.winner(now, votes, self.config.min_prefixes),
        });
        found.collect()
    }

    /// The address of one family that more than half of all prefixes see this node at, however few they are.
    pub fn seen_most(&self, now: Instant, is_v4: bool) -> Option<IpAddr> {
        self.winner(now, if is_v4 { &self.v4 } else { &self.v6 }, 1)
    }

    /// How many prefixes have a say, in both families.
    pub fn votes(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn winner(&self, now: Instant, votes: &Votes, min_prefixes: usize) -> Option<IpAddr> {
        let is_live = |at: Instant| now.saturating_duration_since(at) < self.config.lifetime;
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        for (ip, _) in votes.values().filter(|(_, at)| is_live(*at)) {
            *counts.entry(*ip).or_default() += 1;
        }
        let all: usize = counts.values().sum();
        let (ip, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        (count >= min_prefixes && 2 * count > all).then_some(ip)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn start() -> Instant {
        Instant::now()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A node in a subnet of its own.
    fn node(n: u32) -> IpAddr {
        IpAddr::from((0x0900_0001 + (n << 8)).to_be_bytes())
    }

    const HERE: &str = "8.8.8.8";

    #[test]
    fn an_address_wins_when_enough_subnets_saw_it() {
        let now = start();
        let mut seen = ObservedAddresses::new(ObservedConfig::default());
        for n in 0..3 {
            seen.observe(now, node(n), ip(HERE));
            seen.observe(now, node(n), ip(HERE));
        }
        assert_eq!(seen.external(now), [] as [IpAddr; 0], "three are too few, however often they say it");
        seen.observe(now, node(3), ip("::ffff:8.8.8.8"));
        assert_eq!(seen.external(now), [ip(HERE)]);
        for n in 0..4 {
            seen.observe(now, ip(&format!("2606:4700:{n}::1")), ip("2606:4700:ff::1"));
        }
        assert_eq!(seen.external(now), [ip(HERE), ip("2606:4700:ff::1")]);
    }

    #[test]
    fn a_crowd_in_one_subnet_has_one_say() {
        let now = start();
        let mut seen = ObservedAddresses::new(ObservedConfig::default());
        (0..4).for_each(|n| seen.observe(now, node(n), ip(HERE)));
        for host in 0..=255 {
            seen.observe(now, IpAddr::from([6, 6, 6, host]), ip("6.6.6.6"));
        }
        assert_eq!((seen.external(now), seen.votes()), (vec![ip(HERE)], 5));
        // Four subnets that lie are as many as those that do not: then nothing is believed.
        (1..4).for_each(|n| seen.observe(now, IpAddr::from([6, 6, n, 1]), ip("6.6.6.6")));
        assert_eq!(seen.external(now), [] as [IpAddr; 0]);
    }

    #[test]
    fn what_was_seen_long_ago_does_not_count() {
        let now = start();
        let config = ObservedConfig::default();
        let mut seen = ObservedAddresses::new(config);
        (0..10).for_each(|n| seen.observe(now, node(n), ip(HERE)));
        let later = now + config.lifetime;
        assert_eq!(seen.external(later - Duration::from_nanos(1)), [ip(HERE)]);
        assert_eq!(seen.external(later), [] as [IpAddr; 0]);
        (0..4).for_each(|n| seen.observe(later, node(n), ip("8.8.4.4")));
        assert_eq!(seen.external(later), [ip("8.8.4.4")], "a node that moved is found where it is now");
    }

    #[test]
    fn what_the_operator_says_counts_for_its_family() {
        let now = start();
        let config = ObservedConfig { public_ip: Some(ip("1.2.3.4")), ..ObservedConfig::default() };
        let mut seen = ObservedAddresses::new(config);
        assert_eq!(seen.external(now), [ip("1.2.3.4")]);
        for n in 0..9 {
            seen.observe(now, node(n), ip(HERE));
            seen.observe(now, ip(&format!("2606:4700:{n}::1")), ip("2606:4700:ff::1"));
        }
        assert_eq!(seen.external(now), [ip("1.2.3.4"), ip("2606:4700:ff::1")]);
    }

    #[test]
    fn from_inside_one_sees_nothing_of_outside() {
        let now = start();
        let mut seen = ObservedAddresses::new(ObservedConfig::default());
        for (responder, observed) in [
            ("10.0.0.1", HERE),
            ("127.0.0.1", HERE),
            ("9.9.9.9", "10.0.0.1"),
            ("9.9.9.9", "100.64.0.1"),
            ("9.9.9.9", "0.0.0.0"),
            ("9.9.9.9", "2606:4700::1"),
        ] {
            seen.observe(now, ip(responder), ip(observed));
            assert_eq!(seen.votes(), 0, "{responder} saw {observed}");
        }
    }

    proptest! {
        /// Whatever is said: memory is bounded, and an address wins only with more subnets than all others together.
        #[test]
        fn only_a_majority_of_subnets_wins(says in prop::collection::vec((0u32..12, 0u8..3, 1u64..900), 0..200)) {
            let config = ObservedConfig { max_prefixes: 8, min_prefixes: 3, ..ObservedConfig::default() };
            let mut seen = ObservedAddresses::new(config);
            let (mut now, mut model) = (start(), Vec::<(u32, u8, Instant)>::new());
            for (n, what, wait) in says {
                now += Duration::from_secs(wait);
                seen.observe(now, node(n), IpAddr::from([8, 8, 8, what]));
                model.retain(|(other, ..)| *other != n);
                model.push((n, what, now));
                if model.len() > 8 {
                    model.remove(0);
                }
                prop_assert_eq!(seen.votes(), model.len());
                let live: Vec<_> = model.iter().filter(|(.., at)| now - *at < config.lifetime).collect();
                let winner = (0..3u8).find(|what| {
                    let count = live.iter().filter(|(_, said, _)| said == what).count();
                    count >= 3 && count > live.len() - count
                });
                prop_assert_eq!(seen.external(now), Vec::from_iter(winner.map(|what| IpAddr::from([8, 8, 8, what]))));
            }
        }
    }
}
