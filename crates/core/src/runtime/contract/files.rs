use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::runtime::Runtime;

/// Small files: never overwritten by `create_private`, replaced whole, read with a bound; `replace` makes the folders,
/// `create_private` does not; on a disk of this machine nobody but the owner may read them, and nothing else is left in
/// the folder.
pub fn files(runtime: &Arc<dyn Runtime>) {
    let folder = std::env::temp_dir().join(format!("p2p-contract-{:016x}", runtime.random_u64()));
    let files = runtime.files();
    let key = folder.join("deep").join("key");

    let kind = |result: io::Result<Vec<u8>>| result.map_err(|error| error.kind());
    assert_eq!(kind(files.read(&key, 100)), Err(io::ErrorKind::NotFound));
    let no_folder = files.create_private(&key, b"secret").expect_err("a key never makes its folder");
    assert_eq!(no_folder.kind(), io::ErrorKind::NotFound);
    let state = folder.join("deep").join("state");
    files.replace(&state, b"").expect("a file can be made, with its folders");
    files.create_private(&key, b"secret").expect("a file can be made");
    assert_eq!(kind(files.read(&key, 6)), Ok(b"secret".to_vec()), "a file of just the bound is read");
    assert_eq!(kind(files.read(&key, 5)), Err(io::ErrorKind::FileTooLarge));
    assert_eq!(kind(files.read(&key, u64::MAX)), Ok(b"secret".to_vec()), "the largest bound does not overflow");
    private(&key);
    let again = files.create_private(&key, b"other").expect_err("a file is never overwritten");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(files.read(&key, 100)), Ok(b"secret".to_vec()), "a refused write changes nothing");

    for content in [&b"first"[..], b"", b"the second is longer"] {
        files.replace(&state, content).expect("a file can be replaced, or made");
        assert_eq!(kind(files.read(&state, 100)), Ok(content.to_vec()));
    }
    private(&state);
    let folder_itself = files.replace(&folder.join("deep"), b"x");
    assert!(folder_itself.is_err(), "a folder is not replaced by a file");
    assert!(files.replace(Path::new("/"), b"x").is_err(), "a path without a name is an error");
    left_behind(&folder);
}

/// Work that blocks is done, beside tasks.
pub async fn blocking(runtime: &Arc<dyn Runtime>) {
    let (tell, told) = tokio::sync::oneshot::channel();
    runtime.run_blocking(Box::new(move || {
        // Should nobody wait any more, the test has failed already.
        let _ = tell.send(7);
    }));
    let done = runtime.timeout(super::PATIENCE, told).await.expect("work that blocks is done");
    assert_eq!(done, Ok(7), "it is not dropped");
}

/// On a disk of this machine: mode 0600. A simulated disk has no modes.
fn private(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = std::fs::metadata(path) {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "only the owner may read {}", path.display());
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// On a disk of this machine: no temporary file stays. Takes the folder away.
#[expect(clippy::disallowed_methods, reason = "a folder is listed and removed, which no layer needs from a runtime")]
fn left_behind(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder.join("deep")) else { return };
    let names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let stray: Vec<_> = names.iter().filter(|name| *name != "key" && *name != "state").collect();
    // Whatever the outcome, the folder goes; that it cannot be is no breach of the contract.
    let _ = std::fs::remove_dir_all(folder);
    assert!(stray.is_empty(), "temporary files are left: {stray:?}");
}
