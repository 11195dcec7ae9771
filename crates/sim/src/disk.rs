//! The disk of a host: small files, which survive whatever happens to it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::shared::lock;

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum DiskFault {
    /// Every write fails as if there were no room.
    Full,
    /// Every write fails with an input/output error.
    Writes,
    /// Every read and every write fails with an input/output error.
    All,
}

/// The disk of a host, as a test sees it: it reads and writes whatever the disk's faults are. Cheap to clone.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Vec<u8>>,
    capacity: Option<u64>,
    fault: Option<DiskFault>,
}

impl Disk {
    /// What is in a file.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        lock(&self.0).files.get(path.as_ref()).cloned()
    }

    /// Puts a file there, or spoils one.
    pub fn write(&self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) {
        lock(&self.0).files.insert(path.into(), content.into());
    }

    /// Takes a file away; false if there is none.
    pub fn remove(&self, path: impl AsRef<Path>) -> bool {
        lock(&self.0).files.remove(path.as_ref()).is_some()
    }

    /// Every file, in the order of the names.
    pub fn files(&self) -> Vec<PathBuf> {
        lock(&self.0).files.keys().cloned().collect()
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        lock(&self.0).used()
    }

    /// From now on the disk holds so many bytes; `None` for no limit. What is there stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.0).capacity = bytes;
    }

    /// From now on the disk fails in this way; `None` mends it.
    pub fn set_fault(&self, fault: Option<DiskFault>) {
        lock(&self.0).fault = fault;
    }

    pub(crate) fn load(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        let state = lock(&self.0);
        if state.fault == Some(DiskFault::All) {
            return Err(broken());
        }
        let Some(content) = state.files.get(path) else {
            let kind = if state.is_folder(path) { io::ErrorKind::IsADirectory } else { io::ErrorKind::NotFound };
            return Err(kind.into());
        };
        if content.len() as u64 > max_len {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content.clone())
    }

    pub(crate) fn store(&self, path: &Path, content: &[u8], may_replace: bool) -> io::Result<()> {
        let mut state = lock(&self.0);
        match state.fault {
            Some(DiskFault::Full) => return Err(io::ErrorKind::StorageFull.into()),
            Some(DiskFault::Writes | DiskFault::All) => return Err(broken()),
            None => {}
        }
        if path.file_name().is_none() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if path.ancestors().skip(1).any(|folder| state.files.contains_key(folder)) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if state.is_folder(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !may_replace && state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !may_replace && path.parent().is_some_and(|folder| !state.is_folder(folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Old and new are there together for a moment, as on a real disk.
        if state.capacity.is_some_and(|capacity| state.used() + content.len() as u64 > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.files.insert(path.to_owned(), content.to_vec());
        Ok(())
    }
}

impl State {
    fn used(&self) -> u64 {
        self.files.values().map(|content| content.len() as u64).sum()
    }

    /// Whether some file is below `path`.
    fn is_folder(&self, path: &Path) -> bool {
        let below = self.files.range(path.to_owned()..).find(|(name, _)| *name != path);
        path.parent().is_none() || below.is_some_and(|(name, _)| name.starts_with(path))
    }
}

fn broken() -> io::Error {
    io::Error::other("the simulated disk fails")
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0);
        let mut debug = f.debug_struct("Disk");
        debug
            .field("files", &state.files.len())
            .field("capacity", &state.capacity)
            .field("fault", &state.fault)
            .finish()
    }
}
