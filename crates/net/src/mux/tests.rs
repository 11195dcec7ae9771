//! The multiplexer's core against a model: two sides, any order of calls, any cut of the bytes between them.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::Side;
use super::core::{Core, Limits};
use super::decoder::Decoder;
use super::frame::{Header, Kind, MAX_DATA};
use crate::{CloseReason, Error};

const LIMITS: Limits =
    Limits { inbound_streams: 4, initial_credit: 1 << 10, stream_window: 1 << 10, shared_window: 8 << 10 };

/// One side with the bytes on their way to it.
struct Peer {
    core: Core,
    decoder: Decoder,
    incoming: Vec<u8>,
}

impl Peer {
    fn new(side: Side) -> Self {
        Self { core: Core::new(side, LIMITS), decoder: Decoder::new(), incoming: Vec::new() }
    }

    /// Takes what this side has to send.
    fn output(&mut self) -> Vec<u8> {
        let mut batch = Default::default();
        self.core.out.take(&mut batch);
        self.core.on_room();
        batch.iter().flatten().copied().collect()
    }

    /// Lets `len` of the bytes on their way arrive, as the driver would read them.
    fn arrive(&mut self, len: usize) -> Result<(), &'static str> {
        let mut bytes: Vec<u8> = self.incoming.drain(..len.min(self.incoming.len())).collect();
        while !bytes.is_empty() {
            let result = if let Some(mut target) = self.decoder.target() {
                use bytes::BufMut;
                let part = bytes.len().min(target.remaining_mut());
                target.put_slice(&bytes[..part]);
                bytes.drain(..part);
                self.decoder.on_target(&mut self.core)
            } else {
                let result = self.decoder.decode(&mut self.core, &bytes);
                bytes.clear();
                result
            };
            result.map_err(|violation| violation.0)?;
        }
        Ok(())
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The byte at a place of a stream's direction: any mix-up of streams, sides or order shows.
fn byte(side: usize, id: u32, at: usize) -> u8 {
    (at as u32).wrapping_mul(31).wrapping_add(id.wrapping_mul(7)).wrapping_add(side as u32 * 101) as u8
}

/// What one side has done with, and seen of, a stream.
#[derive(Debug, Default, Clone)]
struct Seen {
    written: usize,
    read: usize,
    finished: bool,
    reset: bool,
    stopped: bool,
    ended: bool,
    failed: bool,
}

#[derive(Debug, Clone)]
enum Op {
    Open,
    Accept,
    Write { stream: usize, len: usize },
    Read { stream: usize },
    Finish { stream: usize },
    Reset { stream: usize },
    Stop { stream: usize },
    Transmit,
    Arrive { len: usize },
}

fn op() -> impl Strategy<Value = (usize, Op)> {
    let stream = 0usize..6;
    let op = prop_oneof![
        2 => Just(Op::Open),
        2 => Just(Op::Accept),
        8 => (stream.clone(), 0usize..3000).prop_map(|(stream, len)| Op::Write { stream, len }),
        8 => stream.clone().prop_map(|stream| Op::Read { stream }),
        1 => stream.clone().prop_map(|stream| Op::Finish { stream }),
        1 => stream.clone().prop_map(|stream| Op::Reset { stream }),
        1 => stream.prop_map(|stream| Op::Stop { stream }),
        4 => Just(Op::Transmit),
        6 => (1usize..4000).prop_map(|len| Op::Arrive { len }),
    ];
    (0usize..2, op)
}

struct World {
    peers: [Peer; 2],
    /// By side and stream.
    seen: [BTreeMap<u32, Seen>; 2],
}

impl World {
    fn new() -> Self {
        Self { peers: [Peer::new(Side::Dialer), Peer::new(Side::Listener)], seen: Default::default() }
    }

    fn nth(&self, side: usize, nth: usize) -> Option<u32> {
        let streams = &self.seen[side];
        (!streams.is_empty()).then(|| *streams.keys().nth(nth % streams.len()).unwrap())
    }

