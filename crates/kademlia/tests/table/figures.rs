//! Memory and allocations. (Times are measured by `cargo bench -p p2p-kademlia --bench table`.)

use std::hint::black_box;
use std::net::IpAddr;

use p2p_kademlia::{Contact, Key, Table, TableConfig};

use crate::support::{Random, elsewhere, start};

/// A contact without its record.
#[derive(Clone)]
struct Bare(Key);

impl Contact for Bare {
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

fn network(nodes: usize) -> Table<Bare> {
    let mut random = Random(1);
    let mut table = Table::new(random.key(), TableConfig::default());
    (0..nodes).for_each(|n| _ = table.on_alive(start(), Bare(random.key()), elsewhere(n)));
    table
}

#[test]
fn an_entry_needs_at_most_200_bytes_its_record_aside() {
    for nodes in [1_000, 10_000, 100_000] {
        let mut table = None;
        let info = allocation_counter::measure(|| table = Some(network(nodes)));
        let (bytes, entries) = (info.bytes_current as usize + size_of::<Table<Bare>>(), table.unwrap().len());
        // Its replacements and the unused room of its lists are counted too.
        assert!(bytes <= 200 * entries, "{nodes} nodes: {} bytes for each of {entries}", bytes / entries);
    }
}

#[test]
fn closest_does_not_allocate() {
    let table = network(10_000);
    let mut random = Random(2);
    for count in [1, 20, 100, usize::MAX] {
        let target = random.key();
        let info = allocation_counter::measure(|| {
            table.closest(&target, count).for_each(|node| _ = black_box(node));
            table.closest(&table.local(), count).for_each(|node| _ = black_box(node));
        });
        assert_eq!(info.count_total, 0, "closest {count}");
    }
    assert!(allocation_counter::measure(|| _ = black_box(Box::new(1))).count_total > 0, "the counter counts");
}
