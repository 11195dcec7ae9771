//! Reputation against a plain list: points add up, time forgives, bans grow and shrink, the longest unmentioned is forgotten.

use std::time::{Duration, Instant};

use p2p_peer_pool::Offence;
use p2p_peer_pool::reputation::{BAN_AT, Offender, Reputation};

use crate::input::{Input, ip, peer, start};

const OFFENCES: [Offence; 8] = [
    Offence::Nuisance,
    Offence::StrayStream,
    Offence::Flapping,
    Offence::Invalid,
    Offence::BrokeProtocol,
    Offence::Abuse,
    Offence::FalseIdentity,
    Offence::Fatal,
];

struct Score {
    offender: Offender,
    /// Fifths of points.
    fifths: u64,
    /// Since when points have not been forgiven.
    since: Instant,
    bans: u32,
    /// Since when bans have not been forgotten.
    banned: Instant,
}

impl Score {
    /// One point is forgiven every six seconds; what is left of a step counts for the next. So do bans every day.
    fn at(&self, now: Instant) -> Self {
        let steps = now.saturating_duration_since(self.since).as_secs() / 6;
        let days = now.saturating_duration_since(self.banned).as_secs() / 86_400;
        Self {
            offender: self.offender,
            fifths: self.fifths.saturating_sub(5 * steps),
            since: self.since + Duration::from_secs(steps * 6),
            bans: self.bans.saturating_sub(days as u32),
            banned: self.banned + Duration::from_secs(days * 86_400),
        }
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (capacity, ban) = (input.below(6), Duration::from_secs(input.byte().into()));
    let mut reputation = Reputation::new(capacity, ban);
    let capacity = capacity.max(1);
    // The latest mentioned is last.
    let mut list: Vec<Score> = Vec::new();
    let mut now = start();
    while !input.is_empty() {
        let what = input.byte();
        let offender = if what & 1 == 0 { Offender::Peer(peer(what >> 5)) } else { Offender::addr(ip(&mut input)) };
        let at = list.iter().position(|score| score.offender == offender);
        match what >> 1 & 7 {
            0..=4 => {
                let offence = *input.of(&OFFENCES);
                let fresh = Score { offender, fifths: 0, since: now, bans: 0, banned: now };
                let mut score = at.map_or(fresh, |at| list.remove(at)).at(now);
                // Of what a peer does its address bears a fifth.
                let share = what & 0x11 == 0x11;
                score.fifths += u64::from(offence.points()) * if share { 1 } else { 5 };
                let expected = (score.fifths >= 5 * u64::from(BAN_AT)).then(|| ban * (1 << score.bans));
                if expected.is_some() {
                    (score.fifths, score.bans, score.banned) = (0, (score.bans + 1).min(6), now);
                }
                list.push(score);
                if list.len() > capacity {
                    list.remove(0);
                }
                let told = match share {
                    true => reputation.record_share(now, offender, offence),
                    false => reputation.record(now, offender, offence),
                };
                assert_eq!(told, expected);
            }
            5 => {
                reputation.pardon(offender);
                at.map(|at| list.remove(at));
            }
            6 => now += Duration::from_millis(u64::from(input.byte()) * 250),
            _ => now += Duration::from_secs(u64::from(input.byte()) * 3600),
        }
        let points = list.iter().find(|score| score.offender == offender).map_or(0, |score| score.at(now).fifths / 5);
        assert_eq!(u64::from(reputation.points(now, offender)), points);
        assert_eq!(reputation.len(), list.len());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let bans = [0, 7].repeat(9);
    let many: Vec<u8> = (0..8).flat_map(|n: u8| [n << 5, 4, n << 5 | 12, 30, n << 5, 5]).collect();
    vec![[vec![3, 60], bans].concat(), [vec![4, 1], many].concat(), vec![1, 9, 1, 8, 1, 5, 3, 8, 2, 6, 10, 0]]
}
