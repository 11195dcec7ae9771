//! Decisions out of a fuzzer's bytes.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use p2p_core::PeerId;

/// Reads a fuzzer's bytes from the front; zeros follow the last one.
pub(crate) struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Any value.
    pub(crate) fn any<T: Arbitrary<'a> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.any()
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is at most 256.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of `choices`.
    pub(crate) fn of<'b, T>(&mut self, choices: &'b [T]) -> &'b T {
        &choices[self.below(choices.len())]
    }

    /// Up to 255 bytes, as many as there are.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        self.0.bytes(len).unwrap_or_default()
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }

    /// Any length of time that a program may wait, the short ones as likely as the long ones.
    pub(crate) fn wait(&mut self) -> Duration {
        let digits = u64::from(self.byte());
        Duration::from_nanos(digits.saturating_mul(10u64.pow(self.below(18) as u32)))
    }
}

/// Some instant, the same for as long as the process runs.
pub(crate) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "nothing depends on which instant it is")]
    *START.get_or_init(Instant::now)
}

/// One of 256 peers, in the order of `n`.
pub(crate) fn peer(n: u8) -> PeerId {
    let mut bytes = [9; 32];
    bytes[0] = n;
    PeerId::from_bytes(bytes).expect("a canonical y coordinate that is not of small order")
}

/// One of some addresses: public ones in a few prefixes, local ones, and IPv4 in the form of IPv6.
pub(crate) fn ip(input: &mut Input<'_>) -> IpAddr {
    let [which, host] = input.any::<[u8; 2]>();
    let (net, host) = (which >> 3, host & 7);
    match which & 7 {
        0..=2 => IpAddr::from([8, 8, net & 3, host]),
        3 => IpAddr::from([10, 0, net & 1, host]),
        4 => IpAddr::from([0x2001, 0xdb8, u16::from(net & 3), 0, 0, 0, 0, u16::from(host)]),
        5 => IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x0808, u16::from(net & 3) << 8 | u16::from(host)]),
        6 => IpAddr::from([127, 0, 0, 1]),
        _ => IpAddr::from([0x2001, 0xdb8, 0, u16::from(net & 3), 0, 0, 0, u16::from(host)]),
    }
}
