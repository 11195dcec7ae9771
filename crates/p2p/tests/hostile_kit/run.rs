//! Runs of cases: the attack, and its control.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use p2p::endpoint::Transport;
use p2p::layers::core::task::panic_message;
use tokio::task::{JoinError, JoinSet};

use crate::args::Args;
use crate::cases::Case;
use crate::common::in_time;
use crate::field::{Field, Figure, Figures, Must};
use crate::honest::{Seen, Stays, comes_and_goes};
use crate::process::{Ended, NodeProcess, Used};
use crate::report;

/// Connects of the honest peer, at least.
const CONNECTS: usize = 3;

/// Runs beside each other in the short form, which measures nothing.
const BESIDE: usize = 6;

/// Whom the attack is aimed at; the honest peers are always those of the first node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    Node,
    Bystander,
}

/// What came of one attack.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) seen: Seen,
    /// Messages a second of the peer that stays, and whether it was left alone.
    pub(crate) rate: u64,
    pub(crate) stayed: bool,
    pub(crate) used: Used,
    pub(crate) ended: Ended,
    pub(crate) figures: Figures,
}

/// An attack and its control.
pub(crate) struct Pair {
    pub(crate) case: &'static Case,
    pub(crate) transport: Transport,
    /// What went wrong, where that is all there is.
    pub(crate) control: Result<Side, String>,
    pub(crate) attack: Result<Side, String>,
}

impl Side {
    /// What must hold whatever the attack is, before what the case is about.
    pub(crate) fn all(&self, case: &Case) -> Figures {
        let mut figures = vec![
            Figure::new("honest connects", self.seen.connects.len(), Must::BeAtLeast(CONNECTS as u64)),
            Figure::new("times kept out", self.seen.kept_out, Must::Be(0)),
            Figure::new("echoes lost", self.seen.lost, Must::Be(0)),
            Figure::new("honest peers that stayed", u64::from(self.stayed), Must::Be(1)),
            Figure::new("MiB of the process at most", self.used.memory >> 10, Must::BeAtMost(case.memory)),
            Figure::new("tasks left after the end", self.ended.tasks, Must::Be(0)),
        ];
        figures.extend(self.figures.iter().cloned());
        figures
    }
}

impl Pair {
    /// What does not hold.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, side) in [("control", &self.control), ("attack", &self.attack)] {
            match side {
                Err(error) => broken.push(format!("{name}: {error}")),
                Ok(side) => {
                    let figures = side.all(self.case).into_iter().filter(|figure| !figure.holds());
                    broken.extend(figures.map(|figure| format!("{name}: {figure}")));
                }
            }
        }
        broken
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.count)?;
        match self.must {
            Must::Be(count) if count == self.count => Ok(()),
            Must::Be(count) => write!(f, ", must be {count}"),
            Must::BeAtMost(most) => write!(f, ", at most {most}"),
            Must::BeAtLeast(least) => write!(f, ", at least {least}"),
            Must::Show => Ok(()),
        }
    }
}

/// Runs what is asked for; gives how many cases did not hold that must.
pub(crate) async fn all(args: &Args) -> usize {
    let mut waiting: VecDeque<_> = args.runs().collect();
    let (mut running, mut failed) = (JoinSet::new(), 0);
    // What goes wrong is told with the case.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{}", report::head(args.short));
    loop {
        while running.len() < if args.short { BESIDE } else { 1 } {
            let Some((case, transport)) = waiting.pop_front() else { break };
            running.spawn(pair(case, transport, (!args.short).then_some(args.time)));
        }
        let Some(done) = running.join_next().await else { break };
        let pair = done.expect("a run tells what went wrong");
        println!("{}", report::row(&pair));
        failed += usize::from(!pair.broken().is_empty() && pair.case.open.is_none());
    }
    failed
}

async fn pair(case: &'static Case, transport: Transport, time: Option<Duration>) -> Pair {
    let aimed = async |aim| told(tokio::spawn(side(case, transport, aim, time)).await);
    Pair { case, transport, control: aimed(Aim::Bystander).await, attack: aimed(Aim::Node).await }
}

fn told<T>(result: Result<T, JoinError>) -> Result<T, String> {
    result.map_err(|error| match error.try_into_panic() {
        Ok(panic) => panic_message(&*panic).to_owned(),
        Err(error) => error.to_string(),
    })
}

async fn side(case: &'static Case, transport: Transport, aim: Aim, time: Option<Duration>) -> Side {
    let node = Arc::new(NodeProcess::start(case, &[]).await);
    let bystander = match aim {
        Aim::Node => None,
        Aim::Bystander => Some(Arc::new(NodeProcess::start(case, &[]).await)),
    };
    // Peers do not come over udp.
    let over = if transport == Transport::Udp { Transport::Quic } else { transport };
    let endpoint = node.endpoint(over).clone();
    let stays = Stays::with(&endpoint).await;
    let field = Field::new(case, bystander.clone().unwrap_or_else(|| node.clone()), transport, time);
    let over = Arc::new(AtomicBool::new(false));
    let attack = {
        let (field, over) = (field.clone(), over.clone());
        tokio::spawn(async move {
            // Also when it panics.
            let _over = Over(over);
            (case.attack)(field).await
        })
    };
    let seen = comes_and_goes(endpoint, CONNECTS, || over.load(Ordering::Relaxed)).await;
    let figures = attack.await;
    let (stayed, rate) = stays.end().await;
    let used = node.used();
    let figures = told(figures).unwrap_or_else(|error| panic!("{error}"));
    if let Some(bystander) = bystander {
        bystander.end().await;
    }
    let ended = in_time("the end of the node", node.end()).await;
    Side { seen, rate, stayed, used, ended, figures }
}

/// Says so when an attack is over, however it ends.
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
