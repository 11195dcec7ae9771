//! Connections that others opened to a node of the DHT, against a plain list: bounded, and only whoever this side waits for makes
//! room, the one longest without a whole request first.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::prefix::is_local;
use p2p_identity::{Prefix, PrefixCounter};
use p2p_kademlia::fuzzing::Connections;

use crate::input::{Input, ip, start};

struct Connection {
    id: u64,
    number: u64,
    prefix: Option<Prefix>,
    since: Instant,
    moving: usize,
    answering: usize,
}

const PATIENCE: Duration = Duration::from_millis(300);

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (max, per_prefix, limit_local) = (input.below(8), input.below(5), input.flag());
    let mut connections = Connections::new(max, PATIENCE, PrefixCounter::new(per_prefix).limit_local(limit_local));
    let counted = |ip: IpAddr| (limit_local || !is_local(ip)).then(|| Prefix::of(ip));
    let mut list: Vec<Connection> = Vec::new();
    let mut ids = Vec::new();
    let (mut now, mut number) = (start(), 0);
    while !input.is_empty() {
        let [what, which] = input.any::<[u8; 2]>();
        let id = ids.get(usize::from(which) % ids.len().max(1)).copied().unwrap_or(u64::MAX);
        match what % 8 {
            0..=2 => {
                let ip = ip(&mut input);
                number += 1;
                let room = counted(ip)
                    .is_none_or(|prefix| list.iter().filter(|other| other.prefix == Some(prefix)).count() < per_prefix);
                let waits = |it: &&Connection| it.answering == 0 && (it.moving == 0 || now >= it.since + PATIENCE);
                let waited_for = list.iter().filter(waits).map(|it| (it.since, it.id)).min().map(|(_, id)| id);
                let closes = waited_for.filter(|_| list.len() >= max);
                let admitted = connections.admit(now, ip, number);
                assert_eq!(admitted.is_some(), room && (list.len() < max || closes.is_some()));
                let Some((id, closed)) = admitted else { continue };
                let at = list.iter().position(|it| Some(it.id) == closes);
                assert_eq!(closed, at.map(|at| list.remove(at).number));
                assert!(!ids.contains(&id), "an id is used twice");
                ids.push(id);
                list.push(Connection { id, number, prefix: counted(ip), since: now, moving: 0, answering: 0 });
            }
            3 => {
                connections.begins(id);
                list.iter_mut().filter(|it| it.id == id).for_each(|it| it.moving += 1);
            }
            4 => {
                connections.asked(id, now);
                for it in list.iter_mut().filter(|it| it.id == id) {
                    (it.since, it.answering) = (now, it.answering + 1);
                }
            }
            5 => {
                let over = which >= 128;
                if over {
                    connections.ends(id)
                } else {
                    connections.answered(id)
                }
                for it in list.iter_mut().filter(|it| it.id == id) {
                    let count = if over { &mut it.moving } else { &mut it.answering };
                    *count = count.saturating_sub(1);
                }
            }
            6 => {
                let at = list.iter().position(|it| it.id == id);
                assert_eq!(connections.remove(id), at.map(|at| list.remove(at).number));
            }
            _ => now += Duration::from_millis(which.into()),
        }
        assert_eq!((connections.len(), connections.is_empty()), (list.len(), list.is_empty()));
        assert!(list.len() <= max);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let admit = |n: u8| vec![0, n, (n & 3) << 3, n];
    let many: Vec<u8> = (0..12).flat_map(|n| [admit(n), vec![3, n, 7, 9]].concat()).collect();
    vec![
        [vec![4, 2, 0], many.clone()].concat(),
        [vec![7, 4, 1], many, vec![5, 8, 6, 9, 6, 9, 0, 1, 0, 1]].concat(),
        [vec![3, 3, 0], (0..5).flat_map(admit).collect()].concat(),
    ]
}
