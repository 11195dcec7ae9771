//! The multiplexer's core against a model: two sides, any order of calls, any cut of the bytes between them.

mod receipts;

use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::Side;
use super::frame::{EARLY_BYTES, Header, Kind, MAX_DATA};
use super::model::{Bounds, Lone, Op, Peer, World};
use crate::{CloseReason, Error};

const BOUNDS: Bounds = Bounds {
    inbound_streams: 4,
    early_streams: None,
    initial_credit: 1 << 10,
    stream_window: 1 << 10,
    shared_window: 8 << 10,
};

/// Windows for whole frames.
const LARGE: Bounds = Bounds { initial_credit: 64 << 10, stream_window: 64 << 10, shared_window: 16 << 20, ..BOUNDS };

/// Until the remote is accepted.
const EARLY: Bounds = Bounds { early_streams: Some(2), ..LARGE };

fn world() -> World {
    World::new([BOUNDS; 2])
}

fn listener() -> Peer {
    Peer::new(Side::Listener, BOUNDS)
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let stream = 0usize..6;
    let op = prop_oneof![
        20 => Just(Op::Open),
        20 => Just(Op::Accept),
        80 => (stream.clone(), 0usize..3000).prop_map(|(stream, len)| Op::Write { stream, len }),
        80 => stream.clone().prop_map(|stream| Op::Read { stream }),
        10 => stream.clone().prop_map(|stream| Op::Finish { stream }),
        10 => stream.clone().prop_map(|stream| Op::Reset { stream }),
        10 => stream.clone().prop_map(|stream| Op::Stop { stream }),
        10 => (stream, any::<bool>()).prop_map(|(stream, urgent)| Op::Urgent { stream, urgent }),
        1 => Just(Op::Close),
        4 => Just(Op::Trust),
        10 => (0u64..3000).prop_map(|ms| Op::Pass { ms }),
        40 => Just(Op::Transmit),
        60 => (1usize..4000).prop_map(|len| Op::Arrive { len }),
    ];
    (0usize..2, op)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_in_order_on_its_stream(ops in proptest::collection::vec(op(), 1..200)) {
        let mut world = world();
        ops.iter().for_each(|(side, op)| world.step(*side, op));
        world.finish();
    }

    #[test]
    fn what_is_said_before_the_remote_is_accepted_arrives_too(
        ops in proptest::collection::vec(op(), 1..200),
        early in (proptest::option::of(0u32..4), proptest::option::of(0u32..4)),
    ) {
        let (dialer, listener) = early;
        let mut world = World::new([Bounds { early_streams: dialer, ..EARLY }, Bounds { early_streams: listener, ..EARLY }]);
        for (side, op) in &ops {
            // Long enough to meet the bound.
            match op {
                Op::Write { stream, len } => world.step(*side, &Op::Write { stream: *stream, len: 8 * len }),
                op => world.step(*side, op),
            }
        }
        world.finish();
    }

    #[test]
    fn frames_of_any_size_follow_each_other(
        ops in proptest::collection::vec((0usize..2, 0usize..2, 1usize..70_000, 1u32..8, 1usize..90_000), 1..60),
    ) {
        let mut world = World::new([LARGE; 2]);
        for side in 0..2 {
            world.step(side, &Op::Open);
            world.step(side, &Op::Open);
        }
        world.settle();
        for (side, stream, len, scale, arrive) in ops {
            // From a few bytes to more than a frame.
            world.step(side, &Op::Write { stream, len: len >> (2 * (scale - 1)) });
            world.step(side, &Op::Transmit);
            world.step(1 - side, &Op::Arrive { len: arrive });
            world.step(1 - side, &Op::Read { stream });
        }
        world.finish();
    }

    #[test]
    fn credit_comes_back_so_that_any_amount_gets_through(sizes in proptest::collection::vec(1usize..9000, 1..20)) {
        let mut world = world();
        world.step(0, &Op::Open);
        for len in sizes {
            let target = world.seen[0][&1].written + len;
            let mut rounds = 0;
            while world.seen[0][&1].written < target {
                let len = target - world.seen[0][&1].written;
                world.step(0, &Op::Write { stream: 0, len });
                world.settle();
                rounds += 1;
                prop_assert!(rounds < 100, "no progress");
            }
        }
        prop_assert_eq!(world.seen[1][&1].read, world.seen[0][&1].written);
    }

    #[test]
    fn any_bytes_are_taken_or_refused_within_bounds(
        bytes in proptest::collection::vec(any::<u8>(), 0..4000),
        frames in proptest::collection::vec((0u8..12, 0u32..20, 0u32..2000), 0..40),
        cuts in proptest::collection::vec(1usize..600, 1..20),
    ) {
        // Frames that are well formed one by one, in any order, then noise.
        let mut input = Vec::new();
        for (kind, stream, len) in frames {
            let mut header = Header { kind: Kind::Data, len, stream }.encode();
            header[0] = kind;
            input.extend(header);
            input.extend(std::iter::repeat_n(kind, len as usize));
        }
        input.extend(bytes);
        let mut lone = Lone::new(BOUNDS);
        let mut input = &input[..];
        for cut in cuts.iter().cycle() {
            let (part, rest) = input.split_at(input.len().min(*cut));
            if part.is_empty() || !lone.receive(part) {
                break;
            }
            prop_assert!(lone.held().0 <= (BOUNDS.inbound_streams * BOUNDS.stream_window) as usize);
            input = rest;
        }
    }
}

