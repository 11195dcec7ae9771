//! One message to many peers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use p2p_core::PeerId;
use p2p_identity::{Error, Result};
use p2p_net::SharedMessage;

use crate::link::Link;

/// What became of a broadcast.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Peers whose queue has taken the message.
    pub sent: usize,
    /// Peers whose queue was full: they do not get it.
    pub busy: Vec<PeerId>,
}

/// All peers that speak a protocol. The list is rebuilt when it changes, so that a broadcast takes it as it is.
#[derive(Debug)]
pub(crate) struct Group {
    max_message: usize,
    /// The node shuts down.
    closed: AtomicBool,
    links: Mutex<Arc<Vec<Arc<Link>>>>,
}

impl Group {
    /// Nobody yet. Messages have at most so many bytes.
    pub(crate) fn new(max_message: usize) -> Self {
        Self { max_message, closed: AtomicBool::new(false), links: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Vec<Arc<Link>>>> {
        // The list is valid after each statement.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, link: Arc<Link>) {
        Arc::make_mut(&mut self.lock()).push(link);
    }

    pub(crate) fn remove(&self, link: &Arc<Link>) {
        let mut links = self.lock();
        if links.iter().any(|other| Arc::ptr_eq(other, link)) {
            Arc::make_mut(&mut links).retain(|other| !Arc::ptr_eq(other, link));
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Gives the message to every peer that `to` names and whose queue has room. Never waits.
    ///
    /// # Errors
    /// [`Error::MessageTooLarge`] and [`Error::ShutDown`], whoever is there.
    pub(crate) fn broadcast(&self, message: &Bytes, to: impl Fn(&PeerId) -> bool) -> Result<Broadcast> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::ShutDown);
        }
        if message.len() > self.max_message {
            return Err(Error::MessageTooLarge { len: message.len(), max: self.max_message });
        }
        let links = self.lock().clone();
        let message = SharedMessage::new(message.clone());
        let mut result = Broadcast::default();
        for link in links.iter().filter(|link| to(&link.core.id)) {
            match link.try_send_shared(&message) {
                Ok(()) => result.sent += 1,
                Err(Error::Busy) => result.busy.push(link.core.id),
                // It is about to be removed, or its protocol has ended.
                Err(_) => {}
            }
        }
        Ok(result)
    }
}
