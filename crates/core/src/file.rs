//! The few file operations the stack needs, as a trait, so that a simulated host has its own disk.

use std::fmt;
use std::io;
use std::path::Path;

/// Small files, read and written whole. Calls block for as long as the disk takes: on a runtime, make them within
/// [`Runtime::run_blocking`](crate::Runtime::run_blocking), or use a [`StateFile`](crate::StateFile).
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// The content of a file of at most `max_len` bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], [`io::ErrorKind::FileTooLarge`] above `max_len`, or what the system says.
    fn read(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>>;

    /// Creates a file readable by its owner only (mode 0600); never overwrites one, and makes no folders.
    /// After a crash the file is either absent or whole. On a disk without hard links (FAT, exFAT, SMB, Android's
    /// storage) it may also be empty, and whoever reads it while it is created may find it so.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when there is such a file, [`io::ErrorKind::NotFound`] when there is no such
    /// folder, or what the system says.
    fn create_private(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Replaces a file's content (or creates it, mode 0600, with its parent folders) so that a reader, or a crash,
    /// sees all of the old or all of the new.
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
            create_linked(path, content, |temporary, path| fs::hard_link(temporary, path))
        }

        fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::create_dir_all(folder)?;
            }
            let temporary = write_beside(path, content)?;
            rename(&temporary, path)?;
            sync_folder(path);
            Ok(())
        }
    }

    /// [`FileSystem::create_private`] on a disk that makes hard links with `link`.
    fn create_linked(path: &Path, content: &[u8], link: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
        let temporary = write_beside(path, content)?;
        // A hard link fails where the name exists, unlike a rename: nothing is ever overwritten.
        match link(&temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // Disks say in many ways that they have no hard links. What else is wrong stops this, too.
                create_reserved(&temporary, path)?;
            }
            linked => {
                let removed = fs::remove_file(&temporary);
                linked.and(removed)?;
            }
        }
        sync_folder(path);
        Ok(())
    }

    /// Gives `temporary` the name `path` without a hard link: whoever creates the name may replace what is there.
    fn create_reserved(temporary: &Path, path: &Path) -> io::Result<()> {
        let reserved = private().open(path).inspect_err(|_| {
            // The reservation's own error is the one to report.
            let _ = fs::remove_file(temporary);
        })?;
        // Some disks do not rename over a file that is open.
        drop(reserved);
        rename(temporary, path).inspect_err(|_| {
            // It is empty and ours.
            let _ = fs::remove_file(path);
        })
    }

    fn rename(temporary: &Path, path: &Path) -> io::Result<()> {
        fs::rename(temporary, path).inspect_err(|_| {
            // The rename's own error is the one to report.
            let _ = fs::remove_file(temporary);
        })
    }

    /// Creates a file that only its owner may read, and fails where there is one.
    fn private() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
    }

    /// Writes `content` to a new private file in the folder of `path` and waits until it is on the disk.
    fn write_beside(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
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
        let options = private();
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

    #[cfg(test)]
    mod tests {
        use super::*;

        /// What exFAT, SMB and Android say when they are asked for a hard link.
        const NO_LINKS: [io::ErrorKind; 3] =
            [io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported, io::ErrorKind::Other];

        #[test]
        fn a_private_file_is_created_on_a_disk_without_hard_links() {
            for refusal in NO_LINKS {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("key");
                create_linked(&path, b"whole", |_, _| Err(refusal.into())).unwrap();
                assert_eq!(HostFiles.read(&path, 10).unwrap(), b"whole");
                #[cfg(unix)]
                {
                    use std::os::unix::fs::PermissionsExt;
                    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
                }
                let again = create_linked(&path, b"other", |_, _| Err(refusal.into())).unwrap_err();
                assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
                assert_eq!(HostFiles.read(&path, 10).unwrap(), b"whole", "it is never overwritten");
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
            }
        }

        #[test]
        fn one_of_many_creates_a_file_on_a_disk_without_hard_links() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("key");
            let created = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for n in 0..8u8 {
                    let (path, created) = (&path, &created);
                    scope.spawn(move || {
                        match create_linked(path, &[n; 64], |_, _| Err(io::ErrorKind::Unsupported.into())) {
                            Ok(()) => drop(created.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => assert_eq!(error.kind(), io::ErrorKind::AlreadyExists),
                        }
                    });
                }
            });
            assert_eq!(created.into_inner(), 1);
            let content = HostFiles.read(&path, 100).unwrap();
            assert!(content.len() == 64 && content.iter().all(|&byte| byte == content[0]), "whole, and of one writer");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        }
    }
}
