//! What a setting of p2p's `Config` does: the scenarios with one value after the other.

use std::collections::BTreeMap;
use std::path::Path;

use bench_common::{Scenario, Transport};

use crate::Result;
use crate::child::Children;
use crate::options::Options;
use crate::place::Place;
use crate::progress::Progress;
use crate::results::{Figure, Outcome};
use crate::stats::median;
use crate::{session, table};

/// One field, such as `limits.stream_window`, and the values it is to have in turn, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    field: String,
    values: Vec<String>,
}

impl Setting {
    /// Reads `FIELD=VALUE[,VALUE]...`.
    ///
    /// # Errors
    /// When it is not that.
    pub fn parse(text: &str) -> Result<Self> {
        let (field, values) = text.split_once('=').ok_or_else(|| format!("{text:?} is not FIELD=VALUE[,VALUE]..."))?;
        Ok(Self { field: field.to_owned(), values: values.split(',').map(str::to_owned).collect() })
    }

    /// What the program is told; nothing leaves the field as it is.
    fn arguments(&self) -> Vec<Option<String>> {
        let values = self.values.iter().map(|value| Some(format!("{}={value}", self.field)));
        std::iter::once(None).chain(values).collect()
    }
}

type Cell = (Scenario, Transport, usize);

/// A row of Markdown for each scenario, transport and value, with the default first.
pub fn measure(setting: &Setting, options: &Options, program: &Path, children: &mut Children) -> Result<String> {
    let arguments = setting.arguments();
    let mut figures: BTreeMap<Cell, Vec<Figure>> = BTreeMap::new();
    let cells = options.scenarios.iter().flat_map(|&scenario| {
        let values = 0..arguments.len();
        let transports = options.transports.iter();
        transports.flat_map(move |&transport| values.clone().map(move |value| (scenario, transport, value)))
    });
    let cells: Vec<Cell> = cells.collect();
    let mut progress = Progress::new(cells.len() * options.repetitions)?;
    'measuring: for _ in 0..options.repetitions {
        for &cell in &cells {
            let (scenario, transport, value) = cell;
            let argument = arguments[value].as_deref();
            let name = format!("{} {} {}", scenario.name(), transport.name(), argument.unwrap_or("default"));
            progress.begin(&name);
            let place = Place::make(scenario, 1, options.quick)?;
            match session::run(program, scenario, transport, argument, &place, children) {
                None => break 'measuring,
                Some(Outcome::Figure(figure)) => {
                    progress.end(&name, &format!("{} {}", table::figure(figure.value), scenario.unit()));
                    figures.entry(cell).or_default().push(figure);
                }
                Some(Outcome::Incomparable(why) | Outcome::Failed(why)) => return Err(format!("{name}: {why}").into()),
            }
        }
    }
    progress.finish();
    Ok(rows(setting, &figures))
}

fn rows(setting: &Setting, figures: &BTreeMap<Cell, Vec<Figure>>) -> String {
    let middle = |cell: &Cell, get: fn(&Figure) -> f64| {
        figures.get(cell).and_then(|figures| median(figures.iter().map(get))).unwrap_or(f64::NAN)
    };
    let mut text = format!("| `{}` | scenario | figure | against default | CPU/op | peak memory |\n", setting.field);
    text.push_str("|---|---|---|---|---|---|\n");
    for cell in figures.keys() {
        let &(scenario, transport, value) = cell;
        let name = value.checked_sub(1).map_or("default", |value| &setting.values[value]);
        let (figure, default) = (middle(cell, |f| f.value), middle(&(scenario, transport, 0), |f| f.value));
        text.push_str(&format!(
            "| {name} | `{}` {} | {} {} | ×{:.2} | {} µs | {} MiB |\n",
            scenario.name(),
            transport.name(),
            table::figure(figure),
            scenario.unit(),
            figure / default,
            table::figure(middle(cell, table::cpu)),
            table::figure(middle(cell, |f| f.peak_kib as f64 / 1024.0)),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_field_and_values() {
        let setting = Setting::parse("limits.memory=1,2").unwrap();
        let arguments: Vec<_> = setting.arguments().into_iter().map(Option::unwrap_or_default).collect();
        assert_eq!(arguments, ["", "limits.memory=1", "limits.memory=2"]);
        assert!(Setting::parse("limits.memory").unwrap_err().to_string().contains("FIELD=VALUE"));
    }

    #[test]
    fn each_value_is_told_against_the_default() {
        let setting = Setting::parse("enable_monitor=false").unwrap();
        let figure = |value| Figure { value, cpu_us: 1.5, peak_kib: 2048, beside: BTreeMap::new() };
        let figures = BTreeMap::from([
            ((Scenario::Bulk, Transport::Tcp, 0), vec![figure(10.0)]),
            ((Scenario::Bulk, Transport::Tcp, 1), vec![figure(5.0), figure(9.0), figure(8.0)]),
        ]);
        let rows = rows(&setting, &figures);
        assert!(rows.starts_with("| `enable_monitor` | scenario |"), "{rows}");
        assert!(rows.contains("| false | `bulk` tcp |") && rows.contains("| ×0.80 |"), "{rows}");
    }
}
