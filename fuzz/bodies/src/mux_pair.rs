//! Both sides of a multiplexed connection under any order of calls and any cut of the bytes between them: see
//! `p2p_net::mux::model`.

use p2p_net::fuzzing::{Bounds, Op, World};

use crate::input::Input;

/// Steps of one input, which bounds the time that it takes.
const MAX_STEPS: usize = 400;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    // Large frames have buffers of their own, small ones are copied together; most inputs are about small ones.
    let large = input.below(8) == 0;
    let initial_credit = if large { 32 << 10 } else { 256 };
    let mut world = World::new([bounds(&mut input, initial_credit), bounds(&mut input, initial_credit)]);
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        let side = usize::from(input.flag());
        world.step(side, &op(&mut input, large));
    }
    world.finish();
}

/// The bounds of a side.
pub(crate) fn bounds(input: &mut Input<'_>, initial_credit: u32) -> Bounds {
    let choices = input.byte();
    Bounds {
        inbound_streams: u32::from(choices & 3),
        early_streams: u32::from(choices >> 6).checked_sub(1),
        initial_credit,
        stream_window: initial_credit * [1, 1, 2, 5][usize::from(choices >> 2 & 3)],
        shared_window: initial_credit * [0, 1, 4, 64][usize::from(choices >> 4 & 3)],
    }
}

/// The next step.
pub(crate) fn op(input: &mut Input<'_>, large: bool) -> Op {
    let what = input.byte();
    let stream = usize::from(what >> 5);
    let len = |input: &mut Input<'_>| usize::from(input.byte()) * if large { 311 } else { 3 };
    match what & 31 {
        0..=2 => Op::Open,
        3..=5 => Op::Accept,
        6..=11 => Op::Write { stream, len: len(input) },
        12..=16 => Op::Read { stream },
        17 => Op::Finish { stream },
        18 => Op::Reset { stream },
        19 => Op::Stop { stream },
        20 | 21 => Op::Urgent { stream, urgent: what & 1 == 1 },
        22..=25 => Op::Transmit,
        26..=30 => Op::Arrive { len: len(input) },
        _ if stream == 7 => Op::Close,
        _ if stream == 6 => Op::Trust,
        _ if stream == 5 => Op::Pass { ms: 100 },
        _ => Op::Arrive { len: 1 },
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    // Opens, writes, transmits, lets arrive, accepts, reads, answers, finishes; small, then large.
    let steps = [0, 0, 0, 6, 200, 0, 22, 1, 30, 255, 1, 3, 1, 12, 1, 7, 99, 1, 17, 1, 23, 0, 26, 255, 0, 13, 0, 17];
    // Three writers of which the last finds the connection full.
    let full = vec![0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 6, 255, 0, 6 | 1 << 5, 255, 0, 6 | 2 << 5, 255];
    vec![[&[1, 1, 1], &steps[..]].concat(), [&[0, 7, 63], &steps[..]].concat(), full]
}
