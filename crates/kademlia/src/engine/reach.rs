//! Asking others whether they reach us: before somebody has, nobody is told of us.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_core::TokenBucket;
use p2p_net::Endpoint;

use super::exchange::{About, Question};
use super::recent::Recent;
use super::{Answered, Asker, ClientReason, Engine, Mode, Peer};
use crate::address::{Scope, is_of_use, is_seen_from};
use crate::lookup_service::Target;
use crate::message::{DialBackOutcome, Padding};
use crate::{Refused, Request, Response};

/// In client mode, how often contacts are asked whether they reach us, and how many at a time. As many are asked in that
/// time to try an address at which they saw us.
const INTERVAL: Duration = Duration::from_secs(30);
const WIDTH: usize = 3;

/// How long after one of these questions a peer is asked the next.
const AGAIN: Duration = Duration::from_secs(60);

/// In place of the address of somebody whose address is not known: none of a private network is believed from there.
const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

/// What was asked a moment ago.
pub(super) struct Reach {
    due: Instant,
    /// Contacts that are still to be asked this time.
    left: usize,
    bucket: TokenBucket,
    recent: Recent,
    /// Trials that are left until then.
    trials: usize,
    trials_until: Instant,
    /// Where others tried in vain, the last time.
    tried: Vec<Endpoint>,
    /// Somebody has reached this node.
    pub(super) was_reached: bool,
}

impl Reach {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            left: WIDTH,
            bucket: TokenBucket::new(4, 1, now),
            recent: Recent::new(AGAIN),
            trials: WIDTH,
            trials_until: now,
            tried: Vec::new(),
            was_reached: false,
        }
    }

    /// Whether a peer may be asked, if it is known who that is.
    fn admit(&mut self, now: Instant, target: &Target) -> bool {
        let admitted = target.peer_id.is_none_or(|peer_id| self.recent.admit(now, peer_id));
        admitted && self.bucket.take(now)
    }

    /// Whether one more peer may be asked to try an address.
    fn admit_trial(&mut self, now: Instant, target: &Target) -> bool {
        if self.trials_until <= now {
            (self.trials, self.trials_until) = (WIDTH, now + INTERVAL);
        }
        let admitted = self.trials > 0 && self.admit(now, target);
        self.trials -= usize::from(admitted);
        admitted
    }
}

impl Engine {
    /// When contacts are to be asked again, if at all.
    pub(super) fn reach_due(&self) -> Option<Instant> {
        self.wants_reach().then_some(self.reach.due)
    }

    fn wants_reach(&self) -> bool {
        let has_question = self.local.candidate().is_some() || self.local.is_nowhere();
        self.mode() == Mode::Client && has_question && !self.table.is_empty()
    }

    /// It is time to ask.
    pub(super) fn ask_soon(&mut self, now: Instant) {
        (self.reach.due, self.reach.left) = (now, WIDTH);
    }

    /// Everybody may be asked again, from now on.
    pub(super) fn ask_anew(&mut self, now: Instant) {
        let was_reached = self.reach.was_reached;
        self.reach = Reach { was_reached, ..Reach::new(now) };
        self.keep_asking(now);
    }

    /// Asks some contacts when it is time.
    pub(super) fn keep_asking(&mut self, now: Instant) {
        if self.reach_due().is_none_or(|due| now < due) {
            return;
        }
        let mut contacts: Vec<Peer> = self.table.iter().cloned().collect();
        while self.reach.left > 0 && !contacts.is_empty() {
            let wait = self.reach.bucket.ready_in(now);
            if !wait.is_zero() {
                // What was asked a moment ago, before the answer changed the question, must not cost a whole interval.
                self.reach.due = now + wait;
                return;
            }
            let contact = contacts.swap_remove(self.random_below(contacts.len()));
            let asked = self.ask_to_be_reached(now, contact.target()) || self.ask_where(now, Some(contact));
            self.reach.left -= usize::from(asked);
        }
        (self.reach.due, self.reach.left) = (now + INTERVAL, WIDTH);
    }

    /// A contact got a place in the table.
    pub(super) fn met_somebody(&mut self, now: Instant, peer: &Peer) {
        self.ask_to_be_reached(now, peer.target());
    }

