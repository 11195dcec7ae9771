//! How peers and addresses behave: offences add up, time forgives, and too many are a ban. No I/O.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use hashlink::LruCache;
use p2p_core::PeerId;

/// Something a peer did that it should not have done. Points add up to a ban at [`BAN_AT`]; one is forgiven every six
/// seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Offence {
    /// A trifle that counts only in great number. 1 point.
    Nuisance,
    /// It opened a stream for a protocol that was not negotiated, or a second message stream. 2 points.
    StrayStream,
    /// It connected and was gone again at once, without a good-bye. 5 points.
    Flapping,
    /// It sent a message that makes no sense. 10 points.
    Invalid,
    /// It broke the rules of this stack: frames, control messages, the handshake. 30 points.
    BrokeProtocol,
    /// It wastes resources on purpose, or lies. 50 points.
    Abuse,
    /// It claimed to be somebody else. 50 points.
    FalseIdentity,
    /// One is enough. 100 points.
    Fatal,
}

/// Points that mean a ban.
pub const BAN_AT: u32 = 100;

/// How long it takes until a point is forgiven.
const FORGIVEN_EVERY: Duration = Duration::from_secs(6);

/// The longest ban, in multiples of the first.
const MAX_BAN_FACTOR: u32 = 64;

impl Offence {
    /// Its weight.
    pub fn points(self) -> u32 {
        match self {
            Self::Nuisance => 1,
            Self::StrayStream => 2,
            Self::Flapping => 5,
            Self::Invalid => 10,
            Self::BrokeProtocol => 30,
            Self::Abuse | Self::FalseIdentity => 50,
            Self::Fatal => BAN_AT,
        }
    }
}

/// Whose reputation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offender {
    /// A peer that has proven who it is.
    Peer(PeerId),
    /// An address; of IPv6 the first 64 bits.
    Addr(IpAddr),
}

impl Offender {
    /// The offender at an address: IPv6 hosts own at least a /64.
    pub fn addr(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => Self::Addr(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()),
            v4 => Self::Addr(v4),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Score {
    points: u32,
    /// Until when points have been forgiven.
    updated: Instant,
    bans: u32,
}

/// The scores of those who offended last; the longest unmentioned is forgotten first.
#[derive(Debug)]
pub struct Reputation {
    scores: LruCache<Offender, Score>,
    ban: Duration,
}

impl Reputation {
    /// Remembers `capacity` offenders. A first ban lasts `ban`, each further one twice as long, up to 64 times.
    pub fn new(capacity: usize, ban: Duration) -> Self {
        Self { scores: LruCache::new(capacity.max(1)), ban }
    }

    /// Counts an offence. Gives for how long to ban, if it was one too many.
    pub fn record(&mut self, now: Instant, offender: Offender, offence: Offence) -> Option<Duration> {
        // `insert`, unlike `entry`, keeps to the capacity.
        let mut score = self.scores.remove(&offender).unwrap_or(Score { points: 0, updated: now, bans: 0 });
        score.forgive(now);
        score.points = score.points.saturating_add(offence.points());
        let banned = score.points >= BAN_AT;
        let factor = 1u32.checked_shl(score.bans).unwrap_or(MAX_BAN_FACTOR).min(MAX_BAN_FACTOR);
        if banned {
            score.bans = score.bans.saturating_add(1);
            score.points = 0;
        }
        self.scores.insert(offender, score);
        banned.then(|| self.ban.saturating_mul(factor))
    }

    /// Points now.
    pub fn points(&self, now: Instant, offender: Offender) -> u32 {
        self.scores.peek(&offender).map_or(0, |score| {
            let mut score = *score;
            score.forgive(now);
            score.points
        })
    }

    /// Forgets an offender, bans included.
    pub fn pardon(&mut self, offender: Offender) {
        self.scores.remove(&offender);
    }

    /// Offenders remembered.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether nobody has offended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Score {
    fn forgive(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.updated).as_secs() / FORGIVEN_EVERY.as_secs();
        let forgiven = u32::try_from(passed).unwrap_or(u32::MAX);
        self.points = self.points.saturating_sub(forgiven);
        // The rest of a step counts for the next point.
        self.updated += FORGIVEN_EVERY.saturating_mul(forgiven);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAN: Duration = Duration::from_secs(600);

    fn addr(n: u32) -> Offender {
        Offender::addr(std::net::Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn offences_add_up_to_a_ban_and_bans_grow() {
        let now = crate::clock::now();
        let mut reputation = Reputation::new(10, BAN);
        let mut strike = || (0..4).filter_map(|_| reputation.record(now, addr(1), Offence::BrokeProtocol)).next();
        assert_eq!(strike(), Some(BAN));
        assert_eq!(strike(), Some(2 * BAN));
        assert_eq!((0..20).filter_map(|_| strike()).last(), Some(64 * BAN));
        assert_eq!(reputation.record(now, addr(2), Offence::Fatal), Some(BAN), "others are not concerned");
    }

    #[test]
    fn time_forgives() {
        let now = crate::clock::now();
        let mut reputation = Reputation::new(10, BAN);
        reputation.record(now, addr(1), Offence::Abuse);
        assert_eq!(reputation.points(now + Duration::from_secs(60), addr(1)), 40);
        assert_eq!(reputation.points(now + Duration::from_secs(600), addr(1)), 0);
        for minute in 0..1000 {
            let at = now + Duration::from_secs(minute * 60);
            assert_eq!(reputation.record(at, addr(3), Offence::Invalid), None, "ten points a minute are borne");
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let now = crate::clock::now();
        let mut reputation = Reputation::new(100, BAN);
        for n in 0..10_000 {
            reputation.record(now, addr(n), Offence::Invalid);
        }
        assert_eq!(reputation.len(), 100);
        reputation.pardon(addr(9_999));
        assert_eq!((reputation.len(), reputation.points(now, addr(9_999))), (99, 0));
    }

    #[test]
    fn a_host_is_its_whole_ipv6_network() {
        let of = |text: &str| Offender::addr(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:1.2.3.4"), of("1.2.3.4"));
    }
}
