//! What all handles of one world share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::executor::{Ready, Tasks};
use crate::settings::Settings;
use crate::timeline::Nanos;
use crate::world::World;

pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) settings: Arc<Settings>,
    /// What virtual time is counted from. Nothing else of the machine's time gets in.
    base: Instant,
    now: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) is_running: AtomicBool,
    pub(crate) ready: Arc<Ready>,
    pub(crate) tasks: Mutex<Tasks>,
    world: Mutex<World>,
}

impl Shared {
    pub(crate) fn new(seed: u64, settings: Settings) -> Arc<Self> {
        let settings = Arc::new(settings);
        Arc::new(Self {
            seed,
            base: base(),
            now: AtomicU64::new(0),
            events: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            is_running: AtomicBool::new(false),
            ready: Arc::new(Ready::new(seed)),
            tasks: Mutex::new(Tasks::default()),
            world: Mutex::new(World::new(seed, settings.clone())),
            settings,
        })
    }

    pub(crate) fn now(&self) -> Nanos {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.now())
    }

    pub(crate) fn set_now(&self, now: Nanos) {
        self.now.store(now, Ordering::Relaxed);
    }

    pub(crate) fn instant(&self) -> Instant {
        self.base + self.time()
    }

    /// When `instant` is; what was before the world is its beginning.
    pub(crate) fn nanos_of(&self, instant: Instant) -> Nanos {
        crate::world::nanos(instant.saturating_duration_since(self.base))
    }

    /// Does something to the world, then wakes whom that concerns.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let mut world = lock(&self.world);
        let result = change(&mut world);
        if !world.wakes.is_empty() {
            let wakes = std::mem::take(&mut world.wakes);
            drop(world);
            wakes.run();
        }
        result
    }

    pub(crate) fn tasks(&self) -> MutexGuard<'_, Tasks> {
        lock(&self.tasks)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` can be had in no other way; only differences to it are used"
)]
fn base() -> Instant {
    Instant::now()
}

/// Nothing panics while it holds one of our locks, other than by a bug, and then the state may still be shown.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
