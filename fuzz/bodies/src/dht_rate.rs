//! How many questions and datagrams a node of the DHT answers, against plain lists of token buckets.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use p2p_core::{PeerId, TokenBucket};
use p2p_identity::Prefix;
use p2p_identity::prefix::is_local;
use p2p_kademlia::fuzzing::RequestLimiter;
use p2p_kademlia::message::{DatagramLimiter, DatagramLimits};

use crate::input::{Input, ip, start};

/// Seconds' worth of requests that may come at once.
const BURST: u32 = 4;

/// A list of buckets by name, the one heard of least recently first.
struct Buckets<N> {
    burst: u32,
    per_second: u32,
    max: usize,
    list: Vec<(N, TokenBucket)>,
}

impl<N: PartialEq> Buckets<N> {
    fn new(burst: u32, per_second: u32, max: usize) -> Self {
        Self { burst, per_second, max, list: Vec::new() }
    }

    fn take(&mut self, now: Instant, name: N) -> bool {
        let bucket = match self.list.iter().position(|(other, _)| *other == name) {
            Some(at) => self.list.remove(at).1,
            None => TokenBucket::new(self.burst, self.per_second, now),
        };
        self.list.push((name, bucket));
        let taken = self.list.last_mut().is_some_and(|(_, bucket)| bucket.take(now));
        if self.list.len() > self.max {
            self.list.remove(0);
        }
        taken
    }
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() { requests(input) } else { datagrams(input) }
}

fn datagrams(mut input: Input<'_>) {
    let mut now = start();
    let [burst, per_second, strangers_burst, strangers_per_second] = input.any::<[u8; 4]>().map(|n| u32::from(n & 15));
    let sources = input.below(6);
    let limits = DatagramLimits {
        source_burst: burst,
        source_per_second: per_second,
        strangers_burst,
        strangers_per_second,
        sources,
    };
    let mut limiter = DatagramLimiter::new(limits, now);
    let mut strangers = TokenBucket::new(strangers_burst, strangers_per_second, now);
    let mut list = Buckets::new(burst, per_second, sources);
    let mut answered = 0;
    while !input.is_empty() {
        let [what, port] = input.any::<[u8; 2]>();
        now += Duration::from_millis(u64::from(what >> 2) * u64::from(what >> 2));
        let (ip, port, known) = (ip(&mut input), u16::from(port & 3), what & 1 != 0);
        let local = is_local(ip).then(|| (ip.to_canonical(), port));
        let source = (local, local.is_none().then(|| Prefix::of(ip)));
        let expected = list.take(now, source) && (known || strangers.take(now));
        assert_eq!(limiter.admit(now, SocketAddr::new(ip, port), known), expected);
        assert_eq!(limiter.sources(), list.list.len());
        // Whatever the sources are, strangers get no more than is for all of them.
        answered += u32::from(expected && !known);
        let most = f64::from(strangers_burst) + (now - start()).as_secs_f64() * f64::from(strangers_per_second);
        assert!(f64::from(answered) <= most + 1e-6);
    }
}

fn requests(mut input: Input<'_>) {
    let mut now = start();
    let [per_peer, per_prefix] = input.any::<[u8; 2]>().map(|n| u32::from(n & 7));
    let limit_local = input.flag();
    let mut limiter = RequestLimiter::new(per_peer, per_prefix, limit_local);
    // No input has as many peers as are remembered.
    let mut peers: Buckets<PeerId> = Buckets::new(per_peer * BURST, per_peer, usize::MAX);
    let mut prefixes: Buckets<Prefix> = Buckets::new(per_prefix * BURST, per_prefix, usize::MAX);
    while !input.is_empty() {
        let what = input.byte();
        now += Duration::from_millis(u64::from(what >> 3) * u64::from(what >> 3));
        let ip: IpAddr = ip(&mut input);
        let peer = crate::input::peer(what & 7);
        let exempt = is_local(ip) && !limit_local;
        let expected = peers.take(now, peer) && (exempt || prefixes.take(now, Prefix::of(ip)));
        assert_eq!(limiter.admit(now, peer, ip), expected);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let datagrams: Vec<u8> = (0..20).flat_map(|n| [n & 1, n, (n & 3) << 3, n]).collect();
    let requests: Vec<u8> = (0..30).flat_map(|n| [n & 3 | (n & 8) << 4, (n & 1) << 3, n]).collect();
    vec![
        [vec![0, 3, 1, 9, 2, 3], datagrams.clone()].concat(),
        [vec![0, 1, 1, 1, 1, 1], datagrams.clone()].concat(),
        [vec![0, 15, 15, 2, 0, 0], datagrams].concat(),
        [vec![1, 1, 2, 0], requests.clone()].concat(),
        [vec![1, 2, 1, 1], requests].concat(),
    ]
}
