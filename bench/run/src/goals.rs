//! What p2p is to reach: the only place with these figures.

use bench_common::{Against, Place, Scenario, Transport};

/// A figure that is judged: a scenario's own, or one that programs tell beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgment {
    pub scenario: Scenario,
    pub beside: Option<&'static str>,
}

/// What becomes of the repetitions of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Median,
    /// The worst: once is too often.
    Worst,
    Sum,
}

impl From<Scenario> for Judgment {
    fn from(scenario: Scenario) -> Self {
        Self { scenario, beside: None }
    }
}

impl Judgment {
    /// All that is judged of a scenario.
    pub fn all(scenario: Scenario) -> Vec<Self> {
        let beside: &[&str] = match scenario {
            Scenario::Dial => &["known peer ms"],
            Scenario::Fill | Scenario::Hundredth => &["s to 90 %"],
            Scenario::Lossy => &["disconnects"],
            Scenario::Uplink => &["Jain's index"],
            Scenario::Outage => &["silence ends it after s"],
            Scenario::Restart => &["restarted one dials s"],
            Scenario::Moved => &["DHT has the new address first s"],
            Scenario::Find => &["failed"],
            _ => &[],
        };
        let beside = beside.iter().map(|name| Self { scenario, beside: Some(name) });
        std::iter::once(scenario.into()).chain(beside).collect()
    }

    pub fn name(&self) -> String {
        match self.beside {
            None => format!("`{}` {}", self.scenario.name(), self.scenario.unit()),
            Some(beside) => format!("`{}` {beside}", self.scenario.name()),
        }
    }

    pub fn less_is_better(&self) -> bool {
        match self.beside {
            None => self.scenario.less_is_better(),
            Some(beside) => beside != "Jain's index",
        }
    }

    pub fn over(&self) -> Over {
        match (self.scenario, self.beside) {
            (Scenario::Lossy, Some(_)) | (Scenario::Find, Some(_)) => Over::Sum,
            (Scenario::Lossy | Scenario::Outage, _) | (Scenario::Uplink, None) => Over::Worst,
            _ => Over::Median,
        }
    }

    /// Whether the figure itself is looked at, or its ratio to raw.
    pub fn judged(&self) -> Judged {
        if self.beside.is_some() { Judged::Value } else { Judged::of(self.scenario) }
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// The ratio to raw.
    Ratio,
    /// The figure itself.
    Value,
}

impl Judged {
    /// What is looked at in a scenario, whether it has a goal or not.
    pub fn of(scenario: Scenario) -> Self {
        match (scenario, scenario.against()) {
            // Memory is what a user has so much of.
            (Scenario::Conns | Scenario::Conns5000, _) | (_, Against::Itself) => Self::Value,
            // A line is the same on every machine.
            _ if scenario.place() != Place::Loopback => Self::Value,
            _ => Self::Ratio,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    pub judged: Judged,
    /// At least so much, or at most where less is better.
    pub bound: f64,
    at_most: bool,
}

impl Goal {
    /// `None` for what is only reported.
    pub fn of(judgment: Judgment, transport: Transport) -> Option<Self> {
        let [tcp, tls, quic] = match judgment.beside {
            None => Self::bounds(judgment.scenario)?,
            Some(_) => Self::bounds_beside(judgment.scenario)?,
        };
        let bound = match transport {
            Transport::Tcp => tcp,
            Transport::Tls => tls,
            Transport::Quic => quic,
        };
        Some(Self { judged: judgment.judged(), bound, at_most: judgment.less_is_better() })
    }

    /// Over tcp, tls and quic.
    fn bounds(scenario: Scenario) -> Option<[f64; 3]> {
        Some(match scenario {
            Scenario::Rtt => [1.5, 1.4, 1.2],
            Scenario::Small => [0.6, 0.65, 0.8],
            Scenario::Bulk => [0.9, 0.9, 0.95],
            Scenario::Connect => [0.8, 0.85, 0.85],
            Scenario::Connect64 => [0.8, 0.9, 0.95],
            Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => [0.8, 0.8, 0.9],
            Scenario::Conns | Scenario::Conns5000 => [24.0, 40.0, 115.0],
            Scenario::Hol => [90.0; 3],
            Scenario::Busy => [10.0; 3],
            Scenario::Stalled => [95.0; 3],
            Scenario::SlowHandshake => [2.0; 3],
            // tcp proves who it is with a round trip of its own; all have some milliseconds for the machine.
            Scenario::Dial => [310.0, 310.0, 210.0],
            Scenario::Fill | Scenario::Hundredth => [91.0, 91.0, 88.0],
            Scenario::LongFat => [108.0, 103.0, 100.0],
            Scenario::Thin => [600.0; 3],
            Scenario::Lossy | Scenario::Outage => [100.0; 3],
            Scenario::Uplink => [50.0; 3],
            Scenario::Restart => [1.0; 3],
            Scenario::Moved => [13.0; 3],
            Scenario::Find => [1_200.0; 3],
            Scenario::Lookup | Scenario::Gigabit => return None,
        })
    }

    /// Of what is judged beside.
    fn bounds_beside(scenario: Scenario) -> Option<[f64; 3]> {
        Some(match scenario {
            Scenario::Dial => [310.0, 310.0, 210.0],
            Scenario::Fill | Scenario::Hundredth => [1.5; 3],
            Scenario::Lossy | Scenario::Find => [0.0; 3],
            Scenario::Uplink => [0.85, 0.85, 0.95],
            // The interval and the time-out of pings, 20 and 30 s, after the last byte; a second for the machine.
            Scenario::Outage => [51.0; 3],
            Scenario::Restart => [1.0; 3],
            Scenario::Moved => [15.0; 3],
            _ => return None,
        })
    }

    pub fn is_met(&self, figure: f64) -> bool {
        if self.at_most { figure <= self.bound } else { figure >= self.bound }
    }

    /// `≤` or `≥`.
    pub fn sign(&self) -> &'static str {
        if self.at_most { "≤" } else { "≥" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_better_where_it_is() {
        let rtt = Goal::of(Scenario::Rtt.into(), Transport::Quic).unwrap();
        assert!(rtt.is_met(1.2) && rtt.is_met(0.7) && !rtt.is_met(1.21) && rtt.sign() == "≤");
        let bulk = Goal::of(Scenario::Bulk.into(), Transport::Tcp).unwrap();
        assert!(bulk.is_met(0.9) && !bulk.is_met(0.89) && bulk.sign() == "≥");
        assert!(!bulk.is_met(f64::NAN) && !rtt.is_met(f64::NAN));
    }

    #[test]
    fn more_connections_may_not_cost_more_each() {
        for transport in Transport::ALL {
            assert_eq!(Goal::of(Scenario::Conns.into(), transport), Goal::of(Scenario::Conns5000.into(), transport));
            let hundredth = Judgment::all(Scenario::Hundredth).into_iter();
            let goals = hundredth.zip(Judgment::all(Scenario::Fill));
            assert!(goals.map(|(a, b)| (Goal::of(a, transport), Goal::of(b, transport))).all(|(a, b)| a == b));
        }
        assert_eq!(Goal::of(Scenario::Lookup.into(), Transport::Tcp), None);
    }

    #[test]
    fn what_is_judged_beside_has_a_goal() {
        for judgment in Scenario::ALL.into_iter().flat_map(Judgment::all).filter(|one| one.beside.is_some()) {
            let goal = Goal::of(judgment, Transport::Tls);
            assert!(goal.is_some_and(|goal| goal.judged == Judged::Value), "{judgment:?}");
        }
    }
}
