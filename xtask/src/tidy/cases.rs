//! The book tells the cases of the hostile kit as the kit's own table has them.

use super::{File, Report};

const KIT: &str = "crates/p2p/tests/hostile_kit/cases.rs";
const PAGE: &str = "docs/src/security.md";

pub(super) fn check(files: &[File], report: &mut Report) {
    let text = |path: &str| files.iter().find(|file| file.path == path).map_or("", |file| &file.text);
    let rows = rows(text(KIT));
    let told: Vec<&str> = between(text(PAGE), "<!-- cases -->\n", "<!-- /cases -->").lines().skip(2).collect();
    if rows.is_empty() {
        report.problem(format!("{KIT}: no case is found there"));
    }
    for row in rows.iter().filter(|row| !told.contains(&row.as_str())) {
        report.problem(format!("{PAGE} has no `{row}` between `<!-- cases -->` and its end, as {KIT} would have it"));
    }
    for row in told.iter().filter(|row| !rows.iter().any(|known| known == *row)) {
        report.problem(format!("{PAGE}: no case of {KIT} is `{row}`"));
    }
}

/// A row of the page for each case.
fn rows(table: &str) -> Vec<String> {
    let cases = table.split("    Case {\n").skip(1);
    let field = |case: &str, name: &str| {
        let rest = case.split_once(&format!(" {name}: "))?.1;
        Some(between(&format!("{rest}\n"), "", ",\n").trim_matches('"').to_owned())
    };
    let row = |case: &str| {
        Some(format!("| {} | {} | {} |", field(case, "number")?, field(case, "name")?, field(case, "must")?))
    };
    cases.filter_map(row).collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    text.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        const CASE: Case = Case {\n    number: 0,\n};\n\
        pub(crate) static CASES: &[Case] = &[\n    Case {\n        number: 7,\n        name: \"comes, and goes\",\n        \
        must: \"closed\",\n        ..CASE\n    },\n];\n";

    fn problems(page: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let mut report = Report::default();
        let page = format!("<!-- cases -->\n| # | a | b |\n|---|---|---|\n{page}<!-- /cases -->\n");
        check(&[file(KIT, TABLE), file(PAGE, &page)], &mut report);
        report.problems
    }

    #[test]
    fn a_case_that_is_told_otherwise_or_not_at_all_is_found() {
        assert_eq!(problems("| 7 | comes, and goes | closed |\n"), [""; 0]);
        assert!(problems("")[0].contains("has no `| 7 | comes, and goes | closed |`"));
        let otherwise = problems("| 7 | comes, and goes | open |\n");
        assert!(otherwise.len() == 2 && otherwise[1].contains("no case"), "{otherwise:?}");
    }
}
