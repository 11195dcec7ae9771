//! What every [`Runtime`] promises, as tests. An implementation calls [`check`] from one of its own tests, on itself:
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use p2p_core::runtime::{self, contract};
//!
//! contract::tasks(&runtime::current().unwrap()).await;
//! # });
//! ```
//!
//! The functions panic with what was promised and not kept. They use loopback addresses only and take a few seconds of
//! the runtime's own time. No upper bound on a duration is tighter than [`PATIENCE`], so that a busy machine passes.

mod files;
mod tcp;
mod time;
mod udp;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use self::files::{blocking, files};
pub use self::tcp::{tcp, tcp_backpressure, tcp_broken, tcp_half_close};
pub use self::time::{clocks, timeouts, timers};
pub use self::udp::{udp, udp_connected};

use super::{BoxFuture, ByteListener, ByteStream, Runtime};
use crate::TaskGroup;

/// How long anything that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Checks everything in this module, one after the other. Run it on `runtime` itself.
pub async fn check(runtime: Arc<dyn Runtime>) {
    tasks(&runtime).await;
    clocks(&runtime).await;
    timers(&runtime).await;
    timeouts(&runtime).await;
    entropy(&runtime);
    tcp(&runtime).await;
    tcp_half_close(&runtime).await;
    tcp_backpressure(&runtime).await;
    tcp_broken(&runtime).await;
    udp(&runtime).await;
    udp_connected(&runtime).await;
    names(&runtime).await;
    addresses(&runtime);
    files(&runtime);
    blocking(&runtime).await;
}

/// Tasks run beside each other, may panic without harm to others, and are gone once their group has shut down.
pub async fn tasks(runtime: &Arc<dyn Runtime>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let group = TaskGroup::new(runtime.clone());
    let (first, second) = (ran.clone(), ran.clone());
    group.spawn("waits", async move {
        receiver.await.expect("the other task sends");
        first.fetch_add(1, Ordering::SeqCst);
    });
    group.spawn("panics", async { panic!("on purpose, by the runtime contract") });
    group.spawn("sends", async move {
        second.fetch_add(1, Ordering::SeqCst);
        sender.send(()).expect("the other task waits");
    });
    within(runtime, "tasks end", group.wait()).await;
    assert_eq!(ran.load(Ordering::SeqCst), 2, "every task runs, whatever another one does");

    let held = Arc::new(());
    let inner = held.clone();
    group.spawn("for ever", async move {
        let _inner = inner;
        std::future::pending::<()>().await;
    });
    within(runtime, "shutdown ends", group.shutdown()).await;
    assert_eq!(Arc::strong_count(&held), 1, "shutdown returns after the futures are dropped");
}

/// Random bytes differ from call to call and fill all of the buffer.
pub fn entropy(runtime: &Arc<dyn Runtime>) {
    let mut draws = Vec::new();
    for len in [16, 33, 64, 1000] {
        let mut bytes = vec![0; len];
        runtime.fill_random(&mut bytes);
        // 16 zeroes in a row happen once in 2^128.
        assert!(bytes.chunks_exact(16).all(|chunk| chunk != [0; 16]), "all of {len} bytes are filled");
        draws.push(bytes[..16].to_vec());
    }
    draws.sort();
    draws.dedup();
    assert_eq!(draws.len(), 4, "no two draws are alike");
    runtime.fill_random(&mut []);
}

/// `localhost` and IP literals resolve; a name that cannot exist (RFC 6761 §6.4) is an error.
pub async fn names(runtime: &Arc<dyn Runtime>) {
    let local = within(runtime, "a look-up ends", runtime.resolve("localhost")).await.expect("localhost is known");
    assert!(!local.is_empty() && local.iter().all(IpAddr::is_loopback), "localhost is this machine: {local:?}");
    for literal in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let found = within(runtime, "a literal resolves", runtime.resolve(&literal.to_string())).await;
        assert_eq!(found.expect("an address is its own name"), [literal]);
    }
    for bad in ["", "no such.name.invalid", "a\0b"] {
        let found = within(runtime, "a look-up ends", runtime.resolve(bad)).await;
        assert!(found.is_err(), "{bad:?} has no address, yet: {found:?}");
    }
}

/// The addresses that a runtime knows are this machine's, each once and in order, and none that only it can reach.
pub fn addresses(runtime: &Arc<dyn Runtime>) {
    let addresses = match runtime.local_addresses() {
        Ok(addresses) => addresses,
        Err(error) => return assert_eq!(error.kind(), io::ErrorKind::Unsupported, "it can be asked at any time"),
    };
    assert!(addresses.is_sorted_by(|a, b| a < b), "in order, each once: {addresses:?}");
    assert!(
        !addresses.iter().any(|ip| ip.is_loopback() || ip.is_unspecified()),
        "others can reach them: {addresses:?}"
    );
    for ip in addresses.into_iter().filter(IpAddr::is_ipv4) {
        let bound = runtime.udp_bind(free(ip));
        assert!(bound.is_ok(), "{ip} is an address of this machine, yet: {bound:?}");
    }
}

/// What `future` gives, which must come within [`PATIENCE`].
async fn within<F: Future>(runtime: &Arc<dyn Runtime>, promise: &str, future: F) -> F::Output {
    match runtime.timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("within {PATIENCE:?}: {promise}"),
    }
}

/// Both ends of a new connection: the one that dialed, the one that accepted.
async fn connected(runtime: &Arc<dyn Runtime>) -> (Box<dyn ByteStream>, Box<dyn ByteStream>) {
    let listener = runtime.tcp_listen(free(Ipv4Addr::LOCALHOST)).expect("a free port can be listened on");
    let dialing: BoxFuture<_> = runtime.tcp_connect(listener.local_addr());
    let dialed = within(runtime, "a connect ends", dialing).await.expect("a listener can be reached");
    (dialed, accept(runtime, &*listener).await)
}

async fn accept(runtime: &Arc<dyn Runtime>, listener: &dyn ByteListener) -> Box<dyn ByteStream> {
    let accepting = poll_fn(|cx| listener.poll_accept(cx));
    within(runtime, "a connection is accepted", accepting).await.expect("accepting works")
}

/// An address on which the system chooses the port.
fn free(ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), 0)
}

/// Whether this machine has no IPv6 at all, which no runtime can mend.
fn without_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error().is_some_and(|code| [97, 47, 10047].contains(&code)) // EAFNOSUPPORT of Linux, BSD, Windows
}
