//! Arrows between crates point down only.

use cargo_metadata::{DependencyKind, Metadata};

use super::Report;

/// Each layer with those it may stand on. Keep it like the drawing in `docs/src/architecture.md`.
const LAYERS: &[(&str, &[&str])] = &[
    ("p2p-core", &[]),
    ("p2p-sim", &["p2p-core"]),
    ("p2p-net", &["p2p-core"]),
    ("p2p-identity", &["p2p-core", "p2p-net"]),
    ("p2p-discovery", &["p2p-core", "p2p-net", "p2p-identity"]),
    ("p2p-peer-pool", &["p2p-core", "p2p-net", "p2p-identity"]),
    ("p2p-kademlia", &["p2p-core", "p2p-net", "p2p-identity", "p2p-discovery"]),
    ("p2p", &["p2p-core", "p2p-net", "p2p-identity", "p2p-discovery", "p2p-kademlia", "p2p-peer-pool"]),
];

/// Programs stand on any layer, and nothing stands on them.
const PROGRAMS: &[&str] = &["p2p-cli", "p2p-examples", "p2p-fuzz-bodies", "xtask"];

/// A package of the workspace and the packages of the workspace that it needs, dev-dependencies aside.
#[derive(Debug)]
pub(super) struct Edges {
    pub(super) package: String,
    pub(super) needs: Vec<String>,
}

pub(super) fn edges(metadata: &Metadata) -> Vec<Edges> {
    let is_member = |name: &str| metadata.packages.iter().any(|package| package.name.as_str() == name);
    let needs = |package: &cargo_metadata::Package| {
        let kept = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        kept.map(|dependency| dependency.name.to_string()).filter(|name| is_member(name)).collect()
    };
    metadata.packages.iter().map(|package| Edges { package: package.name.to_string(), needs: needs(package) }).collect()
}

pub(super) fn check(edges: &[Edges], report: &mut Report) {
    for Edges { package, needs } in edges {
        let layer = LAYERS.iter().find(|(name, _)| name == package);
        if layer.is_none() && !PROGRAMS.contains(&package.as_str()) {
            report.problem(format!("{package} is in no layer: add it to LAYERS in xtask/src/tidy/layers.rs"));
            continue;
        }
        for needed in needs {
            let allowed = match layer {
                Some((_, below)) => below.contains(&needed.as_str()),
                None => !PROGRAMS.contains(&needed.as_str()),
            };
            if !allowed {
                report.problem(format!("{package} must not know {needed}: see docs/src/architecture.md"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(package: &str, needs: &[&str]) -> Vec<String> {
        let needs = needs.iter().map(|&name| name.to_owned()).collect();
        let mut report = Report::default();
        check(&[Edges { package: package.to_owned(), needs }], &mut report);
        report.problems
    }

    #[test]
    fn arrows_down_are_fine() {
        assert!(problems("p2p-net", &["p2p-core"]).is_empty());
        assert!(problems("p2p", &["p2p-peer-pool", "p2p-kademlia", "p2p-core"]).is_empty());
        assert!(problems("p2p-examples", &["p2p", "p2p-kademlia", "p2p-sim"]).is_empty());
        assert!(problems("xtask", &[]).is_empty());
    }

    #[test]
    fn arrows_up_and_across_are_found() {
        for (package, needed) in [
            ("p2p-core", "p2p-net"),
            ("p2p-net", "p2p-identity"),
            ("p2p-peer-pool", "p2p-discovery"),
            ("p2p-discovery", "p2p-peer-pool"),
            ("p2p-kademlia", "p2p-peer-pool"),
            ("p2p-identity", "p2p"),
            ("p2p", "p2p-sim"),
            ("p2p", "xtask"),
            ("p2p-examples", "xtask"),
            ("p2p-cli", "p2p-examples"),
        ] {
            let found = problems(package, &["p2p-core", needed]);
            assert!(found.iter().any(|problem| problem.contains(needed)), "{package} -> {needed}: {found:?}");
        }
    }

    #[test]
    fn a_new_crate_must_find_its_place() {
        assert!(problems("p2p-gossip", &[])[0].contains("p2p-gossip is in no layer"));
    }

    #[test]
    fn the_table_points_down_in_itself() {
        for (place, (name, below)) in LAYERS.iter().enumerate() {
            let earlier: Vec<_> = LAYERS[..place].iter().map(|(name, _)| *name).collect();
            assert!(below.iter().all(|needed| earlier.contains(needed)), "{name} stands on what comes later");
        }
    }
}
