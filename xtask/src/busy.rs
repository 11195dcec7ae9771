//! Busy loops beside the tests: whoever has other work to do gets a small part of the machine.

use std::hint::black_box;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::Result;

/// What this program is told, to be such a loop.
pub(crate) const LOOP: &str = "busy-loop";

/// More than this is a mistake: each is a process.
pub(crate) const MOST: usize = 1024;

/// Busy loops in processes of their own. They end when this is dropped, and with this process however it ends.
#[derive(Debug)]
pub(crate) struct Busy(Vec<Child>);

impl Busy {
    /// Starts `count` of them.
    ///
    /// # Errors
    /// A process could not be started; those that were have ended.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let program = std::env::current_exe()?;
        let mut busy = Self(Vec::new());
        for _ in 0..count {
            // It ends when its input does, which the system sees to if this process can no longer.
            let child = Command::new(&program).arg(LOOP).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
            busy.0.push(child.map_err(|error| format!("cannot start a busy loop: {error}"))?);
        }
        Ok(busy)
    }

    pub(crate) fn ids(&self) -> Vec<u32> {
        self.0.iter().map(Child::id).collect()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.stdin.take());
            // One that has ended cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Computes without end, on one thread, until the input ends.
pub(crate) fn spin() -> ! {
    std::thread::spawn(|| {
        // What is read does not matter, nor does an error: there is nothing more to wait for.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
