//! The engine, and the services that carry out what it decides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use p2p_core::{ChangeNotifier, EventBus, PeerId, Runtime, TaskGroup};
use p2p_identity::{Error, KeyPair, PeerRecord, Result, TlsIdentity};
use p2p_net::Transports;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use super::questions::Later;
use crate::engine::{Action, Asker, Command, Engine, KademliaEvent, OperationId, Outcome, ReplyId, Standing};
use crate::lookup_service::{Answerer, Authenticator, LookupClient, LookupServer, ServerParts};
use crate::refresh_service::{Known, RefreshService};
use crate::state::StateFiles;
use crate::{Contact, KademliaConfig, Key, Refused, Request, Response};

/// Events that a listener may be behind with.
const EVENT_QUEUE: usize = 1024;

/// How often the contacts are saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(300);

/// The first time; what comes early is worth most.
const FIRST_SAVE: Duration = Duration::from_secs(10);

/// The clock's turns are at least this far apart: a little late costs less than waking for each.
const TURN: Duration = Duration::from_millis(1);

pub(crate) struct Shared {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) config: KademliaConfig,
    pub(super) tasks: Arc<TaskGroup>,
    pub(super) transports: Transports,
    /// Whether nobody else uses the transports.
    pub(super) own_transports: bool,
    pub(super) key_pair: KeyPair,
    pub(super) events: EventBus<KademliaEvent>,
    pub(super) server: LookupServer,
    pub(super) refresh: RefreshService,
    pub(super) permits: Semaphore,
    pub(super) state: Option<StateFiles>,
    pub(super) client: LookupClient,
    authenticator: Arc<Authenticator>,
    core: Mutex<Core>,
    /// The clock's next turn comes sooner than it thinks.
    sooner: Notify,
    /// Joining has come further, or all has ended.
    pub(super) standing: ChangeNotifier,
}

pub(super) struct Core {
    pub(super) engine: Engine,
    replies: BTreeMap<ReplyId, oneshot::Sender<Response>>,
    next_reply: u64,
    operations: BTreeMap<OperationId, Waiter>,
    /// When the clock will call.
    wakes: Option<Instant>,
    /// How far joining has come.
    pub(super) standing: Option<Standing>,
    pub(super) closed: bool,
}

/// Who waits for an operation.
pub(super) enum Waiter {
    Outcome(oneshot::Sender<Outcome>),
    Providers(mpsc::Sender<(PeerRecord, IpAddr)>),
    /// The newest counts.
    Peer(watch::Sender<Option<(PeerRecord, IpAddr)>>),
}

impl Shared {
    pub(super) fn new(
        key_pair: &KeyPair,
        config: KademliaConfig,
        transports: Transports,
        own: Option<TlsIdentity>,
    ) -> Arc<Self> {
        let runtime = transports.runtime().clone();
        let tasks = Arc::new(TaskGroup::new(runtime.clone()));
        let own_transports = own.is_some();
        let authenticator = Arc::new(Authenticator::new(
            own.map(|tls| (tls, transports.clone())),
            runtime.clone(),
            config.access_control.clone(),
            transports.config().budget.clone(),
            key_pair.clone(),
            &config.network,
        ));
        let state = config.state_dir.as_ref().map(|folder| StateFiles::new(runtime.clone(), folder));
        let events = EventBus::new(EVENT_QUEUE);
        Arc::new_cyclic(|shared: &Weak<Self>| {
            let parts = ServerParts {
                events: events.clone(),
                tasks: tasks.clone(),
                transports: transports.clone(),
                authenticator: authenticator.clone(),
                answerer: answerer(shared.clone()),
            };
            let (network, datagrams) = (config.network.clone(), config.datagrams);
            let known = known(shared.clone(), network.clone());
            let entropy = runtime.clone();
            let seq = state.as_ref().and_then(StateFiles::load_seq).unwrap_or_else(|| clock(&*runtime));
            let random = Box::new(move || entropy.random_u64());
            let core = Core {
                engine: Engine::new(key_pair, &config, seq, runtime.now(), random),
                replies: BTreeMap::new(),
                next_reply: 0,
                operations: BTreeMap::new(),
                wakes: None,
                standing: None,
                closed: false,
            };
            Self {
                server: LookupServer::new(parts, &config),
                client: LookupClient::new(transports.clone(), authenticator.clone(), &config),
                refresh: RefreshService::new(
                    runtime.clone(),
                    key_pair.clone(),
                    &network,
                    datagrams,
                    known,
                    config.access_control.clone(),
                    events.clone(),
                ),
                events,
                permits: Semaphore::new(config.limits.operations),
                core: Mutex::new(core),
                sooner: Notify::new(),
                standing: ChangeNotifier::new(),
                key_pair: key_pair.clone(),
                runtime,
                config,
                tasks,
                transports,
                own_transports,
                authenticator,
                state,
            }
        })
    }

