//! Storing values and providers with every node of their region.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::exchange::About;
use super::operation::{Operation, Purpose, Stage, Tally};
use super::{Action, Engine, Mode, OperationId, Outcome, Peer, QuestionId};
use crate::address::is_of_use;
use crate::{Contact, Refused, Request, Response, Source};

/// Nodes that one operation writes to. Honest regions have about k.
const MAX_WRITES: usize = 256;

impl Engine {
    /// The region has been found: everybody there is given what is to be kept, this node included if it is one of them. What
    /// a user stores is kept here when somebody else keeps it, too: else it was not stored.
    pub(super) fn write(&mut self, now: Instant, id: OperationId, mut operation: Operation, found: Vec<Peer>) {
        let Some(request) = self.writing(&operation.purpose) else {
            // The record went away meanwhile.
            return self.write_ended(now, id, operation);
        };
        if self.is_close(&operation, &found) {
            if operation.purpose.is_upkeep() {
                self.keep_here(now, &mut operation.purpose, &request);
            } else if let Some(tally) = tally(&mut operation.purpose) {
                tally.at_home = true;
            }
        }
        let mut waiting = BTreeSet::new();
        let can_use = |peer: &Peer| match (&request, peer.ip()) {
            (Request::PutProvider { record, .. }, Some(ip)) => is_of_use(record, ip),
            _ => true,
        };
        for peer in found.into_iter().filter(can_use).take(MAX_WRITES) {
            waiting.insert(self.ask(About::Write(id), Some(peer.clone()), peer.target(), request.clone()));
        }
        if waiting.is_empty() {
            return self.write_ended(now, id, operation);
        }
        operation.stage = Stage::Exchange(waiting);
        self.operations.insert(id, operation);
    }

    fn writing(&self, purpose: &Purpose) -> Option<Request> {
        match purpose {
            Purpose::Put { value, expected_seq, ttl, .. } => {
                Some(Request::PutValue { value: value.clone(), expected_seq: *expected_seq, ttl: *ttl })
            }
            Purpose::Provide { key, .. } => {
                let record = self.local.candidate()?.clone();
                Some(Request::PutProvider { key: *key, record, ttl: Request::seconds(self.upkeep.provider_ttl) })
            }
            _ => None,
        }
    }

    /// Whether others would look for it here.
    fn is_close(&self, operation: &Operation, found: &[Peer]) -> bool {
        let target = operation.purpose.target(self);
        let farther = found.iter().any(|peer| target.distance(&peer.key()) > target.distance(&self.key()));
        self.mode() == Mode::Server && (farther || found.len() < self.lookup.k)
    }

    /// The same; a reason not to counts as that of others.
    fn keep_here(&mut self, now: Instant, purpose: &mut Purpose, request: &Request) {
        if let Err(refused) = self.keep(now, request) {
            count(purpose, Some(refused.into()));
        }
    }

    /// Keeps it here.
    fn keep(&mut self, now: Instant, request: &Request) -> Result<(), Refused> {
        let from = Source { peer: self.peer_id(), ip: IpAddr::from([127, 0, 0, 1]) };
        let seconds = |ttl: &u32| Duration::from_secs((*ttl).into());
        match request {
            Request::PutValue { value, expected_seq, ttl } => {
                self.store.put(now, value.clone(), seconds(ttl), *expected_seq, from).map(|_| ())
            }
            Request::PutProvider { key, record, ttl } => {
                self.store.put_provider(now, *key, record.clone(), seconds(ttl), from)
            }
            _ => Err(Refused::Unsupported),
        }
    }

    /// One of the region has answered, or not.
    pub(super) fn wrote(&mut self, now: Instant, id: OperationId, question: QuestionId, answer: Option<Response>) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        count(&mut operation.purpose, answer);
        let Stage::Exchange(waiting) = &mut operation.stage else { return };
        waiting.remove(&question);
        if waiting.is_empty() {
            self.write_ended(now, id, operation);
        } else {
            self.operations.insert(id, operation);
        }
    }

    fn write_ended(&mut self, now: Instant, id: OperationId, mut operation: Operation) {
        if tally(&mut operation.purpose).is_some_and(|tally| tally.at_home && tally.stored > 0)
            && let Some(request) = self.writing(&operation.purpose)
        {
            self.keep_here(now, &mut operation.purpose, &request);
        }
        let outcome = match operation.purpose {
            Purpose::Put { republish: true, .. } => {
                self.upkeep.republishes = self.upkeep.republishes.saturating_sub(1);
                return;
            }
            Purpose::Provide { renewal: true, key, tally } => return self.renewed(now, key, tally.stored),
            Purpose::Put { tally, .. } => Outcome::Put { stored: tally.stored, refused: tally.reason() },
            Purpose::Provide { tally, .. } => Outcome::Provide { stored: tally.stored, refused: tally.reason() },
            _ => return,
        };
        self.act(Action::Done { id, outcome });
    }
}

fn tally(purpose: &mut Purpose) -> Option<&mut Tally> {
    match purpose {
        Purpose::Put { tally, .. } | Purpose::Provide { tally, .. } => Some(tally),
        _ => None,
    }
}

fn count(purpose: &mut Purpose, answer: Option<Response>) {
    let Some(tally) = tally(purpose) else { return };
    match answer {
        Some(Response::Stored) => tally.stored += 1,
        Some(Response::Refused(refused)) => {
            tally.conflicts += usize::from(is_conflict(&refused));
            tally.refused = Some(weightier(tally.refused, refused));
        }
        _ => {}
    }
}

/// Whether the reason is a value that is there.
fn is_conflict(refused: &Refused) -> bool {
    matches!(refused, Refused::Older { .. } | Refused::Unexpected { .. } | Refused::Conflict)
}

/// Of two reasons the one that says more about what was to be stored: a newer value is there, rather than no room.
fn weightier(one: Option<Refused>, other: Refused) -> Refused {
    let weight = |refused: &Refused| match refused {
        Refused::Older { current } => (3, *current),
        Refused::Unexpected { current } => (3, *current),
        Refused::Conflict => (2, 0),
        Refused::Busy | Refused::Other(_) => (0, 0),
        _ => (1, 0),
    };
    match one {
        Some(one) if weight(&one) >= weight(&other) => one,
        _ => other,
    }
}
