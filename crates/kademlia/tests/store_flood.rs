//! A million stores from ten addresses: memory stays flat, and what honest nodes stored stays. A binary of its own, because
//! it measures the memory of the process.
#![allow(
    clippy::disallowed_methods,
    reason = "a test needs some instant to begin with, and the kernel's count of pages"
)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use p2p_identity::KeyPair;
use p2p_kademlia::store::VALUE_TTL;
use p2p_kademlia::{Key, Source, Store, StoreConfig, StoredValue};

const ATTACKERS: u32 = 10;
const HONEST: u32 = 24_000;
const HONEST_PREFIXES: u32 = 240;

/// An address in a prefix of its own for each `n`.
fn address(network: u8, n: u32) -> IpAddr {
    let [_, _, a, b] = n.to_be_bytes();
    IpAddr::from([network, a, b, 1])
}

fn value(of: &str, n: u32, len: usize) -> StoredValue {
    let mut value = format!("{of} {n} ").into_bytes();
    value.resize(len, 0);
    StoredValue::immutable(value).unwrap()
}

fn honest_value(n: u32) -> StoredValue {
    value("honest", n, 1000)
}

/// Resident memory of this process, in bytes, where the kernel tells.
fn resident() -> Option<usize> {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

struct Outcome {
    /// Of the honest records, as a fraction.
    kept: f64,
    /// By how many bytes memory grew between a tenth of the flood and its end.
    grown: Option<usize>,
    /// How many bytes of memory the store takes up, and how many it says it does.
    size: Option<(usize, usize)>,
}

/// Half of the honest records are there before the flood, the others come during its first tenth.
fn flood(config: StoreConfig, stores: u32) -> Outcome {
    let (max_bytes, before) = (config.max_bytes, resident());
    let mut store = Store::new(Key::of_value(b"here"), config);
    let start = Instant::now();
    let peer = KeyPair::from_seed([1; 32]).peer_id();
    // Some are refused: that is the point.
    let put = |store: &mut Store, n: u32, value: StoredValue, ip: IpAddr| {
        _ = store.put(start + Duration::from_millis(10) * n, value, VALUE_TTL, None, Source { peer, ip });
    };
    let honest_ip = |n: u32| address(9, n % HONEST_PREFIXES);
    (0..HONEST / 2).for_each(|n| put(&mut store, 0, honest_value(n), honest_ip(n)));
    let mut honest = HONEST / 2..HONEST;
    let mut at_a_tenth = None;
    for n in 0..stores {
        put(&mut store, n, value("flood", n, 64), address(6, n % ATTACKERS));
        if n % (stores / 10 / (HONEST / 2)) == 0
            && let Some(honest) = honest.next()
        {
            put(&mut store, n, honest_value(honest), honest_ip(honest));
            assert!(store.bytes() <= max_bytes);
        }
        if n == stores / 10 {
            at_a_tenth = resident();
        }
    }
    assert!(honest.is_empty());
    let size = resident().zip(before).map(|(end, before)| (end.saturating_sub(before), store.bytes()));
    let grown = resident().zip(at_a_tenth).map(|(end, before)| end.saturating_sub(before));
    let now = start + Duration::from_millis(10) * stores;
    let kept = (0..HONEST).filter(|n| store.get(now, &honest_value(*n).key()).is_some()).count();
    Outcome { kept: kept as f64 / f64::from(HONEST), grown, size }
}

#[test]
fn a_million_stores_from_ten_addresses_push_out_nobody() {
    let config = StoreConfig::default();
    let defended = flood(config.clone(), 1_000_000);
    // Fewer do where there is no defence.
    let undefended = flood(StoreConfig { quotas: false, ..config }, 250_000);
    println!(
        "kept {:.4}, without quotas {:.4}; grown by {:?} bytes; (real, counted): {:?}",
        defended.kept, undefended.kept, defended.grown, defended.size
    );
    assert!(defended.kept >= 0.99, "{:.3} of the honest records were kept", defended.kept);
    assert!(undefended.kept < 0.5, "without quotas {:.3} were kept: the flood is none", undefended.kept);
    if let Some(grown) = defended.grown {
        assert!(grown <= 4 << 20, "memory grew by {grown} bytes during the flood");
    }
    if let Some((real, counted)) = defended.size {
        assert!(real <= counted, "{real} bytes of memory are counted as {counted}");
    }
}
