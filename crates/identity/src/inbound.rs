//! Inbound handshakes as tasks, within the bounds of a [`HandshakeLimiter`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use p2p_core::{TaskGroup, TaskHandle};
use p2p_net::Incoming;

use crate::{HandshakeId, HandshakeLimiter, HandshakeLimits};

/// The handshakes under way with those who connected, one task each. Where there is no room, the task of the one that has
/// been longest without progress ends. Clones share them.
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use p2p_core::{TaskGroup, runtime};
/// use p2p_identity::{HandshakeLimits, InboundHandshakes};
///
/// let tasks = TaskGroup::new(runtime::current().expect("this is tokio"));
/// let handshakes = InboundHandshakes::new(HandshakeLimits::default());
/// let now = tasks.runtime().now();
/// let place = handshakes.admit([192, 0, 2, 1].into(), now).expect("the limits are not 0");
/// place.run(&tasks, "handshake", |place| async move {
///     // Talk until `place.deadline()`, and call `place.progress` for each message.
///     assert!(place.deadline() > now);
/// });
/// tasks.wait().await;
/// # });
/// ```
#[derive(Clone)]
pub struct InboundHandshakes(Arc<Mutex<State>>);

struct State {
    limiter: HandshakeLimiter,
    tasks: BTreeMap<HandshakeId, TaskHandle>,
}

/// Room for one handshake, until it is dropped.
#[must_use = "a place that is dropped is given back"]
pub struct HandshakePlace {
    handshakes: InboundHandshakes,
    id: HandshakeId,
    deadline: Instant,
}

impl InboundHandshakes {
    /// With nothing under way.
    pub fn new(limits: HandshakeLimits) -> Self {
        Self(Arc::new(Mutex::new(State { limiter: HandshakeLimiter::new(limits), tasks: BTreeMap::new() })))
    }

    /// Makes room for a handshake with somebody at this address; `None` only if a limit is 0.
    pub fn admit(&self, ip: IpAddr, now: Instant) -> Option<HandshakePlace> {
        let mut state = self.lock();
        let admission = state.limiter.admit(ip, now)?;
        let evicted = admission.evict.and_then(|id| state.tasks.remove(&id));
        drop(state);
        evicted.iter().for_each(TaskHandle::abort);
        Some(HandshakePlace { handshakes: self.clone(), id: admission.id, deadline: admission.deadline })
    }

    /// Begins the handshake with somebody who has connected, as a task of `tasks` with this name. Refuses the connection if
    /// there is no room, which is so only if a limit is 0. One whose address may be forged takes nobody's room: when there is
    /// none, it is asked to prove its address, and comes again.
    pub fn begin<F>(
        &self,
        incoming: Incoming,
        tasks: &TaskGroup,
        name: &'static str,
        handshake: impl FnOnce(Incoming, HandshakePlace) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (ip, now) = (incoming.remote_addr().ip(), tasks.runtime().now());
        let is_proven = incoming.is_addr_proven();
        let place = if is_proven { self.admit(ip, now) } else { self.admit_unproven(ip, now) };
        match place {
            Some(place) => place.run(tasks, name, |place| handshake(incoming, place)),
            None if is_proven => incoming.refuse(),
            None => incoming.retry(),
        }
    }

    fn admit_unproven(&self, ip: IpAddr, now: Instant) -> Option<HandshakePlace> {
        let admission = self.lock().limiter.admit_unproven(ip, now)?;
        Some(HandshakePlace { handshakes: self.clone(), id: admission.id, deadline: admission.deadline })
    }

