//! Where a program runs.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bench_common::line::{FAR_HOST, QUICK};
use bench_common::{Place as Kind, Scenario};
use bench_line::{Line, Moving};

use crate::Result;

/// A line that lets packets go later than this, on average, has not kept up: the machine had too much to do.
const LATE: Duration = Duration::from_millis(1);

/// What is made for one run and removed after it.
pub struct Place {
    made: Made,
    quick: bool,
}

enum Made {
    Here,
    Line(Line),
    TwoHosts(Moving),
}

impl Place {
    /// # Errors
    /// What the machine lacks for it.
    pub fn make(scenario: Scenario, seed: u64, quick: bool) -> Result<Self> {
        let made = match scenario.place() {
            Kind::Loopback => Made::Here,
            Kind::Line(shape) => Made::Line(Line::new(shape, seed)?),
            Kind::TwoHosts => Made::TwoHosts(Moving::new()?),
        };
        Ok(Self { made, quick })
    }

    /// A program that will run there.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = match &self.made {
            Made::Here => Command::new(program),
            Made::Line(line) => line.command(program),
            Made::TwoHosts(hosts) => {
                let mut command = hosts.here.command(program);
                command.env(FAR_HOST, hosts.there.name());
                command
            }
        };
        if self.quick {
            command.env(QUICK, "1");
        }
        command
    }

    /// Removes it; gives what is to be said of it.
    pub fn leave(self) -> Option<String> {
        let Made::Line(line) = self.made else { return None };
        match line.finish() {
            Ok(stats) if stats.mean_late() > LATE => {
                Some(format!("packets were late by {:?} on average, at most {:?}", stats.mean_late(), stats.late))
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        }
    }
}
