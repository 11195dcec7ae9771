//! Moves packets between the kernel's queue and the two links, and takes commands meanwhile.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bench_common::line::{Direction, Shape};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::link::{Fate, Link};
use crate::queue::{Queue, Verdict};
use crate::{Result, packet};

/// Packets that are read before verdicts that are due are looked at again.
const ROUND: usize = 64;

/// The longest command.
const COMMAND: usize = 256;

/// What one direction has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Carried {
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    pub dropped: u64,
    /// The longest that a packet waited for the wire.
    pub backlog: Duration,
}

/// What a line has carried, and how well.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    pub up: Carried,
    pub down: Carried,
    /// The latest that a packet has been let go after its time.
    pub late: Duration,
    /// The sum of all that was too late.
    late_sum: Duration,
}

impl Stats {
    pub fn mean_late(&self) -> Duration {
        let packets = u32::try_from(self.up.packets + self.down.packets).unwrap_or(u32::MAX);
        self.late_sum.checked_div(packets).unwrap_or_default()
    }
}

/// A direction at work.
struct Way {
    link: Link,
    /// When each packet arrives, its number, and its length.
    traveling: VecDeque<(Duration, u32, usize)>,
    carried: Carried,
}

impl Way {
    fn new(shape: Direction, seed: u64) -> Self {
        Self { link: Link::new(shape, seed), traveling: VecDeque::new(), carried: Carried::default() }
    }

    /// Takes a packet; gives false when it goes no further.
    fn take(&mut self, now: Duration, number: u32, bytes: usize) -> bool {
        self.carried.backlog = self.carried.backlog.max(self.link.backlog(now));
        match self.link.offer(now, bytes) {
            Fate::Arrives(at) => {
                self.traveling.push_back((at, number, bytes));
                return true;
            }
            Fate::Lost => self.carried.lost += 1,
            Fate::Dropped => self.carried.dropped += 1,
        }
        false
    }

    /// Whose time has come.
    fn arrived(&mut self, now: Duration) -> Option<(Duration, u32)> {
        let (at, number, bytes) = *self.traveling.front().filter(|(at, ..)| *at <= now)?;
        self.traveling.pop_front();
        self.carried.packets += 1;
        self.carried.bytes += bytes as u64;
        Some((now - at, number))
    }
}

/// Runs until a command ends it.
pub struct Emulator {
    queue: Queue,
    up: Way,
    down: Way,
    control: UnixListener,
    controllers: Vec<(UnixStream, Vec<u8>)>,
    started: Instant,
    late: Duration,
    late_sum: Duration,
}

impl Emulator {
    /// Takes the packets of the namespace that the calling thread is in; commands come over `control`.
    pub fn new(shape: Shape, seed: u64, control: UnixListener) -> Result<Self> {
        Ok(Self {
            queue: Queue::open()?,
            up: Way::new(shape.up, 2 * seed),
            down: Way::new(shape.down, 2 * seed + 1),
            control,
            controllers: Vec::new(),
            started: Instant::now(),
            late: Duration::ZERO,
            late_sum: Duration::ZERO,
        })
    }

    pub fn run(mut self) -> Result<Stats> {
        loop {
            self.release()?;
            let (packets, commands) = self.wait()?;
            if packets {
                self.accept_packets()?;
            }
            if commands && self.obey() {
                let Self { up, down, late, late_sum, .. } = self;
                return Ok(Stats { up: up.carried, down: down.carried, late, late_sum });
            }
        }
    }

    /// Lets go whose time has come.
    fn release(&mut self) -> Result {
        let now = self.started.elapsed();
        for way in [&mut self.up, &mut self.down] {
            while let Some((late, number)) = way.arrived(now) {
                self.late = self.late.max(late);
                self.late_sum += late;
                self.queue.decide(number, Verdict::Accept)?;
            }
        }
        self.queue.send()
    }

    /// Waits for a packet, a command, or the time of the next packet; says which of the first two there are.
    fn wait(&self) -> Result<(bool, bool)> {
        let next =
            [&self.up, &self.down].into_iter().filter_map(|way| way.traveling.front()).map(|(at, ..)| *at).min();
        let timeout = next.map(|at| TimeSpec::from_duration(at.saturating_sub(self.started.elapsed())));
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![readable(self.queue.as_fd()), readable(self.control.as_fd())];
        fds.extend(self.controllers.iter().map(|(stream, _)| readable(stream.as_fd())));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) => {
                let is_ready = |fd: &PollFd| fd.any().unwrap_or(true);
                Ok((is_ready(&fds[0]), fds[1..].iter().any(is_ready)))
            }
            Err(Errno::EINTR) => Ok((false, false)),
            Err(error) => Err(format!("waiting for packets: {error}").into()),
        }
    }

    fn accept_packets(&mut self) -> Result {
        let now = self.started.elapsed();
        let Self { queue, up, down, .. } = self;
        let mut refused = Vec::new();
        let mut ignored = Vec::new();
        queue.take(ROUND, |number, bytes| match packet::read(bytes) {
            Some((len, is_up)) => {
                let way = if is_up { &mut *up } else { &mut *down };
                if !way.take(now, number, len) {
                    refused.push(number);
                }
            }
            // Not a packet of the line.
            None => ignored.push(number),
        })?;
        for number in refused {
            queue.decide(number, Verdict::Drop)?;
        }
        for number in ignored {
            queue.decide(number, Verdict::Accept)?;
        }
        Ok(())
    }

    /// Does what is asked for; gives true when that is to end.
    fn obey(&mut self) -> bool {
        while let Ok((stream, _)) = self.control.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.controllers.push((stream, Vec::new()));
            }
        }
        let mut lines = Vec::new();
        let mut open = Vec::new();
        for (n, (mut stream, mut buffer)) in std::mem::take(&mut self.controllers).into_iter().enumerate() {
            let mut chunk = [0; COMMAND];
            let is_open = match stream.read(&mut chunk) {
                Ok(0) => false,
                Ok(len) => {
                    buffer.extend(&chunk[..len]);
                    buffer.len() <= COMMAND
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            };
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                lines.push((n, String::from_utf8_lossy(&line).into_owned()));
            }
            open.push((is_open, stream, buffer));
        }
        let mut ends = false;
        for (n, line) in lines {
            ends |= line.trim() == "end";
            let answer: &[u8] = if self.set(line.trim()).is_some() { b"ok\n" } else { b"no\n" };
            // Whoever asked may be gone.
            let _ = open[n].1.write_all(answer);
        }
        self.controllers =
            open.into_iter().filter(|(is_open, ..)| *is_open).map(|(_, stream, buffer)| (stream, buffer)).collect();
        ends
    }

    /// `out 1`, `up.loss 5`, …
    fn set(&mut self, command: &str) -> Option<()> {
        if command == "end" {
            return Some(());
        }
        let (property, value) = command.split_once(' ')?;
        let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?;
        if property == "out" {
            self.up.link.is_out = value > 0.0;
            self.down.link.is_out = value > 0.0;
            return Some(());
        }
        let (way, property) = property.split_once('.')?;
        let shape = match way {
            "up" => &mut self.up.link.shape,
            "down" => &mut self.down.link.shape,
            _ => return None,
        };
        let property = match property {
            "delay_ms" => &mut shape.delay_ms,
            "mbit" => &mut shape.mbit,
            "queue_ms" => &mut shape.queue_ms,
            "loss" => &mut shape.loss,
            _ => return None,
        };
        *property = value;
        Some(())
    }
}
