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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use p2p_core::TokioRuntime;

    use super::*;

    fn addrs(ports: std::ops::RangeInclusive<u16>) -> Vec<SocketAddr> {
        ports.map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect()
    }

    /// Runs a race on a clock that skips idle time, and gives its result with the milliseconds at which each port was
    /// tried.
    fn run<F: Future<Output = Result<(), &'static str>>>(
        ports: std::ops::RangeInclusive<u16>,
        attempt: impl Fn(Arc<dyn Runtime>, u16) -> F,
    ) -> (Result<u16, &'static str>, Vec<(u16, u128)>) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        tokio.block_on(async {
            let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
            let begin = runtime.now();
            let tried = Mutex::new(Vec::new());
            let raced = race(&*runtime, addrs(ports), |addr| {
                let at = runtime.now().duration_since(begin).as_millis();
                tried.lock().unwrap().push((addr.port(), at));
                attempt(runtime.clone(), addr.port())
            });
            let won = raced.await.map(|(addr, ())| addr.port());
            (won, tried.into_inner().unwrap())
        })
    }

    #[test]
    fn a_silent_address_is_overtaken() {
        let (won, tried) = run(1..=3, async |_, port| if port == 3 { Ok(()) } else { pending().await });
        assert_eq!(won, Ok(3));
        assert_eq!(tried, [(1, 0), (2, 250), (3, 500)]);
    }

    #[test]
    fn a_failure_starts_the_next_at_once() {
        let (won, tried) = run(1..=3, async |_, port| if port == 3 { Ok(()) } else { Err("refused") });
        assert_eq!(won, Ok(3));
        assert_eq!(tried, [(1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn an_earlier_attempt_can_still_win() {
        let (won, tried) = run(1..=3, async |runtime, port| {
            runtime.sleep(Duration::from_millis(300 * u64::from(port))).await;
            Ok(())
        });
        assert_eq!(won, Ok(1));
        assert_eq!(tried, [(1, 0), (2, 250)]);
    }

    #[test]
    fn the_last_error_is_told_when_all_fail() {
        let (won, tried) = run(1..=2, async |runtime, port| {
            runtime.sleep(Duration::from_millis(if port == 1 { 400 } else { 10 })).await;
            Err(if port == 1 { "first" } else { "second" })
        });
        assert_eq!(won, Err("first"));
        assert_eq!(tried, [(1, 0), (2, 250)]);
    }
}
