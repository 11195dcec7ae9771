//! Notices that the network under the node has changed, and looks at everything anew.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use p2p_discovery::Discovery;
use p2p_kademlia::Dht;
use p2p_kademlia::address::believed;
use p2p_net::{Endpoint, PeerAddr};
use p2p_peer_pool::{Direction, LostPeer, PeerPool};
use tokio::sync::Notify;

use super::addresses::Addresses;
use super::{Node, lock};

/// How often the node looks at the addresses of the machine and at its clocks.
const LOOK: Duration = Duration::from_secs(4);

/// Changes that follow each other sooner are one.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// A timer that fires so late, or a wall clock that runs ahead so far, says that the machine slept. Far more than a busy machine is
/// late, far less than anybody's patience with a silent peer.
const SLEPT: Duration = Duration::from_secs(10);

/// Peers that are dialed at the same time because their connections went with an address.
const IN_FLIGHT: usize = 16;

impl Node {
    /// Tells the node that the network may have changed, as an operating system tells its applications: another
    /// network, an address that came or went, a machine that woke up. The node looks at everything anew: each peer is
    /// pinged at once; connections bound to an address that is gone are closed, and their peers dialed from the new one as
    /// far as they can be; waits before dials end; the DHT finds out anew where the node is reached.
    ///
    /// The node notices most changes by itself within ten seconds. Returns at once, and is harmless at any time, also when
    /// nothing has changed: calls within a second are one.
    pub fn network_changed(&self) {
        self.network.notify_one();
    }

    pub(super) fn watch_network(&self) {
        let task = Watcher {
            told: self.network.clone(),
            pool: self.pool.clone(),
            dht: self.dht.clone(),
            discoveries: self.discoveries.clone(),
            addresses: self.addresses.clone(),
        };
        self.tasks.spawn("network", task.run());
    }
}

/// What is wrong with the network, if something is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Change {
    /// Addresses that the machine no longer has.
    gone: Vec<IpAddr>,
}

/// What the machine looked like. No I/O.
#[derive(Debug)]
struct Machine {
    now: Instant,
    wall: SystemTime,
    /// `None` where the system does not tell.
    addresses: Option<BTreeSet<IpAddr>>,
}

impl Machine {
    /// Looks again, [`LOOK`] later or because somebody `told` to; gives what has changed, if something has.
    fn look(&mut self, seen: Self, told: bool) -> Option<Change> {
        let before = std::mem::replace(self, seen);
        let passed = self.now.saturating_duration_since(before.now);
        // A wall clock that was set back says nothing.
        let by_wall = self.wall.duration_since(before.wall).unwrap_or(passed);
        let slept = passed > LOOK + SLEPT || by_wall.saturating_sub(passed) > SLEPT;
        let moved = self.addresses != before.addresses;
        let gone = match (before.addresses, &self.addresses) {
            (Some(before), Some(present)) => before.difference(present).copied().collect(),
            _ => Vec::new(),
        };
        (told || slept || moved).then_some(Change { gone })
    }
}

struct Watcher {
    told: Arc<Notify>,
    pool: PeerPool,
    dht: Option<Dht>,
    discoveries: Vec<Arc<dyn Discovery>>,
    addresses: Arc<Mutex<Addresses>>,
}

impl Watcher {
    async fn run(self) {
        let runtime = self.pool.runtime().clone();
        let mut machine = self.look();
        let mut waiting: Vec<LostPeer> = Vec::new();
        let mut dials = FuturesUnordered::new();
        let mut timer = runtime.sleep(LOOK);
        let mut not_before = runtime.now();
        loop {
            while dials.len() < IN_FLIGHT
                && let Some(peer) = waiting.pop()
            {
                dials.push(self.dial(peer));
            }
            let told = async {
                runtime.sleep_until(not_before).await;
                self.told.notified().await;
            };
            let told = tokio::select! {
                biased;
                () = told => true,
                () = &mut timer => false,
                Some(()) = dials.next(), if !dials.is_empty() => continue,
            };
            if let Some(change) = machine.look(self.look(), told) {
                waiting.extend(self.changed(&machine, &change));
                not_before = runtime.now() + AT_MOST_EVERY;
            }
            timer.reset(runtime.now() + LOOK);
        }
    }

    fn look(&self) -> Machine {
        let runtime = self.pool.runtime();
        let addresses = runtime.local_addresses().ok().map(BTreeSet::from_iter);
        Machine { now: runtime.now(), wall: runtime.system_time(), addresses }
    }

