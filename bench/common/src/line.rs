//! Long lines: what they are like, and what a program that runs on one knows of it.
//!
//! Both ends are in one network namespace, whose packets the runner delays: what listens at [`FAR`] is dialed from [`NEAR`].

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Where dialers are. *Up* is from here.
pub const NEAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// Where listeners are. *Down* is from here.
pub const FAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Names the socket at which a program's line is controlled.
pub const CONTROL: &str = "BENCH_LINE";

/// Names the namespace of the second host, where a scenario has two.
pub const FAR_HOST: &str = "BENCH_FAR_HOST";

/// Says that long runs are to be short, for trying them out.
pub const QUICK: &str = "BENCH_QUICK";

/// One direction of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Direction {
    pub delay_ms: f64,
    /// Mbit/s; 0 is unlimited.
    pub mbit: f64,
    /// What the queue in front of the wire holds, as the time that it takes to leave.
    pub queue_ms: f64,
    /// How many packets of a hundred are lost at random.
    pub loss: f64,
}

/// A line: what goes from [`NEAR`] to [`FAR`], and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    pub up: Direction,
    pub down: Direction,
}

impl Shape {
    /// A line with this round trip and nothing else.
    pub const fn rtt(ms: f64) -> Self {
        let half = Direction { delay_ms: ms / 2.0, mbit: 0.0, queue_ms: 100.0, loss: 0.0 };
        Self { up: half, down: half }
    }

    /// Both directions carry so much.
    #[must_use]
    pub const fn mbit(self, mbit: f64) -> Self {
        self.mbit_up(mbit).mbit_down(mbit)
    }

    #[must_use]
    pub const fn mbit_up(mut self, mbit: f64) -> Self {
        self.up.mbit = mbit;
        self
    }

    #[must_use]
    pub const fn mbit_down(mut self, mbit: f64) -> Self {
        self.down.mbit = mbit;
        self
    }

    #[must_use]
    pub const fn queue(mut self, ms: f64) -> Self {
        self.up.queue_ms = ms;
        self.down.queue_ms = ms;
        self
    }

    /// So many packets of a hundred are lost, in each direction.
    #[must_use]
    pub const fn loss(mut self, percent: f64) -> Self {
        self.up.loss = percent;
        self.down.loss = percent;
        self
    }
}

/// Where listeners of a scenario listen: the far end of the line, if there is one.
pub fn listen_ip() -> IpAddr {
    if std::env::var_os(CONTROL).is_some() { FAR.into() } else { NEAR.into() }
}

/// Whether long runs are to be short.
pub fn is_quick() -> bool {
    std::env::var_os(QUICK).is_some()
}

/// Changes the line that this program runs on.
#[derive(Debug)]
pub struct Control(UnixStream);

impl Control {
    /// # Panics
    /// When the program does not run on a line.
    pub fn here() -> Self {
        let path = std::env::var_os(CONTROL).expect("the runner runs this scenario on a line");
        Self::at(Path::new(&path)).expect("the line is controlled at its socket")
    }

    /// Of the line that takes commands there.
    ///
    /// # Errors
    /// When none does.
    pub fn at(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).map(Self)
    }

    /// Lets nothing pass, or everything again. Returns when it is so.
    pub fn set_out(&mut self, out: bool) {
        self.set("out", f64::from(u8::from(out)));
    }

    /// Changes one property: `out`, or one of a [`Direction`] as `up.loss`.
    pub fn set(&mut self, property: &str, value: f64) {
        writeln!(self.0, "{property} {value}").expect("the line lives as long as the program");
        let mut answer = [0; 3];
        self.0.read_exact(&mut answer).expect("the line answers");
        assert_eq!(&answer, b"ok\n", "the line has no {property}");
    }
}
