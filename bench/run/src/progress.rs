//! How far it is: a bar on a terminal, else a line for each run.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::Result;

pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    done: usize,
    total: usize,
}

impl Progress {
    pub fn new(total: usize) -> Result<Self> {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(total as u64));
        if let Some(bar) = &bar {
            bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}  {prefix}  {msg}")?);
        }
        Ok(Self { bar, started: Instant::now(), done: 0, total })
    }

    /// A run begins. The bar is not drawn again before the next one, so as not to disturb it.
    pub fn begin(&self, run: &str) {
        if let Some(bar) = &self.bar {
            let left = left(self.started.elapsed(), self.done, self.total);
            bar.set_prefix(left.map(|left| format!("{} left", HumanDuration(left))).unwrap_or_default());
            bar.set_message(run.to_owned());
            bar.tick();
        }
    }

    /// It has ended, or is left out.
    pub fn end(&mut self, run: &str, outcome: &str) {
        self.done += 1;
        match &self.bar {
            Some(bar) => bar.inc(1),
            None => {
                let left = left(self.started.elapsed(), self.done, self.total).unwrap_or_default();
                eprintln!("{}/{}  {run}: {outcome}  ({} left)", self.done, self.total, HumanDuration(left));
            }
        }
    }

    /// Something that is to stay on the screen.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The time left if what is to be done is like what has been done; unknown at first.
fn left(elapsed: Duration, done: usize, total: usize) -> Option<Duration> {
    (done > 0).then(|| elapsed.mul_f64((total - done) as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_like_what_was() {
        assert_eq!(left(Duration::from_secs(5), 0, 10), None);
        assert_eq!(left(Duration::from_secs(5), 1, 10), Some(Duration::from_secs(45)));
        assert_eq!(left(Duration::from_secs(50), 10, 10), Some(Duration::ZERO));
    }
}
