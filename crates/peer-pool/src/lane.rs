//! One kind of dials, each of which waits for its turn and may have to give way.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, select};
use p2p_core::Runtime;
use tokio::sync::{Notify, oneshot};

use crate::turns::{TurnAction, TurnId, TurnLimits, Turns};

/// Dials of one kind: moves what [`Turns`] decides.
pub(crate) struct Lane {
    runtime: Arc<dyn Runtime>,
    state: Mutex<State>,
}

struct State {
    turns: Turns,
    signals: BTreeMap<TurnId, Signals>,
}

struct Signals {
    /// Sent to, or dropped, when the dial may begin.
    begin: Option<oneshot::Sender<()>>,
    /// Dropped when it must end.
    _give_up: oneshot::Sender<()>,
}

/// A dial that is under way, until this is dropped.
pub(crate) struct Turn<'a> {
    entry: Entry<'a>,
    progressed: Notify,
}

/// Resolves when a dial must give way to others.
pub(crate) struct GiveWay(oneshot::Receiver<()>);

/// A place in the line or among those under way, given back when dropped.
struct Entry<'a> {
    lane: &'a Lane,
    id: TurnId,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.lock();
        state.turns.leave(self.id);
        state.signals.remove(&self.id);
        self.lane.act(&mut state);
    }
}

impl Lane {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, limits: TurnLimits) -> Self {
        Self { runtime, state: Mutex::new(State { turns: Turns::new(limits), signals: BTreeMap::new() }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Both fields are valid after each statement, and a dial without signals ends.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act(&self, state: &mut State) {
        while let Some(action) = state.turns.poll(self.runtime.now()) {
            match action {
                TurnAction::Begin(id) => {
                    if let Some(begin) = state.signals.get_mut(&id).and_then(|signals| signals.begin.take()) {
                        // Whoever does not wait any longer leaves when it is dropped.
                        let _ = begin.send(());
                    }
                }
                TurnAction::GiveUp(id) => drop(state.signals.remove(&id)),
            }
        }
    }

    /// Whether a dial could begin at once.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().turns.has_room(self.runtime.now())
    }

    /// Waits until a dial may begin. Cancel-safe: a dropped call leaves the line.
    pub(crate) async fn turn(&self) -> (Turn<'_>, GiveWay) {
        let ((begin, begun), (give_up, given_up)) = (oneshot::channel(), oneshot::channel());
        let entry = {
            let mut state = self.lock();
            let id = state.turns.enter();
            state.signals.insert(id, Signals { begin: Some(begin), _give_up: give_up });
            self.act(&mut state);
            Entry { lane: self, id }
        };
        // The sender lives as long as the entry.
        let _ = begun.await;
        (Turn { entry, progressed: Notify::new() }, GiveWay(given_up))
    }
}

impl Turn<'_> {
    /// The dial got further.
    pub(crate) fn progress(&self) {
        let lane = self.entry.lane;
        lane.lock().turns.progress(self.entry.id, lane.runtime.now());
        self.progressed.notify_one();
    }

    /// Runs a dial; `None` when it must give way to others before it is over. `stale` is called whenever nothing has come of it
    /// for a while. Cancel-safe if the dial is.
    pub(crate) async fn run<T>(&self, dial: impl Future<Output = T>, give_way: GiveWay, stale: impl Fn()) -> Option<T> {
        let watch = pin!(self.watch(stale));
        let over = select(give_way.0, watch);
        match select(pin!(dial), over).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }

    /// Lets others begin whenever this one is fresh no longer.
    async fn watch(&self, stale: impl Fn()) {
        let lane = self.entry.lane;
        loop {
            let until = lane.lock().turns.fresh_until(self.entry.id);
            match until {
                Some(until) if until > lane.runtime.now() => lane.runtime.sleep_until(until).await,
                until => {
                    if until.is_some() {
                        // What is given back goes to those who have been answered, before the next one begins.
                        stale();
                        lane.act(&mut lane.lock());
                    }
                    self.progressed.notified().await;
                }
            }
        }
    }
}

/// Those who wait for the same, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<(u64, BTreeSet<u64>)>);

/// A place in a line, given back when dropped.
pub(crate) struct Place<'a> {
    line: &'a Line,
    number: u64,
    changed: &'a Notify,
}

impl Line {
    /// Enters at the end. `changed` is notified when the place is given back.
    pub(crate) fn enter<'a>(&'a self, changed: &'a Notify) -> Place<'a> {
        let mut state = self.lock();
        let number = state.0;
        state.0 += 1;
        state.1.insert(number);
        Place { line: self, number, changed }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, BTreeSet<u64>)> {
        // Both are valid after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    pub(crate) fn is_first(&self) -> bool {
        self.line.lock().1.first() == Some(&self.number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let others = {
            let mut state = self.line.lock();
            state.1.remove(&self.number);
            !state.1.is_empty()
        };
        if others {
            self.changed.notify_waiters();
        }
    }
}
