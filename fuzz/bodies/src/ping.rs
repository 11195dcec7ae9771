//! Keep-alive: pings come one at a time, verdicts only when they are due, and whoever answers stays.

use std::time::{Duration, Instant};

use p2p_peer_pool::ping::{Due, Ping, PingTimes};

use crate::input::{Input, start};

/// The ping under way.
struct Outstanding {
    sent: Instant,
    /// Since when the transport has it, and what had been received when the wait began.
    taken: Option<(Instant, u64)>,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut millis = || Duration::from_millis(1 + u64::from(input.byte()) * 4);
    let times = PingTimes { interval: millis(), timeout: millis(), stall: millis() };
    let mut now = start();
    let mut ping = Ping::new(times, Duration::from_millis(input.byte().into()), now);
    let (mut number, mut received) = (0, 0);
    let mut outstanding: Option<Outstanding> = None;
    let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
    while !input.is_empty() {
        match input.below(8) {
            0 | 1 => now += Duration::from_millis(input.byte().into()),
            2 => now = now.max(ping.deadline()),
            3 => received += u64::from(input.byte()),
            4 => {
                ping.taken(now, received);
                if let Some(outstanding) = &mut outstanding {
                    outstanding.taken.get_or_insert((now, received));
                }
            }
            5 => {
                let answered = if input.flag() { number } else { input.any() };
                let expected = outstanding.is_some() && answered == number;
                assert_eq!(ping.pong(now, answered), expected, "an answer that nobody asked for counts");
                if let Some(Outstanding { sent, .. }) = outstanding.take_if(|_| expected) {
                    (least, most) = (least.min(now - sent), most.max(now - sent));
                }
            }
            6 => {
                ping.probe(now);
                assert!(outstanding.is_some() || ping.deadline() <= now, "a probe waits");
            }
            _ => {}
        }
        assert_eq!(ping.is_waiting_for_transport(), outstanding.as_ref().is_some_and(|ping| ping.taken.is_none()));
        assert_eq!(ping.rtt().is_some(), most >= least);
        // Smoothing rounds down.
        assert!(ping.rtt().is_none_or(|rtt| rtt + Duration::from_nanos(8) >= least && rtt <= most));
        let due = now >= ping.deadline();
        let drawn = number + 1;
        let verdict = ping.poll(now, received, || drawn);
        assert!(due || verdict.is_none(), "{verdict:?} before its time");
        match (verdict, &mut outstanding) {
            (Some(Due::Send(next)), None) => {
                assert_eq!(next, drawn);
                number = drawn;
                outstanding = Some(Outstanding { sent: now, taken: None });
            }
            (Some(Due::Stalled), Some(ping)) => {
                assert!(now >= ping.sent + times.stall);
                return;
            }
            (Some(Due::TimedOut), Some(Outstanding { taken: Some((since, before)), .. })) => {
                assert!(now >= *since + times.timeout && received == *before);
                return;
            }
            (None, Some(Outstanding { taken: Some(taken), .. })) if due => *taken = (now, received),
            (None, _) => assert!(!due, "nothing is said when it is due"),
            (verdict, _) => panic!("{verdict:?} out of turn"),
        }
        assert!(ping.deadline() > now, "it is due again at once");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let answered = [2, 4, 0, 9, 5, 1];
    vec![
        [50, 20, 100, 3].into_iter().chain(answered.repeat(4)).collect(),
        vec![50, 20, 100, 3, 2, 4, 0, 60, 3, 9, 0, 60, 2, 2],
        vec![50, 20, 200, 3, 2, 0, 255, 2, 2],
        vec![1, 1, 1, 0, 6, 4, 6, 5, 1],
    ]
}
