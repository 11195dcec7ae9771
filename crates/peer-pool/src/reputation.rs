//! How peers and addresses behave: offences add up, time forgives, and too many are a ban. No I/O.
//!
//! Whoever has proven who it is answers for itself. Its address bears a small part of that, since keys cost nothing: one peer
//! alone never has its address banned, many peers of one address may. What was done before anybody proved anything is the
//! address's own.

use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use hashlink::LruCache;
use p2p_core::PeerId;

/// Something a peer did that it should not have done. [Points](Self::points) add up to a ban at [`BAN_AT`]; one is forgiven
/// every six seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Offence {
    /// A trifle that counts only in great number.
    Nuisance,
    /// It opened a stream for a protocol that was not negotiated, or a second message stream.
    StrayStream,
    /// It connected and was gone again at once, without a good-bye.
    Flapping,
    /// It sent a message that makes no sense.
    Invalid,
    /// It broke the rules of this stack: frames, control messages, the handshake.
    BrokeProtocol,
    /// It wastes resources on purpose, or lies.
    Abuse,
    /// It claimed to be somebody else.
    FalseIdentity,
    /// It did something of which once is enough.
    Fatal,
}

/// Points that mean a ban.
pub const BAN_AT: u32 = 100;

/// How long it takes until a point is forgiven.
const FORGIVEN_EVERY: Duration = Duration::from_secs(6);

/// The longest ban, in multiples of the first.
const MAX_BAN_FACTOR: u32 = 64;

/// How long after a ban one earlier ban is forgotten: the next is half as long.
const BAN_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The address of a peer that has proven who it is bears one part in so many of the peer's offences.
const ADDR_SHARE: u32 = 5;

impl Offence {
    /// Its weight.
    pub fn points(self) -> u32 {
        match self {
            Self::Nuisance => 1,
            Self::StrayStream => 2,
            Self::Flapping => 2,
            Self::Invalid => 10,
            Self::BrokeProtocol => 30,
            Self::Abuse | Self::FalseIdentity => 50,
            Self::Fatal => 100,
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
    /// Points, each in [`ADDR_SHARE`] parts.
    parts: u32,
    /// Until when points have been forgiven.
    updated: Instant,
    /// Bans that have not been forgotten, as far as they count.
    bans: u32,
    /// Until when bans have been forgotten.
    banned: Instant,
}

/// The scores of those who offended last; the longest unmentioned is forgotten first.
#[derive(Debug)]
pub struct Reputation {
    scores: LruCache<Offender, Score>,
    ban: Duration,
}

impl Reputation {
    /// Remembers `capacity` offenders. A first ban lasts `ban`, each further one twice as long, up to 64 times; each day
    /// without one halves that again.
    pub fn new(capacity: usize, ban: Duration) -> Self {
        Self { scores: LruCache::new(capacity.max(1)), ban }
    }

    /// Counts an offence. Gives for how long to ban, if it was one too many.
    pub fn record(&mut self, now: Instant, offender: Offender, offence: Offence) -> Option<Duration> {
        self.count(now, offender, offence.points() * ADDR_SHARE)
    }

    /// Counts the part of a peer's offence that is its address's. Gives for how long to ban the address, if it was one too many.
    pub fn record_share(&mut self, now: Instant, address: Offender, offence: Offence) -> Option<Duration> {
        self.count(now, address, offence.points())
    }

    fn count(&mut self, now: Instant, offender: Offender, parts: u32) -> Option<Duration> {
        // `insert`, unlike `entry`, keeps to the capacity.
        let fresh = Score { parts: 0, updated: now, bans: 0, banned: now };
        let mut score = self.scores.remove(&offender).unwrap_or(fresh);
        score.forgive(now);
        score.parts = score.parts.saturating_add(parts);
        let banned = score.parts >= BAN_AT * ADDR_SHARE;
        let factor = 1 << score.bans;
        if banned {
            // More would only have to be forgotten.
            score.bans = (score.bans + 1).min(MAX_BAN_FACTOR.ilog2());
            (score.parts, score.banned) = (0, now);
        }
        self.scores.insert(offender, score);
        banned.then(|| self.ban.saturating_mul(factor))
    }

    /// Whole points now.
    pub fn points(&self, now: Instant, offender: Offender) -> u32 {
        self.scores.peek(&offender).map_or(0, |score| {
            let mut score = *score;
            score.forgive(now);
            score.parts / ADDR_SHARE
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
        self.parts = self.parts.saturating_sub(forgiven.saturating_mul(ADDR_SHARE));
        // The rest of a step counts for the next point.
        self.updated += FORGIVEN_EVERY.saturating_mul(forgiven);
        let passed = now.saturating_duration_since(self.banned).as_secs() / BAN_FORGOTTEN_AFTER.as_secs();
        let forgotten = u32::try_from(passed).unwrap_or(u32::MAX);
        self.bans = self.bans.saturating_sub(forgotten);
        self.banned += BAN_FORGOTTEN_AFTER.saturating_mul(forgotten);
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
    fn bans_shrink_with_time() {
        let (start, day) = (crate::clock::now(), Duration::from_secs(24 * 3600));
        let mut reputation = Reputation::new(10, BAN);
        let mut strike = |at| reputation.record(at, addr(1), Offence::Fatal);
        // However often it was banned.
        assert_eq!((0..20).filter_map(|_| strike(start)).last(), Some(64 * BAN));
        assert_eq!(strike(start + day), Some(32 * BAN), "a day later");
        assert_eq!(strike(start + 4 * day), Some(8 * BAN), "three days after that");
        assert_eq!(strike(start + 4 * day + day / 2), Some(16 * BAN), "half a day is no day");
        // Seven bans in as many months, and an eighth.
        let months = (1..=8).map(|month| strike(start + month * 30 * day));
        assert_eq!(months.collect::<Vec<_>>(), [Some(BAN); 8]);
    }

    #[test]
    fn a_program_that_is_killed_again_and_again_is_not_banned() {
        let now = crate::clock::now();
        let mut reputation = Reputation::new(10, BAN);
        for second in 0..40 {
            let at = now + Duration::from_secs(second);
            assert_eq!(reputation.record(at, addr(1), Offence::Flapping), None);
        }
    }

    #[test]
    fn one_peer_never_has_its_address_banned_and_many_do() {
        let now = crate::clock::now();
        for offence in [Offence::Flapping, Offence::Invalid, Offence::BrokeProtocol, Offence::Abuse, Offence::Fatal] {
            let mut reputation = Reputation::new(100, BAN);
            let mut at = now;
            let mut offend = |peer, at| {
                let banned = reputation.record(at, peer, offence);
                (banned, reputation.record_share(at, addr(1), offence))
            };
            // It goes on whenever its ban is over.
            for _ in 0..1000 {
                let (banned, address) = offend(addr(2), at);
                assert_eq!(address, None, "{offence:?}");
                at += banned.unwrap_or_default();
            }
            let of_address = (0..600).filter_map(|n| offend(addr(3 + n), at).1).next();
            assert_eq!(of_address, Some(BAN), "{offence:?} by fresh keys");
        }
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
