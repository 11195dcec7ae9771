//! Network namespaces, made and removed with `ip`.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use crate::Result;
use crate::queue::NUMBER;

/// How the names of all our namespaces begin; the number of the process and a number of its own follow.
const PREFIX: &str = "p2p-bench-";

/// Where `ip` keeps them.
const FOLDER: &str = "/run/netns";

/// How long processes that are to end may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What this machine or user lacks for lines and namespaces; nothing if they work.
pub fn lacking() -> Vec<String> {
    let mut lacking = Vec::new();
    if !geteuid().is_root() {
        lacking.push("root".to_owned());
    }
    if !has("ip") {
        lacking.push("ip (iproute2)".to_owned());
    }
    if !has("iptables") && !has("nft") {
        lacking.push("iptables or nft".to_owned());
    }
    if lacking.is_empty() {
        let tried = crate::Line::new(bench_common::line::Shape::rtt(1.0), 1).and_then(crate::Line::finish);
        lacking.extend(tried.err().map(|error| format!("network namespaces with NFQUEUE ({error})")));
    }
    lacking
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A network namespace, and what runs in it: both end with this.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// An empty one, whose loopback interface is up. What earlier processes left behind is removed first.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        sweep();
        let name = format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` for it.
    ///
    /// # Errors
    /// What it says.
    pub fn ip(&self, args: &[&str]) -> Result {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// A program that will run in it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Every packet is one of 1,500 bytes at most, and TCP is cubic, whatever the machine prefers. What a socket hands over in
    /// one piece is cut when it is queued, as an interface would cut it: pieces that were small from the beginning take more of
    /// the memory that a socket may have, and a long line would be filled by half.
    pub(crate) fn make_line(&self) -> Result {
        self.ip(&["link", "set", "lo", "mtu", "1500"])?;
        for net in ["127.0.0.0/8", "127.0.0.1", "127.0.0.2"] {
            let route = ["route", "replace", "local", net, "dev", "lo", "proto", "kernel", "scope", "host"];
            self.ip(&[&route[..], &["src", "127.0.0.1", "table", "local", "congctl", "cubic"]].concat())?;
        }
        Ok(())
    }

    /// Hands each packet that comes over loopback to the queue.
    pub(crate) fn divert(&self) -> Result {
        let queue = NUMBER.to_string();
        let rule = ["-w", "-t", "mangle", "-A", "PREROUTING", "-i", "lo", "-j", "NFQUEUE", "--queue-num", &queue];
        if has("iptables") {
            return run(self.command(Path::new("iptables")).args(rule));
        }
        for rule in [
            "add table ip line".to_owned(),
            "add chain ip line arriving { type filter hook prerouting priority -150 ; }".to_owned(),
            format!("add rule ip line arriving iif lo queue num {NUMBER}"),
        ] {
            run(self.command(Path::new("nft")).arg(rule))?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Moves the calling thread into the namespace of that name.
///
/// # Errors
/// When this process may not.
pub(crate) fn enter(name: &str) -> Result {
    let file = File::open(Path::new(FOLDER).join(name))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| format!("entering {name}: {error}"))?;
    Ok(())
}

/// Two hosts with a cable between them, of which the second can get another address.
#[derive(Debug)]
pub struct Moving {
    pub here: Namespace,
    pub there: Namespace,
}

impl Moving {
    /// What the hosts' interfaces are called.
    pub const DEVICE: &'static str = "cable";

    /// # Errors
    /// What `ip` says.
    pub fn new() -> Result<Self> {
        let (here, there) = (Namespace::new()?, Namespace::new()?);
        let device = Self::DEVICE;
        here.ip(&["link", "add", device, "type", "veth", "peer", "name", device, "netns", there.name()])?;
        for (host, address) in [(&here, "10.77.0.1/24"), (&there, "10.77.0.2/24")] {
            host.ip(&["address", "add", address, "dev", device])?;
            host.ip(&["link", "set", device, "up"])?;
        }
        Ok(Self { here, there })
    }
}

/// Ends what runs in a namespace, and removes it.
fn remove(name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let output = Command::new("ip").args(["netns", "pids", name]).output();
        let printed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let pids: Vec<i32> = printed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        // A thread of this process may have been there; its process is here.
        let own = std::process::id();
        let others: Vec<i32> = pids.into_iter().filter(|pid| u32::try_from(*pid) != Ok(own)).collect();
        if others.is_empty() {
            break;
        }
        for pid in others {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    if let Err(error) = ip(&["netns", "delete", name]) {
        eprintln!("{name} stays behind: {error}");
    }
}

/// Removes what processes have left that were killed.
fn sweep() {
    let Ok(entries) = std::fs::read_dir(FOLDER) else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists()) {
            remove(&name);
        }
    }
}

fn ip(args: &[&str]) -> Result {
    run(Command::new("ip").args(args))
}

fn run(command: &mut Command) -> Result {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let words: Vec<_> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim()).into())
}
