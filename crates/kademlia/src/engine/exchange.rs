//! Questions to others, and what their answers say beside what was asked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::PeerRecord;

use super::dials::Dialing;
use super::{Action, Answered, Asker, Engine, Failure, KademliaEvent, OperationId, Peer, QuestionId, ReplyId};
use crate::lookup_service::Target;
use crate::message::{Closer, DialBackOutcome};
use crate::{Contact, Insert, Key, Refused, Request, Response};

/// A question that waits for its answer.
pub(super) struct Question {
    pub(super) about: About,
    /// Who is asked, if that is known.
    peer: Option<Peer>,
    pub(super) target: Target,
    pub(super) request: Request,
    /// Only a ping so far.
    ping: bool,
    pub(super) dialing: Dialing,
}

impl Question {
    /// By whose word alone whoever is asked is known.
    pub(super) fn namer(&self) -> Option<PeerId> {
        self.peer.as_ref().and_then(Peer::namer)
    }
}

/// Why it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// On the way to this position.
    Search(OperationId, Key),
    /// What is there is wanted, not the way.
    Fetch(OperationId),
    /// Something is to be kept.
    Write(OperationId),
    /// Is it alive?
    Check,
    /// To get to know somebody.
    Bootstrap,
    /// Somebody wants to be reached; it waits for a reply, or is a candidate for the table.
    DialBack(Option<ReplyId>),
    /// Can it reach us: where it saw us, or at an address of our record? And has it come, and where to?
    Reachable { at: Option<IpAddr>, came: bool, arrived: Option<IpAddr> },
    /// Who else is behind the address that it sees us at?
    Near,
    /// Where does it see us?
    Where,
    /// It has a newer record.
    Record,
}

impl Engine {
    pub(super) fn ask(&mut self, about: About, peer: Option<Peer>, target: Target, request: Request) -> QuestionId {
        let id = QuestionId(self.id());
        let dialing = self.dialing(about, peer.as_ref(), false);
        self.act(Action::Ask { id, target: target.clone(), request: request.clone() });
        self.questions.insert(id, Question { about, peer, target, request, ping: false, dialing });
        id
    }

    /// Asks for a record over a new connection: to see whether somebody can be reached.
    pub(super) fn ask_over_new_connection(&mut self, about: About, peer: Peer, target: Target, once: bool) {
        let id = QuestionId(self.id());
        let dialing = self.dialing(about, Some(&peer), once);
        self.act(Action::DialBack { id, target: target.clone(), once });
        let (peer, request) = (Some(peer), Request::GetRecord);
        self.questions.insert(id, Question { about, peer, target, request, ping: false, dialing });
    }

    /// Whether somebody is being asked to reach this node.
    pub(super) fn asks_to_be_reached(&self) -> bool {
        self.questions.values().any(|question| matches!(question.about, About::Reachable { .. } | About::Where))
    }

    /// Checks a contact for liveness: with a ping where that is possible, else by asking for its record.
    pub(super) fn check(&mut self, now: Instant, peer: Peer) {
        let (target, request) = (peer.target(), Request::GetRecord);
        let address = peer.ping_address().filter(|_| self.upkeep.pings);
        let pinged = address.and_then(|at| {
            let mut dialing = self.dialing(About::Check, Some(&peer), false);
            self.may_ping(now, &mut dialing, at).then_some((at, dialing))
        });
        let Some((address, dialing)) = pinged else {
            self.ask(About::Check, Some(peer), target, request);
            return;
        };
        let id = QuestionId(self.id());
        self.act(Action::Ping { id, peer_id: peer.peer_id(), address });
        let (about, peer) = (About::Check, Some(peer));
        self.questions.insert(id, Question { about, peer, target, request, ping: true, dialing });
    }

    /// There is a connection to whom is asked: the answer is due from now on.
    pub fn on_connected(&mut self, now: Instant, id: QuestionId) {
        let Some(Question { about: About::Search(operation, _), peer: Some(peer), .. }) = self.questions.get(&id)
        else {
            return;
        };
        let (operation, key) = (*operation, peer.key());
        if let Some(search) = self.search(operation) {
            search.on_connected(now, &key);
        }
    }

    /// A question was answered.
    pub fn on_answer(&mut self, now: Instant, id: QuestionId, answered: Answered) {
        self.answered(now, id, answered);
        self.look_at_standing();
    }

