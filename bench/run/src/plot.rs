//! Pictures of results, as SVG.

mod bars;
mod growth;

use bench_common::Scenario;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Result;
use crate::goals::Judgment;
use crate::results::Results;
use crate::stack::Stack;

/// A file in `plots/`.
#[derive(Debug)]
pub struct Plot {
    pub file: String,
    pub title: String,
    pub svg: String,
}

/// One for each figure that is judged and there, and those of how figures grow with the number of peers.
///
/// # Errors
/// When something cannot be drawn.
pub fn all(results: &Results) -> Result<Vec<Plot>> {
    let bars = Scenario::ALL.into_iter().flat_map(Judgment::all).map(|judgment| bars::plot(results, judgment));
    let growth = growth::ALL.iter().map(|growth| growth.plot(results));
    bars.chain(growth).filter_map(Result::transpose).collect()
}

/// Colors that those who see few of them tell apart (Okabe and Ito).
fn color(stack: Stack) -> RGBColor {
    match stack {
        Stack::Raw => RGBColor(120, 120, 120),
        Stack::P2p => RGBColor(0, 114, 178),
        Stack::Karyon => RGBColor(230, 159, 0),
        Stack::Libp2p => RGBColor(0, 158, 115),
        Stack::Iroh => RGBColor(204, 121, 167),
    }
}

/// Text whose middle is where it is put.
fn centered(size: u32, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size)).pos(Pos::new(HPos::Center, vertical))
}

/// Names and colors of stacks in a row, at the foot of a picture.
fn legend<DB: DrawingBackend<ErrorType: 'static>>(
    area: &DrawingArea<DB, plotters::coord::Shift>,
    stacks: &[Stack],
    goal: bool,
) -> Result {
    let mut x = 20;
    let text = TextStyle::from(("sans-serif", 14)).pos(Pos::new(HPos::Left, VPos::Center));
    for &stack in stacks {
        area.draw(&Rectangle::new([(x, 6), (x + 14, 20)], color(stack).filled()))?;
        area.draw(&Text::new(stack.name(), (x + 20, 13), text.clone()))?;
        x += 90;
    }
    if goal {
        area.draw(&PathElement::new([(x, 13), (x + 24, 13)], RED.stroke_width(2)))?;
        area.draw(&Text::new("goal of p2p", (x + 30, 13), text))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bench_common::Transport;

    use super::*;
    use crate::results::{Figure, Outcome, Run};

    #[test]
    fn what_there_is_is_drawn() {
        let run = |scenario, stack, value| Run {
            session: 0,
            repetition: 1,
            scenario,
            transport: Transport::Tls,
            stack,
            outcome: Outcome::Figure(Figure { value, cpu_us: 1.0, peak_kib: 1, beside: BTreeMap::new() }),
        };
        let runs = vec![
            run(Scenario::Fanout, Stack::Raw, 600_000.0),
            run(Scenario::Fanout, Stack::P2p, 540_000.0),
            run(Scenario::Fanout500, Stack::Raw, 500_000.0),
            run(Scenario::Hol, Stack::P2p, 98.0),
            run(Scenario::Lookup, Stack::P2p, 20_000.0),
        ];
        let plots = all(&Results { sessions: Vec::new(), runs }).unwrap();
        let files: Vec<_> = plots.iter().map(|plot| plot.file.as_str()).collect();
        assert_eq!(files, ["fanout.svg", "hol.svg", "lookup.svg", "growth-fanout.svg"]);
        assert!(plots.iter().all(|plot| plot.svg.starts_with("<svg") && plot.svg.ends_with("</svg>\n")));
        assert!(plots[0].svg.contains("0.90") && plots[0].svg.contains("tls"), "{}", plots[0].svg);
        assert!(!plots[0].svg.contains("NaN"));
    }
}