    /// Whether a handshake with somebody at this address is under way.
    pub fn has_from(&self, ip: IpAddr) -> bool {
        self.lock().limiter.has_from(ip)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Limiter and map are valid after each statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakePlace {
    /// When the handshake must be over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The remote has sent another message, and so is where it seems to be.
    pub fn progress(&self, now: Instant) {
        let mut state = self.handshakes.lock();
        let evicted = state.limiter.progress(self.id, now).and_then(|id| state.tasks.remove(&id));
        drop(state);
        evicted.iter().for_each(TaskHandle::abort);
    }

    /// Runs the handshake, which keeps the place, as a task of `tasks` with this name.
    pub fn run<F>(self, tasks: &TaskGroup, name: &'static str, handshake: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (handshakes, id) = (self.handshakes.clone(), self.id);
        // Not under the lock: a group that is shut down drops the future here, and with it the place, which locks.
        let task = tasks.spawn(name, handshake(self));
        let mut state = handshakes.lock();
        if state.limiter.contains(id) {
            state.tasks.insert(id, task);
        } else {
            // It has ended already, or had to make room before it was on the list.
            task.abort();
        }
    }
}

impl Drop for HandshakePlace {
    fn drop(&mut self) {
        let mut state = self.handshakes.lock();
        state.limiter.finish(self.id);
        state.tasks.remove(&self.id);
    }
}

impl fmt::Debug for InboundHandshakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundHandshakes").field("tasks", &self.lock().tasks.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HandshakePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakePlace").field("id", &self.id).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use p2p_core::runtime;

    use super::*;

    fn handshakes(total: usize) -> (TaskGroup, InboundHandshakes) {
        let limits = HandshakeLimits { total, ..HandshakeLimits::default() };
        (TaskGroup::new(runtime::current().expect("this is tokio")), InboundHandshakes::new(limits))
    }

    fn admit(tasks: &TaskGroup, handshakes: &InboundHandshakes) -> HandshakePlace {
        handshakes.admit([192, 0, 2, 1].into(), tasks.runtime().now()).expect("no limit is 0")
    }

    fn under_way(handshakes: &InboundHandshakes) -> (usize, usize) {
        let state = handshakes.lock();
        (state.limiter.len(), state.tasks.len())
    }

    /// One that never ends by itself.
    fn stuck(place: HandshakePlace, tasks: &TaskGroup) {
        place.run(tasks, "stuck", |place| async move {
            pending::<()>().await;
            drop(place);
        });
    }

    #[tokio::test]
    async fn whoever_must_make_room_ends() {
        let (tasks, handshakes) = handshakes(2);
        for _ in 0..10 {
            stuck(admit(&tasks, &handshakes), &tasks);
        }
        assert_eq!(under_way(&handshakes), (2, 2));
        while tasks.len() > 2 {
            tokio::task::yield_now().await;
        }
        // The one that has spoken stays.
        let place = admit(&tasks, &handshakes);
        let id = place.id;
        place.progress(tasks.runtime().now() + Duration::from_secs(1));
        stuck(place, &tasks);
        stuck(admit(&tasks, &handshakes), &tasks);
        stuck(admit(&tasks, &handshakes), &tasks);
        assert!(handshakes.lock().tasks.contains_key(&id));
    }

    #[tokio::test]
    async fn a_place_is_given_back_however_its_task_ends() {
        let (tasks, handshakes) = handshakes(8);
        let place = admit(&tasks, &handshakes);
        let [here, same, there] =
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().expect("an address"));
        assert!(handshakes.has_from(here) && handshakes.has_from(same) && !handshakes.has_from(there));
        drop(place);
        assert!(!handshakes.has_from(here));
        assert_eq!(under_way(&handshakes), (0, 0));
        admit(&tasks, &handshakes).run(&tasks, "done", |place| async move { drop(place) });
        admit(&tasks, &handshakes).run(&tasks, "panics", |_place| async { panic!("on purpose") });
        tasks.wait().await;
        assert_eq!(under_way(&handshakes), (0, 0));
        stuck(admit(&tasks, &handshakes), &tasks);
        tasks.shutdown().await;
        assert_eq!(under_way(&handshakes), (0, 0));
        // Of a group that takes no more tasks.
        stuck(admit(&tasks, &handshakes), &tasks);
        assert_eq!(under_way(&handshakes), (0, 0));
    }

    #[tokio::test]
    async fn a_task_without_a_place_does_not_run() {
        let (tasks, handshakes) = handshakes(1);
        let evicted = admit(&tasks, &handshakes);
        let kept = admit(&tasks, &handshakes);
        stuck(evicted, &tasks);
        tasks.wait().await;
        drop(kept);
        assert_eq!(under_way(&handshakes), (0, 0));
    }
}
