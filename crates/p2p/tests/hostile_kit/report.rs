//! What is shown of the runs.

use std::time::Duration;

use crate::cases::Case;
use crate::run::{Pair, Side};

/// A case in the list.
pub(crate) fn listed(case: &Case) -> String {
    let transports: Vec<_> = case.transports.iter().map(ToString::to_string).collect();
    let open = case.open.map(|why| format!(" [open: {why}]")).unwrap_or_default();
    format!("{:>3}  {:<47} {:<18} {}{open}", case.number, case.name, transports.join(" "), case.must)
}

pub(crate) fn head(short: bool) -> String {
    let control = "Each figure: attack / control. Control is the same attack on another node of this machine.";
    let times =
        if short { "\nThe short form runs several cases at a time: its times and rates tell nothing." } else { "" };
    format!(
        "{control}{times}\n\n{:>4} {:<47} {:<4}  {:>15} {:>17} {:>9} {:>13} {:>9} {:>13} {:>11}  ",
        "case", "a peer that", "over", "connect median", "worst, ms", "refused", "echoes/s", "MiB", "cpu ms", "end ms"
    )
}

/// A line of figures for an attack and its control, and below it what was counted.
pub(crate) fn row(pair: &Pair) -> String {
    let Pair { case, transport, control, attack } = pair;
    let both = |figure: &dyn Fn(&Side) -> String| {
        let one = |side: &Result<Side, String>| side.as_ref().map_or_else(|_| "–".into(), figure);
        format!("{} / {}", one(attack), one(control))
    };
    let broken = pair.broken();
    let verdict = match (broken.is_empty(), case.open) {
        (true, None) => "ok",
        (true, Some(_)) => "ok, though open",
        (false, None) => "FAILED",
        (false, Some(_)) => "open",
    };
    let mut text = format!(
        "{:>4} {:<47} {:<4}  {:>15} {:>17} {:>9} {:>13} {:>9} {:>13} {:>11}  {verdict}",
        case.number,
        case.name,
        transport.to_string(),
        both(&|side| millis(median(&side.seen.connects))),
        both(&|side| millis(side.seen.connects.iter().max().copied().unwrap_or_default())),
        both(&|side| side.seen.refused.to_string()),
        both(&|side| side.rate.to_string()),
        both(&|side| (side.used.memory >> 10).to_string()),
        both(&|side| side.used.cpu.as_millis().to_string()),
        both(&|side| side.ended.took.as_millis().to_string()),
    );
    if let Ok(side) = attack {
        let figures: Vec<_> = side.figures.iter().map(ToString::to_string).collect();
        text += &format!("\n       {}", figures.join("; "));
    }
    for line in broken {
        text += &format!("\n       does not hold: {line}");
    }
    text
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.1}") } else { format!("{millis:.0}") }
}
