//! A program on a machine, and what it prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use super::lab::Machine;
use crate::Result;

/// What is not printed by then is not printed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    child: Child,
    started: Instant,
    output: Receiver<(Duration, String)>,
    lines: Vec<(Duration, String)>,
}

impl Program {
    pub(super) fn start(machine: &Machine, program: &Path, args: &[&str]) -> Result<Self> {
        let mut command = machine.command(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (name, started) = (format!("{} {}", program.display(), args.join(" ")), Instant::now());
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let (sender, output) = mpsc::channel();
        let pipes = [child.stdout.take().map(boxed), child.stderr.take().map(boxed)];
        for pipe in pipes.into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(std::result::Result::ok) {
                    if sender.send((started.elapsed(), line)).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { name, child, started, output, lines: Vec::new() })
    }

    /// Waits for a line with `text` in it. Gives when it came, after the program's start, and what follows `text`.
    pub(super) fn expect(&mut self, text: &str) -> Result<(Duration, String)> {
        self.find(|line| line.split_once(text).map(|(_, rest)| rest.to_owned()), text)
    }

    /// Waits for a line with one of `texts` in it. Gives when it came, after the program's start.
    pub(super) fn expect_any(&mut self, texts: &[String]) -> Result<Duration> {
        self.find(|line| texts.iter().any(|text| line.contains(text)).then_some(()), &texts.join(" or "))
            .map(|(at, ())| at)
    }

    fn find<T>(&mut self, wanted: impl Fn(&str) -> Option<T>, shown: &str) -> Result<(Duration, T)> {
        let deadline = self.started + PATIENCE;
        let mut next = 0;
        loop {
            while let Some((at, line)) = self.lines.get(next) {
                if let Some(found) = wanted(line) {
                    return Ok((*at, found));
                }
                next += 1;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.lines.push(line),
                Err(_) => {
                    return Err(format!("no {shown:?} from {}; it printed:\n{}", self.name, self.printed()).into());
                }
            }
        }
    }

    /// All that was waited for, and what came in between.
    fn printed(&self) -> String {
        let line = |(at, line): &(Duration, String)| format!("    {:6.3} s  {line}\n", at.as_secs_f64());
        self.lines.iter().map(line).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn boxed(pipe: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    Box::new(pipe)
}
