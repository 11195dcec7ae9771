//! Plans drawn from a seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::disk::DiskFault;
use crate::fault::Fault;
use crate::host::HostId;
use crate::link::Link;
use crate::plan::Plan;
use crate::rng::{Rng, Stream};

/// A year of step of a wall clock, in seconds.
const YEAR: i64 = 365 * 24 * 3600;

/// What a random plan may do.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The hosts that may be harmed.
    pub hosts: Vec<HostId>,
    /// When all is well again.
    pub end: Duration,
    /// How many things go wrong.
    pub troubles: usize,
    /// How long each lasts; less if it begins late.
    pub lasting: RangeInclusive<Duration>,
    /// The largest share of packets that a link loses.
    pub max_loss: f64,
    /// Which things may go wrong.
    pub kinds: Kinds,
    /// What links are like when nothing is wrong.
    pub link: Link,
}

/// Which things may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds {
    /// Partitions into two groups.
    pub partitions: bool,
    /// One direction between two hosts lets nothing through, or holds it back.
    pub one_way: bool,
    /// A link loses packets or has little bandwidth.
    pub bad_links: bool,
    /// Hosts pause.
    pub pauses: bool,
    /// Hosts crash or are killed, and start again.
    pub restarts: bool,
    /// Wall clocks step by years and disks fail.
    pub machines: bool,
}

impl Kinds {
    /// All of them.
    pub const ALL: Self =
        Self { partitions: true, one_way: true, bad_links: true, pauses: true, restarts: true, machines: true };

    /// What concerns the network only.
    pub const NETWORK: Self = Self { pauses: false, restarts: false, machines: false, ..Self::ALL };
}

impl Bounds {
    /// Up to `troubles` things of every kind that go wrong, each for 100 ms to 20 s, and all is well again at `end`.
    pub fn new(hosts: impl IntoIterator<Item = HostId>, end: Duration, troubles: usize) -> Self {
        Self {
            hosts: hosts.into_iter().collect(),
            end,
            troubles,
            lasting: Duration::from_millis(100)..=Duration::from_secs(20),
            max_loss: 0.2,
            kinds: Kinds::ALL,
            link: Link::WAN,
        }
    }
}

impl Plan {
    /// A plan drawn from a seed. Each thing that goes wrong is mended again, and at the end everything is, so that a test can
    /// demand afterwards that all has recovered.
    pub fn random(seed: u64, bounds: &Bounds) -> Self {
        let mut rng = Rng::new(seed, Stream::Plan);
        let mut plan = Self::new();
        let kinds = bounds.kinds.list();
        if bounds.hosts.is_empty() || kinds.is_empty() {
            return plan;
        }
        for _ in 0..bounds.troubles {
            let begins = rng.up_to(bounds.end);
            let (least, most) = (*bounds.lasting.start(), *bounds.lasting.end());
            let lasts = least + rng.up_to(most.saturating_sub(least));
            let ends = (begins + lasts).min(bounds.end);
            let kind = kinds[rng.below(kinds.len() as u64) as usize];
            let (trouble, cure) = kind(&mut rng, bounds);
            plan = plan.at(begins, trouble);
            if let Some(cure) = cure {
                plan = plan.at(ends, cure);
            }
        }
        plan.mended(bounds)
    }

    /// Two troubles of one kind may overlap, and the cure of one undo the other's; so in the end all is mended once more.
    fn mended(mut self, bounds: &Bounds) -> Self {
        let is_down = |host: &HostId, plan: &Self| {
            let mut last: Vec<_> = plan.iter().filter(|(_, fault)| fault.hosts() == [*host]).collect();
            last.sort_by_key(|(at, _)| *at);
            let state = last
                .iter()
                .rev()
                .find(|(_, fault)| matches!(fault, Fault::Crash(_) | Fault::Kill(_) | Fault::Restart(_)));
            matches!(state, Some((_, Fault::Crash(_) | Fault::Kill(_))))
        };
        for host in &bounds.hosts {
            if is_down(host, &self) {
                self = self.at(bounds.end, Fault::Restart(*host));
            }
            if bounds.kinds.pauses {
                self = self.at(bounds.end, Fault::Resume(*host));
            }
        }
        self.at(bounds.end, Fault::Heal)
    }
}

/// Draws one trouble and its cure.
type Kind = fn(&mut Rng, &Bounds) -> (Fault, Option<Fault>);

impl Kinds {
    fn list(&self) -> Vec<Kind> {
        let all: [(bool, Kind); 6] = [
            (self.partitions, partition),
            (self.one_way, one_way),
            (self.bad_links, bad_link),
            (self.pauses, pause),
            (self.restarts, restart),
            (self.machines, machine),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind).collect()
    }
}

fn partition(rng: &mut Rng, bounds: &Bounds) -> (Fault, Option<Fault>) {
    let (one, other): (Vec<_>, Vec<_>) = bounds.hosts.iter().copied().partition(|_| rng.chance(0.5));
    (Fault::Partition(vec![one, other]), Some(Fault::Partition(Vec::new())))
}

fn one_way(rng: &mut Rng, bounds: &Bounds) -> (Fault, Option<Fault>) {
    let (from, to) = pair(rng, bounds);
    if rng.chance(0.5) {
        (Fault::Block { from, to }, Some(Fault::Unblock { from, to }))
    } else {
        (Fault::Hold { from, to }, Some(Fault::Release { from, to }))
    }
}

fn bad_link(rng: &mut Rng, bounds: &Bounds) -> (Fault, Option<Fault>) {
    let (from, to) = pair(rng, bounds);
    let link = match rng.below(3) {
        0 => bounds.link.loss(bounds.max_loss * rng.unit()),
        1 => bounds.link.bandwidth(250_000 + rng.below(10_000_000)),
        _ => Link { duplicate: 0.1, reorder: 0.1, ..bounds.link },
    };
    (Fault::Link { from, to, link: Some(link) }, Some(Fault::Link { from, to, link: None }))
}

fn pause(rng: &mut Rng, bounds: &Bounds) -> (Fault, Option<Fault>) {
    let host = one(rng, bounds);
    (Fault::Pause(host), Some(Fault::Resume(host)))
}

fn restart(rng: &mut Rng, bounds: &Bounds) -> (Fault, Option<Fault>) {
    let host = one(rng, bounds);
    let trouble = if rng.chance(0.5) { Fault::Crash(host) } else { Fault::Kill(host) };
    (trouble, Some(Fault::Restart(host)))
}

fn machine(rng: &mut Rng, bounds: &Bounds) -> (Fault, Option<Fault>) {
    let host = one(rng, bounds);
    if rng.chance(0.5) {
        let seconds = (1 + rng.below(20) as i64) * YEAR;
        let seconds = if rng.chance(0.5) { -seconds } else { seconds };
        return (Fault::StepClock { host, seconds }, Some(Fault::StepClock { host, seconds: -seconds }));
    }
    let fault = [DiskFault::Full, DiskFault::Writes][rng.below(2) as usize];
    (Fault::Disk { host, fault: Some(fault) }, Some(Fault::Disk { host, fault: None }))
}

fn one(rng: &mut Rng, bounds: &Bounds) -> HostId {
    bounds.hosts[rng.below(bounds.hosts.len() as u64) as usize]
}

/// Two hosts, different ones if there are.
fn pair(rng: &mut Rng, bounds: &Bounds) -> (HostId, HostId) {
    let len = bounds.hosts.len() as u64;
    let from = rng.below(len);
    let to = if len > 1 { (from + 1 + rng.below(len - 1)) % len } else { from };
    (bounds.hosts[from as usize], bounds.hosts[to as usize])
}