#[test]
fn a_stalled_stream_leaves_its_sisters_room_to_grow() {
    let mut world = world();
    for stream in 0..3 {
        world.step(0, &Op::Open);
        world.settle();
        // Reads everything at first, so the window grows; then stops reading and fills what it has.
        for _ in 0..200 {
            world.step(0, &Op::Write { stream, len: 60_000 });
            world.settle();
        }
        for _ in 0..50 {
            world.step(0, &Op::Write { stream, len: 60_000 });
            world.step(0, &Op::Transmit);
            world.step(1, &Op::Arrive { len: usize::MAX });
        }
    }
    let total = BOUNDS.stream_window * 3 + BOUNDS.shared_window;
    assert!(world.peers[1].core.unread() <= total as usize);
    world.step(0, &Op::Open);
    world.settle();
    world.step(0, &Op::Write { stream: 3, len: 1000 });
    world.settle();
    assert_eq!(world.seen[1][&7].read, 1000, "the guaranteed window is there for every stream");
}

#[test]
fn opens_beyond_the_limit_are_refused_and_slots_come_back() {
    let mut world = world();
    for _ in 0..5 {
        world.step(0, &Op::Open);
    }
    world.settle();
    assert_eq!(world.seen[1].len(), 4);
    assert!(world.seen[0][&9].refused, "the fifth is refused");
    for side in 0..2 {
        world.step(side, &Op::Reset { stream: 0 });
        world.step(side, &Op::Stop { stream: 0 });
    }
    world.settle();
    world.step(0, &Op::Open);
    world.settle();
    assert!(world.seen[1].contains_key(&11));
}

#[test]
fn the_sides_may_have_windows_of_different_sizes() {
    let large = Bounds { stream_window: 1 << 12, ..BOUNDS };
    let mut world = World::new([large, BOUNDS]);
    for side in [0, 1, 0, 1] {
        world.step(side, &Op::Open);
    }
    world.settle();
    for (side, granted) in [(0, BOUNDS.stream_window), (1, large.stream_window)] {
        for stream in 0..4 {
            for _ in 0..3 {
                world.step(side, &Op::Write { stream, len: 1 << 17 });
                world.step(side, &Op::Transmit);
                world.step(1 - side, &Op::Arrive { len: usize::MAX });
            }
        }
        let written: Vec<_> = world.seen[side].values().map(|seen| seen.written as u32).collect();
        assert_eq!(written, [granted; 4], "what side {side} may send unread");
    }
}

