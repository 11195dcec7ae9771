//! What p2p is to reach: the only place with these figures.

use bench_common::{Against, Scenario, Transport};

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
    pub fn of(scenario: Scenario, transport: Transport) -> Option<Self> {
        let [tcp, tls, quic] = match scenario {
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
            Scenario::Lookup => return None,
        };
        let bound = match transport {
            Transport::Tcp => tcp,
            Transport::Tls => tls,
            Transport::Quic => quic,
        };
        Some(Self { judged: Judged::of(scenario), bound, at_most: scenario.less_is_better() })
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
        let rtt = Goal::of(Scenario::Rtt, Transport::Quic).unwrap();
        assert!(rtt.is_met(1.2) && rtt.is_met(0.7) && !rtt.is_met(1.21) && rtt.sign() == "≤");
        let bulk = Goal::of(Scenario::Bulk, Transport::Tcp).unwrap();
        assert!(bulk.is_met(0.9) && !bulk.is_met(0.89) && bulk.sign() == "≥");
        assert!(!bulk.is_met(f64::NAN) && !rtt.is_met(f64::NAN));
    }

    #[test]
    fn more_connections_may_not_cost_more_each() {
        for transport in Transport::ALL {
            assert_eq!(Goal::of(Scenario::Conns, transport), Goal::of(Scenario::Conns5000, transport));
        }
        assert_eq!(Goal::of(Scenario::Lookup, Transport::Tcp), None);
    }
}
