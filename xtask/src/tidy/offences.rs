//! The table of offences in the book is made from the code: names, what they are, and weights.

use super::{File, Report};

const CODE: &str = "crates/peer-pool/src/reputation.rs";
const PAGE: &str = "docs/src/security.md";
const HEAD: &str = "| offence | points | of these, its address bears |\n|---|---|---|\n";

/// An offence as the code has it.
#[derive(Debug)]
struct Offence<'a> {
    name: &'a str,
    about: &'a str,
    points: u32,
}

pub(super) fn check(files: &[File], report: &mut Report) {
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| &file.text);
    let table = match table(text(CODE)) {
        Ok(table) => table,
        Err(what) => return report.problem(format!("{CODE}: {what}")),
    };
    let told = text(PAGE).split_once(HEAD).map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    match told {
        None => report.problem(format!("{PAGE} has no table of offences, which begins with\n{HEAD}")),
        Some(told) if told.trim_end() != table.trim_end() => {
            report.problem(format!("{PAGE}: the table of offences is not that of {CODE}, which is\n{HEAD}{table}"));
        }
        Some(_) => {}
    }
}

/// The rows, from the enum's documentation, the weights and the address's share.
fn table(code: &str) -> Result<String, String> {
    let share = code.split_once("const ADDR_SHARE: u32 = ").and_then(|(_, rest)| rest.split_once(';'));
    let share: u32 = share.and_then(|(share, _)| share.parse().ok()).ok_or("`ADDR_SHARE` is not there")?;
    let mut rows = String::new();
    for Offence { name, about, points } in offences(code)? {
        let mut letters = about.trim_end_matches('.').chars();
        let about: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
        let of_address = f64::from(points) / f64::from(share);
        rows += &format!("| `{name}`: {about} | {points} | {of_address} |\n");
    }
    Ok(rows)
}

fn offences(code: &str) -> Result<Vec<Offence<'_>>, String> {
    let within = |begin: &str| {
        let body = code.split_once(begin).and_then(|(_, rest)| rest.split_once("\n}"));
        body.map(|(body, _)| body).ok_or_else(|| format!("`{begin}` is not there"))
    };
    let (variants, weights) = (within("pub enum Offence {")?, within("pub fn points(self) -> u32 {")?);
    let mut offences = Vec::new();
    let mut about = "";
    for line in variants.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix("/// ") {
            Some(line) if about.is_empty() => about = line,
            Some(_) => return Err(format!("what an offence is has one line: `{line}`")),
            None => {
                let name = line.trim_end_matches(',');
                let points = points_of(name, weights).ok_or_else(|| format!("`{name}` has no weight"))?;
                offences.push(Offence { name, about: std::mem::take(&mut about), points });
            }
        }
    }
    Ok(offences)
}

/// The number behind the arm that names the offence.
fn points_of(name: &str, weights: &str) -> Option<u32> {
    let arms = weights.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" => "));
    let mut fitting = arms.filter(|(names, _)| names.split(" | ").any(|it| it.strip_prefix("Self::") == Some(name)));
    fitting.next()?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPUTATION: &str = "\
pub enum Offence {
    /// A trifle.
    Nuisance,
    /// It lies, and more.
    Abuse,
}

const ADDR_SHARE: u32 = 10;

impl Offence {
    pub fn points(self) -> u32 {
        match self {
            Self::Nuisance => 1,
            Self::Abuse | Self::Other => 50,
        }
    }
}
";

    fn problems(page: &str, code: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let mut report = Report::default();
        check(&[file(PAGE, page), file(CODE, code)], &mut report);
        report.problems
    }

    #[test]
    fn the_table_is_made_from_the_code() {
        let table = format!("{HEAD}| `Nuisance`: a trifle | 1 | 0.1 |\n| `Abuse`: it lies, and more | 50 | 5 |\n");
        assert_eq!(problems(&format!("before\n\n{table}\nafter\n"), REPUTATION), [""; 0]);
        assert_eq!(problems(&table, REPUTATION), [""; 0]);
        let heavier = REPUTATION.replace("=> 50", "=> 51");
        assert!(problems(&table, &heavier)[0].contains("| `Abuse`: it lies, and more | 51 | 5.1 |"));
        let shared = REPUTATION.replace("u32 = 10", "u32 = 5");
        assert!(problems(&table, &shared)[0].contains("| 50 | 10 |"));
        assert!(
            problems(&table.replace("| `Nuisance`: a trifle | 1 | 0.1 |\n", ""), REPUTATION)[0].contains("Nuisance")
        );
        assert!(problems("nothing", REPUTATION)[0].contains("no table"));
        assert!(problems(&table, &REPUTATION.replace("Self::Nuisance", "Self::Nothing"))[0].contains("has no weight"));
    }
}
