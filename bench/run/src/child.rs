//! Runs one program at a time, for so long and no longer.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How a program ended.
#[derive(Debug)]
pub enum Ended {
    Itself { status: ExitStatus, stdout: String, stderr: String },
    TooLong,
    Interrupted,
}

enum Event {
    Interrupt,
    /// The program of this number has closed what it prints to.
    Printed(u64, String),
}

pub struct Children {
    sender: Sender<Event>,
    events: Receiver<Event>,
    number: u64,
    interrupted: bool,
}

impl Children {
    pub fn new() -> Self {
        let (sender, events) = mpsc::channel();
        Self { sender, events, number: 0, interrupted: false }
    }

    /// Takes Ctrl-C as a wish to end what runs.
    ///
    /// # Errors
    /// When somebody else in this process does.
    pub fn heed_ctrl_c(&self) -> Result {
        let sender = self.sender.clone();
        // Without a receiver, this program has ended.
        Ok(ctrlc::set_handler(move || drop(sender.send(Event::Interrupt)))?)
    }

    pub fn is_interrupted(&mut self) -> bool {
        while let Ok(event) = self.events.try_recv() {
            self.interrupted |= matches!(event, Event::Interrupt);
        }
        self.interrupted
    }

    /// Runs a program to its end, and ends it when its time is over or Ctrl-C has been pressed: it, and no other.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&mut self, mut command: Command, limit: Duration) -> Result<Ended> {
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        self.number += 1;
        let (number, sender) = (self.number, self.sender.clone());
        let mut stdout = child.stdout.take().ok_or("stdout is a pipe")?;
        let mut stderr = child.stderr.take().ok_or("stderr is a pipe")?;
        thread::spawn(move || {
            let printed = read(&mut stdout);
            drop(sender.send(Event::Printed(number, printed)));
        });
        // Beside the other, so that none waits for a full pipe.
        let complaints = thread::spawn(move || read(&mut stderr));
        match self.wait(Instant::now() + limit) {
            Ok(stdout) => {
                let status = child.wait()?;
                Ok(Ended::Itself { status, stdout, stderr: complaints.join().unwrap_or_default() })
            }
            Err(ended) => {
                end(&mut child)?;
                Ok(ended)
            }
        }
    }

    /// What the latest program has printed, once it has ended.
    fn wait(&mut self, deadline: Instant) -> Result<String, Ended> {
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Printed(number, printed)) if number == self.number => return Ok(printed),
                // Of one that was ended before.
                Ok(Event::Printed(..)) => {}
                Ok(Event::Interrupt) => {
                    self.interrupted = true;
                    return Err(Ended::Interrupted);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(Ended::TooLong),
            }
        }
    }
}

fn read(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // What came before an error is told all the same.
    let _ = pipe.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn end(child: &mut Child) -> Result {
    // An error says that it has ended by itself.
    let _ = child.kill();
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_says_is_heard() {
        let mut children = Children::new();
        let long = Duration::from_secs(60);
        for _ in 0..2 {
            let ended = children.run(shell("echo fine; echo oh >&2; exit 3"), long).unwrap();
            let Ended::Itself { status, stdout, stderr } = ended else { panic!("{ended:?}") };
            assert_eq!((status.code(), stdout.as_str(), stderr.as_str()), (Some(3), "fine\n", "oh\n"));
        }
        assert!(children.run(Command::new("no-such-program"), long).is_err());
    }

    #[test]
    fn one_that_takes_too_long_is_ended_and_forgotten() {
        let mut children = Children::new();
        let started = Instant::now();
        let ended = children.run(shell("echo early; exec sleep 60"), Duration::from_millis(50)).unwrap();
        assert!(matches!(ended, Ended::TooLong) && started.elapsed() < Duration::from_secs(30));
        let next = children.run(shell("echo next"), Duration::from_secs(60)).unwrap();
        assert!(matches!(next, Ended::Itself { stdout, .. } if stdout == "next\n"));
    }

    #[test]
    fn an_interrupt_ends_it() {
        let mut children = Children::new();
        let sender = children.sender.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(sender.send(Event::Interrupt));
        });
        let ended = children.run(shell("exec sleep 60"), Duration::from_secs(50)).unwrap();
        assert!(matches!(ended, Ended::Interrupted) && children.is_interrupted());
    }
}
