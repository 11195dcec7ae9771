//! Coverage-guided fuzzing: `cargo fuzz` with the flags that it needs here, and a table of what came of it.

mod libfuzzer;
mod options;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use self::libfuzzer::Stats;
use self::options::Options;
use crate::Result;
use crate::run::Runner;
use crate::tools::CARGO_FUZZ;

/// libFuzzer instruments code through flags that stable compilers keep to themselves; no unstable feature is used.
const BOOTSTRAP: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// The most inputs of a target that are kept in the repository.
const MAX_KEPT: usize = 99;

/// How long one input may take, in seconds, before it is a finding; and how much memory, in MiB.
const SLOW: u32 = 10;
const LARGE: u32 = 1024;

pub(crate) fn fuzz(run: &Runner, args: &[String]) -> Result {
    let options = Options::parse(args)?;
    if options.help {
        print!("{}", options::HELP);
        return Ok(());
    }
    let all = targets(&run.root().join("fuzz"))?;
    let chosen = choose(&all, &options.targets)?;
    if options.list {
        let lines: String = chosen.iter().map(|(name, about)| format!("  {name:<18} {about}\n")).collect();
        print!("{lines}");
        return Ok(());
    }
    CARGO_FUZZ.program(run)?;
    let places = Places::prepare(run)?;
    if options.minimize {
        return chosen.keys().try_for_each(|target| minimize(run, &places, target));
    }
    // Each target, as often as there are processes left for it.
    let processes = options.jobs.div_ceil(chosen.len()).max(1);
    let queue: Vec<&str> = chosen.keys().flat_map(|name| std::iter::repeat_n(name.as_str(), processes)).collect();
    let next = AtomicUsize::new(0);
    let bad = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.min(queue.len()) {
            scope.spawn(|| {
                while let Some(target) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (good, text) = match places.run(target, &options) {
                        Ok(stats) => (stats.findings == 0, stats.to_string()),
                        Err(error) => (false, error.to_string()),
                    };
                    println!("  {target:<18} {text}");
                    if !good {
                        // A set is valid after each of its operations, whoever panicked.
                        bad.lock().unwrap_or_else(PoisonError::into_inner).insert(*target);
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().unwrap_or_else(PoisonError::into_inner);
    let names: Vec<_> = bad.into_iter().collect();
    if names.is_empty() { Ok(()) } else { Err(format!("findings or failures: {}", names.join(", ")).into()) }
}

/// The targets with a line on each: the beginning of its body's documentation.
fn targets(fuzz: &Path) -> Result<BTreeMap<String, String>> {
    let mut targets = BTreeMap::new();
    for entry in fs::read_dir(fuzz.join("fuzz_targets"))? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
        let body = fs::read_to_string(fuzz.join("bodies/src").join(name).with_extension("rs"))?;
        let about = body.lines().next().unwrap_or_default().trim_start_matches("//! ");
        targets.insert(name.to_owned(), about.to_owned());
    }
    Ok(targets)
}

fn choose(all: &BTreeMap<String, String>, wanted: &[String]) -> Result<BTreeMap<String, String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains_key(*name)) {
        return Err(format!("there is no target {unknown:?}: see cargo xtask fuzz --list").into());
    }
    let chosen = all.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    Ok(chosen.map(|(name, about)| (name.clone(), about.clone())).collect())
}

/// Where things are.
struct Places {
    fuzz: PathBuf,
    /// Where the programs were built.
    programs: PathBuf,
    /// The longest input of each target.
    max_len: BTreeMap<String, String>,
}

impl Places {
    /// Builds all targets, and writes the seeds to where each target collects what it finds.
    fn prepare(run: &Runner) -> Result<Self> {
        let fuzz = run.root().join("fuzz");
        let found = fuzz.join("found");
        let mut seeds = Command::new(run.cargo());
        seeds.args(["run", "--quiet", "--package", "p2p-fuzz-bodies", "--bin", "seeds", "--"]).arg(&found);
        let printed =
            run.output(&mut seeds).ok_or("the seeds cannot be written: see `cargo build -p p2p-fuzz-bodies`")?;
        let lines = printed.lines().filter_map(|line| line.split_once(' '));
        let max_len = lines.map(|(name, len)| (name.to_owned(), len.to_owned())).collect();
        run.cargo_step_with("fuzz build --sanitizer none", &[], &[BOOTSTRAP])?;
        Ok(Self { programs: libfuzzer::programs(run, &fuzz)?, fuzz, max_len })
    }

    /// The program of a target with what each call of it needs.
    fn program(&self, target: &str) -> Result<Command> {
        let artifacts = self.fuzz.join("artifacts").join(target);
        fs::create_dir_all(&artifacts)?;
        let max_len = self.max_len.get(target).ok_or_else(|| format!("{target} has no body"))?;
        let mut command = Command::new(self.programs.join(target));
        command.current_dir(&self.fuzz).args([
            format!("-max_len={max_len}"),
            format!("-timeout={SLOW}"),
            format!("-rss_limit_mb={LARGE}"),
            format!("-artifact_prefix={}/", artifacts.display()),
            "-print_final_stats=1".into(),
        ]);
        Ok(command)
    }

    fn run(&self, target: &str, options: &Options) -> Result<Stats> {
        let mut command = self.program(target)?;
        match options.runs {
            Some(runs) => command.arg(format!("-runs={runs}")),
            None => command.arg(format!("-max_total_time={}", options.minutes * 60)),
        };
        // New inputs go to the first folder.
        for folder in ["found", "corpus", "regressions"] {
            let folder = self.fuzz.join(folder).join(target);
            if folder.is_dir() {
                command.arg(folder);
            }
        }
        let output = command.output().map_err(|error| format!("cannot run {target}: {error}"))?;
        let printed = String::from_utf8_lossy(&output.stderr);
        let stats = Stats::read(&printed, output.status.success());
        if stats.findings > 0 {
            eprintln!("{}", libfuzzer::finding(&printed));
        }
        Ok(stats)
    }
}

/// Replaces the kept corpus of a target with the fewest inputs that reach all that is known to be reached.
fn minimize(run: &Runner, places: &Places, target: &str) -> Result {
    let kept = places.fuzz.join("corpus").join(target);
    let merged = places.fuzz.join("found").join(format!("{target}.merged"));
    // What an interrupted call has left.
    let _ = fs::remove_dir_all(&merged);
    fs::create_dir_all(&merged)?;
    fs::create_dir_all(&kept)?;
    let mut command = places.program(target)?;
    command
        .args(["-set_cover_merge=1", "-use_counters=0"])
        .arg(&merged)
        .arg(&kept)
        .arg(places.fuzz.join("found").join(target));
    if run.output(&mut command).is_none() {
        return Err(format!("{target}: its corpus cannot be merged: is there a finding?").into());
    }
    fs::remove_dir_all(&kept)?;
    fs::rename(&merged, &kept)?;
    let file =
        |entry: std::io::Result<fs::DirEntry>| entry.and_then(|entry| Ok((entry.metadata()?.len(), entry.path())));
    let mut files = fs::read_dir(&kept)?.map(file).collect::<std::io::Result<Vec<_>>>()?;
    // The longest reach most; what the others add is found again in no time.
    files.sort_unstable_by(|a, b| b.cmp(a));
    files.iter().skip(MAX_KEPT).try_for_each(|(_, path)| fs::remove_file(path))?;
    files.truncate(MAX_KEPT);
    println!("  {target:<18} {} inputs, {} bytes", files.len(), files.iter().map(|(len, _)| len).sum::<u64>());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_known_by_their_programs() {
        let all = targets(&crate::root().join("fuzz")).unwrap();
        assert!(all["mux_pair"].starts_with("Both sides of a multiplexed connection"), "{:?}", all["mux_pair"]);
        assert_eq!(choose(&all, &[]).unwrap().len(), all.len());
        assert_eq!(choose(&all, &["record".into()]).unwrap().into_keys().collect::<Vec<_>>(), ["record"]);
        assert!(choose(&all, &["recrod".into()]).unwrap_err().to_string().contains("--list"));
    }
}
