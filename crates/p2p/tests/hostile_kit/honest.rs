//! Honest peers of the attacked node: one connects again and again, one stays and exchanges messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use p2p::endpoint::Endpoint;
use p2p::{Node, PeerId};
use tokio::task::JoinHandle;

use crate::common::{ECHO, Honest, in_time};

/// Who is refused tries again, so many times in all, with [`PAUSE`] in between.
pub(crate) const TRIES: u32 = 40;

pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// Tasks of a node that come and go with its honest peers.
pub(crate) const HONEST_TASKS: u64 = 16;

/// Messages after each connect.
const MESSAGES: u32 = 3;

/// What the one who connects again and again has seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// How long each connect took, with all its tries.
    pub(crate) connects: Vec<Duration>,
    /// Tries that were refused, or failed.
    pub(crate) refused: u64,
    /// Times that it gave up.
    pub(crate) kept_out: u64,
    /// Messages of which the echo did not come.
    pub(crate) lost: u64,
}

/// Connects, exchanges messages and leaves, until `over` and at least `least` times.
pub(crate) async fn comes_and_goes(endpoint: Endpoint, least: usize, over: impl Fn() -> bool) -> Seen {
    let (node, mut seen) = (Honest::node().await, Seen::default());
    while seen.connects.len() + (seen.kept_out as usize) < least || !over() {
        let begin = Instant::now();
        let (peer, refused) = enters(&node, &endpoint).await;
        seen.refused += refused;
        let Some(peer) = peer else {
            seen.kept_out += 1;
            continue;
        };
        seen.connects.push(begin.elapsed());
        match node.conn(&peer, &ECHO.parse().expect("an id")) {
            Some(conn) => {
                for n in 0..MESSAGES {
                    seen.lost += u64::from(!answered(&conn, n.into()).await);
                }
            }
            None => seen.lost += u64::from(MESSAGES),
        }
        in_time("a good-bye", node.disconnect(&peer, 0, "")).await;
    }
    in_time("shutdown", node.shutdown()).await;
    seen
}

/// Connects, with as many tries as it takes; gives how many of them failed.
pub(crate) async fn enters(node: &Node, endpoint: &Endpoint) -> (Option<PeerId>, u64) {
    for refused in 0..TRIES {
        if let Ok(peer) = in_time("an honest connect", node.connect(endpoint)).await {
            return (Some(peer), refused.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
    (None, TRIES.into())
}

/// Whether the echo of a message comes.
async fn answered(conn: &p2p::PeerConn, n: u64) -> bool {
    let exchange = async {
        conn.send(n.to_be_bytes().to_vec()).await.ok()?;
        loop {
            let message = conn.recv().await.ok()?;
            // Others are broadcast to everybody.
            if message.len() == size_of_val(&n) {
                return Some(message);
            }
        }
    };
    in_time("an exchange", exchange).await.is_some_and(|message| message[..] == n.to_be_bytes())
}

/// A peer that stays connected and exchanges messages all the time.
pub(crate) struct Stays {
    node: Arc<Node>,
    count: Arc<AtomicU64>,
    since: Instant,
    task: JoinHandle<()>,
}

impl Stays {
    pub(crate) async fn with(endpoint: &Endpoint) -> Self {
        let node = Honest::node().await;
        let peer = enters(&node, endpoint).await.0.expect("nobody is there yet");
        let conn = node.conn(&peer, &ECHO.parse().expect("an id")).expect("it echoes");
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let task = tokio::spawn(async move {
            let mut n = 0;
            while answered(&conn, n).await {
                n = counter.fetch_add(1, Ordering::Relaxed) + 1;
                // An ordinary peer, not a benchmark.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { node, count, since: Instant::now(), task }
    }

    /// Whether the connection still stands, and messages a second.
    pub(crate) async fn end(self) -> (bool, u64) {
        let (before, elapsed) = (self.count.load(Ordering::Relaxed), self.since.elapsed());
        // One more, whatever has happened.
        let goes_on = in_time("one more exchange", async {
            while !self.task.is_finished() && self.count.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            !self.task.is_finished()
        })
        .await;
        self.task.abort();
        in_time("shutdown", self.node.shutdown()).await;
        (goes_on, (before as f64 / elapsed.as_secs_f64()) as u64)
    }
}