    /// In client mode, asks somebody whether it reaches us at an address of our record. Whether it was asked.
    pub(super) fn ask_to_be_reached(&mut self, now: Instant, target: Target) -> bool {
        let Some(record) = self.local.candidate().filter(|_| self.local.mode() == Mode::Client).cloned() else {
            return false;
        };
        let ip = target.endpoints.first().and_then(|endpoint| endpoint.addr().ip());
        let asks = ip.is_none_or(|ip| is_of_use(&record, ip)) && self.reach.admit(now, &target);
        if asks {
            let about = About::Reachable { at: None, came: false, arrived: None };
            self.ask(about, None, target, Request::DialBack { record });
        }
        asks
    }

    /// Listening on all addresses, and known at none of them: asks where a contact sees us. Whether it was asked.
    pub(super) fn ask_where(&mut self, now: Instant, contact: Option<Peer>) -> bool {
        let Some(contact) = contact.filter(|_| self.local.is_nowhere() && self.reach.bucket.take(now)) else {
            return false;
        };
        let (target, request) = (contact.target(), Request::FindNode { target: self.key() });
        self.ask(About::Where, Some(contact), target, request);
        true
    }

    /// Asks somebody who answered at `responder`, and saw us at `observed`, whether it reaches us there.
    pub(super) fn try_address(&mut self, now: Instant, target: Target, (responder, observed): (IpAddr, IpAddr)) {
        if self.is_to_be_tried(responder, observed)
            && self.reach.admit_trial(now, &target)
            && let Some(record) = self.record_to_try(observed)
        {
            let about = About::Reachable { at: Some(observed), came: false, arrived: None };
            self.ask(about, None, target, Request::DialBack { record });
        }
    }

    /// Somebody was asked to reach us, and says how that went.
    pub(super) fn tried_to_reach(&mut self, now: Instant, question: Question, answered: &Answered) {
        let About::Reachable { at, came, arrived } = question.about else { return };
        match (&answered.response, question.request) {
            // Its word alone says little: we have seen it come.
            (Response::DialBack(DialBackOutcome::Reached), _) if came => self.was_reached(now, at, arrived),
            (Response::DialBack(_), Request::DialBack { record } | Request::TryElsewhere { record, .. }) => {
                self.reach.tried = Target::of(&record, answered.ip().unwrap_or(UNKNOWN)).endpoints;
            }
            // It sees us elsewhere than we say that we are.
            (Response::Refused(Refused::InvalidRecord), Request::DialBack { record })
                if at.is_none() && self.mode() == Mode::Client =>
            {
                let target = Target { peer_id: Some(answered.peer_id), ..question.target };
                let about = About::Reachable { at: None, came: false, arrived: None };
                self.ask(about, None, target, Request::TryElsewhere { record, padding: Padding });
            }
            _ => {}
        }
    }

    /// Somebody came, whoever it is. If nothing was sent there before from where this node listens, and it comes from outside,
    /// then others reach this node too.
    pub(super) fn visited(&mut self, now: Instant, asker: &Asker) {
        let Some(arrived) = asker.arrived.filter(|_| asker.unsolicited) else { return };
        let from = asker.address.ip();
        let (client, outside) = (self.mode() == Mode::Client, Scope::of(from) == Scope::Public);
        let at = if self.is_to_be_tried(from, arrived) {
            Some(arrived)
        } else if client && is_seen_from(arrived, from) && self.says_it_is_at(arrived) {
            None
        } else if client && outside && Scope::of(arrived) != Scope::Public && self.local.is_told_where_it_is(arrived) {
            // Through a translation, and the operator says how that looks from outside.
            None
        } else {
            // Nearly always: nothing is learned by it.
            return;
        };
        // Not from this machine, nor through the box that is in front of it.
        if !(outside && self.is_known_at(now, from)) {
            self.was_reached(now, at, Some(arrived));
        }
    }

    /// Why nobody finds this node, once that is known.
    pub(super) fn client_reason(&self) -> Option<ClientReason> {
        if self.local.serves_nowhere() {
            return Some(ClientReason::NotListening);
        }
        if self.asks_to_be_reached() {
            return None;
        }
        if !self.reach.tried.is_empty() {
            return Some(ClientReason::Unreached { tried: self.reach.tried.clone() });
        }
        self.local.is_nowhere().then_some(ClientReason::NoAddress)
    }
}
