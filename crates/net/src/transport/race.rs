//! Trying several addresses without waiting for the dead ones: "happy eyeballs" (RFC 8305 §5).

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use p2p_core::{Runtime, Sleep};

/// Between the starts of two attempts, the "connection attempt delay" that RFC 8305 §8 recommends.
const DELAY: Duration = Duration::from_millis(250);

/// Starts `attempt` for one address after the other, [`DELAY`] apart or as soon as one fails, until the first
/// succeeds; the others are dropped. Gives the last error if all fail. `addrs` must not be empty.
pub(super) async fn race<T, E, F>(
    runtime: &dyn Runtime,
    addrs: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> F,
) -> Result<(SocketAddr, T), E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut addrs = addrs.into_iter().peekable();
    let mut running: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut last_error = None;
    let mut next_start: Option<Sleep> = None;
    poll_fn(|cx| {
        loop {
            let mut failed = false;
            let mut index = 0;
            while let Some((addr, attempt)) = running.get_mut(index) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(connected)) => return Poll::Ready(Ok((*addr, connected))),
                    Poll::Ready(Err(error)) => {
                        last_error = Some(error);
                        failed = true;
                        drop(running.remove(index));
                    }
                    Poll::Pending => index += 1,
                }
            }
            let due = match &mut next_start {
                Some(sleep) => Pin::new(sleep).poll(cx).is_ready(),
                None => true,
            };
            if (due || failed || running.is_empty())
                && let Some(addr) = addrs.next()
            {
                running.push((addr, Box::pin(attempt(addr))));
                // The last attempt, and so the only one of an address that was not a name, needs no timer.
                next_start = addrs.peek().is_some().then(|| runtime.sleep(DELAY));
                continue;
            }
            return match last_error.take() {
                Some(error) if running.is_empty() => Poll::Ready(Err(error)),
                error => {
                    last_error = error;
                    Poll::Pending
                }
            };
        }
    })
    .await
}
