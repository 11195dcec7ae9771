//! Runs every example as the program that it is, and looks at what it prints and how it ends.
//!
//! Nothing here waits a fixed time: a test waits for what must happen, up to [`DEADLINE`].
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test of programs uses processes, threads, files and the clock directly, and fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What takes longer has failed. Generous: the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(240);

/// A running example. Killed when dropped.
struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    fn start(name: &str, args: &[&str]) -> Self {
        let path = example(name);
        let mut child = Command::new(&path)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error} (cargo test -p p2p-examples builds it)", path.display()));
        let (sender, output) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let pipes: [Box<dyn Read + Send>; 2] = [Box::new(stdout), Box::new(stderr)];
        for pipe in pipes {
            let sender = sender.clone();
            thread::spawn(move || {
                BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            });
        }
        Self { name: name.into(), input: child.stdin.take(), child, output, seen: Vec::new() }
    }

    /// The next line; `None` once the program has closed its output.
    fn line(&mut self, deadline: Instant) -> Option<String> {
        match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} is silent after:\n{}", self.name, self.seen.join("\n")),
        }
    }

    /// Waits for a line with `text` in it, and gives the rest of that line.
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        while let Some(line) = self.line(deadline) {
            if let Some((_, rest)) = line.split_once(text) {
                return rest.to_owned();
            }
        }
        panic!("{} has ended without {text:?}, after:\n{}", self.name, self.seen.join("\n"));
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    fn end_input(&mut self) {
        self.input = None;
    }

    /// As Ctrl-C does.
    fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end: how it ended and all that was printed.
    fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + DEADLINE;
        while self.line(deadline).is_some() {}
        (self.child.wait().unwrap(), self.seen.join("\n"))
    }

    fn succeeds(self) -> String {
        let name = self.name.clone();
        let (status, output) = self.end();
        assert!(status.success(), "{name}: {status}\n{output}");
        output
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo puts the examples beside the folder of this test.
fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let profile = this.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION)
}

fn run(name: &str) -> String {
    Program::start(name, &[]).succeeds()
}

fn assert_has(output: &str, texts: &[&str]) {
    for text in texts {
        assert!(output.contains(text), "{text:?} is missing in:\n{output}");
    }
}

#[test]
fn quickstart_tells_its_story() {
    let output = run("quickstart");
    assert_has(&output, &["over tcp", "over tls", "over quic", "20 greetings and 20 answers delivered", "ada left"]);
    assert_eq!(output.matches(" → ").count(), 10, "each pair once:\n{output}");
    assert_eq!(output.matches("eve → ").count(), 4, "eve is reached by nobody:\n{output}");
}

#[test]
fn dht_only_finds_what_was_put() {
    let output = run("dht_only");
    let stored = ["put and get: a value that 5 other nodes keep", "number 1 was replaced by number 2"];
    assert_has(&output, &stored);
    assert_has(&output, &["provide: the chart is with", "find_peer: "]);
}

#[test]
fn simulation_heals_and_repeats_itself() {
    let output = run("simulation");
    assert_has(&output, &["ada is cut off", "ada has heard nothing", "everybody hears everybody again"]);
    assert_eq!(output, run("simulation"), "the same seed, another story");
}

#[test]
fn custom_protocol_sums_and_shouts() {
    let output = run("custom_protocol");
    assert_has(&output, &["says that 1 + 2 + 3 is 6", "IS ANYBODY THERE?", "mandatory protocol /sums/1 is missing"]);
}

#[test]
fn monitor_prints_events() {
    assert_has(&run("monitor"), &["connection  ", "pool        "]);
}

#[test]
fn access_control_keeps_strangers_out() {
    let output = run("access_control");
    assert_has(&output, &["the friend is in", "not allowed by access control", "no longer welcome"]);
}

