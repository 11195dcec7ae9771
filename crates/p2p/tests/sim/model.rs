//! What is true of every run, whatever happens in it: the rules that a world of nodes is held to while it runs.
//!
//! Nodes are known by their number and their *life*: a node that is restarted lives anew. A *session* is one `PeerConn` of one
//! life: everything one side sends and reads of one protocol on one connection.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use p2p::layers::core::task::panic_message;
use p2p::{ConnectionId, DisconnectReason, Error, PeerEvent, PeerId};

/// A node of the world and which of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) node: usize,
    pub(crate) life: u32,
}

/// One end of one protocol on one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u32);

/// What a message says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Label {
    /// Who sent it.
    pub(crate) session: SessionId,
    /// Over which protocol.
    pub(crate) protocol: u8,
    /// Its place among the messages of its session, from 0.
    pub(crate) number: u32,
}

#[derive(Debug)]
struct Session {
    owner: Life,
    peer: PeerId,
    protocol: u8,
    /// Messages whose `send` was begun, and those whose `send` said that they were taken.
    begun: u32,
    accepted: u32,
    /// Whose messages come here, and how many have.
    source: Option<SessionId>,
    received: u32,
    /// Who reads what is sent here.
    sink: Option<SessionId>,
    /// How reading ended.
    end: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The remote, or its protocol, said that there is no more.
    Orderly,
    Broken,
}

/// What a life's events have said so far.
#[derive(Debug, Default)]
struct Seen {
    present: BTreeMap<PeerId, ConnectionId>,
    added: u64,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PeerId, usize>,
    /// Which life of each node is the present one.
    lives: BTreeMap<usize, u32>,
    sessions: Vec<Session>,
    events: BTreeMap<Life, Seen>,
    /// Whether something may have kept peers from hearing each other.
    disturbed: bool,
    delivered: u64,
    broken: Option<String>,
}

/// The rules of one world. The first that is broken is kept: a panic in a protocol would be contained by its node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model(Arc<Mutex<State>>);