    fn answered(&mut self, now: Instant, id: QuestionId, answered: Answered) {
        let Some(mut question) = self.questions.remove(&id) else { return };
        let expected = question.target.peer_id.is_none_or(|expected| expected == answered.peer_id);
        if expected {
            self.dialed_well(now, &mut question, answered.endpoint.socket_addr());
        }
        let ip = answered.ip().filter(|_| expected && answered.response.answers(&question.request));
        let Some(ip) = ip else { return self.failed(now, id, question, Failure::Malformed) };
        self.met = true;
        let met = self.meet(now, &question, &answered, ip);
        let contacts = match answered.response.closer() {
            Some(closer) => {
                self.listen(now, closer, met.as_ref(), &answered, ip);
                self.usable(now, &closer.contacts, ip, answered.peer_id)
            }
            None => Vec::new(),
        };
        match question.about {
            About::Search(operation, target) => {
                if let Some(from) = question.peer.as_ref().map(Contact::key) {
                    self.came_closer(now, operation, (from, target), contacts, (answered, ip));
                }
            }
            About::Fetch(operation) => self.fetched(operation, id, Some((answered.response, ip))),
            About::Write(operation) => self.wrote(now, operation, id, Some(answered.response)),
            About::Check => {
                if answered.response == Response::Refused(Refused::NoRecord)
                    && let Some(peer) = &question.peer
                {
                    // It is a client now.
                    self.forget(&peer.key());
                }
                self.checked(true);
            }
            About::Bootstrap => {
                let target = Target { peer_id: Some(answered.peer_id), ..question.target };
                self.bootstrapped(now, Some((target, contacts)));
            }
            About::DialBack(reply) => {
                self.dialed_back(reply, Response::DialBack(DialBackOutcome::Reached));
                self.ask_where(now, met);
            }
            About::Reachable { .. } => self.tried_to_reach(now, question, &answered),
            About::Near => self.told_of_near(answered.response),
            About::Where | About::Record => {}
        }
    }

    /// A question has no answer.
    pub fn on_failure(&mut self, now: Instant, id: QuestionId, failure: Failure) {
        self.has_failed(now, id, failure);
        self.look_at_standing();
    }

    fn has_failed(&mut self, now: Instant, id: QuestionId, failure: Failure) {
        let Some(mut question) = self.questions.remove(&id) else { return };
        if question.ping && failure != Failure::Denied {
            self.dialed_in_vain(now, &mut question, failure);
            // Perhaps udp does not get through: it is asked over a connection before it counts as failed.
            self.ask(question.about, question.peer, question.target, question.request);
            return;
        }
        self.failed(now, id, question, failure);
    }

    /// A contact answered a ping; `seq` is the sequence number of its record.
    pub fn on_pong(&mut self, now: Instant, id: QuestionId, seq: u64) {
        let Some(mut question) = self.questions.remove(&id) else { return };
        self.dialed_well(now, &mut question, None);
        let Question { peer: Some(peer), target, .. } = question else { return };
        let ip = peer.reached();
        if seq > peer.seq() {
            self.fetch_record(now, Some(peer.clone()), target);
        }
        self.alive(now, peer, ip);
        self.checked(true);
    }

    fn failed(&mut self, now: Instant, id: QuestionId, mut question: Question, failure: Failure) {
        self.dialed_in_vain(now, &mut question, failure);
        // Nobody was asked: that says nothing of the contact.
        let withheld = question.dialing.is_withheld();
        let from = question.peer.as_ref().map(Contact::key);
        if let Some(key) = &from {
            match failure {
                Failure::Denied => self.forget(key),
                Failure::Unreachable | Failure::Malformed if withheld => {}
                Failure::Unreachable | Failure::Malformed => {
                    if let Some(left) = self.table.on_failed(now, key) {
                        self.emit(KademliaEvent::ContactRemoved(left.peer_id()));
                    }
                }
            }
        }
        match question.about {
            About::Search(operation, target) => {
                if let (Some(search), Some(from)) = (self.search(operation), &from) {
                    search.on_failure(from, &target);
                }
                self.drive(now, operation);
            }
            About::Fetch(operation) => self.fetched(operation, id, None),
            About::Write(operation) => self.wrote(now, operation, id, None),
            About::Check => self.checked(false),
            About::Bootstrap => self.bootstrapped(now, None),
            About::DialBack(reply) if withheld => self.dialed_back(reply, Refused::Busy.into()),
            About::DialBack(reply) => self.dialed_back(reply, Response::DialBack(DialBackOutcome::Unreachable)),
            About::Reachable { .. } | About::Near | About::Where | About::Record => {}
        }
    }

