//! Peers behind the same public address, which may not reach each other by it: where they are behind that address, each
//! tells the nodes that it asks, and those tell it to whoever comes from the same address, and to nobody else.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;
use p2p_core::PeerId;
use p2p_identity::PeerRecord;
use p2p_net::PeerAddr;

use super::exchange::About;
use super::operation::Purpose;
use super::recent::Recent;
use super::{Engine, KademliaEvent, Peer};
use crate::address::Scope;
use crate::lookup_service::Target;
use crate::message::MAX_NEAR;
use crate::{Key, Refused, Request, Response};

/// Records that are kept for others; the oldest is evicted.
pub const MAX_DEPOSITS: usize = 1024;

/// Of these, so many from one public address.
const PER_ADDRESS: usize = 32;

/// The longest of them.
const MAX_LEN: usize = 512;

/// How long they are kept, unless they come again.
const LIFETIME: Duration = Duration::from_secs(25 * 60);

/// How often those are looked for who keep the records of nodes that share this node's public address, and how many of them
/// are asked: the nodes closest to a position that belongs to the address, so that all who share it ask the same.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
const KEEPERS: usize = 3;

/// How long after a contact was asked it is asked again.
const AGAIN: Duration = Duration::from_secs(5 * 60);

/// Others that are asked within that time, as they come along: a network that is small, or new, has nobody else.
const OTHERS: usize = 4;

/// Peers nearby that are remembered; the one told of longest ago is evicted.
pub const MAX_NEARBY: usize = 64;

/// What the position of a public address is the hash of, before the address as text.
const POSITION: &[u8] = b"p2p/1 dht near\0";

/// What is nearby is dialed before anything else.
const PRIORITY: u16 = 300;

pub(super) struct Near {
    /// The addresses of this machine.
    interfaces: Vec<IpAddr>,
    asked: Recent,
    /// Others that may be asked until then.
    others: usize,
    others_until: Instant,
    /// When to look for the keepers; none while nobody sees this node behind a box.
    due: Option<Instant>,
    /// The oldest comes first.
    deposits: LinkedHashMap<PeerId, Deposit>,
    nearby: LinkedHashMap<PeerId, (PeerRecord, Vec<PeerAddr>)>,
}

struct Deposit {
    record: PeerRecord,
    /// Where its owner came from.
    from: IpAddr,
    at: Instant,
}

impl Near {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            interfaces: Vec::new(),
            asked: Recent::new(AGAIN),
            others: OTHERS,
            others_until: now,
            due: None,
            deposits: LinkedHashMap::new(),
            nearby: LinkedHashMap::new(),
        }
    }

    pub(super) fn set_interfaces(&mut self, interfaces: &[IpAddr]) {
        self.interfaces = interfaces.to_vec();
    }

    /// Keeps a record in place of an older one.
    fn deposit(&mut self, owner: PeerId, new: Deposit) {
        while let Some((_, oldest)) = self.deposits.front()
            && new.at.saturating_duration_since(oldest.at) >= LIFETIME
        {
            self.deposits.pop_front();
        }
        self.deposits.remove(&owner);
        let mut neighbors = self.deposits.iter().filter(|(_, one)| one.from == new.from);
        let (first, others) = (neighbors.next().map(|(peer_id, _)| *peer_id), neighbors.count());
        if let Some(first) = first.filter(|_| others + 1 >= PER_ADDRESS) {
            self.deposits.remove(&first);
        }
        self.deposits.insert(owner, new);
        if self.deposits.len() > MAX_DEPOSITS {
            self.deposits.pop_front();
        }
    }

    /// Whether an address at which this node is seen is that of a box in front of it.
    fn is_behind(&self, seen: IpAddr) -> bool {
        let seen = seen.to_canonical();
        let has_inside = self.interfaces.iter().any(|ip| is_inside(*ip));
        Scope::of(seen) == Scope::Public && has_inside && !self.interfaces.contains(&seen)
    }

    /// Whether this machine is in the network of an address, as far as one can tell by that: hosts behind one router mostly
    /// have the first half of their addresses in common.
    fn is_in_network_of(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|own| match (own.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => own.octets()[..2] == ip.octets()[..2],
            (IpAddr::V6(own), IpAddr::V6(ip)) => own.segments()[..3] == ip.segments()[..3],
            _ => false,
        })
    }
}

/// Whether an address means something else in each network.
fn is_inside(ip: IpAddr) -> bool {
    matches!(Scope::of(ip), Scope::Private | Scope::UniqueLocal | Scope::Shared)
}

fn all_inside(record: &PeerRecord) -> bool {
    let mut addrs = record.addrs().iter().chain(record.discovery_addrs());
    addrs.all(|addr| addr.endpoint.addr().ip().is_some_and(is_inside))
}

impl Engine {
    /// The addresses that the machine has now: what is told to those behind the same router.
    pub fn set_interfaces(&mut self, interfaces: &[IpAddr]) {
        self.near.set_interfaces(interfaces);
    }

    /// Peers behind the same public address, and where they take connections there.
    pub fn nearby(&self) -> impl Iterator<Item = (&PeerRecord, &[PeerAddr])> {
        self.near.nearby.values().map(|(record, addrs)| (record, &addrs[..]))
    }

