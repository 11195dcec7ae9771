//! The simulator keeps the contract of every runtime.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use p2p_core::runtime::contract;
use p2p_sim::{Latency, Link, Settings, Sim};

#[test]
fn on_several_seeds() {
    let mut hashes = Vec::new();
    for report in p2p_sim::check(0..8, |sim| async move {
        let host = sim.host("host");
        host.spawn({
            let runtime = host.runtime();
            async move { contract::check(runtime).await }
        })
        .await
        .unwrap();
        assert_eq!((host.open_sockets(), host.live_tasks()), (0, 0), "nothing is left");
    }) {
        assert!(report.time > Duration::from_millis(500), "the contract waits for half a second at least: {report}");
        hashes.push(report.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 8, "each seed has a trace of its own");
}

#[test]
fn polled_from_outside_of_its_host() {
    let sim = Sim::new(3);
    let host = sim.host("host");
    sim.block_on(contract::check(host.runtime()));
}

/// Loopback as bad as a stream can bear. (The datagrams of the contract may not be lost.)
#[test]
fn over_slow_loopback() {
    let loopback = Link::LOOPBACK
        .latency(Latency::Uniform { base: Duration::from_micros(100), jitter: Duration::from_micros(900) })
        .bandwidth(100_000_000);
    let sim = Sim::with(5, Settings { loopback, ..Settings::default() });
    sim.block_on(contract::check(sim.runtime()));
}
