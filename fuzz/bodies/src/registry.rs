//! Connections and slots of one node under any sequence of events. See `p2p_peer_pool::registry::sequence`.

use p2p_identity::Serial;
use p2p_peer_pool::fuzzing::{RegistryOp as Op, RegistrySequence};
use p2p_peer_pool::registry::DialKind;

use crate::input::{Input, start};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut sequence = RegistrySequence::new(start());
    while !input.is_empty() {
        let (what, which) = (input.below(17), input.byte());
        let nth = usize::from(which);
        sequence.step(&match what {
            0..=4 => Op::Decide {
                who: 95 + nth % 11,
                boot: u64::from(which >> 4 & 1),
                outbound: which >= 128,
                prefix: which >> 5 & 3,
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
            _ => Op::Used(nth),
        });
    }
    sequence.finish();
}

fn serial(which: u8) -> Serial {
    Serial { number: u64::from(which & 15), ended_below: u64::from(which >> 2 & 15) }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let establish = |who: u8| vec![0, who, 5, who];
    vec![
        (0..9).flat_map(establish).collect(),
        (0..9).flat_map(|n| [establish(n * 31), vec![10, n, 0, n, 5, n, 11, n]].concat()).collect(),
        vec![14, 1, 14, 1, 14, 1, 14, 0, 0, 128, 5, 0, 15, 0, 13, 200, 9, 0],
    ]
}