    fn step(&mut self, side: usize, op: &Op) {
        match *op {
            Op::Open => {
                let id = self.peers[side].core.open().unwrap();
                self.seen[side].insert(id, Seen::default());
            }
            Op::Accept => {
                if let Some(id) = self.peers[side].core.accept().unwrap() {
                    assert!(self.seen[side].insert(id, Seen::default()).is_none(), "accepted twice");
                }
            }
            Op::Write { stream, len } => {
                let Some(id) = self.nth(side, stream) else { return };
                let seen = &self.seen[side][&id];
                let data: Vec<u8> = (seen.written..seen.written + len).map(|at| byte(side, id, at)).collect();
                // In two chunks, one of which may be taken in part.
                let (one, two) = data.split_at(len / 3);
                let mut chunks = [Bytes::copy_from_slice(one), Bytes::copy_from_slice(two)];
                let result = self.peers[side].core.write(&mut cx(), id, &mut chunks);
                let left: usize = chunks.iter().map(Bytes::len).sum();
                let seen = self.seen[side].get_mut(&id).unwrap();
                match result {
                    Poll::Ready(Ok(taken)) => {
                        assert_eq!(taken + left, len);
                        assert!(!seen.finished && !seen.reset);
                        seen.written += taken;
                    }
                    Poll::Ready(Err(Error::Refused)) => seen.failed = true,
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => assert_eq!(left, len),
                }
            }
            Op::Read { stream } => {
                if let Some(id) = self.nth(side, stream) {
                    self.read(side, id);
                }
            }
            Op::Finish { stream } => {
                let Some(id) = self.nth(side, stream) else { return };
                let seen = self.seen[side].get_mut(&id).unwrap();
                if !seen.reset && self.peers[side].core.finish(id).is_ok() {
                    seen.finished = true;
                }
            }
            Op::Reset { stream } => {
                let Some(id) = self.nth(side, stream) else { return };
                let seen = self.seen[side].get_mut(&id).unwrap();
                if !seen.finished {
                    seen.reset = true;
                }
                self.peers[side].core.reset(id, 9);
            }
            Op::Stop { stream } => {
                let Some(id) = self.nth(side, stream) else { return };
                self.peers[side].core.stop(id, 8);
                self.seen[side].get_mut(&id).unwrap().stopped = true;
            }
            Op::Transmit => {
                let bytes = self.peers[side].output();
                self.peers[1 - side].incoming.extend(bytes);
            }
            Op::Arrive { len } => {
                self.peers[side].arrive(len).expect("an honest side breaks no rule");
                let core = &self.peers[side].core;
                let most = 8 * LIMITS.stream_window + LIMITS.shared_window;
                assert!(core.unread() <= most as usize, "more unread than was granted");
            }
        }
        let wakers = self.peers[side].core.take_wakers();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Reads once; gives whether something was there.
    fn read(&mut self, side: usize, id: u32) -> bool {
        let other = self.seen[1 - side].get(&id).cloned();
        let seen = self.seen[side].get_mut(&id).unwrap();
        if seen.stopped || seen.ended {
            return false;
        }
        match self.peers[side].core.read(&mut cx(), id) {
            Poll::Ready(Ok(Some(chunk))) => {
                for (at, &got) in chunk.iter().enumerate() {
                    assert_eq!(got, byte(1 - side, id, seen.read + at), "a byte of another place");
                }
                seen.read += chunk.len();
                true
            }
            Poll::Ready(Ok(None)) => {
                seen.ended = true;
                assert!(other.is_some_and(|other| other.finished && other.written == seen.read), "an end too early");
                true
            }
            Poll::Ready(Err(Error::Reset(code))) => {
                assert_eq!(code, 9);
                seen.ended = true;
                seen.failed = true;
                assert!(other.is_some_and(|other| other.reset));
                true
            }
            Poll::Ready(Err(Error::Refused)) => {
                seen.ended = true;
                seen.failed = true;
                true
            }
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => false,
        }
    }

    /// Lets everything arrive and be read until nothing moves.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for side in 0..2 {
                self.step(side, &Op::Transmit);
                moved |= !self.peers[1 - side].incoming.is_empty();
                self.step(1 - side, &Op::Arrive { len: usize::MAX });
            }
            for side in 0..2 {
                let known = self.seen[side].len();
                self.step(side, &Op::Accept);
                moved |= self.seen[side].len() > known;
                let ids: Vec<u32> = self.seen[side].keys().copied().collect();
                for id in ids {
                    while self.read(side, id) {
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_in_order_on_its_stream(ops in proptest::collection::vec(op(), 1..200)) {
        let mut world = World::new();
        for (side, op) in &ops {
            world.step(*side, op);
        }
        world.settle();
        for side in 0..2 {
            for (id, seen) in &world.seen[side] {
                let Some(other) = world.seen[1 - side].get(id) else { continue };
                if other.reset || seen.stopped || seen.failed {
                    continue;
                }
                prop_assert_eq!(seen.read, other.written, "stream {} of side {}", id, side);
                prop_assert_eq!(seen.ended, other.finished);
            }
            prop_assert_eq!(world.peers[side].core.unread(), 0);
        }
    }

    #[test]
    fn credit_comes_back_so_that_any_amount_gets_through(sizes in proptest::collection::vec(1usize..9000, 1..20)) {
        let mut world = World::new();
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
        frames in proptest::collection::vec((0u8..8, 0u32..20, 0u32..2000), 0..40),
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
        let mut peer = Peer::new(Side::Listener);
        peer.incoming = input;
        for cut in cuts.iter().cycle() {
            if peer.incoming.is_empty() || peer.core.end().is_some() {
                break;
            }
            if peer.arrive(*cut).is_err() {
                break;
            }
            prop_assert!(peer.core.unread() <= (LIMITS.inbound_streams * LIMITS.stream_window) as usize);
        }
    }
}

#[test]
fn a_stalled_stream_leaves_its_sisters_room_to_grow() {
    let mut world = World::new();
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
    let total = LIMITS.stream_window * 3 + LIMITS.shared_window;
    assert!(world.peers[1].core.unread() <= total as usize);
    world.step(0, &Op::Open);
    world.settle();
    world.step(0, &Op::Write { stream: 3, len: 1000 });
    world.settle();
    assert_eq!(world.seen[1][&7].read, 1000, "the guaranteed window is there for every stream");
}

#[test]
fn opens_beyond_the_limit_are_refused_and_slots_come_back() {
    let mut world = World::new();
    for _ in 0..5 {
        world.step(0, &Op::Open);
    }
    world.settle();
    assert_eq!(world.seen[1].len(), 4);
    assert!(world.seen[0][&9].failed, "the fifth is refused");
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
    let mut world = World::new();
    let large = Limits { stream_window: 1 << 12, ..LIMITS };
    world.peers[0].core = Core::new(Side::Dialer, large);
    for side in [0, 1, 0, 1] {
        world.step(side, &Op::Open);
    }
    world.settle();
    for (side, granted) in [(0, LIMITS.stream_window), (1, large.stream_window)] {
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
    let mut world = World::new();
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
    let too_much = vec![0; LIMITS.stream_window as usize + 1];
    let cases = [
        ("data on a stream never opened", frame(Kind::Data, 1, b"x")),
        ("an open of our own number", frame(Kind::Open, 2, &[])),
        ("opened twice", [open.clone(), open.clone()].concat()),
        ("more data than granted", [open.clone(), frame(Kind::Data, 1, &too_much)].concat()),
        ("data after the end", [open.clone(), frame(Kind::DataFin, 1, b"x"), frame(Kind::Data, 1, b"y")].concat()),
        ("credit overflow", [open, frame(Kind::Window, 1, &[0xff; 4])].concat()),
        ("a claim of 16 MiB", vec![0, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
    ];
    for (what, bytes) in cases {
        let mut peer = Peer::new(Side::Listener);
        peer.incoming = bytes;
        assert!(peer.arrive(usize::MAX).is_err(), "{what}");
    }
}

#[test]
fn a_remote_that_only_provokes_answers_is_cut_off() {
    let mut peer = Peer::new(Side::Listener);
    for id in 0..20_000u32 {
        peer.incoming.extend(Header { kind: Kind::Open, len: 0, stream: id * 2 + 1 }.encode());
    }
    assert!(peer.arrive(usize::MAX).is_err());
}

#[test]
fn a_large_frame_is_delivered_in_one_piece() {
    let limits = Limits { stream_window: 1 << 20, ..LIMITS };
    let mut peer = Peer { core: Core::new(Side::Listener, limits), ..Peer::new(Side::Listener) };
    peer.incoming.extend(Header { kind: Kind::Open, len: 0, stream: 1 }.encode());
    for _ in 0..2 {
        peer.incoming.extend(Header { kind: Kind::Data, len: MAX_DATA as u32, stream: 1 }.encode());
        peer.incoming.extend(std::iter::repeat_n(5u8, MAX_DATA));
    }
    while !peer.incoming.is_empty() {
        peer.arrive(10_000).unwrap();
    }
    for _ in 0..2 {
        let Poll::Ready(Ok(Some(chunk))) = peer.core.read(&mut cx(), 1) else { panic!("a frame is missing") };
        assert_eq!(chunk.len(), MAX_DATA);
    }
}
