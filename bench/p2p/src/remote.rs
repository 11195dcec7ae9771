//! A node in a process of its own, which can be killed or told something.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use p2p::endpoint::Endpoint;
use p2p::keypair::KeyPair;
use p2p::{Config, Node, PeerId};

use crate::nodes::{Echo, node_of};

/// Tells a process that it is such a node: its configuration as JSON.
const NODE: &str = "BENCH_NODE";

/// The seed of its key.
const SEED: [u8; 32] = [42; 32];

/// What it is told when its network has changed, and what it answers when its version has no call for that.
const CHANGED: &str = "network changed";
const LACKING: &str = "no call for it";

/// The process, which ends with this.
pub struct Remote {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where the node listens.
    pub endpoints: Vec<Endpoint>,
}

impl Remote {
    pub fn peer_id() -> PeerId {
        KeyPair::from_seed(SEED).peer_id()
    }

    /// Starts one that echoes; in the namespace of that name, if there is one.
    pub fn start(config: &Config, namespace: Option<&str>) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = match namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        };
        command.env(NODE, serde_json::to_string(config).unwrap());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut remote = Self { child, stdin, stdout, endpoints: Vec::new() };
        remote.endpoints = serde_json::from_str(&remote.line()).unwrap();
        remote
    }

    /// What it prints next.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Tells the node that its network has changed; false when it has no such call.
    pub fn network_changed(&mut self) -> bool {
        writeln!(self.stdin, "{CHANGED}").unwrap();
        self.line() != LACKING
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this process is to be such a node.
pub fn is_remote() -> bool {
    std::env::var_os(NODE).is_some()
}

/// Is the node until nobody holds the other end of its input any more.
pub fn run() {
    let config: Config = serde_json::from_str(&std::env::var(NODE).unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let node = runtime.block_on(async {
        let node = node_of(&KeyPair::from_seed(SEED), config);
        node.attach_protocol(Echo).unwrap();
        node.run().await.unwrap();
        node
    });
    println!("{}", serde_json::to_string(&node.listen_endpoints()).unwrap());
    for line in std::io::stdin().lines() {
        if line.unwrap() == CHANGED {
            let answer = if node.network_changed().is_done() { "done" } else { LACKING };
            println!("{answer}");
        }
    }
}

/// What [`Node::network_changed`] gives, in versions that have it and in those that do not.
trait Answer {
    fn is_done(&self) -> bool;
}

impl Answer for () {
    fn is_done(&self) -> bool {
        true
    }
}

struct Lacking;

impl Answer for Lacking {
    fn is_done(&self) -> bool {
        false
    }
}

/// Stands in for the method where a version does not have it: a method of the type itself comes first.
trait NetworkChanged {
    #[allow(dead_code)]
    fn network_changed(&self) -> Lacking {
        Lacking
    }
}

impl NetworkChanged for Node {}
