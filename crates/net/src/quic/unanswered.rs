//! Dials that have had no answer, and what ends them early.

use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use p2p_core::Runtime;
use p2p_core::runtime::is_unroutable;
use tokio::sync::oneshot;

/// How long a dial waits for an answer before it asks the network whether anybody is there. Most dials are answered by
/// then and cost nothing more. The next time twice as long, and so on up to the second.
const PROBE_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What is sent to ask: too short for any QUIC packet, so whoever is there ignores it.
const PROBE: &[u8] = &[0];

/// The dials of one socket that have had no answer. Sending tells of those that cannot be sent, receiving of those that
/// are answered.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// How many there are, which spares taking the lock.
    count: AtomicUsize,
    dials: Mutex<Dials>,
}

#[derive(Debug, Default)]
struct Dials {
    next: u64,
    // Without what is beside the address of an IPv6 peer, which need not come back as it was.
    by_remote: BTreeMap<(IpAddr, u16), Numbered>,
}

/// Dials to one remote, each with who waits for its failure.
type Numbered = BTreeMap<u64, oneshot::Sender<Arc<io::Error>>>;

/// One dial. Dropping it forgets the dial.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    unanswered: &'a Unanswered,
    remote: (IpAddr, u16),
    number: u64,
    failed: oneshot::Receiver<Arc<io::Error>>,
}

impl Unanswered {
    /// A dial begins.
    pub(super) fn begin(&self, remote: SocketAddr) -> Waiting<'_> {
        let remote = (remote.ip(), remote.port());
        let (sender, failed) = oneshot::channel();
        let mut dials = self.lock();
        let number = dials.next;
        dials.next += 1;
        dials.by_remote.entry(remote).or_default().insert(number, sender);
        self.count.fetch_add(1, Ordering::Relaxed);
        Waiting { unanswered: self, remote, number, failed }
    }

    /// Something came from `remote`: nothing but time ends dials to it from now on.
    pub(super) fn answered(&self, remote: SocketAddr) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.take(remote);
        }
    }

    /// A datagram to `remote` could not be sent.
    pub(super) fn failed(&self, remote: SocketAddr, error: io::Error) {
        if self.count.load(Ordering::Relaxed) > 0 && is_unroutable(&error) {
            let error = Arc::new(error);
            for (_, dial) in self.take(remote) {
                // Whoever waited may have given up.
                let _ = dial.send(error.clone());
            }
        }
    }

    fn take(&self, remote: SocketAddr) -> Numbered {
        let taken = self.lock().by_remote.remove(&(remote.ip(), remote.port())).unwrap_or_default();
        self.count.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Dials> {
        // Valid after each statement.
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// Waits for the reason why there will be no answer, as far as this system and the network tell; for ever once there
    /// is one. A report of the network can be forged, so it ends only what has had no answer.
    pub(super) async fn refused(mut self, runtime: &dyn Runtime, remote: SocketAddr) -> Arc<io::Error> {
        let refused = {
            let mut probing = pin!(probe(runtime, remote));
            poll_fn(|cx| match Pin::new(&mut self.failed).poll(cx) {
                Poll::Ready(failed) => Poll::Ready(failed.ok()),
                Poll::Pending => probing.as_mut().poll(cx).map(Some),
            })
            .await
        };
        match refused {
            Some(error) => error,
            None => pending().await,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut dials = self.unanswered.lock();
        if let Some(same) = dials.by_remote.get_mut(&self.remote)
            && same.remove(&self.number).is_some()
        {
            self.unanswered.count.fetch_sub(1, Ordering::Relaxed);
            if same.is_empty() {
                dials.by_remote.remove(&self.remote);
            }
        }
    }
}

/// Asks whether anybody has the remote's port, from a socket of its own: only one that is connected is told that nobody
/// has. Ends with that; for ever pending where nobody tells.
async fn probe(runtime: &dyn Runtime, remote: SocketAddr) -> Arc<io::Error> {
    let mut wait = PROBE_AFTER.0;
    runtime.sleep(wait).await;
    let socket = match runtime.udp_connect(remote) {
        Ok(socket) => socket,
        Err(error) if is_unroutable(&error) => return Arc::new(error),
        // Out of file descriptors, say: the dial goes on without.
        Err(_) => return pending().await,
    };
    loop {
        let next = runtime.sleep(wait);
        let mut told = socket.try_send(PROBE).err();
        if told.is_none() {
            let receiving = poll_fn(|cx: &mut Context<'_>| socket.poll_recv(cx, &mut [0; 1]));
            // Whatever is received says nothing: only what comes to the dial's own socket is an answer.
            told = runtime.timeout(wait, receiving).await.ok().and_then(Result::err);
        }
        match told {
            // The same, by the name that it has on Windows.
            Some(error)
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset) =>
            {
                return Arc::new(io::ErrorKind::ConnectionRefused.into());
            }
            Some(error) if is_unroutable(&error) => return Arc::new(error),
            _ => next.await,
        }
        wait = (wait * 2).min(PROBE_AFTER.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn no_route() -> io::Error {
        io::ErrorKind::NetworkUnreachable.into()
    }

    #[test]
    fn a_failed_send_ends_the_unanswered_dials_to_that_remote_alone() {
        let unanswered = Unanswered::default();
        let (mut one, mut two) = (unanswered.begin(addr("192.0.2.1:1")), unanswered.begin(addr("192.0.2.1:1")));
        let mut other = unanswered.begin(addr("192.0.2.1:2"));
        unanswered.failed(addr("192.0.2.1:1"), io::ErrorKind::OutOfMemory.into());
        assert!(
            one.failed.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty),
            "no route's fault"
        );
        unanswered.failed(addr("192.0.2.1:1"), no_route());
        for dial in [&mut one, &mut two] {
            assert_eq!(dial.failed.try_recv().unwrap().kind(), io::ErrorKind::NetworkUnreachable);
        }
        assert!(other.failed.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop((one, two, other));
        assert_eq!(unanswered.count.load(Ordering::Relaxed), 0);
        assert!(unanswered.lock().by_remote.is_empty());
    }

    #[test]
    fn what_was_answered_is_not_ended_by_a_failed_send() {
        let unanswered = Unanswered::default();
        let mut dial = unanswered.begin(addr("[fe80::1%3]:1"));
        unanswered.answered(addr("[fe80::1%4]:1"));
        unanswered.failed(addr("[fe80::1]:1"), no_route());
        assert!(dial.failed.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        drop(dial);
        assert_eq!(unanswered.count.load(Ordering::Relaxed), 0);
    }
}
