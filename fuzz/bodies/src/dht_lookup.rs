//! Lookups among nodes that keep no rule: whatever they answer, and when, nobody is asked twice, and it ends within its
//! bounds with those that answered, closest first.

mod drive;
mod network;
mod region;

use std::time::Duration;

use p2p_kademlia::lookup::LookupConfig;

use self::drive::Drive;
use crate::input::Input;

/// Times that something happens to one input, which bounds how long it takes.
const MAX_STEPS: usize = 400;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let config = config(&mut input);
    if input.flag() { region::run(input, config) } else { Drive::new(&mut input, config).run(input) }
}

fn config(input: &mut Input<'_>) -> LookupConfig {
    let [width, share, queries, bounds] = input.any::<[u8; 4]>();
    LookupConfig {
        k: usize::from(width & 3) * 3,
        alpha: usize::from(width >> 2 & 3),
        paths: usize::from(width >> 4 & 3),
        width: 1 + usize::from(width >> 6),
        slow_after: Duration::from_millis(u64::from(share & 15) * 20),
        connect_share: Duration::from_millis(u64::from(share >> 4) * 50),
        min_timeout: Duration::from_millis(100),
        max_timeout: Duration::from_millis(600),
        max_queries: usize::from(queries & 63),
        max_time: Duration::from_millis(500 + 500 * u64::from(queries >> 6)),
        per_responder: [3, 20][usize::from(bounds & 1)],
        per_prefix: [1, 4, usize::MAX, 2][usize::from(bounds >> 1 & 3)],
        limit_local: bounds & 8 != 0,
        max_candidates: [4, 128][usize::from(bounds >> 4 & 1)],
        region_queries: usize::from(bounds >> 5) * 16,
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let contacts = |n: u8| -> Vec<u8> { [vec![4], (0..4).flat_map(|m| [n * 4 + m, m]).collect()].concat() };
    let answers: Vec<u8> = (0..12).flat_map(|n| [vec![1, 0, n], contacts(n * 5)].concat()).collect();
    let begin = |width, queries, bounds| vec![width, 0x35, queries, bounds];
    let mut seeds = Vec::new();
    for (width, bounds) in [(0x56, 0xf5), (0x2b, 0xf5), (0xff, 0x70), (0x41, 0x13), (0x9d, 0x3f)] {
        for region in [0, 1] {
            let head = [begin(width, 0xff, bounds), vec![region, 3]].concat();
            let radius = if region == 1 { vec![20] } else { vec![] };
            seeds.push([head.clone(), radius.clone(), contacts(0), answers.clone()].concat());
            seeds.push([head, radius, contacts(3), [7, 0, 4, 1, 5, 0, 6, 90].repeat(20)].concat());
        }
    }
    seeds
}
