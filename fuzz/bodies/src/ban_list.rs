//! The ban list against plain lists: bounded, forgetting the ban that would end first.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::PeerId;
use p2p_identity::{BanList, PeerOrIp};

use crate::input::{Input, ip, peer, start};

/// How long a ban for good lasts.
const FOR_GOOD: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Bans of one kind, with their ends.
struct Model<K> {
    max: usize,
    bans: Vec<(K, Instant)>,
}

impl<K: Copy + Ord> Model<K> {
    fn ban(&mut self, who: K, until: Instant, now: Instant) {
        self.bans.retain(|(_, until)| *until > now);
        let longer = self.until(who, now).is_some_and(|longer| longer >= until);
        if until <= now || longer {
            return;
        }
        self.unban(who);
        self.bans.push((who, until));
        if self.bans.len() > self.max {
            self.bans.sort_by_key(|(who, until)| (*until, *who));
            self.bans.remove(0);
        }
    }

    fn unban(&mut self, who: K) -> bool {
        let before = self.bans.len();
        self.bans.retain(|(banned, _)| *banned != who);
        self.bans.len() < before
    }

    fn until(&self, who: K, now: Instant) -> Option<Instant> {
        self.bans.iter().find(|(banned, _)| *banned == who).map(|(_, until)| *until).filter(|until| *until > now)
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let max = input.below(6);
    let mut bans = BanList::new(max);
    let mut peers: Model<PeerId> = Model { max, bans: Vec::new() };
    let mut ips: Model<IpAddr> = Model { max, bans: Vec::new() };
    let mut now = start();
    while !input.is_empty() {
        let what = input.below(8);
        let who = if input.flag() { PeerOrIp::Peer(peer(input.byte() & 15)) } else { PeerOrIp::Ip(ip(&mut input)) };
        match what {
            0..=3 => {
                let duration = match input.byte() {
                    255 => Duration::MAX,
                    seconds => Duration::from_secs(u64::from(seconds & 63)),
                };
                bans.ban(who, duration, now);
                let until = now + duration.min(FOR_GOOD);
                match who {
                    PeerOrIp::Peer(peer) => peers.ban(peer, until, now),
                    PeerOrIp::Ip(ip) => ips.ban(ip.to_canonical(), until, now),
                }
            }
            4 => {
                let there = match who {
                    PeerOrIp::Peer(peer) => peers.unban(peer),
                    PeerOrIp::Ip(ip) => ips.unban(ip.to_canonical()),
                };
                assert_eq!(bans.unban(who), there);
            }
            _ => now += Duration::from_secs(u64::from(input.byte() & 31)),
        }
        let until = match who {
            PeerOrIp::Peer(peer) => peers.until(peer, now),
            PeerOrIp::Ip(ip) => ips.until(ip.to_canonical(), now),
        };
        assert_eq!(bans.until(who, now), until);
        assert_eq!(bans.is_banned(who, now), until.is_some());
        assert_eq!(bans.len(), peers.bans.len() + ips.bans.len());
        assert!(bans.len() <= 2 * max);
    }
    assert!(peers.bans.iter().all(|(who, until)| bans.until(*who, now) == Some(*until).filter(|until| *until > now)));
    assert!(ips.bans.iter().all(|(who, until)| bans.until(*who, now) == Some(*until).filter(|until| *until > now)));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let ban = |n: u8| vec![0, 1, n, n.wrapping_mul(29)];
    let many: Vec<u8> = (0..14).flat_map(|n| [ban(n), vec![6, 1, n, 3], vec![0, 0, n << 3, n, 40]].concat()).collect();
    vec![[vec![3], many].concat(), vec![2, 0, 1, 1, 255, 4, 1, 1, 0, 1, 1, 9]]
}
