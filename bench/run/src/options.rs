//! What is asked for on the command line.

use std::ffi::OsString;

use bench_common::{Place, Scenario, Transport};
use lexopt::{Arg, ValueExt};

use crate::Result;
use crate::setting::Setting;
use crate::stack::Stack;

/// Repetitions; the figures are medians over them.
const REPETITIONS: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub scenarios: Vec<Scenario>,
    pub stacks: Vec<Stack>,
    pub transports: Vec<Transport>,
    pub repetitions: usize,
    /// Whether to write files although not everything is measured.
    pub write: bool,
    /// What a setting of p2p does, in place of what the stacks do.
    pub setting: Option<Setting>,
    /// On long lines, in place of loopback.
    pub line: bool,
    /// Shorter runs, for trying out.
    pub quick: bool,
    /// Whether the lines are what they are asked to be, in place of what the stacks do.
    pub selftest: bool,
}

impl Options {
    /// `None` when only help is asked for.
    ///
    /// # Errors
    /// Says which names there are when one is not known.
    pub fn parse(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Option<Self>> {
        let (mut named, mut stacks, mut transports) = (Vec::new(), Vec::new(), Vec::new());
        let (mut repetitions, mut write, mut setting) = (REPETITIONS, false, None);
        let [mut line, mut quick, mut selftest] = [false; 3];
        let mut args = lexopt::Parser::from_iter(args);
        while let Some(arg) = args.next()? {
            match arg {
                Arg::Short('h') | Arg::Long("help") => return Ok(None),
                Arg::Value(names) => named.push(names.string()?),
                Arg::Long("stack") => stacks.extend(list(&args.value()?.string()?, &STACKS)?),
                Arg::Long("transport") => transports.extend(list(&args.value()?.string()?, &TRANSPORTS)?),
                Arg::Long("repetitions") => repetitions = args.value()?.parse()?,
                Arg::Long("write") => write = true,
                Arg::Long("line") => line = true,
                Arg::Long("quick") => quick = true,
                Arg::Long("selftest") => selftest = true,
                Arg::Long("set") => setting = Some(Setting::parse(&args.value()?.string()?)?),
                other => return Err(format!("{}: see --help", other.unexpected()).into()),
            }
        }
        if repetitions == 0 {
            return Err("--repetitions: once at least".into());
        }
        if (quick || selftest) && !line {
            return Err("--quick and --selftest are for --line".into());
        }
        if quick && write {
            return Err("--quick: what is measured in a hurry is not written".into());
        }
        let there_are = scenarios(line);
        let names =
            Names { what: if line { "scenario on lines" } else { "scenario" }, all: &there_are, name: Scenario::name };
        let mut scenarios = Vec::new();
        for named in named {
            scenarios.extend(list(&named, &names)?);
        }
        Ok(Some(Self {
            scenarios: chosen(&there_are, &scenarios),
            stacks: chosen(&Stack::ALL, &stacks),
            transports: chosen(&Transport::ALL, &transports),
            repetitions,
            write,
            setting,
            line,
            quick,
            selftest,
        }))
    }

    /// Whether nothing is left out, of what there is on loopback or on lines.
    pub fn is_everything(&self) -> bool {
        !self.quick
            && self.scenarios.len() == scenarios(self.line).len()
            && self.stacks.len() == Stack::ALL.len()
            && self.transports.len() == Transport::ALL.len()
    }
}

/// Those on lines, or those on loopback.
fn scenarios(line: bool) -> Vec<Scenario> {
    Scenario::ALL.into_iter().filter(|scenario| (scenario.place() != Place::Loopback) == line).collect()
}

/// The names of those.
fn scenario_names(line: bool) -> String {
    Names { what: "scenario", all: &scenarios(line), name: Scenario::name }.joined()
}

/// What one of the lists may name.
struct Names<'a, T> {
    what: &'static str,
    all: &'a [T],
    name: fn(T) -> &'static str,
}

const STACKS: Names<Stack> = Names { what: "stack", all: &Stack::ALL, name: Stack::name };
const TRANSPORTS: Names<Transport> = Names { what: "transport", all: &Transport::ALL, name: Transport::name };

impl<T: Copy> Names<'_, T> {
    fn joined(&self) -> String {
        self.all.iter().map(|&one| (self.name)(one)).collect::<Vec<_>>().join(", ")
    }
}

