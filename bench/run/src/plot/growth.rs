//! How a figure changes with the number of peers.

use bench_common::{Scenario, Transport};
use plotters::prelude::*;

use super::{Plot, color, legend};
use crate::Result;
use crate::results::Results;
use crate::stack::Stack;
use crate::table::figure;

/// The same scenario in several widths.
pub struct Growth {
    name: &'static str,
    title: &'static str,
    scenarios: &'static [Scenario],
}

pub const ALL: [Growth; 2] = [
    Growth {
        name: "fanout",
        title: "Delivered per second, by the number of peers",
        scenarios: &[Scenario::Fanout, Scenario::Fanout500, Scenario::Fanout2000],
    },
    Growth {
        name: "conns",
        title: "KiB for each idle connection, by the number of connections",
        scenarios: &[Scenario::Conns, Scenario::Conns5000],
    },
];

impl Growth {
    /// A panel for each transport and a line for each stack; `None` without a line.
    pub fn plot(&self, results: &Results) -> Result<Option<Plot>> {
        // Widths at equal distances: they differ by orders of magnitude.
        let line = |transport, stack| -> Vec<(f64, f64)> {
            let value = |&scenario| results.value((scenario, transport, stack));
            self.scenarios.iter().enumerate().filter_map(|(n, scenario)| Some((n as f64, value(scenario)?))).collect()
        };
        let stacks: Vec<Stack> = Stack::ALL
            .into_iter()
            .filter(|stack| Transport::ALL.into_iter().any(|transport| line(transport, *stack).len() > 1))
            .collect();
        if stacks.is_empty() {
            return Ok(None);
        }
        let last = (self.scenarios.len() - 1) as f64;
        let width = |place: &f64| {
            let scenario = (place.fract() == 0.0).then(|| self.scenarios.get(*place as usize)).flatten();
            scenario.map(|scenario| scenario.width().to_string()).unwrap_or_default()
        };
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, (900, 360)).into_drawing_area();
            root.fill(&WHITE)?;
            let (charts, foot) = root.split_vertically(330);
            let charts = charts.titled(self.title, ("sans-serif", 20))?;
            for (transport, panel) in Transport::ALL.into_iter().zip(charts.split_evenly((1, 3))) {
                let lines: Vec<_> = stacks.iter().map(|&stack| (stack, line(transport, stack))).collect();
                let values = lines.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
                let top = values.fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.1;
                let mut chart = ChartBuilder::on(&panel)
                    .caption(transport.name(), ("sans-serif", 15))
                    .margin(8)
                    .x_label_area_size(25)
                    .y_label_area_size(60)
                    .build_cartesian_2d(-0.2..last + 0.2, 0.0..top)?;
                chart
                    .configure_mesh()
                    .disable_x_mesh()
                    .light_line_style(TRANSPARENT)
                    .x_labels(5)
                    .x_label_formatter(&width)
                    .y_labels(6)
                    .y_label_formatter(&|value| figure(*value))
                    .draw()?;
                for (stack, points) in lines {
                    let style = color(stack);
                    chart.draw_series(LineSeries::new(points.iter().copied(), style.stroke_width(2)))?;
                    chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, style.filled())))?;
                }
            }
            legend(&foot, &stacks, false)?;
            root.present()?;
        }
        Ok(Some(Plot { file: format!("growth-{}.svg", self.name), title: self.title.into(), svg }))
    }
}
