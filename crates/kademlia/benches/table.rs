//! The two figures of the routing table: what `closest(20)` takes on a full table, and what memory an entry needs.
//!
//! `cargo bench -p p2p-kademlia --bench table`

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use divan::Bencher;
use p2p_kademlia::{Contact, Key, Table, TableConfig};

use self::random::Random;

#[path = "../tests/support/random.rs"]
mod random;

/// A signed contact without its record: what remains is the table's own.
#[derive(Clone)]
struct Node(Key);

impl Contact for Node {
    fn key(&self) -> Key {
        self.0
    }

    fn ip(&self) -> Option<IpAddr> {
        None
    }

    fn seq(&self) -> u64 {
        0
    }
}

/// The table of a node that met all others of a network of this size, at public addresses of their own.
fn table(random: &mut Random, nodes: u32) -> Table<Node> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark needs some instant")]
    let now = Instant::now();
    let mut table = Table::new(random.key(), TableConfig::default());
    for n in 0..nodes {
        let ip = Ipv4Addr::from(0x2000_0000 + (n << 8));
        table.on_alive(now, Node(random.key()), Some(ip.into()));
    }
    table
}

/// The k closest to random positions.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_size = 1_000)]
fn closest_20(bencher: Bencher<'_, '_>, nodes: u32) {
    let mut random = Random(1);
    let table = table(&mut random, nodes);
    let targets: Vec<Key> = (0..1024).map(|_| random.key()).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        next += 1;
        let mut last = None;
        for node in table.closest(black_box(&targets[next % targets.len()]), 20) {
            last = black_box(Some(node));
        }
        last
    });
}

/// The k closest to the table's own position: the worst case, for they are spread over many small buckets.
#[divan::bench(args = [1_000, 100_000, 1_000_000], sample_size = 1_000)]
fn closest_20_to_itself(bencher: Bencher<'_, '_>, nodes: u32) {
    let table = table(&mut Random(1), nodes);
    let local = table.local();
    bencher.bench_local(|| {
        let mut last = None;
        for node in table.closest(black_box(&local), 20) {
            last = black_box(Some(node));
        }
        last
    });
}

/// A contact that is there answers.
#[divan::bench]
fn on_alive_known(bencher: Bencher<'_, '_>) {
    let mut table = table(&mut Random(1), 100_000);
    let nodes: Vec<Node> = table.iter().cloned().collect();
    #[expect(clippy::disallowed_methods, reason = "a benchmark needs some instant")]
    let now = Instant::now();
    let mut next = 0;
    bencher.bench_local(|| {
        next += 1;
        table.on_alive(now, nodes[next % nodes.len()].clone(), None)
    });
}

fn main() {
    let mut random = Random(1);
    let mut full = None;
    let held = allocation_counter::measure(|| full = Some(table(&mut random, 100_000))).bytes_current;
    let full = full.expect("it was made just now");
    let target = random.key();
    let allocations = allocation_counter::measure(|| {
        full.closest(&target, 20).for_each(|node| _ = black_box(node));
    });
    let (entries, waiting) = (full.len(), full.replacements().count());
    println!("table of a network of 100,000: {entries} contacts, and {waiting} that wait for a place");
    println!("memory per contact, what waits included and records aside: {:.0} bytes", held as f64 / entries as f64);
    println!("allocations of closest(20): {}", allocations.count_total);
    divan::main();
}
