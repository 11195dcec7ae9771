//! A namespace whose loopback is a long line.

use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bench_common::line::{CONTROL, Shape};
use nix::unistd::gettid;

use crate::Result;
use crate::emulator::{Emulator, Stats};
use crate::namespace::{Namespace, enter};

/// How long the thread may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// A line, until it is dropped.
#[derive(Debug)]
pub struct Line {
    // Removed first: what runs there ends before the line does.
    namespace: Namespace,
    emulation: Emulation,
}

impl Line {
    /// With the same seed, the same packets of a sequence are lost.
    ///
    /// # Errors
    /// What the machine lacks for it.
    pub fn new(shape: Shape, seed: u64) -> Result<Self> {
        let namespace = Namespace::new()?;
        namespace.make_line()?;
        let emulation = Emulation::begin(namespace.name(), shape, seed)?;
        // Only now does somebody take packets from the queue.
        namespace.divert()?;
        Ok(Self { namespace, emulation })
    }

    /// A program that will run on it, and can change it.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.namespace.command(program);
        command.env(CONTROL, &self.emulation.socket);
        command
    }

    /// Where commands for it are taken; see [`bench_common::line::Control`].
    pub fn socket(&self) -> &Path {
        &self.emulation.socket
    }

    /// Moves the calling thread onto it.
    ///
    /// # Errors
    /// When this process may not.
    pub fn enter(&self) -> Result {
        enter(self.namespace.name())
    }

    /// Ends it and says what it has carried.
    ///
    /// # Errors
    /// What went wrong with it.
    pub fn finish(mut self) -> Result<Stats> {
        self.emulation.end()
    }
}

/// The thread that moves a line's packets.
#[derive(Debug)]
struct Emulation {
    socket: PathBuf,
    thread: Option<JoinHandle<Result<Stats>>>,
}

impl Emulation {
    fn begin(namespace: &str, shape: Shape, seed: u64) -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("{namespace}.line"));
        // Of a process that had the same number.
        let _ = std::fs::remove_file(&socket);
        let control = UnixListener::bind(&socket).map_err(|error| format!("{}: {error}", socket.display()))?;
        control.set_nonblocking(true)?;
        let name = namespace.to_owned();
        let (begun, began) = mpsc::channel();
        let thread = thread::Builder::new().name("line".into()).spawn(move || {
            let emulator = enter(&name).and_then(|()| Emulator::new(shape, seed, control));
            match emulator {
                Ok(emulator) => {
                    hurry();
                    drop(begun.send(Ok(())));
                    emulator.run()
                }
                Err(error) => {
                    drop(begun.send(Err(error)));
                    Ok(Stats::default())
                }
            }
        })?;
        let emulation = Self { socket, thread: Some(thread) };
        began.recv_timeout(PATIENCE).map_err(|_| "the line does not begin")??;
        Ok(emulation)
    }

    fn end(&mut self) -> Result<Stats> {
        let Some(thread) = self.thread.take() else { return Ok(Stats::default()) };
        // An error says that it has ended by itself.
        if let Ok(mut control) = UnixStream::connect(&self.socket) {
            let _ = control.write_all(b"end\n");
        }
        let ended = thread.join().map_err(|_| "the line has panicked")?;
        let _ = std::fs::remove_file(&self.socket);
        ended
    }
}

impl Drop for Emulation {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the line: {error}");
        }
    }
}

/// Lets the calling thread run as soon as it can: both ends of a line keep all cores busy, and its clock must not wait for them.
fn hurry() {
    let thread = gettid().to_string();
    // Without `chrt`, packets are late on a busy machine, which the statistics tell.
    let _ = Command::new("chrt").args(["--rr", "--pid", "5", &thread]).output();
}
