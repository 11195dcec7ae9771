//! Every dial of the DHT passes here, whatever it is for: whether it may be made, and who pays when nobody is there.
//!
//! Most of whom a node dials are those that strangers have named. So a stranger could make it dial a third party, again and
//! again, in the name of nodes that do not exist. Two things bound that:
//!
//! - Each address range has a [budget](budget) of dials that do not end at whoever was meant. It is charged before a dial and
//!   given back if the node is there. What has proven to be there is dialed without: the contacts of the table, at the
//!   address where they answered, as long as they do, and to check whether they do.
//! - A node whose names lead [to nobody](namers) is not heard for a while.

mod budget;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod namers;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hashlink::LruCache;
use p2p_core::PeerId;
use p2p_net::Endpoint;

pub use self::budget::MAX_RANGES;
pub use self::namers::MAX_NAMERS;

use self::budget::{Account, Budgets, Range, Why};
use self::namers::Namers;
use super::exchange::{About, Question};
use super::{Engine, Failure, Peer, QuestionId};
use crate::{Contact, KademliaConfig};

/// If nobody at all has answered for so long, it may be this node that is cut off, and nobody pays for what is not reached:
/// longer than a dial and an answer take.
const CUT_OFF: Duration = Duration::from_secs(15);

/// Peers of which is remembered where they were.
const MAX_MET: usize = 4096;

/// What is known of all that was dialed.
pub(super) struct Dials {
    limit_local: bool,
    budgets: Budgets,
    namers: Namers,
    /// Where peers have proven to be, and not failed since; the one met longest ago is forgotten.
    met: LruCache<PeerId, IpAddr>,
    /// When somebody answered last.
    heard: Option<Instant>,
}

impl Dials {
    pub(super) fn new(config: &KademliaConfig) -> Self {
        Self {
            limit_local: config.limit_local,
            budgets: Budgets::new(config.limits.vain_dials),
            namers: Namers::default(),
            met: LruCache::new(MAX_MET),
            heard: None,
        }
    }

    /// The node is in another network now. What is under way is given back to no budget of this one.
    pub(super) fn forget<'a>(&mut self, under_way: impl Iterator<Item = &'a mut Dialing>) {
        self.budgets.clear();
        self.met.clear();
        under_way.for_each(|dialing| dialing.charged.clear());
    }

    fn account(&self, why: Why, at: SocketAddr) -> Account {
        (why, Range::of(at, self.limit_local))
    }

    /// Whether others answer, so that it is not this node that is cut off.
    fn others_answer(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) < CUT_OFF)
    }

    /// Where a peer may be asked without a charge that is a contact at this address, or none.
    fn free(&self, contact: Option<IpAddr>, peer_id: Option<PeerId>) -> Free {
        let met = || peer_id.and_then(|peer_id| self.met.peek(&peer_id).copied());
        contact.or_else(met).map_or(Free::Nowhere, Free::At)
    }

    /// Whether a question may dial there, where its peer is being dialed for another one or is not.
    fn may(&mut self, now: Instant, dialing: &mut Dialing, at: SocketAddr, is_dialed: bool) -> bool {
        // One name is charged to whoever gave it once at a time.
        dialing.namer = dialing.namer.filter(|_| !is_dialed);
        dialing.may(now, at, self)
    }

    /// Whoever was meant has proven to be there.
    fn on_met(&mut self, now: Instant, dialing: &mut Dialing, at: SocketAddr) {
        self.heard = Some(now);
        dialing.met(now, at, self);
    }

    /// Who was asked has answered, from this address or from where it was dialed last: whoever named it was right.
    fn well(
        &mut self,
        now: Instant,
        dialing: &mut Dialing,
        at: Option<SocketAddr>,
        peer_id: Option<PeerId>,
        namer: Option<PeerId>,
    ) {
        self.heard = Some(now);
        if let Some(at) = at.or(dialing.dialed) {
            dialing.met(now, at, self);
            if let Some(peer_id) = peer_id {
                self.met.insert(peer_id, at.ip());
            }
        }
        dialing.end(now, self);
        if let Some(namer) = namer {
            self.namers.true_name(now, &namer);
        }
    }

    /// Who was asked has not answered: whoever named it pays, if nobody is there. Whether the word of that one counts no more.
    fn in_vain(
        &mut self,
        now: Instant,
        dialing: &mut Dialing,
        failure: Failure,
        peer_id: Option<PeerId>,
        namer: Option<PeerId>,
    ) -> bool {
        dialing.end(now, self);
        if let Some(peer_id) = peer_id.filter(|_| dialing.dialed.is_some()) {
            self.met.remove(&peer_id);
        }
        let dialed = dialing.dialed.map(|at| Range::of(at, self.limit_local));
        // That it has named too many in one range needs no further dial to be seen.
        let Some(range) = dialed.or(dialing.overdrawn).filter(|_| !dialing.met) else { return false };
        if failure == Failure::Denied || !self.others_answer(now) {
            return false;
        }
        let (Some(namer), Some(named)) = (namer, peer_id) else { return false };
        match dialed {
            Some(_) => self.namers.false_name(now, namer, named, range),
            None => self.namers.one_more(now, namer, named, range),
        }
    }
}

