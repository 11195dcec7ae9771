//! A small internet of network namespaces: a router, and machines on networks of their own, behind boxes or not.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;

/// How the names of all our namespaces begin; the number of the process follows.
const PREFIX: &str = "p2p-machines-";

/// The router that all networks meet at.
const CORE: &str = "core";

/// What stands between a machine and the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Middlebox {
    /// Translates addresses, keeps ports while they are free, and lets in only answers: a home router on Linux.
    KeepsPorts,
    /// Translates nothing, and lets in only answers.
    Firewall,
    /// One public address for one machine, all ports, in both directions: a rented server's.
    OneToOne,
}

/// The namespaces of one internet; they end with it, and so does what runs in them.
#[derive(Debug)]
pub(super) struct Lab {
    namespaces: Vec<String>,
    networks: u8,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    namespace: String,
}

impl Machine {
    /// `program` on this machine.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }
}

/// What this machine or user lacks; nothing if labs work.
pub(super) fn lacking() -> Option<String> {
    let tried = Lab::new().and_then(|mut lab| lab.behind(Middlebox::KeepsPorts, &["tried"]).map(drop));
    tried.err().map(|error| format!("network namespaces, which need root, iproute2 and nftables ({error})"))
}

impl Lab {
    /// The router alone.
    pub(super) fn new() -> Result<Self> {
        let mut lab = Self { namespaces: Vec::new(), networks: 0 };
        let core = lab.namespace(CORE)?;
        forward(&core)?;
        Ok(lab)
    }

    /// A machine with a public address.
    pub(super) fn machine(&mut self, name: &str) -> Result<Machine> {
        let namespace = self.namespace(name)?;
        self.uplink(&namespace)?;
        Ok(Machine { namespace })
    }

    /// Machines on one network behind a box.
    pub(super) fn behind(&mut self, middlebox: Middlebox, names: &[&str]) -> Result<Vec<Machine>> {
        let outer = self.namespace(&format!("{}-box", names[0]))?;
        let up = self.uplink(&outer)?;
        forward(&outer)?;
        let net = match middlebox {
            Middlebox::Firewall => {
                let net = format!("6.0.{}", self.networks);
                let core = self.name(CORE);
                ip(&["-n", &core, "route", "add", &format!("{net}.0/24"), "via", &up])?;
                net
            }
            Middlebox::KeepsPorts | Middlebox::OneToOne => format!("192.168.{}", self.networks),
        };
        ip(&["-n", &outer, "link", "add", "lan", "type", "bridge"])?;
        ip(&["-n", &outer, "addr", "add", &format!("{net}.1/24"), "dev", "lan"])?;
        ip(&["-n", &outer, "link", "set", "lan", "up"])?;
        let mut machines = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let namespace = self.namespace(name)?;
            let (port, address) = (format!("port{index}"), format!("{net}.{}", index + 2));
            cable(&outer, &port, &namespace, "eth0")?;
            ip(&["-n", &outer, "link", "set", &port, "master", "lan", "up"])?;
            ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
            ip(&["-n", &namespace, "route", "add", "default", "via", &format!("{net}.1")])?;
            machines.push(Machine { namespace });
        }
        rules(&outer, middlebox, &format!("{net}.2"))?;
        Ok(machines)
    }

    /// A cable to the router, with a network of its own. Gives the address at this end.
    fn uplink(&mut self, namespace: &str) -> Result<String> {
        self.networks += 1;
        let (net, core, port) = (format!("5.0.{}", self.networks), self.name(CORE), format!("port{}", self.networks));
        cable(&core, &port, namespace, "wan")?;
        ip(&["-n", &core, "addr", "add", &format!("{net}.1/24"), "dev", &port])?;
        ip(&["-n", &core, "link", "set", &port, "up"])?;
        ip(&["-n", namespace, "addr", "add", &format!("{net}.2/24"), "dev", "wan"])?;
        ip(&["-n", namespace, "link", "set", "wan", "up"])?;
        ip(&["-n", namespace, "route", "add", "default", "via", &format!("{net}.1")])?;
        Ok(format!("{net}.2"))
    }

    fn namespace(&mut self, host: &str) -> Result<String> {
        let name = self.name(host);
        ip(&["netns", "add", &name])?;
        self.namespaces.push(name.clone());
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(name)
    }

    fn name(&self, host: &str) -> String {
        format!("{PREFIX}{}-{host}", std::process::id())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Nothing else can be done about what does not go.
            let _ = ip(&["netns", "del", namespace]);
        }
    }
}

/// Two interfaces that are one another's ends.
fn cable(a: &str, a_name: &str, b: &str, b_name: &str) -> Result {
    ip(&["-n", a, "link", "add", a_name, "type", "veth", "peer", "name", b_name, "netns", b])
}

fn forward(namespace: &str) -> Result {
    let switch = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    run(Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", switch]))
}

fn rules(outer: &str, middlebox: Middlebox, inner: &str) -> Result {
    let only_answers = "chain forward { type filter hook forward priority 0; policy drop; \
                        iifname lan accept; ct state established,related accept; }";
    let masquerade = "chain out { type nat hook postrouting priority 100; oifname wan masquerade; }";
    let body = match middlebox {
        Middlebox::KeepsPorts => format!("{only_answers}\n{masquerade}"),
        Middlebox::Firewall => only_answers.to_owned(),
        Middlebox::OneToOne => {
            format!("{masquerade}\nchain in {{ type nat hook prerouting priority -100; iifname wan dnat to {inner}; }}")
        }
    };
    run(Command::new("ip").args(["netns", "exec", outer, "nft", &format!("table ip middlebox {{\n{body}\n}}")]))
}

fn ip(args: &[&str]) -> Result {
    run(Command::new("ip").args(args))
}

fn run(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
