//! The few file operations the stack needs, as a trait, so that a simulated host has its own disk.

use std::fmt;
use std::io;
use std::path::Path;

/// Small files, read and written whole. Calls block for as long as the disk takes; keep them off hot paths.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// The content of a file of at most `max_len` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], [`io::ErrorKind::FileTooLarge`] above `max_len`, or what the system says.
    fn read(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>>;

    /// Creates a file readable by its owner only (mode 0600), with its parent folders; never overwrites one.
    /// After a crash the file is either absent or whole. The disk must know hard links, which FAT does not.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when there is such a file, or what the system says.
    fn create_private(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Replaces a file's content (or creates it, mode 0600) so that a reader, or a crash, sees all of the old or all
    /// of the new.
    ///
    /// # Errors
    /// What the system says; the old content is then unharmed.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;
}

/// The files of the machine the process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostFiles;

#[expect(clippy::disallowed_methods, reason = "this is the one place that touches the disk")]
mod host {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, Read, Write};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{FileSystem, HostFiles};

    /// Temporary files of one name that crashes may leave before it is an error.
    const MAX_LEFT_OVER: usize = 1 << 16;

    impl FileSystem for HostFiles {
        fn read(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
            let mut content = Vec::new();
            File::open(path)?.take(max_len.saturating_add(1)).read_to_end(&mut content)?;
            if content.len() as u64 > max_len {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(content)
        }

        fn create_private(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            let temporary = write_beside(path, content)?;
            // A hard link fails where the name exists, unlike a rename: nothing is ever overwritten.
            let linked = fs::hard_link(&temporary, path);
            let removed = fs::remove_file(&temporary);
            linked.and(removed)?;
            sync_folder(path);
            Ok(())
        }

        fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            let temporary = write_beside(path, content)?;
            fs::rename(&temporary, path).inspect_err(|_| {
                // The rename's own error is the one to report.
                let _ = fs::remove_file(&temporary);
            })?;
            sync_folder(path);
            Ok(())
        }
    }

    /// Writes `content` to a new private file in the folder of `path` and waits until it is on the disk.
    fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let (mut file, temporary) = create_beside(path)?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        drop(file);
        if let Err(error) = written {
            // The write's own error is the one to report.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(temporary)
    }

    fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        for _ in 0..MAX_LEFT_OVER {
            let mut name = name.to_os_string();
            name.push(format!(".{}.{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
            let temporary = path.with_file_name(name);
            match options.open(&temporary) {
                // Left by a process with this number that crashed: in a container every one is number 1.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                opened => return opened.map(|file| (file, temporary)),
            }
        }
        Err(io::Error::other("the folder is full of temporary files that crashes left behind"))
    }

    /// Makes a new name survive a power failure. Best effort: not every system and disk can, and the file is whole and in
    /// its place already.
    fn sync_folder(path: &Path) {
        #[cfg(unix)]
        {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        #[cfg(not(unix))]
        let _ = path;
    }
}
