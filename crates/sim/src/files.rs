//! The disk as the programs of a host see it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use p2p_core::FileSystem;

use crate::host::Machine;

/// The files of a host, for the programs of one of its lives.
#[derive(Debug)]
pub(crate) struct SimFiles {
    pub(crate) machine: Arc<Machine>,
    pub(crate) epoch: u64,
}

impl SimFiles {
    /// What a test still holds of a program that is gone writes nothing any more.
    fn check(&self) -> io::Result<()> {
        if self.machine.is_alive(self.epoch) { Ok(()) } else { Err(io::Error::other("the host is down")) }
    }
}

impl FileSystem for SimFiles {
    fn read(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        self.check()?;
        self.machine.disk.load(path, max_len)
    }

    fn create_private(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.check()?;
        self.machine.disk.store(path, content, false)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.check()?;
        self.machine.disk.store(path, content, true)
    }
}