#[test]
fn close_tells_the_code_and_the_reason() {
    let mut world = world();
    world.peers[0].core.close(7, "enough");
    world.step(0, &Op::Transmit);
    world.peers[1].arrive(usize::MAX).unwrap();
    assert_eq!(world.peers[1].core.end(), Some(&CloseReason::Remote { code: 7, reason: "enough".into() }));
    assert!(matches!(world.peers[1].core.open(), Err(Error::Closed(_))));
}

#[test]
fn what_no_honest_side_sends_is_a_violation() {
    let frame = |kind, stream, payload: &[u8]| {
        let mut bytes = Header { kind, len: payload.len() as u32, stream }.encode().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    };
    let open = frame(Kind::Open, 1, &[]);
    let too_much = vec![0; BOUNDS.stream_window as usize + 1];
    let cases = [
        ("data on a stream never opened", frame(Kind::Data, 1, b"x")),
        ("an open of our own number", frame(Kind::Open, 2, &[])),
        ("opened twice", [open.clone(), open.clone()].concat()),
        ("more data than granted", [open.clone(), frame(Kind::Data, 1, &too_much)].concat()),
        ("data after the end", [open.clone(), frame(Kind::DataFin, 1, b"x"), frame(Kind::Data, 1, b"y")].concat()),
        ("a receipt for a stream never opened", frame(Kind::Read, 1, &[])),
        ("a receipt for a stream that has not ended", [open.clone(), frame(Kind::Read, 1, &[])].concat()),
        ("credit overflow", [open, frame(Kind::Window, 1, &[0xff; 4])].concat()),
        ("a claim of 16 MiB", vec![0, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
    ];
    for (what, bytes) in cases {
        let mut peer = listener();
        peer.incoming = BytesMut::from(&bytes[..]);
        assert!(peer.arrive(usize::MAX).is_err(), "{what}");
    }
}

#[test]
fn a_remote_that_only_provokes_answers_is_cut_off() {
    let mut peer = listener();
    for id in 0..20_000u32 {
        peer.incoming.extend_from_slice(&Header { kind: Kind::Open, len: 0, stream: id * 2 + 1 }.encode());
    }
    assert!(peer.arrive(usize::MAX).is_err());
}

#[test]
fn a_large_frame_is_delivered_in_one_piece() {
    let mut peer = Peer::new(Side::Listener, Bounds { stream_window: 1 << 20, ..BOUNDS });
    peer.incoming.extend_from_slice(&Header { kind: Kind::Open, len: 0, stream: 1 }.encode());
    for _ in 0..2 {
        peer.incoming.extend_from_slice(&Header { kind: Kind::Data, len: MAX_DATA as u32, stream: 1 }.encode());
        peer.incoming.extend(std::iter::repeat_n(5u8, MAX_DATA));
    }
    while !peer.incoming.is_empty() {
        peer.arrive(10_000).unwrap();
    }
    for _ in 0..2 {
        let Poll::Ready(Ok(Some(chunk))) = peer.core.read(&mut cx(), 1, usize::MAX) else {
            panic!("a frame is missing")
        };
        assert_eq!(chunk.len(), MAX_DATA);
    }
}

#[test]
fn a_frame_ends_where_a_message_ends() {
    let mut peer = Peer::new(Side::Dialer, LARGE);
    let id = peer.core.open().unwrap();
    peer.core.grant(id, 1 << 20);
    let chunk = |len: usize| Bytes::from(vec![7; len]);
    let message = |len: usize| [chunk(4), chunk(len)];
    let mut taken = |mut chunks: Vec<Bytes>| {
        let mut taken = Vec::new();
        while chunks.iter().any(|chunk| !chunk.is_empty()) {
            let Poll::Ready(Ok(len)) = peer.core.write(&mut cx(), id, &mut chunks) else { panic!("there is credit") };
            taken.push(len);
            peer.output();
        }
        taken
    };
    let whole = (64 << 10) + 4;
    assert_eq!(taken([message(64 << 10), message(64 << 10), message(64 << 10)].concat()), [whole; 3]);
    assert_eq!(taken([message(30_000), message(30_000), message(30_000)].concat()), [60_008, 30_004]);
    // The rest of one that is longer than a frame goes on with those that follow.
    assert_eq!(taken([message(100_000), message(10_000)].concat()), [MAX_DATA, 100_004 - MAX_DATA + 10_004]);
    assert_eq!(taken(vec![chunk(MAX_DATA)]), [MAX_DATA]);
    assert_eq!(taken(vec![chunk(0), chunk(MAX_DATA + 1), chunk(0)]), [MAX_DATA, 1]);
    assert_eq!(taken(vec![chunk(8), chunk(8)]), [16]);
}

#[test]
fn a_window_grows_for_whoever_reads_all_there_is_each_time() {
    let mut world = World::new([LARGE; 2]);
    world.step(0, &Op::Open);
    world.settle();
    for _ in 0..20 {
        // As much as there is credit for, in pieces that do not divide it.
        for _ in 0..200 {
            world.step(0, &Op::Write { stream: 0, len: 65_540 });
            world.step(0, &Op::Transmit);
        }
        world.settle();
    }
    let before = world.seen[0][&1].written;
    for _ in 0..200 {
        world.step(0, &Op::Write { stream: 0, len: 65_540 });
        world.step(0, &Op::Transmit);
    }
    let unread = world.seen[0][&1].written - before;
    assert!(unread >= 512 << 10, "{unread} bytes under way at most");
}

#[test]
fn a_reader_that_waits_holds_no_buffer() {
    let mut peer = Peer::new(Side::Listener, LARGE);
    peer.incoming.extend_from_slice(&Header { kind: Kind::Open, len: 0, stream: 1 }.encode());
    peer.incoming.extend_from_slice(&Header { kind: Kind::Data, len: 60_000, stream: 1 }.encode());
    peer.incoming.extend_from_slice(&[5; 60_000]);
    peer.arrive(usize::MAX).unwrap();
    peer.arrive(usize::MAX).unwrap();
    let decoder = peer.decoder();
    assert!(decoder.target().is_some_and(|target| target.limit() >= 60_000), "the next may be as large");
    decoder.not_read();
    assert_eq!(decoder.held(), 0);
    assert!(decoder.target().is_some());
    decoder.not_read();
    // A small frame, and the guess is given up.
    peer.incoming.extend_from_slice(&Header { kind: Kind::Data, len: 1, stream: 1 }.encode());
    peer.incoming.extend_from_slice(&[6]);
    peer.arrive(usize::MAX).unwrap();
    assert!(peer.decoder().target().is_none());
}

/// Lets a stream run over a line on which a round trip takes `rtt` ms and `rate` bytes pass per ms, for so many ms, and
/// gives the bytes that were read in the last second. The reader always waits; the transport is as fast as the line.
fn run_on_a_line(bounds: Bounds, rtt: usize, rate: usize, total_ms: usize) -> usize {
    let mut world = World::new([bounds; 2]);
    world.step(0, &Op::Open);
    world.settle();
    // What is on its way, by the time at which it arrives.
    let mut flying: [std::collections::VecDeque<(usize, usize)>; 2] = Default::default();
    let mut on_line = [0, 0];
    let mut last_second = 0;
    for now in 0..total_ms {
        world.step(0, &Op::Pass { ms: 1 });
        let before = world.seen[1].get(&1).map_or(0, |seen| seen.read);
        world.step(0, &Op::Write { stream: 0, len: rate });
        for side in 0..2 {
            world.step(side, &Op::Transmit);
            let waiting = world.peers[1 - side].incoming.len() - on_line[side];
            if waiting > 0 {
                flying[side].push_back((now + rtt / 2, waiting));
                on_line[side] += waiting;
            }
            while let Some((_, len)) = flying[side].pop_front_if(|(at, _)| *at <= now) {
                on_line[side] -= len;
                world.step(1 - side, &Op::Arrive { len });
            }
        }
        world.step(1, &Op::Read { stream: 0 });
        while world.read(1, 1) {}
        if now + 1000 >= total_ms {
            last_second += world.seen[1][&1].read - before;
        }
    }
    last_second
}

#[test]
fn a_window_grows_to_what_a_long_line_needs() {
    for (rtt, rate) in [(20, 12_500), (100, 12_500), (200, 12_500), (200, 25_000), (300, 1_250)] {
        // Within a few round trips.
        let bytes = run_on_a_line(LARGE, rtt, rate, 1000 + 12 * rtt);
        let line = 1000 * rate;
        assert!(bytes >= line / 100 * 95, "{bytes} of {line} bytes in a second at {rtt} ms");
    }
}

#[test]
fn a_window_that_never_grows_does_not_fill_it() {
    // The line above is one that a fixed window fails on.
    let fixed = Bounds { shared_window: 0, ..LARGE };
    assert!(run_on_a_line(fixed, 200, 12_500, 3400) < 1000 * 12_500 / 20);
}

#[test]
fn a_remote_that_is_not_accepted_gets_few_streams_and_little_data() {
    let open = |id: u32| Header { kind: Kind::Open, len: 0, stream: id }.encode();
    let mut peer = Peer::new(Side::Listener, EARLY);
    for id in [1, 3, 5] {
        peer.incoming.extend_from_slice(&open(id));
    }
    peer.arrive(usize::MAX).unwrap();
    assert_eq!(
        [peer.core.accept(), peer.core.accept(), peer.core.accept()].map(|id| id.unwrap()),
        [Some(1), Some(3), None]
    );
    let data = |peer: &mut Peer, len: usize| {
        peer.incoming.extend_from_slice(&Header { kind: Kind::Data, len: len as u32, stream: 1 }.encode());
        peer.incoming.extend(std::iter::repeat_n(5u8, len));
        peer.arrive(usize::MAX)
    };
    data(&mut peer, EARLY_BYTES as usize).unwrap();
    // Reading makes no room for more: only being accepted does.
    let _ = peer.core.read(&mut cx(), 1, usize::MAX);
    let mut other = Peer::new(Side::Listener, EARLY);
    other.incoming.extend_from_slice(&open(1));
    data(&mut other, EARLY_BYTES as usize).unwrap();
    let _ = other.core.read(&mut cx(), 1, usize::MAX);
    assert!(data(&mut other, 1).is_err());
    peer.core.accepted();
    data(&mut peer, 1).unwrap();
}

/// Who reads the beginning of a stream gives the remote no credit for the rest, however much of that is there already.
#[test]
fn who_reads_little_grants_little() {
    let mut peer = Peer::new(Side::Listener, LARGE);
    let frame = |kind, len: u32| [&Header { kind, len, stream: 1 }.encode()[..], &vec![5; len as usize]].concat();
    peer.incoming.extend_from_slice(&frame(Kind::Open, 0));
    peer.incoming.extend_from_slice(&frame(Kind::Data, LARGE.stream_window));
    peer.arrive(usize::MAX).unwrap();
    let mut read = Vec::new();
    for most in [1, 60, 3] {
        let Poll::Ready(Ok(Some(chunk))) = peer.core.read(&mut cx(), 1, most) else { panic!("a chunk is missing") };
        assert_eq!(chunk.len(), most);
        read.extend(chunk);
    }
    assert_eq!(read, [5; 64]);
    peer.core.check();
    peer.incoming.extend_from_slice(&frame(Kind::Data, 1));
    assert!(peer.arrive(usize::MAX).is_err());
}

#[test]
fn an_answer_that_nobody_asked_for_is_a_violation() {
    let mut peer = listener();
    peer.incoming.extend_from_slice(&Header { kind: Kind::Pong, len: 4, stream: 0 }.encode());
    peer.incoming.extend_from_slice(&[0; 4]);
    assert!(peer.arrive(usize::MAX).is_err());
}
