//! Keep-alive: pings come one at a time, verdicts only when they are due, and nobody is given up early or late.

use std::time::{Duration, Instant};

use p2p_peer_pool::ping::{Due, Ping, PingTimes};

use crate::input::{Input, start};

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut millis = || Duration::from_millis(16 + u64::from(input.byte()) * 4);
    let times = PingTimes { interval: millis(), timeout: millis(), stall: millis() };
    let mut now = start();
    let mut ping = Ping::new(times, Duration::from_millis(input.byte().into()), now, 0);
    let (mut number, mut liveness) = (0, 0);
    // When the ping under way was sent; when the remote was last heard, and when a look found that at the latest.
    let mut sent: Option<Instant> = None;
    let (mut heard, mut seen) = (now, now);
    let (mut least, mut most) = (Duration::MAX, Duration::ZERO);
    while !input.is_empty() {
        match input.below(8) {
            0 | 1 => now += Duration::from_millis(input.byte().into()),
            2 => now = now.max(ping.deadline()),
            3 => {
                let more = u64::from(input.byte());
                liveness += more;
                heard = if more > 0 { now } else { heard };
            }
            4 => ping.pinged(now),
            5 => {
                let answered = if input.flag() { number } else { input.any() };
                let expected = sent.is_some() && answered == number;
                assert_eq!(ping.pong(now, answered), expected, "an answer that nobody asked for counts");
                if let Some(sent) = sent.take_if(|_| expected) {
                    (least, most) = (least.min(now - sent), most.max(now - sent));
                    (heard, seen) = (now, now);
                }
            }
            6 => {
                ping.probe(now);
                assert!(sent.is_some() || ping.deadline() <= now, "a probe waits");
            }
            _ => {}
        }
        assert_eq!(ping.is_unanswered(), sent.is_some());
        assert_eq!(ping.rtt().is_some(), most >= least);
        // Smoothing rounds down.
        assert!(ping.rtt().is_none_or(|rtt| rtt + Duration::from_nanos(8) >= least && rtt <= most));
        let drawn = number + 1;
        let known = input.flag().then_some(heard);
        let verdict = ping.poll(now, liveness, known, || drawn);
        if heard > seen {
            seen = now;
        }
        match (verdict, sent) {
            (Some(Due::Send(next)), None) => {
                assert_eq!(next, drawn);
                number = drawn;
                sent = Some(now);
            }
            (Some(Due::Stalled), Some(sent)) => {
                assert!(now >= sent + times.stall);
                return;
            }
            (Some(Due::TimedOut), _) => {
                assert!(now >= heard + times.give_up(), "given up early");
                return;
            }
            (None, _) => assert!(now < seen + times.give_up(), "given up late"),
            (verdict, _) => panic!("{verdict:?} out of turn"),
        }
        assert!(ping.deadline() > now, "it is due again at once");
        assert!(ping.deadline() <= now + times.tick());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let answered = [2, 4, 0, 9, 5, 1];
    vec![
        [50, 20, 100, 3].into_iter().chain(answered.repeat(4)).collect(),
        vec![50, 20, 100, 3, 2, 4, 0, 60, 3, 9, 0, 60, 2, 2],
        [50, 20, 200, 3].into_iter().chain([2; 40]).collect(),
        [50, 20, 10, 3].into_iter().chain([2, 3, 1].repeat(30)).collect(),
        vec![1, 1, 1, 0, 6, 4, 6, 5, 1],
    ]
}
