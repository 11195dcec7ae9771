//! A bar for each transport and stack.

use bench_common::Transport;
use plotters::prelude::*;
use plotters::style::text_anchor::VPos;

use super::{Plot, centered, color, legend};
use crate::Result;
use crate::goals::{Goal, Judged, Judgment};
use crate::results::Results;
use crate::stack::Stack;
use crate::table::{figure, judged};

/// The share of a transport's place that its bars take.
const FILLED: f64 = 0.8;

/// What is judged of a scenario; `None` without any beside raw's.
pub fn plot(results: &Results, judgment: Judgment) -> Result<Option<Plot>> {
    let of = |transport, stack| judged(results, judgment, transport, stack);
    let has = |stack: &Stack| Transport::ALL.into_iter().any(|transport| of(transport, *stack).is_some());
    let stacks: Vec<Stack> = Stack::ALL.into_iter().filter(has).collect();
    if stacks.iter().all(|stack| *stack == Stack::Raw) {
        return Ok(None);
    }
    let goals = Transport::ALL.map(|transport| Goal::of(judgment, transport).map(|goal| goal.bound));
    let values =
        Transport::ALL.into_iter().flat_map(|transport| stacks.iter().filter_map(move |stack| of(transport, *stack)));
    let top = values.chain(goals.into_iter().flatten()).fold(0.0, f64::max) * 1.15;
    // Where nothing failed, all figures are 0.
    let top = if top > 0.0 { top } else { 1.0 };
    let scenario = judgment.scenario;
    let of_what = judgment.beside.unwrap_or(scenario.unit());
    let title = match judgment.judged() {
        Judged::Ratio => format!("{}: {of_what} against raw", scenario.name()),
        Judged::Value => format!("{}: {of_what}", scenario.name()),
    };
    let better = if judgment.less_is_better() { "less is better" } else { "more is better" };

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (760, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let (chart, foot) = root.split_vertically(390);
        let mut chart = ChartBuilder::on(&chart)
            .caption(format!("{title} ({better})"), ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..Transport::ALL.len() as f64, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .light_line_style(TRANSPARENT)
            .y_label_formatter(&|value| figure(*value))
            .draw()?;
        for (place, transport) in Transport::ALL.into_iter().enumerate() {
            let left = place as f64 + (1.0 - FILLED) / 2.0;
            let width = FILLED / stacks.len() as f64;
            for (n, &stack) in stacks.iter().enumerate() {
                let Some(value) = of(transport, stack) else { continue };
                let x = left + n as f64 * width;
                let bar = Rectangle::new([(x + width * 0.05, 0.0), (x + width * 0.95, value)], color(stack).filled());
                let text = Text::new(figure(value), (x + width / 2.0, value + top * 0.01), centered(13, VPos::Bottom));
                chart.draw_series([bar])?;
                chart.draw_series([text])?;
            }
            if let Some(goal) = goals[place] {
                let line = PathElement::new([(left, goal), (left + FILLED, goal)], RED.stroke_width(2));
                chart.draw_series([line])?;
            }
            let below = Text::new(transport.name(), (place as f64 + 0.5, -top * 0.02), centered(15, VPos::Top));
            chart.plotting_area().draw(&below)?;
        }
        legend(&foot, &stacks, goals.iter().any(Option::is_some))?;
        root.present()?;
    }
    let file = match judgment.beside {
        None => format!("{}.svg", scenario.name()),
        Some(beside) => format!("{}-{}.svg", scenario.name(), file_name(beside)),
    };
    Ok(Some(Plot { file, title, svg }))
}

/// The letters and digits of a text, in words.
fn file_name(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