/// Where a question may go without a charge.
#[derive(Debug, Clone, Copy)]
enum Free {
    Nowhere,
    /// Where its peer has proven to be.
    At(IpAddr),
    /// The operator has named it.
    Everywhere,
}

/// The dials of one question.
#[derive(Debug)]
pub(super) struct Dialing {
    why: Why,
    free: Free,
    /// By whose word alone the peer is known.
    namer: Option<PeerId>,
    /// What is charged, and neither given back nor in vain yet.
    charged: Vec<(SocketAddr, Account)>,
    /// Where it was dialed last.
    dialed: Option<SocketAddr>,
    refused: bool,
    /// What the namer may spend in this range is spent.
    overdrawn: Option<Range>,
    /// Whoever was meant is there.
    met: bool,
}

impl Dialing {
    /// Nothing is dialed yet.
    fn new(why: Why, free: Free, namer: Option<PeerId>) -> Self {
        Self { why, free, namer, charged: Vec::new(), dialed: None, refused: false, overdrawn: None, met: false }
    }

    /// Whether a dial there is charged, and neither given back nor in vain yet.
    fn is_charged(&self, at: SocketAddr) -> bool {
        self.charged.iter().any(|(charged, _)| *charged == at)
    }

    /// Whether nobody was dialed because nobody may be.
    pub(super) fn is_withheld(&self) -> bool {
        self.refused && self.dialed.is_none()
    }

    fn is_free(&self, at: SocketAddr) -> bool {
        match self.free {
            Free::Nowhere => false,
            Free::At(ip) => ip.to_canonical() == at.ip().to_canonical(),
            Free::Everywhere => true,
        }
    }

    fn may(&mut self, now: Instant, at: SocketAddr, dials: &mut Dials) -> bool {
        if !self.is_free(at) {
            let account = dials.account(self.why, at);
            let named = self.namer.map(|namer| dials.account(Why::ToldBy(namer), at));
            if let Some((_, range)) = named.filter(|named| !dials.budgets.take(now, *named)) {
                (self.refused, self.overdrawn) = (true, Some(range));
                return false;
            }
            if !dials.budgets.take(now, account) {
                self.refused = true;
                named.into_iter().for_each(|named| dials.budgets.undo(now, named));
                return false;
            }
            self.charged.extend(named.into_iter().chain([account]).map(|account| (at, account)));
        }
        self.dialed = Some(at);
        true
    }

    fn met(&mut self, now: Instant, at: SocketAddr, dials: &mut Dials) {
        self.met = true;
        self.charged.retain(|(charged, account)| {
            let here = *charged == at;
            if here {
                dials.budgets.give_back(now, *account);
            }
            !here
        });
    }

    /// It is over: what has led to nobody was in vain.
    fn end(&mut self, now: Instant, dials: &mut Dials) {
        let others_answer = dials.others_answer(now);
        for (_, account) in self.charged.drain(..).filter(|_| others_answer) {
            dials.budgets.in_vain(now, account);
        }
    }
}

