use std::path::Path;

use p2p_sim::DiskFault;

use super::*;

#[test]
fn a_disk_outlives_its_host() {
    let (_sim, alice, bob) = world(steady());
    let state = Path::new("/state/table");
    let runtime = alice.runtime();
    runtime.files().replace(state, b"kept").unwrap();
    alice.crash();
    assert!(runtime.files().read(state, 10).is_err() && runtime.files().replace(state, b"zombie").is_err());
    alice.restart();
    assert_eq!(alice.runtime().files().read(state, 10).unwrap(), b"kept");
    assert!(bob.runtime().files().read(state, 10).is_err(), "each host has its own");
}

#[test]
fn a_full_disk_keeps_what_it_has() {
    let (_sim, alice, _) = world(steady());
    let runtime = alice.runtime();
    let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
    alice.disk().set_capacity(Some(10));
    runtime.files().create_private(Path::new("/key"), b"12345").unwrap();
    let full = Err(io::ErrorKind::StorageFull);
    assert_eq!(kind(runtime.files().replace(Path::new("/key"), b"1234567")), full, "old and new must fit together");
    assert_eq!(kind(runtime.files().create_private(Path::new("/more"), b"123456")), full);
    assert_eq!(alice.disk().read("/key").unwrap(), b"12345");
    assert_eq!((alice.disk().used(), alice.disk().files().len()), (5, 1));
    alice.disk().set_capacity(None);
    runtime.files().replace(Path::new("/key"), b"1234567").unwrap();
}

#[test]
fn a_disk_fails_as_it_is_told() {
    let (_sim, alice, _) = world(steady());
    let runtime = alice.runtime();
    let (key, disk) = (Path::new("/key"), alice.disk());
    runtime.files().replace(key, b"1").unwrap();
    for (fault, can_read) in [(DiskFault::Full, true), (DiskFault::Writes, true), (DiskFault::All, false)] {
        disk.set_fault(Some(fault));
        assert!(runtime.files().replace(key, b"2").is_err());
        assert_eq!(runtime.files().read(key, 9).is_ok(), can_read, "{fault:?}");
    }
    assert_eq!(disk.read("/key").unwrap(), b"1", "a test sees the disk whatever its faults");
    disk.set_fault(None);
    runtime.files().replace(key, b"2").unwrap();
    disk.write("/key", b"spoiled");
    assert_eq!(runtime.files().read(key, 9).unwrap(), b"spoiled");
    assert!(disk.remove("/key") && !disk.remove("/key"));
    assert_eq!(runtime.files().read(key, 9).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn files_and_folders_are_not_mistaken_for_each_other() {
    let (_sim, alice, _) = world(steady());
    let runtime = alice.runtime();
    runtime.files().replace(Path::new("/a/b"), b"").unwrap();
    runtime.files().replace(Path::new("/a-b"), b"").unwrap();
    let kind = |path: &str| runtime.files().replace(Path::new(path), b"").map_err(|error| error.kind());
    assert_eq!(kind("/a"), Err(io::ErrorKind::IsADirectory));
    assert_eq!(kind("/a/b/c"), Err(io::ErrorKind::NotADirectory));
    assert_eq!(kind("/"), Err(io::ErrorKind::InvalidInput));
    assert_eq!(runtime.files().read(Path::new("/a"), 9).unwrap_err().kind(), io::ErrorKind::IsADirectory);
}
