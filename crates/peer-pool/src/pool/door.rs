//! The one gate: whom the node has anything to do with, on whatever port, transport and for whatever purpose.

use std::sync::Arc;

use p2p_core::Runtime;
use p2p_identity::access::{AccessControl, Action, Changes, Subject};

use super::conduct::Conduct;

/// The application's policy, and the bans.
pub(super) struct Door {
    policy: Arc<dyn AccessControl>,
    conduct: Arc<Conduct>,
    runtime: Arc<dyn Runtime>,
}

impl Door {
    pub(super) fn new(policy: Arc<dyn AccessControl>, conduct: Arc<Conduct>, runtime: Arc<dyn Runtime>) -> Self {
        Self { policy, conduct, runtime }
    }

    /// A banned peer gets nothing and is asked for nothing. A banned address opens nothing, unless the policy vouches for it;
    /// peers that are connected from it stay, as the others there may be honest.
    fn is_banned(&self, subject: &Subject<'_>, action: Action) -> bool {
        let now = self.runtime.now();
        if subject.peer_id().is_some_and(|peer| self.conduct.is_banned(peer, now)) {
            return true;
        }
        let stays = matches!((subject, action), (Subject::Peer(_), Action::Connect(_)));
        let opens = action.direction().is_inbound() && !stays;
        opens && subject.ip().is_some_and(|ip| self.conduct.is_addr_banned(ip, now)) && !self.policy.vouches(subject)
    }
}

impl AccessControl for Door {
    fn allow(&self, subject: &Subject<'_>, action: Action) -> bool {
        !self.is_banned(subject, action) && self.policy.allow(subject, action)
    }

    fn vouches(&self, subject: &Subject<'_>) -> bool {
        self.policy.vouches(subject)
    }

    fn changes(&self) -> Option<Changes> {
        // The pool passes on what the policy tells.
        Some(self.conduct.changed.subscribe())
    }
}
