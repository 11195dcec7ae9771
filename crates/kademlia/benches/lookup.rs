//! What a lookup takes apart from the network: whom to ask next, and what to make of the answers.
//!
//! `cargo bench -p p2p-kademlia --bench lookup`

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use p2p_kademlia::{Contact, Key, Lookup, LookupConfig, RttEstimator, Table, TableConfig};

use self::random::Random;

#[path = "../tests/support/random.rs"]
mod random;

#[derive(Clone)]
struct Node(Key, IpAddr);

impl Contact for Node {
    fn key(&self) -> Key {
        self.0
    }

    fn ip(&self) -> Option<IpAddr> {
        Some(self.1)
    }

    fn seq(&self) -> u64 {
        0
    }
}

/// Everybody knows the nodes that are in its table after it met all others.
struct Network {
    nodes: Vec<Node>,
    tables: Vec<Table<Node>>,
    now: Instant,
}

impl Network {
    fn new(random: &mut Random, size: u32) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a benchmark needs some instant")]
        let now = Instant::now();
        let node = |n: u32| Node(random.key(), Ipv4Addr::from(0x2000_0000 + (n << 8)).into());
        let mut nodes: Vec<Node> = (0..size).map(node).collect();
        nodes.sort_by_key(|node| node.0);
        let table = |local: &Node| {
            let mut table = Table::new(local.0, TableConfig::default());
            for node in &nodes {
                table.on_alive(now, node.clone(), Some(node.1));
            }
            table
        };
        let tables = nodes.iter().map(table).collect();
        Self { nodes, tables, now }
    }

    fn table(&self, key: &Key) -> &Table<Node> {
        let at = self.nodes.binary_search_by_key(key, |node| node.0).expect("one of them");
        &self.tables[at]
    }

    /// A lookup in which whoever is asked answers at once; how many were.
    fn look_up(&self, from: usize, target: Key, config: &LookupConfig) -> usize {
        let local = self.nodes[from].0;
        let seeds = self.tables[from].closest(&target, config.paths * config.width).cloned();
        let mut lookup = Lookup::new(local, target, seeds, config.clone(), RttEstimator::default(), self.now);
        let mut asked = 0;
        while let Some(node) = lookup.next(self.now) {
            asked += 1;
            let answer = self.table(&node.0).closest(&target, config.k).cloned();
            lookup.on_answer(self.now, &node.0, answer);
        }
        assert!(lookup.is_finished());
        asked
    }
}

/// Counts the questions: a lookup asks some 30 nodes over 4 paths, and some 20 over one.
#[divan::bench(args = [1, 4])]
fn converged(bencher: Bencher<'_, '_>, paths: usize) {
    let mut random = Random(1);
    let network = Network::new(&mut random, 1_000);
    let config = LookupConfig { paths, ..LookupConfig::default() };
    let targets: Vec<Key> = (0..64).map(|_| random.key()).collect();
    let asked: usize = targets.iter().enumerate().map(|(from, target)| network.look_up(from, *target, &config)).sum();
    bencher.counter(ItemsCount::new(asked)).bench_local(|| {
        targets.iter().enumerate().map(|(from, target)| network.look_up(from, *target, &config)).sum::<usize>()
    });
}

fn main() {
    divan::main();
}