impl Engine {
    /// What is allowed to a question about this, to this peer.
    pub(super) fn dialing(&self, about: About, peer: Option<&Peer>, once: bool) -> Dialing {
        let why = match about {
            About::DialBack(_) if once => Why::Elsewhere,
            About::DialBack(_) => Why::Back,
            _ => Why::Told,
        };
        let known = peer.and_then(|peer| self.table.get(&peer.key()));
        let answers = |peer: &Peer| self.table.standing(&peer.key()).is_some_and(|standing| standing.failures == 0);
        let free = match about {
            About::Bootstrap => Free::Everywhere,
            About::DialBack(_) => Free::Nowhere,
            About::Check => peer.map_or(Free::Nowhere, |peer| Free::At(peer.reached())),
            _ => {
                let contact = known.filter(|known| answers(known)).map(Peer::reached);
                self.dials.free(contact, peer.map(Peer::peer_id))
            }
        };
        let namer = peer.and_then(Peer::namer).filter(|_| why == Why::Told);
        Dialing::new(why, free, namer)
    }

    /// Whoever carries a question out is about to dial this address for it, once: whether it may.
    pub fn may_dial(&mut self, now: Instant, id: QuestionId, at: &Endpoint) -> bool {
        let Some(peer_id) = self.questions.get(&id).map(|question| question.target.peer_id) else { return false };
        // What is not known by its address is what the operator has named.
        let Some(at) = at.socket_addr() else { return true };
        let same = self.questions.values().filter(|other| other.target.peer_id == peer_id);
        let is_dialed = same.map(|other| &other.dialing).any(|dialing| dialing.is_charged(at));
        let Some(question) = self.questions.get_mut(&id) else { return false };
        self.dials.may(now, &mut question.dialing, at, is_dialed)
    }

    /// Whom a question is for has been dialed at this address and has proven to be there.
    pub fn on_met(&mut self, now: Instant, id: QuestionId, at: &Endpoint) {
        if let Some(question) = self.questions.get_mut(&id)
            && let Some(at) = at.socket_addr()
        {
            self.dials.on_met(now, &mut question.dialing, at);
        }
    }

    /// Whether a contact may be pinged at an address, which counts as dialing it.
    pub(super) fn may_ping(&mut self, now: Instant, dialing: &mut Dialing, at: SocketAddr) -> bool {
        self.dials.may(now, dialing, at, false)
    }

    /// Whom a question is for has answered, from this address or from where it was dialed last.
    pub(super) fn dialed_well(&mut self, now: Instant, question: &mut Question, at: Option<SocketAddr>) {
        let (peer_id, namer) = (question.target.peer_id, judged(question));
        self.dials.well(now, &mut question.dialing, at, peer_id, namer);
    }

    /// A question has no answer.
    pub(super) fn dialed_in_vain(&mut self, now: Instant, question: &mut Question, failure: Failure) {
        let (peer_id, namer) = (question.target.peer_id, judged(question));
        let put_aside = self.dials.in_vain(now, &mut question.dialing, failure, peer_id, namer);
        if let Some(namer) = namer.filter(|_| put_aside) {
            tracing::debug!(peer = %namer, "a node names others that are not there, and is not heard for a while");
        }
    }

    /// Whether whoever named this peer is not heard now.
    pub(super) fn is_named_by_a_liar(&self, now: Instant, peer: &Peer) -> bool {
        peer.namer().is_some_and(|namer| !self.is_heard(now, &namer))
    }

    /// Whether what a node says of others counts.
    pub(super) fn is_heard(&self, now: Instant, who: &PeerId) -> bool {
        !self.dials.namers.is_aside(now, who)
    }
}

/// Who is judged by what becomes of a question: whoever named the one that is asked, on the way to a position.
fn judged(question: &Question) -> Option<PeerId> {
    question.namer().filter(|_| matches!(question.about, About::Search(..)))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests need some instant to begin with")]
mod tests {
    use super::*;

    #[test]
    fn what_was_charged_in_another_network_is_not_given_back_in_this_one() {
        let (now, at) = (Instant::now(), SocketAddr::from(([9, 8, 7, 6], 1)));
        let mut dials = Dials::new(&KademliaConfig::default());
        let dialing = || Dialing::new(Why::Told, Free::Nowhere, None);
        let granted = |dials: &mut Dials| (0..10).filter(|_| dials.may(now, &mut dialing(), at, false)).count();
        let mut before = dialing();
        assert!(dials.may(now, &mut before, at, false));
        dials.forget([&mut before].into_iter());
        assert_eq!(granted(&mut dials), 4);
        dials.on_met(now, &mut before, at);
        assert_eq!(granted(&mut dials), 0);
    }
}