    /// Tells everybody; gives the peers to dial.
    fn changed(&self, machine: &Machine, change: &Change) -> Vec<LostPeer> {
        tracing::info!(addresses = ?machine.addresses, gone = ?change.gone, "the network has changed");
        let addresses: Option<Vec<IpAddr>> = machine.addresses.as_ref().map(|all| all.iter().copied().collect());
        let lost = self.pool.network_changed(addresses.as_deref());
        if let Some(dht) = &self.dht {
            dht.network_changed(addresses.as_deref(), &change.gone);
        }
        self.discoveries.iter().for_each(|discovery| discovery.network_changed());
        lost
    }

    /// Dials a peer from the new address, where that can be done.
    async fn dial(&self, lost: LostPeer) {
        let addrs = endpoints(&lost, lock(&self.addresses).of(&lost.peer_id));
        if addrs.is_empty() {
            return;
        }
        self.pool.gone_with_address(&lost).await;
        if let Err(error) = self.pool.connect_found(Some(lost.peer_id), &addrs).await {
            tracing::debug!(peer = %lost.peer_id, %error, "a peer is not reached from the new address");
        }
    }
}

/// Where a peer can be dialed: where it was, where it says it is, and where it was known to be.
fn endpoints(lost: &LostPeer, known: Vec<Endpoint>) -> Vec<PeerAddr> {
    let mut addrs: Vec<PeerAddr> = Vec::new();
    let mut add = |endpoint: Endpoint| {
        let addr = PeerAddr::from(endpoint.with_peer_id(lost.peer_id));
        if addr.endpoint.transport().is_connection() && !addrs.contains(&addr) {
            addrs.push(addr);
        }
    };
    if lost.direction == Direction::Outbound {
        add(lost.endpoint.clone());
    }
    if let (Some(record), Some(ip)) = (&lost.record, lost.endpoint.addr().ip())
        && record.verify().is_ok()
    {
        believed(record.addrs(), ip).for_each(|addr| add(addr.endpoint.clone()));
    }
    known.into_iter().for_each(add);
    addrs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn machine(addresses: &[&str]) -> Machine {
        let addresses = Some(addresses.iter().map(|text| ip(text)).collect());
        Machine { now: Instant::now(), wall: SystemTime::UNIX_EPOCH + 1000 * SLEPT, addresses }
    }

    /// The machine after some time by each of its clocks.
    fn later(machine: &Machine, now: Duration, wall: Duration) -> Machine {
        Machine { now: machine.now + now, wall: machine.wall + wall, addresses: machine.addresses.clone() }
    }

    #[test]
    fn nothing_happens_while_nothing_changes() {
        let mut seen = machine(&["8.8.8.8"]);
        for late in [Duration::ZERO, SLEPT / 2, Duration::from_millis(1)] {
            let again = later(&seen, LOOK + late, LOOK + late + SLEPT / 2);
            assert_eq!(seen.look(again, false), None);
        }
        let again = later(&seen, LOOK, LOOK);
        assert_eq!(seen.look(again, true), Some(Change::default()), "somebody says so");
    }

    #[test]
    fn an_address_that_comes_or_goes_is_a_change() {
        let mut seen = machine(&["8.8.8.8", "10.0.0.1"]);
        let moved = Machine { addresses: machine(&["10.0.0.1", "9.9.9.9"]).addresses, ..later(&seen, LOOK, LOOK) };
        assert_eq!(seen.look(moved, false), Some(Change { gone: vec![ip("8.8.8.8")] }));
        let more =
            Machine { addresses: machine(&["10.0.0.1", "9.9.9.9", "10.0.0.2"]).addresses, ..later(&seen, LOOK, LOOK) };
        assert_eq!(seen.look(more, false), Some(Change { gone: vec![] }));
        let unknown = Machine { addresses: None, ..later(&seen, LOOK, LOOK) };
        assert_eq!(seen.look(unknown, false), Some(Change { gone: vec![] }), "who cannot be asked has lost nothing");
    }

    /// Linux stops monotonic time while it sleeps, Windows does not, and either shows.
    #[test]
    fn a_machine_that_slept_is_noticed_by_whichever_clock_went_on() {
        let mut seen = machine(&[]);
        let hour = Duration::from_secs(3600);
        let stopped = later(&seen, LOOK, LOOK + hour);
        assert!(seen.look(stopped, false).is_some());
        let went_on = later(&seen, LOOK + hour, LOOK + hour);
        assert!(seen.look(went_on, false).is_some());
        let set_back = Machine { wall: SystemTime::UNIX_EPOCH, ..later(&seen, LOOK, LOOK) };
        assert_eq!(seen.look(set_back, false), None, "that is no sleep");
    }
}
