//! What the program is asked to do.

use std::time::Duration;

use lexopt::{Arg, ValueExt};
use p2p::endpoint::{Endpoint, Transport};

use crate::cases::{CASES, Case};

pub(crate) const HELP: &str = "\
Attacks on real nodes, each beside the same attack on another node.

Usage: cargo xtask hostile [--case N..] [--transport T..] [--seconds S] [--short] [--list]

  --case N        only this case; may be repeated, or several with commas
  --transport T   only over tcp, tls, quic or udp; the same
  --seconds S     each attack goes on for so long, and until it has done all it counts (5)
  --short         as little as shows what must hold; several cases at a time
  --list          the cases, and what must hold in each
";

/// How long an attack goes on unless told otherwise.
const SECONDS: u64 = 5;

/// What runs among all other tests, unoptimized.
const AMONG_TESTS: [u8; 3] = [24, 27, 31];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Run,
    List,
    /// Be a node that is attacked, in a process of its own.
    Node,
    Help,
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) action: Action,
    pub(crate) short: bool,
    pub(crate) time: Duration,
    /// Which case's node this process is, by its place in the table.
    node: usize,
    /// Whom the node in a process of its own dials.
    pub(crate) dials: Vec<Endpoint>,
    cases: Vec<u8>,
    transports: Vec<Transport>,
}

impl Args {
    pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Self, lexopt::Error> {
        let mut args = Self {
            action: Action::Run,
            short: cfg!(debug_assertions),
            time: Duration::from_secs(SECONDS),
            node: 0,
            dials: Vec::new(),
            cases: Vec::new(),
            transports: Vec::new(),
        };
        while let Some(arg) = parser.next()? {
            match arg {
                Arg::Long("case") => {
                    for number in parser.value()?.string()?.split(',') {
                        let known = CASES.iter().any(|case| number == case.number.to_string());
                        args.cases.push(number.parse().ok().filter(|_| known).ok_or(format!("no case {number:?}"))?);
                    }
                }
                Arg::Long("transport") => {
                    for name in parser.value()?.string()?.split(',') {
                        let all = [Transport::Tcp, Transport::Tls, Transport::Quic, Transport::Udp];
                        let known = all.into_iter().find(|transport| transport.to_string() == name);
                        args.transports.push(known.ok_or_else(|| format!("no transport {name:?}"))?);
                    }
                }
                Arg::Long("seconds") => args.time = Duration::from_secs(parser.value()?.parse()?),
                Arg::Long("short") => args.short = true,
                Arg::Long("list") => args.action = Action::List,
                Arg::Long("node") => {
                    args.action = Action::Node;
                    args.node = parser.value()?.parse()?;
                }
                Arg::Long("dials") => args.dials.push(parser.value()?.parse()?),
                Arg::Short('h') | Arg::Long("help") => args.action = Action::Help,
                other => return Err(other.unexpected()),
            }
        }
        if args.cases.is_empty() && cfg!(debug_assertions) {
            args.cases = AMONG_TESTS.to_vec();
        }
        Ok(args)
    }

    /// What is to be run: each case over each of its transports.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (&'static Case, Transport)> {
        let cases = CASES.iter().filter(|case| self.cases.is_empty() || self.cases.contains(&case.number));
        let all = cases.flat_map(|case| case.transports.iter().map(move |transport| (case, *transport)));
        all.filter(|(_, transport)| self.transports.is_empty() || self.transports.contains(transport))
    }

    /// The case whose node this process is.
    pub(crate) fn case(&self) -> &'static Case {
        &CASES[self.node]
    }
}