#[test]
fn state_sharing_agrees() {
    let output = run("state_sharing");
    assert_eq!(output.matches(r#"knows {"ada": 9, "bob": 3, "cyd": 5}"#).count(), 3, "{output}");
}

#[test]
fn smol_needs_no_tokio() {
    let output = run("smol");
    for transport in ["tcp", "tls", "quic"] {
        assert_eq!(output.matches(&format!(r#""hello from smol" over {transport}"#)).count(), 2, "{output}");
    }
}

#[cfg(unix)]
#[test]
fn peers_connect_and_leave() {
    for transport in ["tcp", "tls", "quic"] {
        let listen = format!("{transport}://127.0.0.1:0");
        let mut ada = Program::start("peer", &["--listen", &listen]);
        let endpoint = ada.expect("listening on ");
        let mut bob = Program::start("peer", &["--peer", &endpoint]);
        let id = bob.expect("this is ");
        bob.expect("connected: ");
        assert!(ada.expect("connected: ").starts_with(&id));
        bob.interrupt();
        assert!(ada.expect("disconnected: ").starts_with(&format!("{id}: the remote node shut down")));
        bob.succeeds();
        ada.interrupt();
        ada.succeeds();
    }
}

#[cfg(unix)]
#[test]
fn peers_find_each_other_from_one_address() {
    for transport in ["tcp", "tls", "quic"] {
        let listen = format!("{transport}://127.0.0.1:0");
        let mut first = Program::start("peer", &["--listen", &listen]);
        let bootstrap = first.expect("listening on ");
        let mut ada = Program::start("peer", &["--listen", &listen, "--bootstrap", &bootstrap]);
        let ada_id = ada.expect("this is ");
        // Listens nowhere: whoever is connected with it was found by it.
        let mut bob = Program::start("peer", &["--bootstrap", &bootstrap]);
        let bob_id = bob.expect("this is ");
        bob.expect(&format!("connected: {ada_id}"));
        ada.expect(&format!("connected: {bob_id}"));
        for program in [bob, ada, first] {
            program.interrupt();
            program.succeeds();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_peer_keeps_its_name_in_a_key_file() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("node.key");
    let id = || {
        let mut peer = Program::start("peer", &["--key", key.to_str().unwrap()]);
        let id = peer.expect("this is ");
        peer.interrupt();
        peer.succeeds();
        id
    };
    assert_eq!(id(), id());
}

#[test]
fn wrong_flags_are_explained() {
    for (program, args, code, text) in [
        ("peer", &["--listen", "http://example.org:80"][..], 2, "unknown scheme"),
        ("peer", &["--dance"], 2, "Usage: peer"),
        ("chat", &["--dance"], 1, "Usage: chat"),
        ("chat", &["nobody"], 1, "an endpoint starts with"),
        ("hello", &["nobody"], 1, "an endpoint starts with"),
        ("file_fetch", &["put"], 1, "usage: file_fetch"),
        ("custom_discovery", &[], 2, "Usage: custom_discovery"),
    ] {
        let (status, output) = Program::start(program, args).end();
        assert_eq!(status.code(), Some(code), "{program} {args:?}:\n{output}");
        assert_has(&output, &[text]);
    }
    assert_has(&Program::start("peer", &["--help"]).succeeds(), &["--listen ENDPOINT"]);
}

#[test]
fn two_people_chat() {
    for transport in ["tcp", "tls", "quic"] {
        let listen = format!("{transport}://127.0.0.1:0");
        let mut ada = Program::start("chat", &["--name", "ada", "--listen", &listen]);
        let endpoint = ada.expect("others join with: chat ");
        assert!(endpoint.starts_with(&format!("{transport}://")) && endpoint.contains("@127.0.0.1:"), "{endpoint}");

        let mut bob = Program::start("chat", &["--name", "bob", "--listen", &listen, &endpoint]);
        ada.expect("* bob has joined");
        bob.expect("* ada has joined");
        ada.say("hello, bob");
        bob.expect("ada: hello, bob");
        bob.say("hello, \x1b[31mada");
        assert_eq!(ada.expect("bob: "), "hello, [31mada", "no control characters");
        ada.say("/peers");
        assert_eq!(ada.expect("* bob is ").len(), 52);
        ada.say("/dance");
        ada.expect("* there is /peers and /quit");
        bob.say("/quit");
        ada.expect("* bob has left");
        bob.succeeds();
        ada.end_input();
        ada.succeeds();
    }
}

#[test]
fn three_people_chat_who_know_one_address() {
    let listen = ["--listen", "quic://127.0.0.1:0"];
    let mut ada = Program::start("chat", &[&["--name", "ada"], &listen[..]].concat());
    let endpoint = ada.expect("others join with: chat ");
    let mut bob = Program::start("chat", &[&["--name", "bob"], &listen[..], &[&endpoint]].concat());
    bob.expect("* ada has joined");
    let mut cyd = Program::start("chat", &[&["--name", "cyd"], &listen[..], &[&endpoint]].concat());
    bob.expect("* cyd has joined");
    cyd.expect("* bob has joined");
    bob.say("hello, cyd");
    cyd.expect("bob: hello, cyd");
    cyd.interrupt();
    bob.expect("* cyd has left");
    cyd.succeeds();
}

#[test]
fn a_program_whose_server_is_away_says_so_and_goes_on() {
    let mut server = Program::start("hello", &[]);
    let endpoint = server.expect("this is ");
    let mut client = Program::start("hello", &[&endpoint]);
    server.expect("says \"hello\"");
    client.expect("says \"hello\"");
    drop(server);
    let mut late = Program::start("hello", &[&endpoint]);
    late.expect("no other node could be reached: check the bootstrap peers; it is tried again");
    late.interrupt();
}

#[test]
fn chat_takes_piped_input_and_loses_none_of_it() {
    let mut ada = Program::start("chat", &["--name", "ada", "--listen", "quic://127.0.0.1:0"]);
    let endpoint = ada.expect("others join with: chat ");
    let mut bot = Program::start("chat", &["--name", "bot", "--listen", "quic://127.0.0.1:0", &endpoint]);
    for number in 0..50 {
        bot.say(&format!("line {number}"));
    }
    bot.end_input();
    bot.succeeds();
    for number in 0..50 {
        assert_eq!(ada.expect("bot: line "), number.to_string());
    }
    ada.expect("* bot has left");
}

#[test]
fn chat_refuses_who_is_not_the_one_it_dialed() {
    let mut ada = Program::start("chat", &["--name", "ada", "--listen", "tls://127.0.0.1:0"]);
    let endpoint = ada.expect("others join with: chat ");
    let (_, place) = endpoint.split_once('@').unwrap();
    let mut eve = Program::start("chat", &["--name", "eve", "--listen", "tls://127.0.0.1:0"]);
    let other = eve.expect("others join with: chat ");
    let (false_name, _) = other.split_once('@').unwrap();
    let (status, output) = Program::start("chat", &["--name", "bob", &format!("{false_name}@{place}")]).end();
    assert!(!status.success(), "{output}");
    assert_has(&output, &["was dialed, but", "answered"]);
}

#[cfg(unix)]
#[test]
fn custom_discovery_follows_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("peers.txt");
    fs::write(&file, "# nobody yet\nnonsense\n").unwrap();
    let mut finder = Program::start("custom_discovery", &[file.to_str().unwrap()]);
    finder.expect("nonsense");
    let mut ada = Program::start("peer", &["--listen", "quic://127.0.0.1:0"]);
    let id = ada.expect("this is ");
    let endpoint = ada.expect("listening on ");
    fs::write(&file, format!("# ada\n{endpoint}\n")).unwrap();
    assert!(finder.expect("connected: ").starts_with(&id));
    finder.interrupt();
    ada.expect("disconnected: ");
    finder.succeeds();
}

#[cfg(unix)]
#[test]
fn file_fetch_brings_the_file_and_overwrites_none() {
    let dir = tempfile::tempdir().unwrap();
    let (original, copy) = (dir.path().join("original"), dir.path().join("copy"));
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&original, &content).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let serve = ["serve", &path(&original), "tcp://127.0.0.1:0", "tls://127.0.0.1:0", "quic://127.0.0.1:0"];
    let mut server = Program::start("file_fetch", &serve);
    for _ in 0..3 {
        let line = server.expect("file_fetch get ");
        let endpoint = line.trim_end_matches(" FILE");
        let output = Program::start("file_fetch", &["get", endpoint, &path(&copy)]).succeeds();
        assert_has(&output, &["3000000 bytes, as announced"]);
        assert!(fs::read(&copy).unwrap() == content, "{endpoint}: the copy differs");
        let (status, output) = Program::start("file_fetch", &["get", endpoint, &path(&copy)]).end();
        assert!(!status.success(), "it overwrote a file:\n{output}");
        fs::remove_file(&copy).unwrap();
    }
    server.interrupt();
    server.succeeds();
}

#[test]
fn the_program_of_the_readme_meets_others() {
    let mut ada = Program::start("hello", &[]);
    let endpoint = ada.expect("this is ");
    let mut bob = Program::start("hello", &[&endpoint]);
    let mut cyd = Program::start("hello", &[&endpoint]);
    let id = |endpoint: &str| endpoint.split_once("://").unwrap().1.split_once('@').unwrap().0.to_owned();
    let ids = [&endpoint, &bob.expect("this is "), &cyd.expect("this is ")].map(|endpoint| id(endpoint));
    bob.expect(&format!("{} says", ids[2]));
    cyd.expect(&format!("{} says", ids[1]));
    let program = include_str!("../hello.rs").split_once("\n\n").unwrap().1;
    assert!(
        include_str!("../../README.md").contains(program),
        "the README shows another program than examples/hello.rs"
    );
}

/// An example is short, and one of the tests above runs it.
#[test]
fn examples_are_short_and_tested() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = include_str!("run.rs");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "rs") || name == "lib" {
            continue;
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 150, "{}: {lines} lines", path.display());
        assert!(tests.contains(&format!("(\"{name}\"")), "no test runs {name}");
    }
}