impl Model {
    fn with<T: Default>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match catch_unwind(AssertUnwindSafe(|| f(&mut state))) {
            Ok(value) => value,
            Err(panic) => {
                state.broken.get_or_insert_with(|| panic_message(&*panic).to_owned());
                T::default()
            }
        }
    }

    /// Whether all rules hold so far.
    ///
    /// # Panics
    /// With the first that was broken.
    pub(crate) fn check(&self) {
        if let Some(broken) = self.with(|state| state.broken.clone()) {
            panic!("{broken}");
        }
    }

    /// Node `node` has this name in all its lives.
    pub(crate) fn know(&self, node: usize, peer_id: PeerId) {
        self.with(|state| {
            state.names.insert(peer_id, node);
        });
    }

    /// From now on connections may break by themselves.
    pub(crate) fn disturb(&self) {
        self.with(|state| state.disturbed = true);
    }

    /// Messages delivered so far.
    pub(crate) fn delivered(&self) -> u64 {
        self.with(|state| state.delivered)
    }

    /// A life begins: what its earlier ones were about is over.
    pub(crate) fn born(&self, life: Life) {
        self.with(|state| {
            state.lives.insert(life.node, life.life);
        });
    }

    /// A node is gone for good.
    pub(crate) fn gone(&self, node: usize) {
        self.with(|state| {
            state.lives.remove(&node);
        });
    }

    /// A protocol's constructor ran.
    pub(crate) fn begin(&self, owner: Life, peer: PeerId, protocol: u8) -> SessionId {
        self.with(|state| {
            assert!(state.names.contains_key(&peer), "{owner:?} speaks with {peer}, who is nobody");
            assert_ne!(state.names[&peer], owner.node, "{owner:?} speaks with itself");
            state.sessions.push(Session {
                owner,
                peer,
                protocol,
                begun: 0,
                accepted: 0,
                source: None,
                received: 0,
                sink: None,
                end: None,
            });
            SessionId(state.sessions.len() as u32 - 1)
        })
    }

    /// The label of the next message, whose `send` begins now.
    pub(crate) fn sending(&self, id: SessionId) -> Label {
        self.with(|state| {
            let session = &mut state.sessions[id.0 as usize];
            session.begun += 1;
            Label { session: id, protocol: session.protocol, number: session.begun - 1 }
        })
    }

    /// `send` said that it has the message.
    pub(crate) fn accepted(&self, id: SessionId) {
        self.with(|state| state.sessions[id.0 as usize].accepted += 1);
    }

    /// A message was read; `label` is what it says of itself, or that it was changed on the way.
    pub(crate) fn received(&self, id: SessionId, label: Result<Label, String>) {
        self.with(|state| {
            let label = label.unwrap_or_else(|changed| panic!("{changed}"));
            let from = label.session;
            assert!((from.0 as usize) < state.sessions.len(), "{label:?} was never sent");
            let there = &mut state.sessions[from.0 as usize];
            assert_eq!(*there.sink.get_or_insert(id), id, "one sender reaches two sessions: {label:?}");
            let (names, begun) = ((state.names[&there.peer], there.owner.node), there.begun);
            let here = &mut state.sessions[id.0 as usize];
            let expected = (here.owner.node, state.names[&here.peer]);
            assert_eq!(names, expected, "{label:?} is for another peer than {here:?}");
            assert_eq!(label.protocol, here.protocol, "{label:?} is of another protocol than {here:?}");
            let source = *here.source.get_or_insert(from);
            assert_eq!(source, from, "two senders reach one session: {label:?}, {here:?}");
            assert_eq!(label.number, here.received, "lost, twice or out of order: {label:?} at {here:?}");
            assert!(label.number < begun, "made up: {label:?}, begun are {begun}");
            assert_eq!(here.end, None, "{label:?} came after the end at {here:?}");
            here.received += 1;
            state.delivered += 1;
        });
    }

    /// Reading ended with this error.
    pub(crate) fn ended(&self, id: SessionId, error: &Error) {
        let ending = match error {
            Error::PeerShutdown | Error::ProtocolEnded => Ending::Orderly,
            _ => Ending::Broken,
        };
        self.with(|state| {
            state.sessions[id.0 as usize].end = Some(ending);
            let here = &state.sessions[id.0 as usize];
            if let (Ending::Orderly, Some(source)) = (ending, here.source) {
                let sender = &state.sessions[source.0 as usize];
                assert!(here.received >= sender.accepted, "an orderly end lost messages: {sender:?} sent to {here:?}");
            }
        });
    }

    /// A life's event. Gives back whether it was an end of a peer.
    pub(crate) fn event(&self, life: Life, event: &PeerEvent) {
        self.with(|state| {
            let disturbed = state.disturbed;
            let seen = state.events.entry(life).or_default();
            match event {
                PeerEvent::Added { peer } => {
                    let before = seen.present.insert(peer.peer_id, peer.connection_id);
                    assert_eq!(before, None, "{life:?}: added twice: {peer:?}");
                    seen.added += 1;
                }
                PeerEvent::Removed { peer, reason } => {
                    let before = seen.present.remove(&peer.peer_id);
                    assert_eq!(before, Some(peer.connection_id), "{life:?}: removed without being there: {peer:?}");
                    check_reason(life, reason, disturbed);
                }
                PeerEvent::HandshakeFailed { reason, .. } => {
                    let unheard_of = matches!(
                        reason,
                        Error::Handshake(p2p::HandshakeError::Refused(
                            p2p::RejectReason::Malformed(_) | p2p::RejectReason::TooLarge { .. },
                        ))
                    );
                    assert!(!unheard_of, "{life:?}: nobody here breaks the rules: {reason}");
                }
                _ => {}
            }
        });
    }

    /// What is still under way between two that are still connected; `None` once everything accepted has arrived.
    pub(crate) fn under_way(&self) -> Option<String> {
        self.with(|state| {
            let lives = |session: &Session| state.lives.get(&session.owner.node) == Some(&session.owner.life);
            let late = state.sessions.iter().find(|sender| {
                let heard = sender.sink.map(|sink| &state.sessions[sink.0 as usize]);
                // One that nobody has heard anything of may be of a connection that never came about at the other side.
                heard.is_some_and(|heard| {
                    lives(sender)
                        && lives(heard)
                        && heard.end.is_none()
                        && sender.end.is_none()
                        && heard.received < sender.accepted
                })
            });
            late.map(|late| format!("{late:?}"))
        })
    }

    /// Peers that dialed, peers that were dialed, and bytes of the budget, with the most there may be of each.
    pub(crate) fn bounds(&self, life: Life, seen: (usize, usize, usize), most: (usize, usize, usize)) {
        self.with(|_| {
            let within = seen.0 <= most.0 && seen.1 <= most.1 && seen.2 <= most.2;
            assert!(within, "{life:?}: more than there may be: {seen:?} of {most:?}");
        });
    }

    /// Everything that a life has told has come to an end.
    pub(crate) fn over(&self, life: Life) {
        self.with(|state| {
            let left = state.events.get(&life).map(|seen| &seen.present);
            assert!(left.is_none_or(BTreeMap::is_empty), "{life:?}: shut down, yet never removed: {left:?}");
        });
    }
}

/// A reason must be one that can be true here.
fn check_reason(life: Life, reason: &DisconnectReason, disturbed: bool) {
    match reason {
        DisconnectReason::ProtocolViolation(what) => panic!("{life:?}: nobody here breaks the rules, but: {what}"),
        DisconnectReason::ProtocolFailed { .. } | DisconnectReason::ProtocolPanicked { .. } => {
            panic!("{life:?}: no protocol here fails, but: {reason}")
        }
        DisconnectReason::Banned | DisconnectReason::Denied => panic!("{life:?}: nobody here is banned, but: {reason}"),
        DisconnectReason::PingTimeout | DisconnectReason::Stalled | DisconnectReason::Lost(_) => {
            assert!(disturbed, "{life:?}: nothing was disturbed, but: {reason}");
        }
        _ => {}
    }
}
