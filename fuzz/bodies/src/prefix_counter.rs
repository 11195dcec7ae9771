//! Counting by address prefix against a plain list.

use std::net::IpAddr;

use p2p_identity::prefix::is_local;
use p2p_identity::{Prefix, PrefixCounter};

use crate::input::{Input, ip};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (max, limit_local) = (input.below(4), input.flag());
    let mut counter = PrefixCounter::new(max).limit_local(limit_local);
    let mut list: Vec<IpAddr> = Vec::new();
    while !input.is_empty() {
        let (add, ip) = (input.flag(), ip(&mut input));
        let counts = |ip: IpAddr| limit_local || !is_local(ip);
        let same = |other: &&IpAddr| counts(**other) && Prefix::of(**other) == Prefix::of(ip);
        let have = list.iter().filter(same).count();
        let room = !counts(ip) || have < max;
        assert_eq!((counter.count(ip), counter.has_room(ip)), (have, room));
        if add {
            assert_eq!(counter.try_add(ip), room);
            if room {
                list.push(ip);
            }
        } else if let Some(at) = list.iter().position(|other| *other == ip) {
            counter.remove(list.swap_remove(at));
        }
    }
    list.iter().for_each(|ip| counter.remove(*ip));
    assert!(list.iter().all(|ip| counter.count(*ip) == 0));
}

pub fn seeds() -> Vec<Vec<u8>> {
    vec![[vec![2, 0], (0..30).flat_map(|n: u8| [n % 3, n.wrapping_mul(11), n]).collect()].concat()]
}