    /// Where a peer takes connections that is behind the same public address.
    pub fn nearby_addrs(&self, peer_id: &PeerId) -> Vec<PeerAddr> {
        self.near.nearby.get(peer_id).map(|(_, addrs)| addrs.clone()).unwrap_or_default()
    }

    /// Asks somebody who answered at `responder`, and saw this node at `observed`, who else is there: if that is a box's
    /// address and not this machine's.
    pub(super) fn ask_who_is_near(
        &mut self,
        now: Instant,
        target: impl FnOnce() -> Target,
        (responder, observed): (IpAddr, SocketAddr),
    ) {
        let near = &mut self.near;
        if Scope::of(responder) != Scope::Public || !near.is_behind(observed.ip()) {
            return;
        }
        near.due.get_or_insert(now);
        if near.others_until <= now {
            (near.others, near.others_until) = (OTHERS, now + AGAIN);
        }
        let target = if near.others > 0 { target() } else { return };
        if target.peer_id.is_some_and(|peer_id| near.asked.admit(now, peer_id)) {
            near.others -= 1;
            self.ask_near(target);
        }
    }

    fn ask_near(&mut self, target: Target) {
        let inside: Vec<IpAddr> = self.near.interfaces.iter().copied().filter(|ip| is_inside(*ip)).collect();
        if let Some(record) = self.local.record_inside(&inside, is_inside) {
            self.ask(About::Near, None, target, Request::Near { record });
        }
    }

    /// When to look for those who keep what is near, if at all.
    pub(super) fn near_due(&self) -> Option<Instant> {
        self.near.due.filter(|_| !self.table.is_empty())
    }

    /// Looks for them when it is time.
    pub(super) fn look_for_near(&mut self, now: Instant) {
        if self.near_due().is_none_or(|due| now < due) {
            return;
        }
        let seen = [true, false].into_iter().find_map(|is_v4| self.local.seen_at(now, is_v4));
        let Some(outside) = seen.filter(|seen| self.near.is_behind(*seen)) else {
            self.near.due = None;
            return;
        };
        self.near.due = Some(now + INTERVAL);
        let position = Key::of_value(&[POSITION, outside.to_string().as_bytes()].concat());
        self.begin_with(now, Purpose::Near(position), Vec::new());
    }

    /// They were found. Some may have been asked as they came along, before others had told them where they are.
    pub(super) fn ask_keepers_who_is_near(&mut self, found: &[Peer]) {
        found.iter().take(KEEPERS).for_each(|keeper| self.ask_near(keeper.target()));
    }

    /// Somebody tells where it is behind its public address, and asks who else is.
    pub(super) fn asked_who_is_near(
        &mut self,
        now: Instant,
        asker: &super::Asker,
        record: PeerRecord,
    ) -> Result<Vec<PeerRecord>, Refused> {
        if record.peer_id() != asker.peer_id {
            return Err(Refused::NotYours);
        }
        let from = asker.address.ip().to_canonical();
        let fits = record.seq() == 0 && record.as_bytes().len() <= MAX_LEN && all_inside(&record);
        if !fits || Scope::of(from) != Scope::Public || record.verify().is_err() {
            return Err(Refused::InvalidRecord);
        }
        // Who listens nowhere asks, and has nothing to tell.
        if !record.addrs().is_empty() {
            self.near.deposit(asker.peer_id, Deposit { record, from, at: now });
        }
        let others =
            self.near.deposits.iter().rev().filter(|(peer_id, one)| **peer_id != asker.peer_id && one.from == from);
        Ok(others.take(MAX_NEAR).map(|(_, one)| one.record.clone()).collect())
    }

    /// Somebody told of peers nearby. Only those count that are in a network of this machine: nobody can make it knock at
    /// the doors of another.
    pub(super) fn told_of_near(&mut self, response: Response) {
        let Response::Near(told) = response else { return };
        for record in told {
            let addrs = record.addrs().iter().filter(|addr| {
                let here = addr.endpoint.addr().ip().filter(|ip| is_inside(*ip) && self.near.is_in_network_of(*ip));
                here.is_some_and(|ip| !self.near.interfaces.contains(&ip))
            });
            let addrs: Vec<PeerAddr> = addrs.map(|addr| PeerAddr { priority: PRIORITY, ..addr.clone() }).collect();
            let known = self.near.nearby.get(&record.peer_id()).is_some_and(|(known, _)| *known == record);
            if addrs.is_empty() || known || record.peer_id() == self.peer_id() || record.verify().is_err() {
                continue;
            }
            let nearby = &mut self.near.nearby;
            nearby.remove(&record.peer_id());
            nearby.insert(record.peer_id(), (record.clone(), addrs));
            if nearby.len() > MAX_NEARBY {
                nearby.pop_front();
            }
            self.emit(KademliaEvent::Nearby(record));
        }
    }

    /// The machine is in another network now.
    pub(super) fn forget_nearby(&mut self, now: Instant) {
        self.near.nearby.clear();
        self.near.asked = Recent::new(AGAIN);
        (self.near.others, self.near.others_until, self.near.due) = (OTHERS, now, None);
    }
}
