//! Two nodes and the connections between them, under any interleaving of their messages. For tests and fuzzing: a
//! promise that is not kept is a panic.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::*;

/// Small ones, so that they are met.
pub(super) fn limits() -> SlotLimits {
    SlotLimits {
        inbound: 4,
        outbound: 3,
        kept: 2,
        grace: Duration::from_millis(500),
        tie_break: Duration::from_secs(1),
    }
}

impl Range for () {
    fn at_width(self, _: usize) -> Self {}
}

/// Peer ids in the order of `n`.
pub(super) fn peer(n: usize) -> PeerId {
    let mut bytes = [9; 32];
    bytes[0] = n as u8;
    PeerId::from_bytes(bytes).expect("a canonical y coordinate that is not of small order")
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Message {
    /// Of the transport's own handshake, after which a dialer of a certified connection knows the listener's hello.
    Begin,
    Answer,
    Hello(Serial),
    /// With the numbers of a listener whose hello was in its certificate.
    Accept(Option<Serial>),
    Reject,
    Stay,
    Closed,
}

#[derive(Debug, Clone, Default)]
struct Side {
    /// A handshake with somebody is under way here, who has not said who it is.
    begun: bool,
    /// The protocols spoke before the other side had accepted.
    early: bool,
    hello: bool,
    accept_sent: bool,
    accept_got: bool,
    over: bool,
    /// It was lost here, and the other side was not told.
    lost: bool,
}

#[derive(Debug, Clone)]
struct Conn {
    dialer: usize,
    started: bool,
    /// No connection is lost any more, and if one was, its dialer held none when it dialed: it must not be given up.
    firm: bool,
    sides: [Side; 2],
    /// What is on its way to each side, in order.
    towards: [VecDeque<Message>; 2],
}

/// Both nodes, side 0 the arbiter, and what is on its way between them.
#[derive(Debug, Clone)]
pub struct World {
    nodes: [Registry<()>; 2],
    conns: Vec<Conn>,
    live: [BTreeSet<usize>; 2],
    /// How many connections may yet break.
    failures: usize,
    broke: bool,
    /// How many connections may yet be lost by one side, without the other being told.
    losses: usize,
    /// Whether a dial knows who will answer.
    informed: bool,
    /// Hellos of listeners are in their certificates.
    certified: bool,
    /// Nodes do not see that who dials them is whom they dial: it comes from another address.
    blind: bool,
    now: Instant,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// A dial begins.
    Dial(usize),
    /// The next message of a connection arrives at a side.
    Deliver(usize, usize),
    /// A side's tie-break is over.
    TieBreakOver(usize),
    /// A connection breaks, for both.
    Break(usize),
    /// A side loses a connection; the other learns nothing of it.
    Lose(usize, usize),
    /// A side notices at last that the other has lost a connection.
    Notice(usize, usize),
}

const BOOT: u64 = 7;

impl World {
    /// One connection for each dialer (0 or 1), none of them begun, of which so many may break.
    pub fn new(dialers: &[usize], failures: usize, now: Instant) -> Self {
        let conn = |&dialer| Conn {
            dialer,
            started: false,
            firm: false,
            sides: Default::default(),
            towards: Default::default(),
        };
        Self {
            nodes: [0, 1].map(|side| Registry::new(peer(side), limits())),
            conns: dialers.iter().map(conn).collect(),
            live: Default::default(),
            failures,
            broke: false,
            losses: 0,
            informed: true,
            certified: false,
            blind: false,
            now,
        }
    }

    /// So many connections may be lost by one of their sides.
    pub fn losing(mut self, losses: usize) -> Self {
        self.losses = losses;
        self
    }

    /// Dials do not know who will answer.
    pub fn uninformed(mut self) -> Self {
        self.informed = false;
        self
    }

    /// The same over connections whose listeners have their hellos in their certificates.
    pub fn certified(dialers: &[usize], failures: usize, now: Instant) -> Self {
        Self { certified: true, ..Self::new(dialers, failures, now) }
    }

    /// The same between nodes that dial from other addresses than those that they are dialed at.
    pub fn blind(dialers: &[usize], failures: usize, now: Instant) -> Self {
        Self { blind: true, ..Self::certified(dialers, failures, now) }
    }

    /// All that may happen next; empty at the end.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, conn) in self.conns.iter().enumerate() {
            if !conn.started {
                steps.push(Step::Dial(at));
                continue;
            }
            let ready = |side: &usize| conn.towards[*side].front().is_some_and(|message| !self.waits(*side, *message));
            steps.extend((0..2).filter(ready).map(|side| Step::Deliver(at, side)));
            if self.failures > 0 && conn.sides.iter().any(|side| !side.over) {
                steps.push(Step::Break(at));
            }
            for side in 0..2 {
                if self.losses > 0 && !conn.sides[side].over {
                    steps.push(Step::Lose(at, side));
                }
                if conn.sides[1 - side].lost && !conn.sides[side].over {
                    steps.push(Step::Notice(at, side));
                }
            }
        }
        steps.extend((0..2).filter(|&side| self.nodes[side].deadline().is_some()).map(Step::TieBreakOver));
        steps
    }

    /// Lets it happen.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::Dial(at) => {
                let dialer = self.conns[at].dialer;
                self.conns[at].started = true;
                if self.certified {
                    self.send(at, dialer, Message::Begin);
                } else {
                    let own = self.number(at, dialer);
                    self.send(at, dialer, Message::Hello(own));
                }
            }
            Step::Deliver(at, side) => {
                let message = self.conns[at].towards[side].pop_front();
                if let Some(message) = message.filter(|_| !self.conns[at].sides[side].over) {
                    self.receive(at, side, message);
                }
            }
            Step::TieBreakOver(side) => {
                let late = self.now + Duration::from_secs(3600);
                let effects = self.nodes[side].poll(late);
                self.perform(side, effects);
            }
            Step::Lose(at, side) => {
                self.losses -= 1;
                self.conns[at].sides[side].lost = true;
                self.conns[at].towards[side].clear();
                self.gone(at, side);
            }
            Step::Notice(at, side) => self.gone(at, side),
            Step::Break(at) => {
                self.failures -= 1;
                self.broke = true;
                self.conns[at].towards = Default::default();
                for side in 0..2 {
                    self.conns[at].towards[side].push_back(Message::Closed);
                }
            }
        }
    }

    /// Checks what must hold once nothing more can happen.
    pub fn finish(&self) {
        assert_eq!(self.live[0], self.live[1], "the two sides disagree: {self:#?}");
        let last_was_lost =
            self.conns.iter().filter(|conn| conn.firm).all(|conn| conn.sides.iter().any(|side| side.lost));
        let may_be_none = self.broke || last_was_lost || !self.informed;
        assert!(may_be_none || self.live[0].len() == 1, "no connection is left: {self:#?}");
        for (at, conn) in self.conns.iter().enumerate() {
            for (live, side) in self.live.iter().zip(&conn.sides) {
                assert!(live.contains(&at) || !side.early || side.over, "protocols speak to nobody: {self:#?}");
            }
            for (index, side) in conn.sides.iter().enumerate() {
                let safe = !self.blind || self.nodes[index].is_arbiter(peer(1 - index));
                let whole = !self.broke && !self.any_lost();
                assert!(!whole || !safe || !side.early || !side.over, "what was said early is lost: {self:#?}");
            }
        }
    }

    fn any_lost(&self) -> bool {
        self.conns.iter().any(|conn| conn.sides.iter().any(|side| side.lost))
    }

    /// A side has no such connection any more.
    fn gone(&mut self, at: usize, side: usize) {
        self.conns[at].sides[side].over = true;
        self.live[side].remove(&at);
        let effects = self.nodes[side].removed(self.now, ConnectionId::new(at as u64));
        self.perform(side, effects);
    }

    /// Whether a side leaves a message for later: one that speaks early waits with other connections of the peer until it
    /// knows whether that one stays. The arbiter does so for a time only, which may be over at any moment.
    fn waits(&self, side: usize, message: Message) -> bool {
        let (other, hello) = (peer(1 - side), matches!(message, Message::Hello(_)));
        hello && !self.nodes[side].is_arbiter(other) && self.nodes[side].speaks_early(&other)
    }

    fn send(&mut self, at: usize, from: usize, message: Message) {
        self.conns[at].towards[1 - from].push_back(message);
    }

    fn receive(&mut self, at: usize, side: usize, message: Message) {
        let (id, now) = (ConnectionId::new(at as u64), self.now);
        match message {
            Message::Begin => {
                self.conns[at].sides[side].begun = true;
                self.send(at, side, Message::Answer);
            }
            Message::Answer => {
                let may_speak = !self.may_cross(side);
                let own = self.number(at, side);
                self.decide(at, side, None, Some((own, may_speak)));
                self.conns[at].sides[side].early = self.nodes[side].is_early(id);
            }
            Message::Hello(serial) => {
                self.decide(at, side, Some(serial), None);
                // From here on the registry knows.
                self.conns[at].sides[side].begun = false;
            }
            Message::Accept(serial) => {
                if serial.is_some() {
                    self.nodes[side].numbered(id, serial);
                }
                self.conns[at].sides[side].accept_got = true;
                self.complete(at, side);
            }
            Message::Stay => {
                let effects = self.nodes[side].stay(now, id);
                self.perform(side, effects);
            }
            Message::Reject | Message::Closed => {
                // One that was under way when its rival was lost can be the loser on the side that chose the rival.
                let firm = self.conns[at].firm && (self.informed || !self.any_lost());
                assert!(
                    self.broke || !firm || !self.live[side].contains(&at),
                    "a live connection was given up by the other side: {self:#?}"
                );
                self.gone(at, side);
            }
        }
    }

    /// The numbers of the dialer's hello, which it is about to say.
    fn number(&mut self, at: usize, dialer: usize) -> Serial {
        self.conns[at].sides[dialer].hello = true;
        let alone = self.nodes[dialer].ended_below(peer(1 - dialer)) == 0;
        let settled = self.losses == 0 && (alone || !self.any_lost());
        self.conns[at].firm = settled && !self.haunted(dialer);
        let whom = self.informed.then(|| peer(1 - dialer));
        self.nodes[dialer].number(ConnectionId::new(at as u64), whom)
    }

    /// Whether what one side has lost may yet stand in the way of a dial for a while: its dialer has said its hello and
    /// accept, which are still to arrive; or the arbiter dialed it, may speak early on it, and refuses others for that.
    fn haunted(&self, dialer: usize) -> bool {
        let other = 1 - dialer;
        let last_words =
            |conn: &Conn| conn.sides[other].lost && !conn.sides[dialer].over && !conn.towards[dialer].is_empty();
        let unheard = |conn: &Conn| {
            let (here, there) = (&conn.sides[dialer], &conn.sides[other]);
            conn.dialer == other && here.lost && !there.over && !there.accept_got && other == 0
        };
        self.certified && self.conns.iter().any(|conn| last_words(conn) || unheard(conn))
    }

    /// Decides about the remote. A dialer that knows the listener's hello from the certificate says its own, with these
    /// numbers, and may speak.
    fn decide(&mut self, at: usize, side: usize, serial: Option<Serial>, certified: Option<(Serial, bool)>) {
        let (id, now) = (ConnectionId::new(at as u64), self.now);
        let outbound = self.conns[at].dialer == side;
        let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
        let may_speak = certified.is_some_and(|(_, may_speak)| may_speak);
        let (peer, proven) = (peer(1 - side), self.certified);
        let (prefix, claim, dial) = (None, false, None);
        let candidate = Candidate { id, peer, proven, boot: BOOT, direction, prefix, claim, dial, serial, may_speak };
        let (verdict, effects) = self.nodes[side].decide(now, candidate);
        let own = self.nodes[side].serial(id);
        if !self.certified && !self.conns[at].sides[side].hello {
            self.conns[at].sides[side].hello = true;
            self.send(at, side, Message::Hello(own));
        }
        self.perform(side, effects);
        match verdict {
            Ok(()) => {
                self.conns[at].sides[side].accept_sent = true;
                if let Some((own, _)) = certified {
                    self.send(at, side, Message::Hello(own));
                }
                self.send(at, side, Message::Accept((self.certified && !outbound).then_some(own)));
                self.complete(at, side);
            }
            Err(_) => {
                self.send(at, side, Message::Reject);
                self.gone(at, side);
            }
        }
    }

    /// Whether somebody is in the middle of a handshake with this side.
    fn may_cross(&self, side: usize) -> bool {
        !self.blind && self.conns.iter().map(|conn| &conn.sides[side]).any(|side| side.begun && !side.over)
    }

    fn complete(&mut self, at: usize, side: usize) {
        if self.conns[at].sides[side].accept_sent && self.conns[at].sides[side].accept_got {
            let effects = self.nodes[side].complete(self.now, ConnectionId::new(at as u64));
            self.perform(side, effects.unwrap_or_default());
        }
    }

    fn perform(&mut self, side: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Establish(id) => {
                    let at = id.get() as usize;
                    assert!(self.live[side].is_empty(), "two live connections");
                    self.live[side].insert(at);
                    if self.nodes[side].is_arbiter(peer(1 - side)) {
                        self.send(at, side, Message::Stay);
                    }
                }
                Effect::Drop(id, _) => {
                    let at = id.get() as usize;
                    assert!(!self.live[side].contains(&at), "dropped what was live");
                    self.conns[at].sides[side].over = true;
                    self.send(at, side, Message::Closed);
                }
                Effect::Close(id, _) => {
                    let at = id.get() as usize;
                    let there = &self.conns[at].sides[1 - side];
                    assert!(there.over, "the other side still had it: {self:#?}");
                    assert!(self.broke || self.any_lost(), "nothing else is replaced: {self:#?}");
                    self.gone(at, side);
                }
                Effect::Probe(_) | Effect::Evict(_) => {}
            }
        }
    }
}
