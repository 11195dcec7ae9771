//! All of it, small: what is required is met, and without the defences it is not.

use crate::parse;
use crate::report::page;
use crate::rows::{ROWS, Scale};

fn quick() -> Scale {
    parse(["--quick".to_owned()]).map(|args| args.scale).unwrap()
}

fn check(name: &str) {
    let (_, measure) = ROWS.iter().find(|(row, _)| *row == name).unwrap();
    for section in measure(&quick()) {
        assert!(section.is_met(), "{}", section.markdown());
        let mut compared = section.lines.iter().filter_map(|line| line.met_without).peekable();
        assert!(
            compared.peek().is_none() || compared.any(|met| !met),
            "without the defence it is met too, so this shows nothing:\n{}",
            section.markdown()
        );
    }
}

macro_rules! rows {
    ($($test:ident: $row:literal)*) => {
        $(
            #[test]
            fn $test() {
                check($row);
            }
        )*

        #[test]
        fn every_row_is_tested() {
            let tested = [$($row),*];
            assert!(ROWS.iter().map(|(name, _)| *name).eq(tested));
        }
    };
}

rows! {
    static_tables: "static"
    dead_entries: "dead"
    churn: "churn"
    a_partition: "partition"
    colluding_nodes: "collusion"
    sybils_around_a_key: "sybils"
    floods: "floods"
    replayed_records: "replay"
}

#[test]
fn the_same_seed_gives_the_same_page() {
    let (_, measure) = ROWS[0];
    let scale = Scale { nodes: vec![300], ..quick() };
    let [one, same, other] = [scale.clone(), scale.clone(), Scale { seed: 1, ..scale }]
        .map(|scale| page(&Scale { seed: 0, ..scale.clone() }, &measure(&scale)));
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[test]
fn only_a_whole_page_is_written() {
    let parse = |args: &str| parse(args.split_whitespace().map(str::to_owned));
    assert!(parse("--write page.md --seed 3").is_ok());
    for wrong in
        ["--write page.md --quick", "--write page.md --rows dead", "--rows none", "--nodes 1", "--seed", "-x 1"]
    {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
