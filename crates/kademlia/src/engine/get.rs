//! Finding values and providers: on the way to their key, and in its region when that may have missed them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::exchange::About;
use super::operation::{Operation, Purpose, Stage};
use super::search::Search;
use super::{Action, Engine, OperationId, Outcome, Peer, QuestionId};
use crate::{Key, Request, Response, StoredValue};

/// Nodes of a region that are asked for what they have.
const MAX_FETCHES: usize = 256;

/// Providers that one operation finds.
pub const MAX_FOUND: usize = 256;

impl Engine {
    /// What an answer has of what is wanted; the outcome, if that is all that can be wanted.
    pub(super) fn take_answer(
        &mut self,
        id: OperationId,
        purpose: &mut Purpose,
        response: &Response,
        reached: IpAddr,
    ) -> Option<Outcome> {
        match (purpose, response) {
            (Purpose::Get { key, best }, Response::Value { value: Some(value), .. }) => {
                let newer = best.as_ref().is_none_or(|best| value.supersedes(best));
                if newer && is_valid(value, key) {
                    *best = Some(value.clone());
                    if value.seq().is_none() {
                        return Some(Outcome::Get(best.take()));
                    }
                }
                None
            }
            (Purpose::Providers { found, .. }, Response::Providers { providers, .. }) => {
                for record in providers {
                    if found.len() < MAX_FOUND
                        && !found.contains(&record.peer_id())
                        && let Some(record) = self.verified.check(record)
                    {
                        found.insert(record.peer_id());
                        self.act(Action::Provider { id, record, reached });
                    }
                }
                (found.len() >= MAX_FOUND).then_some(Outcome::Providers(found.len()))
            }
            _ => None,
        }
    }

    /// All on the way have been asked. Who was crowded out of it has not: the region is asked too if nothing was found,
    /// or if there are more nodes around the key than chance puts there.
    pub(super) fn way_ended(
        &mut self,
        now: Instant,
        id: OperationId,
        mut operation: Operation,
        found: Vec<Peer>,
        (dense, was_region): (bool, bool),
    ) {
        let key = operation.purpose.target(self);
        if was_region {
            return self.fetch(id, operation, key, found);
        }
        let missed = match &operation.purpose {
            Purpose::Get { best, .. } => best.is_none(),
            Purpose::Providers { found, .. } => found.is_empty(),
            _ => false,
        };
        // With fewer than k nodes in all, everybody has been asked.
        if (missed || dense) && found.len() >= self.lookup.k {
            operation.stage = Stage::Search(Search::Region(Box::new(self.region(now, key, found))));
            self.operations.insert(id, operation);
            return self.drive(now, id);
        }
        self.fetch_ended(id, operation);
    }

    fn fetch(&mut self, id: OperationId, mut operation: Operation, key: Key, found: Vec<Peer>) {
        let request = match operation.purpose {
            Purpose::Providers { .. } => Request::GetProviders { key },
            _ => Request::GetValue { key },
        };
        let mut waiting = BTreeSet::new();
        for peer in found.into_iter().take(MAX_FETCHES) {
            waiting.insert(self.ask(About::Fetch(id), Some(peer.clone()), peer.target(), request.clone()));
        }
        if waiting.is_empty() {
            return self.fetch_ended(id, operation);
        }
        operation.stage = Stage::Exchange(waiting);
        self.operations.insert(id, operation);
    }

    /// One of the region has answered, or not.
    pub(super) fn fetched(&mut self, id: OperationId, question: QuestionId, answer: Option<(Response, IpAddr)>) {
        let Some(mut operation) = self.operations.remove(&id) else { return };
        let outcome =
            answer.and_then(|(answer, reached)| self.take_answer(id, &mut operation.purpose, &answer, reached));
        if let Some(outcome) = outcome {
            self.act(Action::Done { id, outcome });
            return;
        }
        let Stage::Exchange(waiting) = &mut operation.stage else { return };
        waiting.remove(&question);
        if waiting.is_empty() {
            self.fetch_ended(id, operation);
        } else {
            self.operations.insert(id, operation);
        }
    }

    fn fetch_ended(&mut self, id: OperationId, operation: Operation) {
        let outcome = match operation.purpose {
            Purpose::Providers { found, .. } => Outcome::Providers(found.len()),
            Purpose::Get { best, .. } => Outcome::Get(best),
            _ => return,
        };
        self.act(Action::Done { id, outcome });
    }
}

fn is_valid(value: &StoredValue, key: &Key) -> bool {
    value.verify_under(key).inspect_err(|error| tracing::debug!(%error, "a node answered with a wrong value")).is_ok()
}
