//! Messages on a stream: lengths in one form; any cut of the bytes gives the same messages; what is sent is received.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use p2p_core::ByteBudget;
use p2p_net::Error;
use p2p_net::fuzzing::{Receiving, Sending, decode_length, encode_length};

use crate::input::Input;

/// The longest message that is sent here.
const MAX_MESSAGE: usize = 255 * 61;

/// Bytes that may be set aside.
const ASIDE_MAX: usize = 32 << 10;

pub fn run(data: &[u8]) {
    length(data);
    let mut input = Input::new(data);
    if input.flag() { receive(input) } else { send_and_receive(input) }
}

fn length(data: &[u8]) {
    if let Ok(Some((value, len))) = decode_length(data) {
        assert_eq!(encode_length(value), data[..len]);
    }
    if let Some(bytes) = data.first_chunk() {
        let value = u64::from_be_bytes(*bytes) >> 2 >> (data.last().map_or(0, |last| last % 62));
        let written = encode_length(value);
        assert_eq!(decode_length(&written).ok(), Some(Some((value, written.len()))));
        assert!((0..written.len()).all(|cut| matches!(decode_length(&written[..cut]), Ok(None))));
    }
}

/// How bytes end that are messages up to there.
#[derive(Debug, PartialEq)]
enum End {
    Whole,
    Partial,
    TooLarge(u64),
    Encoding,
}

/// The messages in `bytes`, read in the plainest way.
fn reference(mut bytes: &[u8], max_message: usize) -> (Vec<&[u8]>, End) {
    let mut messages = Vec::new();
    loop {
        let Some(first) = bytes.first() else { return (messages, End::Whole) };
        let prefix = [1, 2, 4, 8][usize::from(first >> 6)];
        if bytes.len() < prefix {
            return (messages, End::Partial);
        }
        let mut padded = [0; 8];
        padded[8 - prefix..].copy_from_slice(&bytes[..prefix]);
        padded[8 - prefix] &= 0x3f;
        let len = u64::from_be_bytes(padded);
        let least = [0, 1 << 6, 1 << 14, 1 << 30][usize::from(first >> 6)];
        if len < least {
            return (messages, End::Encoding);
        }
        if len > max_message as u64 {
            return (messages, End::TooLarge(len));
        }
        let whole = prefix + len as usize;
        if bytes.len() < whole {
            return (messages, End::Partial);
        }
        messages.push(&bytes[prefix..whole]);
        bytes = &bytes[whole..];
    }
}

/// Gives `receiving` a chunk; adds the messages that it completes.
fn take(receiving: &mut Receiving, chunk: Bytes, mut wait: impl FnMut(), to: &mut Vec<Bytes>) -> Result<(), Error> {
    receiving.push(chunk);
    loop {
        match receiving.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Some(message))) => to.push(message),
            Poll::Ready(Ok(None)) => return Ok(()),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => wait(),
        }
    }
}

fn receive(mut input: Input<'_>) {
    let max_message = input.any::<u16>().into();
    // The rest of the node has taken some of the budget, until this stream has to wait for it.
    let budget = ByteBudget::new(max_message);
    let mut others = budget.try_reserve(usize::from(input.any::<u16>()).min(max_message));
    let cuts = input.bytes();
    let bytes = Bytes::copy_from_slice(input.rest());
    let (expected, end) = reference(&bytes, max_message);
    let mut receiving = Receiving::new(max_message, budget.clone());
    let (mut messages, mut rest, mut result) = (Vec::new(), bytes.clone(), Ok(()));
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([usize::MAX]) {
        let chunk = rest.split_to(rest.len().min(cut));
        let wait = || assert!(others.take().is_some(), "it waits for what is there");
        result = take(&mut receiving, chunk, wait, &mut messages);
        assert!(budget.used() <= budget.limit());
        if result.is_err() {
            break;
        }
    }
    assert_eq!(messages, expected);
    let ended = match result {
        Ok(()) if receiving.is_partial() => End::Partial,
        Ok(()) => End::Whole,
        Err(Error::MessageTooLarge { len, .. }) => End::TooLarge(len),
        Err(Error::LengthEncoding) => End::Encoding,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(ended, end);
    drop((receiving, others));
    assert_eq!(budget.used(), 0);
}

/// A message that waits: its bytes with the length in front that are left, and whether they count.
struct Waiting {
    left: usize,
    aside: bool,
}

/// The `n`th message.
fn content(n: usize, len: usize) -> Bytes {
    const PERIOD: usize = 251;
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| (0..PERIOD + MAX_MESSAGE).map(|at| (at % PERIOD) as u8).collect());
    let start = n * 7 % PERIOD;
    pattern.slice(start..start + len)
}

fn send_and_receive(mut input: Input<'_>) {
    let mut sending = Sending::default();
    let mut receiving = Receiving::new(usize::MAX, ByteBudget::new(usize::MAX));
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let mut last = false;
    while !last {
        last = input.is_empty();
        match input.below(8) {
            op @ 0..=3 if !last => {
                let small = input.below(16) != 0;
                let len = usize::from(input.byte()) * if small { 1 } else { 61 };
                let message = content(sent.len(), len);
                if op < 3 {
                    sending.push(&message);
                } else {
                    sending.push_shared(&message);
                }
                waiting.push_back(Waiting { left: encode_length(len as u64).len() + len, aside: false });
                sent.push(message);
            }
            4 if !last => {
                let bytes: usize = waiting.iter().map(|message| message.left).sum();
                let aside = sending.set_aside();
                assert_eq!(aside, bytes <= ASIDE_MAX);
                if aside {
                    waiting.iter_mut().for_each(|message| message.aside = true);
                }
            }
            _ => {
                let room = if last { usize::MAX } else { usize::from(input.byte()) * 23 };
                let taken = sending.take(room);
                let mut left = taken.len();
                while let Some(message) = waiting.front_mut() {
                    let part = message.left.min(left);
                    message.left -= part;
                    left -= part;
                    if message.left > 0 {
                        break;
                    }
                    waiting.pop_front();
                }
                assert_eq!(left, 0);
                let result = take(&mut receiving, taken.into(), || panic!("nothing to wait for"), &mut received);
                assert!(result.is_ok(), "{result:?}");
            }
        }
        let sum = |aside: bool| waiting.iter().filter(|m| m.aside == aside).map(|m| m.left).sum::<usize>();
        let messages = waiting.iter().filter(|message| !message.aside).count();
        assert_eq!(sending.counts(), (sum(true) + sum(false), sum(false), messages));
    }
    assert!(waiting.is_empty() && !receiving.is_partial());
    assert_eq!(received, sent);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let message = |len: usize| [&encode_length(len as u64)[..], &vec![7; len]].concat();
    let head = vec![1, 0, 16, 0, 0, 3, 1, 1, 70];
    vec![
        [head.clone(), message(0), message(5), message(63), message(64), message(300)].concat(),
        [head.clone(), message(1), encode_length(1 << 40).to_vec()].concat(),
        [head.clone(), message(1), vec![0x40, 5]].concat(),
        [head, message(3), message(200)[..150].to_vec()].concat(),
        vec![0, 0, 1, 10, 0, 0, 200, 5, 3, 4, 1, 1, 9, 2, 1, 0, 6, 200, 0, 1, 63, 4, 5, 255],
    ]
}
