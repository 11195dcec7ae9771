//! Runs the stacks' programs in turn, again and again, and writes the medians and the ratios to raw.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench_common::{Figure, Scenario, Transport};

/// Repetitions; the figures are medians over them.
const REPETITIONS: usize = 5;

const STACKS: [&str; 2] = ["raw", "p2p"];

/// The goal for p2p against raw: at least, or at most where less is better; for `conns` in KiB, not as a ratio.
fn goal(scenario: Scenario, transport: Transport) -> f64 {
    let [tcp, tls, quic] = match scenario {
        Scenario::Rtt => [1.5, 1.4, 1.2],
        Scenario::Small => [0.6, 0.65, 0.8],
        Scenario::Bulk => [0.9, 0.9, 0.95],
        Scenario::Connect => [0.8, 0.85, 0.85],
        Scenario::Connect64 => [0.8, 0.9, 0.95],
        Scenario::Conns => [24.0, 40.0, 115.0],
        Scenario::Hol => [90.0; 3],
        Scenario::Stalled => [95.0; 3],
    };
    match transport {
        Transport::Tcp => tcp,
        Transport::Tls => tls,
        Transport::Quic => quic,
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("usage: bench-run [SCENARIO|TRANSPORT]...   (all without arguments; a full run writes RESULTS.md)");
        return;
    }
    let wanted = |name: &str, all: &[&str]| {
        let named: Vec<_> = args.iter().filter(|arg| all.contains(&arg.as_str())).collect();
        named.is_empty() || named.iter().any(|arg| *arg == name)
    };
    let scenarios: Vec<_> =
        Scenario::ALL.into_iter().filter(|s| wanted(s.name(), &Scenario::ALL.map(Scenario::name))).collect();
    let transports: Vec<_> =
        Transport::ALL.into_iter().filter(|t| wanted(t.name(), &Transport::ALL.map(Transport::name))).collect();

    let mut figures: BTreeMap<(Scenario, Transport, usize), Vec<Figure>> = BTreeMap::new();
    for repetition in 1..=REPETITIONS {
        for &scenario in &scenarios {
            for &transport in &transports {
                for (stack, name) in STACKS.iter().enumerate() {
                    if scenario.stands_alone() && stack == 0 {
                        continue;
                    }
                    eprintln!("{repetition}/{REPETITIONS} {} {} {name}", scenario.name(), transport.name());
                    match measure(name, scenario, transport) {
                        Ok(figure) => figures.entry((scenario, transport, stack)).or_default().push(figure),
                        Err(why) => eprintln!("    failed: {why}"),
                    }
                }
            }
        }
    }
    let table = table(&scenarios, &transports, &figures);
    println!("{table}");
    if scenarios.len() == Scenario::ALL.len() && transports.len() == Transport::ALL.len() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../RESULTS.md");
        std::fs::write(&file, results(&table)).expect("RESULTS.md can be written");
    }
}

fn program(stack: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("this program has a path");
    path.set_file_name(format!("bench-{stack}"));
    path
}

fn measure(stack: &str, scenario: Scenario, transport: Transport) -> Result<Figure, String> {
    let output = Command::new(program(stack))
        .args([scenario.name(), transport.name()])
        .output()
        .map_err(|error| format!("{}: {error}", program(stack).display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(
    scenarios: &[Scenario],
    transports: &[Transport],
    figures: &BTreeMap<(Scenario, Transport, usize), Vec<Figure>>,
) -> String {
    let mut table = String::from(
        "| scenario | transport | raw | p2p | ratio | goal | met | CPU/op raw | CPU/op p2p | slowest op p2p |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let (alone, compared): (Vec<_>, Vec<_>) = scenarios.iter().partition(|scenario| scenario.stands_alone());
    for scenario in compared {
        for &transport in transports {
            let (Some(raw), Some(ours)) =
                (figures.get(&(scenario, transport, 0)), figures.get(&(scenario, transport, 1)))
            else {
                continue;
            };
            let of = |figures: &[Figure], get: fn(&Figure) -> f64| median(figures.iter().map(get).collect());
            let ratio = median(ours.iter().zip(raw).map(|(ours, raw)| ours.value / raw.value).collect());
            let goal = goal(scenario, transport);
            let (judged, shown) = if scenario == Scenario::Conns {
                (of(ours, |figure| figure.value), format!("≤ {goal} KiB"))
            } else if scenario.less_is_better() {
                (ratio, format!("≤ ×{goal}"))
            } else {
                (ratio, format!("≥ ×{goal}"))
            };
            let met = if scenario.less_is_better() { judged <= goal } else { judged >= goal };
            let worst = of(ours, |figure| figure.worst_ms.unwrap_or(f64::NAN));
            let worst = if worst.is_nan() { "–".into() } else { format!("{worst:.1} ms") };
            writeln!(
                table,
                "| `{}` ({}) | {} | {} | {} | ×{ratio:.2} | {shown} | {} | {:.2} µs | {:.2} µs | {worst} |",
                scenario.name(),
                scenario.unit(),
                transport.name(),
                figure(of(raw, |figure| figure.value)),
                figure(of(ours, |figure| figure.value)),
                if met { "yes" } else { "**no**" },
                of(raw, |figure| figure.cpu_us),
                of(ours, |figure| figure.cpu_us),
            )
            .expect("writing to a string works");
        }
    }
    if !alone.is_empty() {
        table += "\n| scenario | transport | p2p | goal | met |\n|---|---|---|---|---|\n";
    }
    for scenario in alone {
        for &transport in transports {
            let Some(ours) = figures.get(&(scenario, transport, 1)) else { continue };
            let value = median(ours.iter().map(|figure| figure.value).collect());
            let goal = goal(scenario, transport);
            let met = if value >= goal { "yes" } else { "**no**" };
            let (name, transport) = (scenario.name(), transport.name());
            writeln!(table, "| `{name}` | {transport} | {value:.0} % | ≥ {goal} % | {met} |")
                .expect("writing to a string works");
        }
    }
    table
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e4 => format!("{:.1} k", v / 1e3),
        v if v >= 100.0 => format!("{v:.0}"),
        v => format!("{v:.1}"),
    }
}

fn results(table: &str) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    format!(
        "# Measured\n\n\
         Written by `cargo run --release --bin bench-run` in `bench/`: {REPETITIONS} repetitions, the stacks interleaved, both ends\n\
         in one process on a tokio runtime with two workers, loopback. Medians; a ratio is the median of the\n\
         ratios within each repetition. `raw` is tokio TCP, tokio-rustls or quinn with a four-byte length codec; over tcp its\n\
         `connect` adds one Ed25519 signature and one verification on each side. `connect` counts transport, handshake, a\n\
         message there and back, and close. `hol`: one protocol stops reading, the rate of another on the same connection\n\
         against its rate alone; `stalled`: a hub with 50 peers of which one stops reading, what the other 49 get against before. Both\n\
         in turns within one run.\n\n\
         - machine: {model}, {cores} cores, Linux {}\n- date: {}\n- compiler: {}\n- stacks: quinn 0.11.12, rustls 0.23 with ring, tokio 1.54.1\n\n{table}",
        said("uname", &["-r"]),
        said("date", &["-u", "+%Y-%m-%d"]),
        said("rustc", &["--version"]),
    )
}
