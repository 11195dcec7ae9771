//! Which runtime is found where.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use p2p_core::runtime;

#[test]
#[cfg(not(feature = "smol"))]
fn without_one_around_it_is_an_error_that_says_what_to_do() {
    let error = runtime::current().unwrap_err();
    assert!(matches!(error, p2p_core::Error::NoRuntime));
    assert!(error.to_string().contains("smol"), "{error}");
}

#[test]
#[cfg(feature = "smol")]
fn without_one_around_it_is_smol() {
    assert!(format!("{:?}", runtime::current().unwrap()).starts_with("SmolRuntime"));
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use std::sync::Arc;

    use p2p_core::{Runtime, TokioRuntime};

    use super::*;

    fn current() -> Arc<dyn Runtime> {
        runtime::current().unwrap()
    }

    #[tokio::test]
    async fn inside_tokio_it_is_tokio() {
        assert!(format!("{:?}", current()).starts_with("TokioRuntime"));
    }

    #[test]
    fn what_was_entered_comes_first_until_its_guard_is_gone() {
        let around = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let entered: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(other.handle().clone()));
        around.block_on(async {
            {
                let _guard = runtime::enter(entered.clone());
                assert!(Arc::ptr_eq(&current(), &entered));
                {
                    let inner: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(around.handle().clone()));
                    let _guard = runtime::enter(inner.clone());
                    assert!(Arc::ptr_eq(&current(), &inner));
                }
                assert!(Arc::ptr_eq(&current(), &entered));
            }
            assert!(!Arc::ptr_eq(&current(), &entered));
        });
    }

    #[tokio::test]
    async fn a_shuffle_keeps_every_item() {
        let runtime = current();
        let mut items: Vec<_> = (0..100).collect();
        runtime.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>(), "one order in 100! is the old one");
        items.sort();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        runtime.shuffle::<u8>(&mut []);
    }
}
