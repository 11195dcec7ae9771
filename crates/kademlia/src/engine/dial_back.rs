//! Dialing those back who ask: only so can they get into the table, or learn that others reach them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::{PeerId, TokenBucket};
use p2p_identity::{PeerRecord, Prefix};
use p2p_net::Transport;

use super::exchange::About;
use super::recent::Recent;
use super::{Action, Asker, Engine, Peer, ReplyId};
use crate::address::Scope;
use crate::lookup_service::Target;
use crate::{Contact, Refused, Response};

/// Dial-backs at the same time.
pub const MAX_DIAL_BACKS: usize = 16;

/// Dial-backs that wait for that; further ones are refused.
pub const MAX_WAITING: usize = 128;

/// Dial-backs in a row, and how many each second after that: a node cannot be made to dial the world.
const BURST: u32 = 128;
const PER_SECOND: u32 = 8;

/// How long after one dial-back a peer has to wait for the next at the same address.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

/// The same for an address range (IPv4 /24, IPv6 /48) in which somebody says that it is who comes from elsewhere.
const ELSEWHERE_AGAIN: Duration = Duration::from_secs(12);

/// Endpoints over tcp and tls that are tried there, beside one over quic.
const ELSEWHERE_STREAMS: usize = 2;

/// Dial-backs under way.
pub(super) struct DialBacks {
    running: usize,
    waiting: VecDeque<Job>,
    bucket: TokenBucket,
    /// A peer that moves is dialed at its new address at once.
    recent: Recent<(PeerId, IpAddr)>,
    /// Address ranges that somebody named who was not there.
    elsewhere: Recent<Prefix>,
}

struct Job {
    peer: Peer,
    target: Target,
    reply: Option<ReplyId>,
    /// Somebody else may be there.
    once: bool,
}

impl DialBacks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: 0,
            waiting: VecDeque::new(),
            bucket: TokenBucket::new(BURST, PER_SECOND, now),
            recent: Recent::new(AGAIN),
            elsewhere: Recent::new(ELSEWHERE_AGAIN),
        }
    }

    /// Whether one more dial-back of this peer may be tried.
    fn admit(&mut self, now: Instant, peer_id: PeerId, at: IpAddr) -> bool {
        // The bucket last: what is refused anyway must not use it up.
        let bucket = &mut self.bucket;
        self.waiting.len() < MAX_WAITING && self.recent.admit_if(now, (peer_id, at.to_canonical()), || bucket.take(now))
    }
}

impl Engine {
    /// Somebody asked us something and says in its hello that it can be asked too: it may be worth a place in the
    /// table.
    pub(super) fn consider(&mut self, now: Instant, asker: &Asker) {
        let Some(record) = asker.record.as_ref().filter(|record| record.peer_id() == asker.peer_id) else { return };
        let Some(peer) = Peer::new(&self.network, record.clone(), asker.address.ip()) else { return };
        match self.table.get(&peer.key()) {
            Some(known) if known.seq() >= peer.seq() => {}
            Some(_) => {
                if self.verified.check(record).is_some() {
                    self.table.update(peer);
                }
            }
            None => _ = self.dial_back(now, asker, record, None),
        }
    }

    /// Somebody wants to know whether it can be reached.
    pub(super) fn asked_to_dial_back(&mut self, now: Instant, asker: &Asker, record: &PeerRecord, reply: ReplyId) {
        if let Err(refused) = self.dial_back(now, asker, record, Some(reply)) {
            self.act(Action::Reply { id: reply, response: refused.into() });
        }
    }

    fn dial_back(
        &mut self,
        now: Instant,
        asker: &Asker,
        record: &PeerRecord,
        reply: Option<ReplyId>,
    ) -> Result<(), Refused> {
        if record.peer_id() != asker.peer_id {
            return Err(Refused::NotYours);
        }
        let peer = Peer::new(&self.network, record.clone(), asker.address.ip()).ok_or(Refused::InvalidRecord)?;
        // Only where it asks from: nobody can make us knock at somebody else's door.
        let target = peer.target().only_at(asker.address.ip());
        if target.endpoints.is_empty() {
            return Err(Refused::InvalidRecord);
        }
        if !self.dial_backs.admit(now, asker.peer_id, asker.address.ip()) {
            return Err(Refused::Busy);
        }
        self.verified.check(record).ok_or(Refused::InvalidRecord)?;
        self.begin_dial_back(Job { peer, target, reply, once: false });
        Ok(())
    }

    /// Somebody wants to know whether it can be reached where it says that it is, though it comes from elsewhere.
    pub(super) fn asked_to_try_elsewhere(&mut self, now: Instant, asker: &Asker, record: &PeerRecord, reply: ReplyId) {
        if let Err(refused) = self.try_elsewhere(now, asker, record, reply) {
            self.act(Action::Reply { id: reply, response: refused.into() });
        }
    }

    fn try_elsewhere(
        &mut self,
        now: Instant,
        asker: &Asker,
        record: &PeerRecord,
        reply: ReplyId,
    ) -> Result<(), Refused> {
        if record.peer_id() != asker.peer_id {
            return Err(Refused::NotYours);
        }
        let peer = Peer::new(&self.network, record.clone(), asker.address.ip()).ok_or(Refused::InvalidRecord)?;
        // Public addresses only: nobody can make us knock at doors of our own network.
        let public = |ip: &IpAddr| Scope::of(*ip) == Scope::Public;
        let mut target = peer.target();
        let ips = target.endpoints.iter().filter_map(|endpoint| endpoint.addr().ip());
        let ip = ips.into_iter().find(public).ok_or(Refused::InvalidRecord)?;
        target = target.only_at(ip);
        // What is sent is bounded by the length of the request.
        let (mut datagrams, mut streams) = (1, ELSEWHERE_STREAMS);
        target.endpoints.retain(|endpoint| {
            let left = if endpoint.transport() == Transport::Quic { &mut datagrams } else { &mut streams };
            let fits = *left > 0;
            *left -= usize::from(fits);
            fits
        });
        let dial_backs = &mut self.dial_backs;
        if !dial_backs.elsewhere.admit(now, Prefix::of(ip)) || !dial_backs.admit(now, asker.peer_id, ip) {
            return Err(Refused::Busy);
        }
        self.verified.check(record).ok_or(Refused::InvalidRecord)?;
        self.begin_dial_back(Job { peer, target, reply: Some(reply), once: true });
        Ok(())
    }

    fn begin_dial_back(&mut self, job: Job) {
        self.dial_backs.waiting.push_back(job);
        self.next_dial_back();
    }

    fn next_dial_back(&mut self) {
        while self.dial_backs.running < MAX_DIAL_BACKS
            && let Some(Job { peer, target, reply, once }) = self.dial_backs.waiting.pop_front()
        {
            self.dial_backs.running += 1;
            self.ask_over_new_connection(About::DialBack(reply), peer, target, once);
        }
    }

    /// A dial-back is over.
    pub(super) fn dialed_back(&mut self, reply: Option<ReplyId>, response: Response) {
        self.dial_backs.running = self.dial_backs.running.saturating_sub(1);
        if let Some(id) = reply {
            self.act(Action::Reply { id, response });
        }
        self.next_dial_back();
    }
}