    /// Who answered has proven its key, and that it is at the address where we asked: it may have a place in the table,
    /// if that address is one of its record.
    fn meet(&mut self, now: Instant, question: &Question, answered: &Answered, ip: IpAddr) -> Option<Peer> {
        let asked = question.peer.as_ref().map(Peer::record);
        let told = match &answered.response {
            Response::Record(record) => Some(record),
            _ => None,
        };
        let own = |record: &&PeerRecord| record.peer_id() == answered.peer_id;
        let mut newest: Option<PeerRecord> = None;
        for record in asked.into_iter().chain(&answered.record).chain(told).filter(own) {
            if newest.as_ref().is_none_or(|newest| record.is_newer_than(newest)) {
                newest = self.verified.check(record).or(newest);
            }
        }
        let peer = Peer::new(&self.network, newest?, ip)?;
        let here = answered.endpoint.socket_addr();
        if peer.target().endpoints.iter().any(|endpoint| endpoint.socket_addr() == here) {
            self.alive(now, peer.clone(), ip);
        } else if question.peer.is_none() {
            // Known by another address than those it tells: it has to be asked at one of those.
            self.ask(About::Record, Some(peer.clone()), peer.target(), Request::GetRecord);
        } else {
            // It has moved, and is asked there at its next check.
            self.table.update(peer.clone());
        }
        Some(peer)
    }

    /// Whatever an answer says, only the one who gave it comes or goes, and at most one other makes room for it: what
    /// watchers are told is bounded by what we ask.
    fn alive(&mut self, now: Instant, peer: Peer, ip: IpAddr) {
        let was_there = self.table.get(&peer.key()).is_some();
        let inserted = self.table.on_alive(now, peer.clone(), Some(ip));
        if inserted == Insert::PrefixFull && was_there {
            self.emit(KademliaEvent::ContactRemoved(peer.peer_id()));
        }
        if let Insert::Replaced(key) = inserted {
            // It made room, and waits; one that was dead has gone before.
            let left = self.table.replacements().find(|left| left.key() == key).map(Peer::peer_id);
            left.into_iter().for_each(|left| self.emit(KademliaEvent::ContactRemoved(left)));
        }
        if matches!(inserted, Insert::Added | Insert::Replaced(_)) {
            self.emit(KademliaEvent::ContactAdded(peer.record().clone()));
            self.met_somebody(now, &peer);
        }
    }

    /// Takes a contact out of the table for another reason than its death.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(left) = self.table.remove(key) {
            self.emit(KademliaEvent::ContactRemoved(left.peer_id()));
        }
    }

    /// What every answer with contacts says beside them.
    fn listen(&mut self, now: Instant, closer: &Closer, met: Option<&Peer>, answered: &Answered, ip: IpAddr) {
        let target = || Target { peer_id: Some(answered.peer_id), endpoints: vec![answered.endpoint.clone()] };
        if let Some(observed) = closer.observed {
            self.observe(now, ip, observed.ip());
            self.try_address(now, target(), (ip, observed.ip()));
            self.ask_who_is_near(now, target, (ip, observed));
        }
        if closer.seq > met.map_or(0, Peer::seq) {
            self.fetch_record(now, met.cloned(), target());
        }
    }

    /// Somebody asks for our record, as those do who dial back.
    /// That says nothing if it may have been let in as an answer.
    pub(super) fn came_to_us(&mut self, asker: &Asker) {
        if !asker.unsolicited {
            return;
        }
        for question in self.questions.values_mut().filter(|one| one.target.peer_id == Some(asker.peer_id)) {
            if let About::Reachable { came, arrived, .. } = &mut question.about {
                (*came, *arrived) = (true, asker.arrived);
            }
        }
    }

    /// The node has dialed somebody for its protocols at an address of this record, which was told by whoever was reached at
    /// `reached`: it is alive. It is asked, and so has a place in the table if there is one: where a network was cut in two,
    /// this is mostly the first that either half hears of the other.
    pub fn connected_elsewhere(&mut self, now: Instant, record: &PeerRecord, reached: IpAddr) {
        if let Some(peer) = Peer::new(&self.network, record.clone(), reached)
            && self.table.get(&peer.key()).is_none()
        {
            let target = peer.target();
            self.fetch_record(now, Some(peer), target);
        }
    }

    /// Asks for a newer record, unless that was done a moment ago: anybody can claim to have one.
    fn fetch_record(&mut self, now: Instant, peer: Option<Peer>, target: Target) {
        if let Some(peer_id) = target.peer_id
            && self.fetches.admit(now, peer_id)
        {
            self.ask(About::Record, peer, target, Request::GetRecord);
        }
    }

    /// Those of the contacts named by this node that can be asked, if its word counts.
    fn usable(&mut self, now: Instant, told: &[PeerRecord], reached: IpAddr, namer: PeerId) -> Vec<Peer> {
        if !self.is_heard(now, &namer) {
            return Vec::new();
        }
        let namer = Arc::new(namer);
        let mut usable = Vec::with_capacity(told.len());
        for record in told {
            if record.peer_id() == self.peer_id() {
                self.saw_own_record(now, record);
                continue;
            }
            // An older record than one that is known for valid is replayed, or late.
            let newer = self.verified.newest(&record.peer_id()).filter(|known| known.seq() >= record.seq());
            let record = newer.unwrap_or(record).clone();
            usable.extend(Peer::new(&self.network, record, reached).map(|peer| peer.named_by(&namer)));
        }
        usable
    }
}
