//! Connections and slots of one node under any sequence of events. See `p2p_peer_pool::registry::sequence`.

use p2p_identity::Serial;
use p2p_peer_pool::fuzzing::{RegistryOp as Op, RegistrySequence};
use p2p_peer_pool::registry::DialKind;

use crate::input::{Input, start};

/// One that is exempt, then ranges that are in the same wider one and in others.
const PREFIXES: [u8; 8] = [0, 1, 1, 2, 5, 33, 34, 65];

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut sequence = RegistrySequence::new(start());
    while !input.is_empty() {
        let (what, which) = (input.below(19), input.byte());
        let nth = usize::from(which);
        sequence.step(&match what {
            0..=4 => Op::Decide {
                who: 95 + nth % 11,
                boot: u64::from(which >> 4 & 1),
                outbound: which >= 128,
                prefix: *input.of(&PREFIXES),
                serial: serial(which),
                may_speak: which & 1 == 1,
            },
            5..=8 => Op::Complete(nth, serial(which)),
            9 => Op::Stay(nth),
            10 => Op::Leaving(nth),
            11 | 12 => Op::Removed(nth),
            13 => Op::Wait(u64::from(which) * 6),
            14 => Op::BeginDial([DialKind::Asked, DialKind::Found, DialKind::Kept, DialKind::Again][nth % 4]),
            15 => Op::EndDial(nth),
            // Until peers are useful no longer.
            16 => Op::Wait(u64::from(which) * 6000),
            _ => Op::Used(nth),
        });
    }
    sequence.finish();
}

fn serial(which: u8) -> Serial {
    Serial { number: u64::from(which & 15), ended_below: u64::from(which >> 2 & 15) }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let establish = |who: u8| vec![0, who, who % 11, 5, who];
    vec![
        (0..9).flat_map(establish).collect(),
        (0..9).flat_map(|n| [establish(n * 31), vec![10, n, 0, n, 1, 5, n, 11, n]].concat()).collect(),
        vec![14, 1, 14, 1, 14, 1, 14, 0, 0, 128, 0, 5, 0, 15, 0, 13, 200, 9, 0],
        // A crowd, others who come for it, and the same when nobody was of use for long.
        (0..12).flat_map(|n| [vec![0, n, 1 + n / 5], vec![5, n, 17, n / 3, 16, n * 9]].concat()).collect(),
    ]
}
