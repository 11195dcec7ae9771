//! Carries out what the engine asks of others: a task for each question, and for each ping.

use std::net::SocketAddr;
use std::sync::Arc;

use p2p_core::PeerId;
use p2p_identity::{Error, RejectReason, Result};
use p2p_net::Endpoint;

use super::shared::Shared;
use crate::engine::{Answered, Failure, QuestionId};
use crate::lookup_service::{Answer, Asking, Target};
use crate::{Request, Response};

/// What is done without the lock.
pub(super) enum Later {
    Ask(QuestionId, Target, Request),
    DialBack(QuestionId, Target, bool),
    Ping(QuestionId, PeerId, SocketAddr),
    /// Those who know us by an older record, or by none, learn of the new one with the next handshake.
    Reintroduce,
}

impl Shared {
    pub(super) fn do_later(self: &Arc<Self>, later: Later) {
        match later {
            Later::Ask(id, target, request) => {
                self.tasks.spawn("dht question", self.clone().ask(id, target, request));
            }
            Later::DialBack(id, target, once) => {
                self.tasks.spawn("dht dial-back", self.clone().dial_back(id, target, once));
            }
            Later::Ping(id, peer_id, address) => {
                self.tasks.spawn("dht ping", self.clone().ping(id, peer_id, address));
            }
            Later::Reintroduce => self.client.close_idle(),
        }
    }

    async fn ask(self: Arc<Self>, id: QuestionId, target: Target, request: Request) {
        let mut waiting = Waiting { shared: &self, id, over: false };
        let answer = match request.encode() {
            Ok(bytes) => self.client.ask(&target, &bytes, &Errand { shared: &self, id }).await,
            Err(error) => Err(error),
        };
        waiting.over = true;
        self.answered(id, &target, answer);
    }

    async fn dial_back(self: Arc<Self>, id: QuestionId, target: Target, once: bool) {
        let mut waiting = Waiting { shared: &self, id, over: false };
        let answer = match Request::GetRecord.encode() {
            Ok(bytes) => self.client.ask_anew(&target, &bytes, once, &Errand { shared: &self, id }).await,
            Err(error) => Err(error),
        };
        waiting.over = true;
        self.answered(id, &target, answer);
    }

    fn answered(self: &Arc<Self>, id: QuestionId, target: &Target, answer: Result<Answer>) {
        let answer = answer.map_err(|error| {
            tracing::debug!(?target, %error, "a question was not answered");
            failure(&error)
        });
        let answered = answer.and_then(|answer| {
            let response = Response::decode(&answer.response).map_err(|error| {
                tracing::debug!(peer = %answer.peer_id, %error, "an answer cannot be read");
                Failure::Malformed
            })?;
            Ok(Answered { peer_id: answer.peer_id, endpoint: answer.endpoint, record: answer.record, response })
        });
        self.engine(|engine, now| match answered {
            Ok(answered) => engine.on_answer(now, id, answered),
            Err(failure) => engine.on_failure(now, id, failure),
        });
    }

    async fn ping(self: Arc<Self>, id: QuestionId, peer_id: PeerId, address: SocketAddr) {
        let mut waiting = Waiting { shared: &self, id, over: false };
        let pong = self.refresh.ping(peer_id, address).await;
        waiting.over = true;
        self.engine(|engine, now| match pong {
            Ok(alive) => engine.on_pong(now, id, alive.seq),
            Err(error) => engine.on_failure(now, id, failure(&error)),
        });
    }
}

/// Asks on behalf of the engine.
struct Errand<'a> {
    shared: &'a Arc<Shared>,
    id: QuestionId,
}

impl Asking for Errand<'_> {
    fn may_dial(&self, endpoint: &Endpoint) -> bool {
        self.shared.engine(|engine, now| engine.may_dial(now, self.id, endpoint))
    }

    fn met(&self, endpoint: &Endpoint) {
        self.shared.engine(|engine, now| engine.on_met(now, self.id, endpoint));
    }

    fn connected(&self) {
        self.shared.engine(|engine, now| engine.on_connected(now, self.id));
    }
}

/// Tells the engine that a question has failed, however its task ends.
struct Waiting<'a> {
    shared: &'a Arc<Shared>,
    id: QuestionId,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            let mut core = self.shared.lock();
            if !core.closed {
                let now = self.shared.runtime.now();
                core.engine.on_failure(now, self.id, Failure::Unreachable);
                // What follows from it waits for the next turn.
            }
        }
    }
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Denied(_) => Failure::Denied,
        Error::Handshake(error) if error.reason() == Some(&RejectReason::Denied) => Failure::Denied,
        _ => Failure::Unreachable,
    }
}
