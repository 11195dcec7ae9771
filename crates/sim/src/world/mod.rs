//! Everything outside of programs: hosts, links, sockets, and what is to happen. Behind one lock, never held while
//! foreign code runs: wakers leave through [`Wakes`].

mod address;
mod conditions;
mod hosts;
mod listener;
mod packet;
mod port;
mod send_buffer;
mod stream;
mod stream_end;
mod stream_in;
mod stream_out;
mod udp;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

pub(crate) use address::Place;
pub(crate) use conditions::Links;
pub(crate) use hosts::{Failing, HostEntry};
pub(crate) use listener::Listener;
pub(crate) use packet::{Body, Packet};
pub(crate) use stream::{Conn, Side};
pub(crate) use udp::Udp;

use crate::arena::{Arena, Id};
use crate::fault::Fault;
use crate::nat::NatBox;
use crate::rng::{Rng, Stream};
use crate::settings::Settings;
use crate::timeline::{Key, Nanos, Timeline};
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) now: Nanos,
    pub(crate) settings: Arc<Settings>,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) packets: u64,
    pub(crate) wakes: Wakes,
    pub(crate) hosts: Vec<HostEntry>,
    pub(crate) nats: Vec<NatBox>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) links: Links,
    addresses: HashMap<IpAddr, Place>,
    /// Prefixes that are networks of their own.
    networks: Vec<(IpAddr, u8)>,
    timeline: Timeline<Event>,
    pub(crate) udp: Arena<Udp>,
    pub(crate) listeners: Arena<Listener>,
    pub(crate) conns: Arena<Box<Conn>>,
}

/// What is to happen at a time.
pub(crate) enum Event {
    /// A timer of a program is due.
    Wake(Waker),
    /// A packet arrives.
    Packet(Box<Packet>),
    /// One end of a stream has something to look after.
    Timer(Id, Side),
    /// One end of a stream may send again.
    Pump(Id, Side),
    /// A fault of a plan begins.
    Fault(Box<Fault>),
}

/// What came of asking for the next event.
pub(crate) enum Due {
    /// It has happened.
    Done,
    /// It is a fault, which needs more than the world.
    Fault(Box<Fault>),
    /// There is none before the limit.
    Later,
    /// There is none.
    Never,
}

impl World {
    pub(crate) fn new(seed: u64, settings: Arc<Settings>) -> Self {
        Self {
            now: 0,
            rng: Rng::new(seed, Stream::Network),
            trace: Trace::new(settings.trace_lines),
            packets: 0,
            wakes: Wakes::default(),
            hosts: Vec::new(),
            nats: Vec::new(),
            names: BTreeMap::new(),
            links: Links::new(settings.link, settings.loopback),
            addresses: HashMap::new(),
            networks: Vec::new(),
            timeline: Timeline::default(),
            udp: Arena::default(),
            listeners: Arena::default(),
            conns: Arena::default(),
            settings,
        }
    }

    pub(crate) fn schedule(&mut self, at: Nanos, event: Event) -> Key {
        self.timeline.insert(at.max(self.now), event)
    }

    pub(crate) fn schedule_in(&mut self, delay: Duration, event: Event) -> Key {
        self.schedule(self.now.saturating_add(nanos(delay)), event)
    }

    /// Takes an event out that shall not happen. Drop what comes back outside of the lock.
    pub(crate) fn cancel(&mut self, key: Key) -> Option<Event> {
        self.timeline.remove(key)
    }

    /// Lets `waker` be woken at `at`, in place of what was scheduled as `old`.
    pub(crate) fn wake_at(&mut self, old: Option<Key>, at: Nanos, waker: &Waker) -> Key {
        if let Some(key) = old.filter(|key| key.at == at) {
            if let Some(Event::Wake(scheduled)) = self.timeline.get_mut(key) {
                if !scheduled.will_wake(waker) {
                    self.wakes.discard(std::mem::replace(scheduled, waker.clone()));
                }
                return key;
            }
        } else if let Some(key) = old
            && let Some(Event::Wake(scheduled)) = self.timeline.remove(key)
        {
            self.wakes.discard(scheduled);
        }
        self.schedule(at, Event::Wake(waker.clone()))
    }

    /// Lets the next event happen, unless it comes after `limit`.
    pub(crate) fn advance(&mut self, limit: Nanos) -> Due {
        match self.timeline.next_at() {
            None => return Due::Never,
            Some(at) if at > limit => return Due::Later,
            Some(_) => {}
        }
        let Some((at, event)) = self.timeline.pop() else { return Due::Never };
        self.now = at;
        match event {
            Event::Wake(waker) => self.wakes.push(waker),
            Event::Packet(packet) => self.arrive(*packet),
            Event::Timer(conn, side) => self.stream_timer(conn, side),
            Event::Pump(conn, side) => self.pump_again(conn, side),
            Event::Fault(fault) => return Due::Fault(fault),
        }
        Due::Done
    }

    /// What is scheduled, timers included.
    pub(crate) fn scheduled(&self) -> usize {
        self.timeline.len()
    }

    /// Forgets all that is to happen, and everything that holds a waker. Drop what comes back outside of the lock.
    pub(crate) fn clear(&mut self) -> impl Sized + use<> {
        let arenas =
            (std::mem::take(&mut self.udp), std::mem::take(&mut self.listeners), std::mem::take(&mut self.conns));
        (self.timeline.take(), arenas)
    }
}

/// Wakers to call, and others to drop, once the world is unlocked.
#[derive(Default)]
pub(crate) struct Wakes {
    // Nearly every change wakes one task at most; that costs no allocation.
    first: Option<Waker>,
    more: Vec<Waker>,
    discarded: Vec<Waker>,
}

impl Wakes {
    pub(crate) fn push(&mut self, waker: Waker) {
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.more.push(waker);
        }
    }

    /// Wakes who waits in `slot`.
    pub(crate) fn take(&mut self, slot: &mut Option<Waker>) {
        if let Some(waker) = slot.take() {
            self.push(waker);
        }
    }

    pub(crate) fn discard(&mut self, waker: Waker) {
        self.discarded.push(waker);
    }

    /// Lets `waker` wait in `slot`.
    pub(crate) fn wait(&mut self, slot: &mut Option<Waker>, waker: &Waker) {
        match slot {
            Some(waiting) if waiting.will_wake(waker) => {}
            _ => self.discarded.extend(slot.replace(waker.clone())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.discarded.is_empty()
    }

    /// Calls them all. Not under the lock.
    pub(crate) fn run(self) {
        drop(self.discarded);
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
}

/// A duration as the world counts, which reaches 584 years.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