    /// Looks at the engine.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Engine) -> T) -> T {
        look(&self.lock().engine)
    }

    /// Puts something into the engine, and carries out what it wants done.
    pub(crate) fn engine<T>(self: &Arc<Self>, input: impl FnOnce(&mut Engine, Instant) -> T) -> T {
        let now = self.runtime.now();
        let mut core = self.lock();
        let result = input(&mut core.engine, now);
        let wakes = core.engine.next_timeout(now);
        let sooner = wakes.is_some_and(|wakes| core.wakes.is_none_or(|before| wakes < before));
        if sooner {
            core.wakes = wakes;
        }
        self.carry_out(core);
        if sooner {
            self.sooner.notify_one();
        }
        result
    }

    /// Begins an operation for `waiter`.
    pub(super) fn begin(self: &Arc<Self>, command: Command, waiter: Waiter) -> Result<OperationId> {
        let mut core = self.lock();
        if core.closed {
            return Err(Error::ShutDown);
        }
        let now = self.runtime.now();
        let id = core.engine.begin(now, command);
        core.operations.insert(id, waiter);
        self.carry_out(core);
        // The clock looks again.
        self.engine(|_, _| ());
        Ok(id)
    }

    /// Nobody waits for it any more.
    pub(super) fn cancel(&self, id: OperationId) {
        let mut core = self.lock();
        core.operations.remove(&id);
        core.engine.cancel(id);
    }

    /// Answers a request.
    async fn answer(self: Arc<Self>, asker: Asker, request: Request) -> Response {
        let (sender, reply) = oneshot::channel();
        {
            let mut core = self.lock();
            if core.closed {
                return Refused::Busy.into();
            }
            let id = ReplyId(core.next_reply);
            core.next_reply += 1;
            core.replies.insert(id, sender);
            core.engine.on_request(self.runtime.now(), id, &asker, request);
            self.carry_out(core);
        }
        reply.await.unwrap_or(Refused::Busy.into())
    }

    /// Ends all that waits; nothing begins any more.
    pub(super) fn close(&self) {
        let (operations, replies) = {
            let mut core = self.lock();
            core.closed = true;
            (std::mem::take(&mut core.operations), std::mem::take(&mut core.replies))
        };
        drop((operations, replies));
        self.standing.notify();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // Should the engine have panicked, what it was asked to do is lost, and the rest goes on.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the engine's actions, gives the lock back, and carries them out.
    fn carry_out(self: &Arc<Self>, mut core: MutexGuard<'_, Core>) {
        let mut later = Vec::new();
        while let Some(action) = core.engine.next_action() {
            match action {
                Action::Reply { id, response } => {
                    // Whoever asked may be gone.
                    if let Some(sender) = core.replies.remove(&id) {
                        let _ = sender.send(response);
                    }
                }
                Action::Done { id, outcome } => {
                    if let Some(Waiter::Outcome(sender)) = core.operations.remove(&id) {
                        let _ = sender.send(outcome);
                    }
                }
                Action::Provider { id, record, reached } => {
                    if let Some(Waiter::Providers(sender)) = core.operations.get(&id) {
                        // There is room for as many as the engine finds.
                        let _ = sender.try_send((record, reached));
                    }
                }
                Action::Peer { id, record, reached } => {
                    if let Some(Waiter::Peer(sender)) = core.operations.get(&id) {
                        sender.send_replace(Some((record, reached)));
                    }
                }
                Action::Record { seq, record } => {
                    self.use_seq(seq);
                    self.refresh.set_seq(record.as_ref().map_or(0, PeerRecord::seq));
                    self.authenticator.set_record(record);
                    later.push(Later::Reintroduce);
                }
                Action::Seq(seq) => self.use_seq(seq),
                Action::Event(event) => self.events.emit(event),
                Action::Ask { id, target, request } => later.push(Later::Ask(id, target, request)),
                Action::DialBack { id, target, once } => later.push(Later::DialBack(id, target, once)),
                Action::Ping { id, peer_id, address } => later.push(Later::Ping(id, peer_id, address)),
                Action::Silence(silent) => self.transports.keep_listeners_silent(silent),
                Action::Standing(standing) => {
                    core.standing = Some(standing);
                    self.standing.notify();
                }
            }
        }
        drop(core);
        later.into_iter().for_each(|later| self.do_later(later));
    }

    /// Wakes the engine when it wants to be woken.
    pub(super) async fn run_clock(self: Arc<Self>) {
        loop {
            let mut sooner = pin!(self.sooner.notified());
            sooner.as_mut().enable();
            let now = self.runtime.now();
            let wakes = {
                let mut core = self.lock();
                core.wakes = core.engine.next_timeout(now);
                core.wakes
            };
            match wakes {
                None => sooner.await,
                Some(wakes) => {
                    let mut sleep = self.runtime.sleep_until(wakes.max(now + TURN));
                    tokio::select! {
                        biased;
                        () = &mut sooner => continue,
                        () = &mut sleep => {}
                    }
                }
            }
            self.engine(|engine, now| engine.on_timeout(now));
        }
    }

    /// Saves the contacts from time to time.
    pub(super) async fn run_saving(self: Arc<Self>) {
        let mut wait = FIRST_SAVE;
        loop {
            self.runtime.sleep(wait).await;
            self.save();
            wait = SAVE_INTERVAL;
        }
    }

    /// Nobody may see a record whose number could be forgotten.
    pub(super) fn use_seq(&self, seq: u64) {
        if let Some(state) = &self.state {
            state.use_seq(seq);
        }
    }

    /// Saves the contacts. Without any there is nothing worth replacing what was saved before.
    pub(super) fn save(&self) {
        let Some(state) = &self.state else { return };
        let contacts = self.look(Engine::contacts);
        if !contacts.is_empty() {
            state.save_contacts(&contacts);
        }
    }
}

/// Ends what waits when the clock is gone, though nobody has shut the node down: then its runtime is.
pub(super) struct Ending(pub(super) Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn answerer(shared: Weak<Shared>) -> Answerer {
    Arc::new(move |asker, request| {
        let shared = shared.clone();
        Box::pin(async move {
            match shared.upgrade() {
                Some(shared) => shared.answer(asker, request).await,
                None => Refused::Busy.into(),
            }
        })
    })
}

fn known(shared: Weak<Shared>, network: String) -> Known {
    Arc::new(move |peer_id: &PeerId, ip: IpAddr| {
        let Some(shared) = shared.upgrade() else { return false };
        let key = Key::of_peer(&network, peer_id);
        shared.look(|engine| engine.table().get(&key).is_some_and(|peer| peer.ip() == Some(ip.to_canonical())))
    })
}

/// Milliseconds since 1970: higher than any number that a node without a saved one has used before, unless its clock
/// went back.
fn clock(runtime: &dyn Runtime) -> u64 {
    let since = runtime.system_time().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis().try_into().unwrap_or(0))
}
