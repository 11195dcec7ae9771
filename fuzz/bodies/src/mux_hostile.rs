//! One side of a multiplexed connection against a remote that keeps no rule: bounds hold and it ends in good order.

use p2p_net::fuzzing::{Lone, Op, rewrite_header};

use crate::input::Input;
use crate::mux_pair::{bounds, op};

/// The credit that the remote starts with on each stream.
const INITIAL_CREDIT: u32 = 256;

pub fn run(data: &[u8]) {
    for bytes in data.windows(8).filter_map(|bytes| bytes.first_chunk::<8>()).take(4) {
        assert!(rewrite_header(*bytes).is_none_or(|written| written == *bytes), "{bytes:?}");
    }
    let mut input = Input::new(data);
    let bounds = bounds(&mut input, INITIAL_CREDIT);
    let mut lone = Lone::new(bounds);
    let mut own = 0;
    while !input.is_empty() {
        let goes_on = match input.byte() {
            // Frames that are well formed one by one.
            what @ 0..=127 => {
                let stream = u32::from(input.byte());
                let payload = match what & 15 {
                    0..=3 => vec![what; usize::from(input.byte()) * 3],
                    4 => 64u32.to_be_bytes().into(),
                    5 => input.any::<u32>().to_be_bytes().into(),
                    6 => input.bytes().to_vec(),
                    _ => Vec::new(),
                };
                lone.receive(&Lone::frame(what >> 4 | (what & 8), stream, &payload))
            }
            // Any bytes at all.
            128..=135 => lone.receive(input.bytes()),
            // Opens by the hundred.
            136 => {
                let first = u32::from(input.byte()) | 1;
                (0..500).all(|n| lone.receive(&Lone::frame(2, first + 2 * n, &[])))
            }
            _ => {
                let op = op(&mut input, false);
                own += usize::from(matches!(op, Op::Open));
                lone.step(&op);
                true
            }
        };
        let (unread, streams) = lone.held();
        assert!(streams <= bounds.inbound_streams as usize + own);
        assert!(unread <= streams * bounds.stream_window as usize + bounds.shared_window as usize);
        if !goes_on {
            // What the application still does changes nothing for the worse.
            for _ in 0..4 {
                lone.step(&op(&mut input, false));
            }
            return;
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let open = |stream| [vec![1, 0x27, stream]].concat();
    let data = |stream, len| vec![0x00, stream, len];
    let end = |stream| vec![0x10, stream, 0];
    vec![
        [open(1), vec![200, 3], data(1, 20), vec![200, 12], end(1), vec![200, 12, 200, 17]].concat(),
        [open(1), data(1, 255), data(1, 255)].concat(),
        [open(1), vec![0x35, 1, 0xff, 0xff, 0xff, 0xff]].concat(),
        [open(1), vec![0x44, 1, 0x54, 1, 200, 12, 200, 6, 9]].concat(),
        vec![1, 136, 1],
        vec![1, 200, 0, 0x67, 2, 200, 12],
        vec![1, 200, 0, 200, 17, 0x38, 2, 0x38, 2],
        vec![1, 0x76, 0, 6, 0, 0, 0, 1, b'b', b'y'],
        vec![1, 128, 9, 2, 0, 0, 0, 0, 0, 0, 1, 8],
    ]
}
