//! What the disk holds after a crash, and among several writers.
#![allow(clippy::disallowed_methods, reason = "a test of the file operations looks at the files themselves")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use p2p_core::{FileSystem, HostFiles};

#[test]
fn one_of_many_creates_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let created = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..8u8 {
            let (path, created) = (&path, &created);
            scope.spawn(move || match HostFiles.create_private(path, &[n; 64]) {
                Ok(()) => drop(created.fetch_add(1, Ordering::SeqCst)),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::AlreadyExists),
            });
        }
    });
    assert_eq!(created.into_inner(), 1);
    let content = std::fs::read(&path).unwrap();
    assert!(content.len() == 64 && content.iter().all(|&b| b == content[0]), "whole, and of one writer");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_reader_sees_all_of_the_old_or_all_of_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    HostFiles.replace(&path, &[0; 4096]).unwrap();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (path, done) = (&path, &done);
        for n in 1..3u8 {
            scope.spawn(move || {
                (0..20).for_each(|_| HostFiles.replace(path, &vec![n; 4096 * usize::from(n)]).unwrap());
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        scope.spawn(move || {
            while done.load(Ordering::SeqCst) < 2 {
                let content = HostFiles.read(path, 1 << 20).unwrap();
                let n = content[0];
                assert_eq!(content.len(), 4096 * usize::from(n.max(1)));
                assert!(content.iter().all(|&b| b == n));
            }
        });
    });
}

/// In a container every process has number 1, so it meets the temporary files of those that crashed before it.
#[test]
fn files_left_by_a_crash_are_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["key", "state"] {
        for n in 0..100 {
            std::fs::write(folder.path().join(format!("{name}.{}.{n}.tmp", std::process::id())), b"half").unwrap();
        }
    }
    HostFiles.create_private(&folder.path().join("key"), b"whole").unwrap();
    HostFiles.replace(&folder.path().join("state"), b"whole").unwrap();
    for name in ["key", "state"] {
        assert_eq!(HostFiles.read(&folder.path().join(name), 10).unwrap(), b"whole");
    }
}

#[test]
#[cfg(unix)]
fn replacing_makes_a_public_file_private() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    std::fs::write(&path, b"old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    HostFiles.replace(&path, b"new").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_failed_replace_leaves_the_old_content_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("occupied");
    std::fs::create_dir(&path).unwrap();
    assert!(HostFiles.replace(&path, b"new").is_err());
    assert!(path.is_dir());
    assert!(HostFiles.replace(&path.join("..").join(".."), b"new").is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}
