//! Files that are replaced from time to time, by disks that are slow.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_methods, reason = "a test looks at the files themselves")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use p2p_core::{Runtime, StateFile, TokioRuntime};
use tokio::runtime::Builder;

#[test]
fn the_newest_of_many_contents_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("state");
    let tokio = Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let file = StateFile::new(runtime.clone(), &path);
        file.saved().await;
        for round in 0..20u8 {
            (0..=round).for_each(|n| file.save(vec![n; 1 << 16]));
            file.saved().await;
            assert_eq!(runtime.read_file(&path, 1 << 20).await.unwrap(), vec![round; 1 << 16]);
        }
        assert!(runtime.read_file(&path, 1).await.is_err());
    });
}

#[test]
fn what_cannot_be_saved_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let tokio = Builder::new_current_thread().enable_all().build().unwrap();
    let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(tokio.handle().clone()));
    // A folder is in its place.
    let impossible = StateFile::new(runtime.clone(), folder.path());
    tokio.block_on(async {
        impossible.save(b"x".to_vec());
        impossible.saved().await;
    });
    tokio.shutdown_background();
    let late = StateFile::new(runtime.clone(), folder.path().join("late"));
    Builder::new_current_thread().build().unwrap().block_on(async {
        late.save(b"x".to_vec());
        late.saved().await;
        assert!(runtime.read_file(late.path(), 10).await.is_err());
    });
    assert!(!late.path().exists());
}