/// Reads names with commas between them.
fn list<T: Copy>(text: &str, names: &Names<'_, T>) -> Result<Vec<T>> {
    let one = |name: &str| {
        let found = names.all.iter().copied().find(|&one| (names.name)(one) == name);
        found.ok_or_else(|| format!("there is no {} {name:?}: there are {}", names.what, names.joined()).into())
    };
    text.split(',').map(|name| one(name.trim())).collect()
}

/// Those that are named, in the order of all and each once; all if none is.
fn chosen<T: Copy + PartialEq>(all: &[T], named: &[T]) -> Vec<T> {
    all.iter().copied().filter(|one| named.is_empty() || named.contains(one)).collect()
}

pub fn help() -> String {
    format!(
        "Measures the stacks against each other and against raw sockets.\n\n\
         Usage: cargo xtask bench [SCENARIO]... [OPTIONS]\n\n\
         Scenarios: {}\n  (all without any)\n\
         With --line: {}\n\n\
         Options:\n  \
         --stack LIST        of {}\n  \
         --transport LIST    of {}\n  \
         --repetitions N     how often each is run, in turns; {REPETITIONS} if not said\n  \
         --write             into bench/RESULTS.md, results.json and plots/, keeping what is not measured now;\n                      \
         goes without saying when everything is measured\n  \
         --set FIELD=VALUE,… p2p alone, with a field of its Config as it is and with each value: --set limits.queue_bytes=65536\n                      \
         or on smol: --set runtime=smol\n  \
         --line              on long lines; needs root, ip, iptables or nft, and NFQUEUE: says so and skips elsewhere\n  \
         --line --quick      shorter runs, for trying out; not written\n  \
         --line --selftest   whether the lines are what they are asked to be\n  \
         --help\n\n\
         Ctrl-C ends it with what there is. Exit code: 0 when all was measured, 1 when something failed, 2 for a\n\
         mistake on the command line, 130 after Ctrl-C. bench/README.md says what each scenario measures.\n",
        scenario_names(false),
        scenario_names(true),
        STACKS.joined(),
        TRANSPORTS.joined(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>> {
        Options::parse([&["bench"][..], args].concat())
    }

    #[test]
    fn everything_is_measured_unless_it_is_said_what() {
        let all = parse(&[]).unwrap().unwrap();
        assert!(all.is_everything() && !all.write);
        assert_eq!(all.repetitions, REPETITIONS);

        let some = parse(&["bulk", "rtt,bulk", "--stack=p2p,raw", "--transport", "quic", "--write"]).unwrap().unwrap();
        assert_eq!(some.scenarios, [Scenario::Rtt, Scenario::Bulk]);
        assert_eq!(some.stacks, [Stack::Raw, Stack::P2p]);
        assert_eq!(some.transports, [Transport::Quic]);
        assert!(some.write && !some.is_everything());
        assert_eq!(parse(&["--repetitions", "2"]).unwrap().unwrap().repetitions, 2);
    }

    #[test]
    fn lines_have_scenarios_of_their_own() {
        let lines = parse(&["--line"]).unwrap().unwrap();
        assert!(lines.is_everything() && lines.scenarios.first() == Some(&Scenario::Dial));
        assert!(!lines.scenarios.contains(&Scenario::Rtt));
        let some = parse(&["outage", "--line", "--quick"]).unwrap().unwrap();
        assert_eq!(some.scenarios, [Scenario::Outage]);
        assert!(some.quick && !parse(&["--line", "--quick"]).unwrap().unwrap().is_everything());
    }

    #[test]
    fn a_name_that_is_not_known_is_answered_with_those_that_are() {
        for (args, expected) in [
            (&["rttt"][..], "there is no scenario \"rttt\": there are rtt, small,"),
            (&["--stack", "raw,quick"], "there is no stack \"quick\": there are raw, p2p, karyon, libp2p, iroh"),
            (&["--transport", "udp"], "there is no transport \"udp\": there are tcp, tls, quic"),
            (&["--repetitions", "0"], "once at least"),
            (&["--repetitions", "many"], "many"),
            (&["--set", "memory"], "FIELD=VALUE"),
            (&["outage"], "there is no scenario \"outage\": there are rtt, small,"),
            (&["rtt", "--line"], "there is no scenario on lines \"rtt\": there are dial, fill,"),
            (&["--quick"], "are for --line"),
            (&["--line", "--quick", "--write"], "not written"),
            (&["--fast"], "--fast"),
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn help_names_everything() {
        assert_eq!(parse(&["rtt", "--help"]).unwrap(), None);
        let names = [scenario_names(false), scenario_names(true), STACKS.joined(), TRANSPORTS.joined()];
        assert!(names.iter().all(|names| help().contains(names)));
    }
}
