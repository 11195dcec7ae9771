//! What an operator sees with `RUST_LOG=p2p=info`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use p2p::endpoint::{Endpoint, Transport};
use p2p::keypair::KeyPair;
use p2p::{Config, Node};
use p2p_sim::Sim;
use tracing_subscriber::EnvFilter;

/// The lines of a log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

fn node(sim: &Sim, name: &str, seed: u8) -> Arc<Node> {
    let host = sim.host(name);
    let listen_endpoints = vec![Endpoint::new(Transport::Quic, host.ipv4(), 4001)];
    let mut config = Config { listen_endpoints, inbound_slots: 1000, ..Config::default() };
    (config.limits.handshakes, config.limits.handshakes_per_prefix) = (1000, 1000);
    Node::builder(&KeyPair::from_seed([seed; 32])).config(config).runtime(host.runtime()).build().unwrap()
}

/// What is logged at `directive`, in the simulator and therefore on this thread, while `story` goes on.
fn logged<F: Future<Output = ()>>(directive: &str, story: impl FnOnce(Sim) -> F) -> Log {
    let log = Log::default();
    let writer = log.clone();
    let filter = EnvFilter::builder().parse(directive).unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter);
    tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), || {
        let sim = Sim::new(1);
        sim.clone().block_on(story(sim));
    });
    log
}

#[test]
fn peers_that_come_and_go_are_seen_at_info() {
    let ids = Mutex::new(Vec::new());
    let log = logged("p2p=info", |sim| async {
        let sim = sim;
        let (a, b) = (node(&sim, "a", 1), node(&sim, "b", 2));
        *ids.lock().unwrap() = vec![a.peer_id(), b.peer_id()];
        a.run().await.unwrap();
        b.run().await.unwrap();
        a.connect(&b.listen_endpoints()[0]).await.unwrap();
        a.ban(&b.peer_id(), Duration::from_secs(60));
        sim.sleep(Duration::from_secs(1)).await;
        b.shutdown().await;
        a.shutdown().await;
    });
    let lines = log.lines();
    let ids = ids.lock().unwrap();
    let about = |peer: usize, what: &str| {
        let peer = format!("peer={}", ids[peer]);
        let mut found = lines.iter().filter(|line| line.contains(&peer) && line.contains(what));
        let line = found.next().unwrap_or_else(|| panic!("no line with {peer:?} and {what:?} in {lines:#?}"));
        assert_eq!(found.next(), None, "one line for each");
        line.clone()
    };
    for (peer, direction, reason) in
        [(0, "inbound", "closed by the remote: it has banned this node"), (1, "outbound", "the peer is banned")]
    {
        for line in [about(peer, "a peer is connected"), about(peer, "a peer is gone")] {
            assert!(line.contains(" INFO p2p") && line.contains("endpoint=quic://"), "{line}");
            assert!(line.contains(&format!("direction={direction}")), "{line}");
        }
        assert!(about(peer, "a peer is gone").contains(&format!("reason={reason}")), "{lines:#?}");
    }
    assert!(!lines.iter().any(|line| line.contains("DEBUG")), "that is more than was asked for: {lines:#?}");
}

/// Many who connect and say good-bye as fast as they can fill no disk.
#[test]
fn peers_that_come_and_go_in_great_number_take_few_lines() {
    const VISITORS: usize = 200;
    let seconds = Mutex::new(0);
    let log = logged("p2p=info", |sim| async {
        let sim = sim;
        let began = sim.now();
        let host = node(&sim, "host", 1);
        host.run().await.unwrap();
        let to = &host.listen_endpoints()[0];
        let visitors: Vec<_> = (0..VISITORS).map(|n| node(&sim, &format!("visitor{n}"), n as u8 + 2)).collect();
        join_all(visitors.iter().map(|visitor| async {
            visitor.run().await.unwrap();
            visitor.connect(to).await.unwrap();
            visitor.shutdown().await;
        }))
        .await;
        sim.sleep(Duration::from_secs(1)).await;
        assert_eq!(host.peers(), 0);
        *seconds.lock().unwrap() = (sim.now() - began).as_secs() + 1;
        // The next line says how many had no room.
        let late = node(&sim, "late", 250);
        late.run().await.unwrap();
        late.connect(to).await.unwrap();
        late.shutdown().await;
        host.shutdown().await;
    });
    let lines = log.lines();
    let there = |line: &&String| line.contains("a peer is") && line.contains("direction=inbound");
    let (seen, most) = (lines.iter().filter(there).count(), 256 + 16 * *seconds.lock().unwrap() as usize);
    assert!(most < 2 * VISITORS, "it took too long to see anything: there is room for {most} lines");
    assert!(seen <= most, "{seen} lines where there is room for {most}");
    assert!(lines.iter().any(|line| line.contains("left_out=")), "nobody says that lines are missing");
}
