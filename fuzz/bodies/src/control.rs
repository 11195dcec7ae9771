//! The control stream: messages have one form, and floods are bounded by rate.

use std::time::Duration;

use p2p_peer_pool::control::{Control, ControlMessage, MAX_CONTROL_MESSAGE};

use crate::input::{Input, start};

/// A rate as the documentation of the protocol gives it: a burst, and so many more per second.
struct Rate {
    burst: u64,
    /// In milliseconds of refill.
    level: u64,
    per_second: u64,
}

impl Rate {
    fn new(burst: u64, per_second: u64) -> Self {
        Self { burst, level: burst * 1000, per_second }
    }

    fn pass(&mut self, millis: u64) {
        self.level = (self.level + millis * self.per_second).min(self.burst * 1000);
    }

    fn take(&mut self) -> bool {
        let there = self.level >= 1000;
        self.level -= if there { 1000 } else { 0 };
        there
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let remote_is_arbiter = input.flag();
    let mut now = start();
    let mut control = Control::new(remote_is_arbiter, now);
    let (mut answered, mut useless) = (Rate::new(32, 20), Rate::new(256, 1));
    while !input.is_empty() {
        let millis = u64::from(input.byte()) * if input.flag() { 1 } else { 0 };
        now += Duration::from_millis(millis);
        answered.pass(millis);
        useless.pass(millis);
        let times = if input.below(8) == 0 { input.byte() } else { 1 };
        let bytes = match input.below(16) {
            0 => vec![1; MAX_CONTROL_MESSAGE + 1],
            1 => [&[1, 2, 7, 0xe0, 7][..], &[b'x'; 992]].concat(),
            _ => input.bytes().to_vec(),
        };
        for _ in 0..times {
            if input.below(32) == 31 && control.useless(now, "a pong").is_ok() != useless.take() {
                panic!("useless messages are not counted");
            }
            let Ok(message) = control.receive(now, &bytes) else { return refused(&bytes, remote_is_arbiter, useless) };
            match message {
                Some(message) => {
                    assert_eq!(message.to_bytes().ok().as_deref(), Some(&bytes[..]), "{message:?}");
                    assert!(remote_is_arbiter || message != ControlMessage::Stay);
                    assert!(!matches!(message, ControlMessage::Ping(_)) || answered.take(), "above the rate");
                }
                None => assert!(!answered.take() && useless.take(), "ignored for no reason"),
            }
        }
    }
}

/// Whether there was reason to.
fn refused(bytes: &[u8], remote_is_arbiter: bool, mut useless: Rate) {
    if bytes.len() > MAX_CONTROL_MESSAGE {
        return;
    }
    let known = bytes.split_first().filter(|(format, _)| **format == 1);
    match known.and_then(|(_, message)| p2p_identity::decode::<ControlMessage>(message).ok()) {
        None => {}
        Some(ControlMessage::Stay) => assert!(!remote_is_arbiter),
        Some(ControlMessage::Ping(_)) => assert!(!useless.take(), "a flood that was none"),
        Some(message) => panic!("{message:?} was refused"),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let messages = [
        ControlMessage::Ping(300),
        ControlMessage::Pong(0),
        ControlMessage::Goodbye { code: 7, reason: "bye".into() },
        ControlMessage::GoodbyeAck,
        ControlMessage::Stay,
        ControlMessage::Ended("/x/1".parse().expect("an id")),
    ];
    let one = |message: &ControlMessage| {
        let bytes = message.to_bytes().expect("a control message has an encoding");
        [&[1, 9, 1, 5, bytes.len() as u8], &bytes[..], &[0]].concat()
    };
    let mut seeds: Vec<_> = messages.iter().map(one).collect();
    seeds.push([vec![1], messages.iter().flat_map(|message| one(message)[1..].to_vec()).collect()].concat());
    // A flood of pings.
    seeds.push([1].into_iter().chain([0, 0, 0, 255, 5, 3, 1, 0, 9, 0].repeat(3)).collect());
    seeds
}
