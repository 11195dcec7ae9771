//! The dials of questions that are asked by nobody, for fuzzing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use p2p_core::PeerId;

use super::{Dialing, Failure, Free, Why};
use crate::KademliaConfig;

/// What a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An answer, of a peer that is a contact at this address, or none.
    Ask(Option<IpAddr>),
    /// To see whether a contact is still there.
    Check(IpAddr),
    /// To get to know somebody whom the operator has named.
    Bootstrap,
    /// The peer wants to be dialed back, at once.
    Back,
    /// The peer wants to be dialed back, somewhere else.
    Elsewhere,
}

/// What is known of all that was dialed, and the questions under way, each a number.
pub struct Dials {
    dials: super::Dials,
    questions: BTreeMap<u64, Question>,
    next: u64,
}

struct Question {
    peer_id: PeerId,
    namer: Option<PeerId>,
    dialing: Dialing,
}

impl Dials {
    /// So many dials in vain are allowed in a row, in each range.
    pub fn new(vain: u32, limit_local: bool) -> Self {
        let mut config = KademliaConfig { limit_local, ..KademliaConfig::default() };
        config.limits.vain_dials = vain;
        Self { dials: super::Dials::new(&config), questions: BTreeMap::new(), next: 0 }
    }

    /// A question to a peer, which may be known by the word of one node alone.
    pub fn begin(&mut self, purpose: Purpose, peer_id: PeerId, namer: Option<PeerId>) -> u64 {
        let (why, free) = match purpose {
            Purpose::Ask(contact) => (Why::Told, self.dials.free(contact, Some(peer_id))),
            Purpose::Check(ip) => (Why::Told, Free::At(ip)),
            Purpose::Bootstrap => (Why::Told, Free::Everywhere),
            Purpose::Back => (Why::Back, Free::Nowhere),
            Purpose::Elsewhere => (Why::Elsewhere, Free::Nowhere),
        };
        let dialing = Dialing::new(why, free, namer.filter(|_| why == Why::Told));
        self.next += 1;
        self.questions.insert(self.next, Question { peer_id, namer, dialing });
        self.next
    }

    /// Whether it may be dialed there for this question.
    pub fn may_dial(&mut self, now: Instant, id: u64, at: SocketAddr) -> bool {
        let Some(peer_id) = self.questions.get(&id).map(|question| question.peer_id) else { return false };
        let mut same = self.questions.values().filter(|other| other.peer_id == peer_id);
        let is_dialed = same.any(|other| other.dialing.is_charged(at));
        let question = self.questions.get_mut(&id);
        question.is_some_and(|question| self.dials.may(now, &mut question.dialing, at, is_dialed))
    }

    /// Whoever was meant has proven to be there.
    pub fn on_met(&mut self, now: Instant, id: u64, at: SocketAddr) {
        if let Some(question) = self.questions.get_mut(&id) {
            self.dials.on_met(now, &mut question.dialing, at);
        }
    }

    /// It has answered, from this address or from where it was dialed last. Whoever named it is judged, or is not.
    pub fn answered(&mut self, now: Instant, id: u64, at: Option<SocketAddr>, judged: bool) {
        if let Some(Question { peer_id, namer, mut dialing }) = self.questions.remove(&id) {
            self.dials.well(now, &mut dialing, at, Some(peer_id), namer.filter(|_| judged));
        }
    }

    /// It has not, or access control says that it may not be asked. Whether the word of whoever named it counts no more.
    pub fn failed(&mut self, now: Instant, id: u64, denied: bool, judged: bool) -> bool {
        let Some(Question { peer_id, namer, mut dialing }) = self.questions.remove(&id) else { return false };
        let failure = if denied { Failure::Denied } else { Failure::Unreachable };
        self.dials.in_vain(now, &mut dialing, failure, Some(peer_id), namer.filter(|_| judged))
    }

    /// Whether nobody was dialed for this question because nobody may be.
    pub fn is_withheld(&self, id: u64) -> bool {
        self.questions.get(&id).is_some_and(|question| question.dialing.is_withheld())
    }

    /// Whether what a node says of others counts.
    pub fn is_heard(&self, now: Instant, who: &PeerId) -> bool {
        !self.dials.namers.is_aside(now, who)
    }

    /// The node is in another network now.
    pub fn forget(&mut self) {
        self.dials.forget(self.questions.values_mut().map(|question| &mut question.dialing));
    }
}

impl std::fmt::Debug for Dials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dials").field("questions", &self.questions.len()).finish_non_exhaustive()
    }
}
