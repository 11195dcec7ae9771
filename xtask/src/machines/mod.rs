//! The README's programs on several machines: namespaces with a router between them, boxes and firewalls before them.
//!
//! Real time is printed and judged by eye and by [`GOAL`]: this is no test of the suite. The simulator has the same situations in
//! virtual time.

mod lab;
mod program;

use std::path::PathBuf;
use std::time::Duration;

use cargo_metadata::MetadataCommand;

use self::lab::{Lab, Machine, Middlebox, lacking};
use self::program::Program;
use crate::Result;
use crate::run::Runner;

/// Those who can meet have met this long after the last has started.
const GOAL: Duration = Duration::from_secs(2);

/// One program as a user runs it.
struct Kind {
    name: &'static str,
    path: PathBuf,
    /// What its line with its endpoint has in front of that.
    before_endpoint: &'static str,
}

/// One of those who run it.
struct Somebody {
    name: &'static str,
    program: Program,
    endpoint: String,
}

impl Somebody {
    /// What others print when they have met them.
    fn greetings(&self) -> [String; 2] {
        let id = self.endpoint.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map_or("", |(id, _)| id);
        [format!("* {} has joined", self.name), format!("{id} says ")]
    }
}

/// A situation.
struct Scene {
    name: &'static str,
    build: fn(&mut Lab) -> Result<Machines>,
    /// Whether bob and cyd can meet: one of them can be dialed by the other.
    meet: bool,
    /// Those whom no stranger reaches, and who have to say so.
    unreached: &'static [&'static str],
}

/// Ada's, who is there first; bob's and cyd's, who are given her endpoint.
type Machines = [Machine; 3];

const SCENES: [Scene; 6] = [
    Scene {
        name: "a router between them",
        build: |lab| Ok([lab.machine("ada")?, lab.machine("bob")?, lab.machine("cyd")?]),
        meet: true,
        unreached: &[],
    },
    Scene {
        name: "bob behind a box that keeps ports",
        build: |lab| Ok([lab.machine("ada")?, alone(lab, Middlebox::KeepsPorts, "bob")?, lab.machine("cyd")?]),
        meet: true,
        unreached: &["bob"],
    },
    Scene {
        name: "bob behind a firewall",
        build: |lab| Ok([lab.machine("ada")?, alone(lab, Middlebox::Firewall, "bob")?, lab.machine("cyd")?]),
        meet: true,
        unreached: &["bob"],
    },
    Scene {
        name: "bob at another address than its own",
        build: |lab| {
            let cyd = |lab: &mut Lab| alone(lab, Middlebox::KeepsPorts, "cyd");
            Ok([lab.machine("ada")?, alone(lab, Middlebox::OneToOne, "bob")?, cyd(lab)?])
        },
        meet: true,
        unreached: &["cyd"],
    },
    Scene {
        name: "bob and cyd behind one box",
        build: |lab| {
            let ada = lab.machine("ada")?;
            let [bob, cyd] =
                lab.behind(Middlebox::KeepsPorts, &["bob", "cyd"])?.try_into().map_err(|_| "two machines")?;
            Ok([ada, bob, cyd])
        },
        meet: true,
        unreached: &["bob", "cyd"],
    },
    Scene {
        name: "bob and cyd behind two boxes",
        build: |lab| {
            let bob = alone(lab, Middlebox::KeepsPorts, "bob")?;
            Ok([lab.machine("ada")?, bob, alone(lab, Middlebox::KeepsPorts, "cyd")?])
        },
        meet: false,
        unreached: &["bob", "cyd"],
    },
];

fn alone(lab: &mut Lab, middlebox: Middlebox, name: &str) -> Result<Machine> {
    lab.behind(middlebox, &[name])?.pop().ok_or_else(|| "a machine".into())
}

/// Runs all situations; skips them, and says why, where they cannot be had.
pub(crate) fn machines(run: &Runner) -> Result {
    if let Some(lacking) = lacking() {
        println!("skipped: this needs {lacking}");
        return Ok(());
    }
    run.cargo_step("build --release --package p2p-examples --example chat --example hello", &[])?;
    let metadata = MetadataCommand::new().cargo_path(run.cargo()).current_dir(run.root()).no_deps().exec()?;
    let path = |name: &str| metadata.target_directory.join("release/examples").join(name).into_std_path_buf();
    let kinds = [
        Kind { name: "chat", path: path("chat"), before_endpoint: "others join with: chat " },
        Kind { name: "hello", path: path("hello"), before_endpoint: "this is " },
    ];
    let mut failed = 0;
    for kind in &kinds {
        for scene in &SCENES {
            match play(kind, scene) {
                Ok(told) => println!("{:<5}  {:<36}  {told}", kind.name, scene.name),
                Err(error) => {
                    failed += 1;
                    println!("{:<5}  {:<36}  FAILED: {error}", kind.name, scene.name);
                }
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} situations failed").into()) }
}

fn play(kind: &Kind, scene: &Scene) -> Result<String> {
    let mut lab = Lab::new()?;
    let machines = (scene.build)(&mut lab)?;
    let mut ada = start(kind, "ada", &machines[0], None)?;
    let endpoint = ada.endpoint.clone();
    let mut bob = start(kind, "bob", &machines[1], Some(&endpoint))?;
    let mut cyd = start(kind, "cyd", &machines[2], Some(&endpoint))?;
    let [of_ada, of_bob, of_cyd] = [&ada, &bob, &cyd].map(Somebody::greetings);
    let mut latest = bob.program.expect_any(&of_ada)?.max(cyd.program.expect_any(&of_ada)?);
    ada.program.expect_any(&of_bob)?;
    ada.program.expect_any(&of_cyd)?;
    if scene.meet {
        bob.program.expect_any(&of_cyd)?;
        // Who starts last shows how long it takes to find the one before.
        latest = latest.max(cyd.program.expect_any(&of_bob)?);
    }
    let mut told = format!("met after {:.2} s", latest.as_secs_f64());
    for somebody in [&mut bob, &mut cyd].into_iter().filter(|somebody| scene.unreached.contains(&somebody.name)) {
        let (at, why) = somebody.program.expect("nobody reaches it at ")?;
        told += &format!("; {} says so after {:.2} s (nobody reaches it at {why})", somebody.name, at.as_secs_f64());
    }
    if latest > GOAL { Err(told.into()) } else { Ok(told) }
}

fn start(kind: &Kind, name: &'static str, machine: &Machine, bootstrap: Option<&str>) -> Result<Somebody> {
    let named = if kind.name == "chat" { vec!["--name", name] } else { Vec::new() };
    let args: Vec<&str> = named.into_iter().chain(bootstrap).collect();
    let mut program = Program::start(machine, &kind.path, &args)?;
    let (_, endpoint) = program.expect(kind.before_endpoint)?;
    Ok(Somebody { name, program, endpoint })
}
