//! One node's whole DHT, without I/O: it owns the table, the store and all running lookups.
//!
//! Inputs are method calls, each with the time: a request that came in, an answer or a failure, a pong, a command of
//! the user, or nothing but that time has passed. What is to be done then is taken with [`Engine::next_action`] until
//! there is nothing, and [`Engine::next_timeout`] says when [`Engine::on_timeout`] wants to be called at the latest. So
//! whole networks of engines run in a test, in virtual time and without a socket.

mod action;
mod dial_back;
mod dials;
mod exchange;
mod get;
mod local;
mod near;
mod operation;
mod peer;
mod provide;
mod put;
mod reach;
mod recent;
mod search;
mod serve;
mod standing;
mod upkeep;
mod verified;

use std::collections::{BTreeMap, VecDeque};
use std::mem::Discriminant;
use std::time::Instant;

use p2p_core::PeerId;
use p2p_identity::{KeyPair, PeerRecord};

pub use self::action::{
    Action, Answered, Asker, Command, Failure, KademliaEvent, Mode, OperationId, Outcome, QuestionId, ReplyId,
};
pub use self::dial_back::{MAX_DIAL_BACKS, MAX_WAITING};
#[cfg(feature = "fuzzing")]
pub(crate) use self::dials::fuzzing;
pub use self::dials::{MAX_NAMERS, MAX_RANGES};
pub use self::get::MAX_FOUND;
pub use self::near::{MAX_DEPOSITS, MAX_NEARBY};
pub use self::peer::Peer;
pub use self::standing::{ClientReason, Joined, Standing};
pub use self::upkeep::MAX_REMEMBERED;

use self::dial_back::DialBacks;
use self::dials::Dials;
use self::exchange::Question;
use self::local::Local;
use self::near::Near;
use self::operation::Operation;
use self::provide::Provided;
use self::reach::Reach;
use self::recent::Recent;
use self::upkeep::Upkeep;
use self::verified::Verified;
use crate::{Estimate, KademliaConfig, Key, LookupConfig, RttEstimator, SizeEstimator, Store, StoreConfig, Table};

/// Draws random numbers, uniform over all of `u64`.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// The deciding part of a [`Dht`](crate::Dht). See the [module](self).
pub struct Engine {
    network: String,
    lookup: LookupConfig,
    local: Local,
    table: Table<Peer>,
    store: Store,
    estimator: SizeEstimator,
    rtt: RttEstimator,
    verified: Verified,
    operations: BTreeMap<OperationId, Operation>,
    questions: BTreeMap<QuestionId, Question>,
    dials: Dials,
    dial_backs: DialBacks,
    reach: Reach,
    near: Near,
    /// Somebody has answered.
    met: bool,
    standing: Option<Standing>,
    /// The kind of reason for staying a client that was told last.
    told: Option<Discriminant<ClientReason>>,
    provided: Provided,
    /// Records that were fetched.
    fetches: Recent,
    upkeep: Upkeep,
    actions: VecDeque<Action>,
    random: Random,
    next_id: u64,
}

impl Engine {
    /// An engine that knows nobody and has not been told where it listens. `seq` is the highest sequence number that
    /// this node's record may ever have had.
    pub fn new(key_pair: &KeyPair, config: &KademliaConfig, seq: u64, now: Instant, random: Random) -> Self {
        let key = Key::of_peer(&config.network, &key_pair.peer_id());
        let store = StoreConfig { limit_local: config.limit_local, ..config.store.clone() };
        Self {
            network: config.network.clone(),
            lookup: LookupConfig { limit_local: config.limit_local, ..config.lookup.clone() },
            local: Local::new(key_pair.clone(), key, config, seq),
            table: Table::new(key, config.table()),
            store: Store::new(key, store),
            estimator: SizeEstimator::new(),
            rtt: RttEstimator::default(),
            verified: Verified::new(),
            operations: BTreeMap::new(),
            questions: BTreeMap::new(),
            dials: Dials::new(config),
            dial_backs: DialBacks::new(now),
            reach: Reach::new(now),
            near: Near::new(now),
            met: false,
            standing: None,
            told: None,
            provided: Provided::default(),
            fetches: Recent::new(dial_back::AGAIN),
            upkeep: Upkeep::new(config),
            actions: VecDeque::new(),
            random,
            next_id: 0,
        }
    }

    /// What is to be done next; `None` when that was all.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`on_timeout`](Self::on_timeout) at the latest, whatever else happens.
    pub fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let operations = self.operations.values().filter_map(|operation| operation.deadline(now));
        operations.chain(self.upkeep_due(now)).min()
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Instant) {
        let due = |operation: &Operation| operation.deadline(now).is_some_and(|deadline| deadline <= now);
        let due: Vec<OperationId> =
            self.operations.iter().filter(|(_, operation)| due(operation)).map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.drive(now, id));
        self.keep_up(now);
        self.look_at_standing();
    }

    /// Who this node is.
    pub fn peer_id(&self) -> PeerId {
        self.local.peer_id()
    }

    /// Its position.
    pub fn key(&self) -> Key {
        self.local.key()
    }

    /// Its own record as others see it: `None` in client mode.
    pub fn record(&self) -> Option<&PeerRecord> {
        self.local.record()
    }

    /// The highest sequence number that a record of this node may have had.
    pub fn seq(&self) -> u64 {
        self.local.seq()
    }

    /// Whether others may find it.
    pub fn mode(&self) -> Mode {
        self.local.mode()
    }

    /// The contacts that it knows to be alive.
    pub fn table(&self) -> &Table<Peer> {
        &self.table
    }

    /// What it keeps for others.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How many nodes there are, itself not counted; `None` before the first lookup.
    pub fn estimate(&self) -> Option<Estimate> {
        self.estimator.estimate()
    }

    /// Operations and questions under way.
    pub fn busy(&self) -> (usize, usize) {
        (self.operations.len(), self.questions.len())
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn emit(&mut self, event: KademliaEvent) {
        self.act(Action::Event(event));
    }

    /// A random number below `bound`, which is not 0.
    fn random_below(&mut self, bound: usize) -> usize {
        // The bias of a modulo over 2^64 is far below anything that matters here.
        ((self.random)() % bound as u64) as usize
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("peer_id", &self.peer_id())
            .field("contacts", &self.table.len())
            .field("operations", &self.operations.len())
            .finish_non_exhaustive()
    }
}
