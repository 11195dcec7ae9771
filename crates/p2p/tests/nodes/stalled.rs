//! A hub with many peers, one of which has stopped altogether. That the others keep their rate, and when it is given up, is shown
//! in virtual time: `tests/stalled.rs`.

use std::sync::mpsc;
use std::time::Duration;

use p2p::protocol::ProtocolKind;
use p2p::{Config, DisconnectReason, Error, Limits, PeerConn, PeerId};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::common::{Host, World, eventually, everywhere, id, in_time, number, numbered, shutdown};

const PEERS: usize = 50;
const LEN: usize = 50_000;

/// Broadcasts after the first that skips the one.
const ROUNDS: u32 = 10;

/// A node on a thread of its own, which can be stopped in the middle of everything.
struct Freezer {
    freeze: tokio::sync::oneshot::Sender<()>,
    is_frozen: mpsc::Receiver<()>,
    thaw: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Freezer {
    /// Starts it and waits until it is connected.
    async fn new(world: &World, hub: &mut Host, config: Config) -> (Self, PeerId) {
        let (mut world, endpoint) = (world.clone(), hub.endpoint());
        let (freeze, frozen) = tokio::sync::oneshot::channel();
        let (tell, is_frozen) = mpsc::channel();
        let (thaw, thawed) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio.block_on(async {
                world.runtime = std::sync::Arc::new(p2p::TokioRuntime::current().unwrap());
                let host = world.host_with(config).await;
                let _conns = host.hold("/x", ProtocolKind::Optional);
                host.connect(&endpoint).await.unwrap();
                frozen.await.unwrap();
                tell.send(()).unwrap();
                // Nothing of this runtime goes on meanwhile.
                thawed.recv().unwrap();
                shutdown([host]).await;
            });
        });
        let peer = hub.added().await.peer_id;
        (Self { freeze, is_frozen, thaw, thread }, peer)
    }

    fn freeze(self) -> Frozen {
        self.freeze.send(()).unwrap();
        self.is_frozen.recv().unwrap();
        Frozen { thaw: self.thaw, thread: self.thread }
    }
}

struct Frozen {
    thaw: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Frozen {
    async fn thaw(self) {
        self.thaw.send(()).unwrap();
        eventually("it is gone too", || self.thread.is_finished()).await;
        self.thread.join().unwrap();
    }
}

/// Sends to the frozen one alone until its connection takes nothing more for now.
async fn fill(conn: &PeerConn) {
    while conn.try_send(numbered(0, LEN)).is_ok() {
        tokio::task::yield_now().await;
    }
}

/// The hub's connection with this peer.
async fn with(conns: &mut UnboundedReceiver<PeerConn>, peer: PeerId) -> PeerConn {
    loop {
        let conn = conns.recv().await.unwrap();
        if conn.peer_id() == peer {
            return conn;
        }
    }
}

#[test]
fn forty_nine_go_on_beside_one_that_has_stopped() {
    everywhere(|world| async move {
        // What nobody reads holds a shutdown up for so long.
        let drain_timeout = Duration::from_secs(1);
        let limits = Limits { queue_messages: 4, ..Limits::default() };
        let mut hub = world.host_with(Config { limits, drain_timeout, ..world.config() }).await;
        let mut at_hub = hub.hold("/x", ProtocolKind::Optional);
        let (mut peers, mut readers) = (Vec::new(), Vec::new());
        for _ in 1..PEERS {
            let peer = world.host().await;
            let mut conns = peer.hold("/x", ProtocolKind::Optional);
            peer.connect(&hub.endpoint()).await.unwrap();
            hub.added().await;
            readers.push(conns.recv().await.unwrap());
            peers.push(peer);
        }
        let (freezer, peer) = Freezer::new(&world, &mut hub, Config { drain_timeout, ..world.config() }).await;
        let to_it = with(&mut at_hub, peer).await;
        assert_eq!(hub.peers(), PEERS);
        let frozen = freezer.freeze();
        let (mut n, mut skipped) = (0, 0);
        while skipped < ROUNDS {
            fill(&to_it).await;
            let broadcast = hub.broadcast(&id("/x"), numbered(n, LEN)).unwrap();
            // Those that read are skipped never, and it is from some time on always: all that there is room in is full.
            assert!(broadcast.busy.iter().all(|busy| *busy == peer), "{:?}", broadcast.busy);
            assert_eq!(broadcast.sent + broadcast.busy.len(), PEERS);
            skipped += broadcast.busy.len() as u32;
            for reader in &readers {
                assert_eq!(number(&in_time("a broadcast", reader.recv()).await.unwrap()), n);
            }
            n += 1;
        }
        assert_eq!(hub.peers(), PEERS, "it has time yet");
        assert!(hub.events.try_recv().is_none());
        peers.push(hub);
        shutdown(peers).await;
        frozen.thaw().await;
    });
}

#[test]
fn one_that_has_stopped_is_disconnected() {
    everywhere(|world| async move {
        let (stall_timeout, ping_timeout) = (Duration::from_secs(2), Duration::from_secs(3));
        let mut hub = world.host_with(Config { stall_timeout, ping_timeout, ..world.config() }).await;
        let mut at_hub = hub.hold("/x", ProtocolKind::Optional);
        let (freezer, peer) = Freezer::new(&world, &mut hub, world.config()).await;
        let to_it = with(&mut at_hub, peer).await;
        let frozen = freezer.freeze();
        let sending = async {
            loop {
                match to_it.send(numbered(0, LEN)).await {
                    Ok(()) => {}
                    Err(Error::Disconnected(_) | Error::PeerShutdown) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        };
        // A process that stands still is silent, as after a cut, unless its socket is full and its system says so.
        let (reason, ()) = tokio::join!(hub.removed(), sending);
        assert!(matches!(reason, DisconnectReason::Stalled | DisconnectReason::PingTimeout), "{reason}");
        assert_eq!(hub.peers(), 0);
        frozen.thaw().await;
        shutdown([hub]).await;
    });
}
