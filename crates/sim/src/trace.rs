//! What happened, as a hash over all of it and as the latest lines to read.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::host::HostId;
use crate::timeline::Nanos;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketKind {
    /// A datagram.
    Datagram,
    /// A dialer asks for a stream.
    Syn,
    /// A listener agrees.
    SynAck,
    /// Bytes of a stream.
    Data,
    /// The end of one direction of a stream.
    Fin,
    /// Bytes or an end have arrived.
    Ack,
    /// There is no such stream, or no longer.
    Reset,
    /// A datagram found nobody at its port.
    Unreachable,
}

impl PacketKind {
    pub(crate) fn transport(self) -> Transport {
        if matches!(self, Self::Datagram | Self::Unreachable) { Transport::Udp } else { Transport::Tcp }
    }
}

/// Which protocol a port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is under way.
    Sent,
    /// It has arrived.
    Arrived,
    /// The link lost it.
    Lost,
    /// A partition is in the way.
    Cut,
    /// It waits for the link to be released.
    Held,
    /// It is larger than the MTU.
    TooLarge,
    /// A queue or a buffer is full.
    NoRoom,
    /// Nobody has this address, or the host is off.
    NoHost,
    /// A NAT box let it not through.
    Filtered,
    /// Nobody listens on this port.
    NoSocket,
}

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Virtual time since the world began.
    pub at: Duration,
    /// What happened.
    pub what: What,
}

/// What a line of a trace says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// Something became of a packet.
    Packet {
        /// The host that sent it.
        from: HostId,
        /// The host it goes to.
        to: HostId,
        /// What it carries.
        kind: PacketKind,
        /// Bytes of the IP packet.
        len: usize,
        /// What became of it.
        fate: Fate,
    },
    /// A program or a test said something, or a fault was injected.
    Text {
        /// Whose program; `None` for the test itself.
        host: Option<HostId>,
        /// What it said.
        text: String,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, what } = self;
        write!(f, "{:>5}.{:09} ", at.as_secs(), at.subsec_nanos())?;
        match what {
            What::Packet { from, to, kind, len, fate } => {
                write!(f, "{from} > {to} {kind:?} {len} B: {fate:?}")
            }
            What::Text { host: Some(host), text } => write!(f, "{host}: {text}"),
            What::Text { host: None, text } => write!(f, "test: {text}"),
        }
    }
}

/// What a run came to. Two runs of one program with one seed have equal reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Chained over every packet's time, link, length, kind, fate and bytes, and over all that was traced.
    pub hash: u64,
    /// Polls of tasks, timers and packets: a measure of work.
    pub events: u64,
    /// Packets that were sent.
    pub packets: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// Tasks that panicked outside of a [`TaskGroup`](p2p_core::TaskGroup) that would have caught it.
    pub panics: u64,
    /// Virtual time.
    pub time: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, hash, events, packets, time, .. } = self;
        write!(f, "seed {seed}: hash {hash:016x}, {events} events, {packets} packets, {time:?} of virtual time")
    }
}

/// Where two traces part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The number of the line, from 0.
    pub number: u64,
    /// The lines before, alike in both.
    pub before: Vec<Line>,
    /// The line of the first trace, unless it had ended.
    pub first: Option<Line>,
    /// The line of the second trace, unless it had ended.
    pub second: Option<Line>,
}

impl Difference {
    /// Compares two traces that were kept whole: see [`Settings::trace_lines`](crate::Settings::trace_lines) and
    /// [`Sim::trace_lines`](crate::Sim::trace_lines). `None` if they are alike.
    pub fn between(first: &[Line], second: &[Line]) -> Option<Self> {
        let alike = first.iter().zip(second).take_while(|(first, second)| first == second).count();
        if alike == first.len() && alike == second.len() {
            return None;
        }
        Some(Self {
            number: alike as u64,
            before: first[alike.saturating_sub(BEFORE)..alike].to_vec(),
            first: first.get(alike).cloned(),
            second: second.get(alike).cloned(),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the traces differ from line {}:", self.number)?;
        for line in &self.before {
            writeln!(f, "          {line}")?;
        }
        for (name, line) in [("one run:  ", &self.first), ("the other:", &self.second)] {
            match line {
                Some(line) => writeln!(f, "{name}{line}")?,
                None => writeln!(f, "{name} has ended")?,
            }
        }
        Ok(())
    }
}

/// The growing trace of a world.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: u64,
    kept: VecDeque<Line>,
    keep: usize,
}

impl Trace {
    pub(crate) fn new(keep: usize) -> Self {
        Self { hash: OFFSET, lines: 0, kept: VecDeque::new(), keep }
    }

    pub(crate) fn packet(&mut self, at: Nanos, from: HostId, to: HostId, kind: PacketKind, len: usize, fate: Fate) {
        self.fold(at);
        self.fold(u64::from(from.0) << 32 | u64::from(to.0));
        self.fold((len as u64) << 16 | (kind as u64) << 8 | fate as u64);
        self.keep(at, || What::Packet { from, to, kind, len, fate });
    }

    /// What a packet carries.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.fold(u64::from_le_bytes(padded));
        }
    }

    pub(crate) fn text(&mut self, at: Nanos, host: Option<HostId>, text: &str) {
        self.fold(at);
        self.fold(host.map_or(u64::MAX, |host| u64::from(host.0)));
        self.fold(text.len() as u64);
        self.bytes(text.as_bytes());
        self.keep(at, || What::Text { host, text: text.to_owned() });
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn kept(&self) -> Vec<Line> {
        self.kept.iter().cloned().collect()
    }

    /// FNV-1a over words instead of bytes, with a shift that brings the upper half down again.
    fn fold(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(PRIME);
        self.hash ^= self.hash >> 29;
    }

    fn keep(&mut self, at: Nanos, what: impl FnOnce() -> What) {
        self.lines += 1;
        if self.keep == 0 {
            return;
        }
        if self.kept.len() == self.keep {
            self.kept.pop_front();
        }
        self.kept.push_back(Line { at: Duration::from_nanos(at), what: what() });
    }
}

/// Lines that a [`Difference`] shows before the first that differs.
const BEFORE: usize = 12;

/// The constants of 64-bit FNV.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(texts: &[&str]) -> Trace {
        let mut trace = Trace::new(2);
        for text in texts {
            trace.text(7, None, text);
        }
        trace
    }

    #[test]
    fn the_hash_is_over_everything_and_the_order() {
        let base = traced(&["a", "b", "c"]);
        assert_eq!(base.hash(), traced(&["a", "b", "c"]).hash());
        for other in [&["a", "c", "b"][..], &["a", "b"], &["ab", "c"], &["a", "b", "c", ""]] {
            assert_ne!(base.hash(), traced(other).hash(), "{other:?}");
        }
        assert_eq!(base.lines(), 3);
        let kept: Vec<_> = base.kept().iter().map(Line::to_string).collect();
        assert_eq!(kept, ["    0.000000007 test: b", "    0.000000007 test: c"]);
    }

    #[test]
    fn the_first_difference_is_found() {
        let lines = |texts| traced(texts).kept();
        assert_eq!(Difference::between(&lines(&["a", "b"]), &lines(&["a", "b"])), None);
        let found = Difference::between(&lines(&["a", "b"]), &lines(&["a", "c"])).unwrap();
        assert_eq!((found.number, found.before.len()), (1, 1));
        assert!(found.to_string().contains("one run:      0.000000007 test: b"), "{found}");
        let shorter = Difference::between(&lines(&["a", "b"]), &lines(&["a"])).unwrap();
        assert_eq!((shorter.number, shorter.second), (1, None));
    }
}
