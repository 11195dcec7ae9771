//! The runtimes of this crate keep the contract, each alone and both in one process.
#![cfg(all(feature = "testing", any(feature = "tokio", feature = "smol")))]
#![allow(clippy::disallowed_methods, reason = "a test of the runtimes starts its own threads")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use p2p_core::runtime::contract;

#[cfg(feature = "tokio")]
mod on_tokio {
    use p2p_core::{Runtime, TokioRuntime};
    use tokio::runtime::Builder;

    use super::*;

    fn check(mut builder: Builder) {
        let tokio = builder.enable_all().build().unwrap();
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(tokio.handle().clone()));
        tokio.block_on(contract::check(runtime));
    }

    #[test]
    fn multi_thread() {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2);
        check(builder);
    }

    #[test]
    fn current_thread() {
        check(Builder::new_current_thread());
    }

    /// The caller's thread knows no tokio: everything must find its way to the handle by itself.
    #[test]
    fn polled_from_outside() {
        let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(tokio.handle().clone()));
        block_on(contract::check(runtime));
    }

    fn block_on(future: impl Future<Output = ()>) {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut future = std::pin::pin!(future);
        while future.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
            std::thread::park();
        }
    }

    /// Another tokio runtime is around the caller: it must not be mistaken for ours.
    #[test]
    fn polled_from_another_tokio() {
        let tokio = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::new(tokio.handle().clone()));
        // Neither I/O nor time here: using it instead of ours would panic.
        Builder::new_current_thread().build().unwrap().block_on(contract::check(runtime));
    }
}

#[cfg(feature = "smol")]
mod on_smol {
    use p2p_core::SmolRuntime;

    use super::*;

    #[test]
    fn global_executor() {
        smol::block_on(contract::check(Arc::new(SmolRuntime::new())));
    }
}

#[cfg(all(feature = "tokio", feature = "smol"))]
#[test]
fn both_at_once() {
    use p2p_core::{SmolRuntime, TokioRuntime};

    let smol = std::thread::spawn(|| smol::block_on(contract::check(Arc::new(SmolRuntime::new()))));
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(contract::check(Arc::new(TokioRuntime::new(tokio.handle().clone()))));
    smol.join().unwrap();
}
