//! Tokio runtimes that have ended, or cannot do everything.
//!
//! Real time: the waits here would take an hour, and must not.
#![cfg(feature = "tokio")]
#![allow(clippy::disallowed_methods, reason = "a test of the runtimes makes its own")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_core::{Error, Runtime, TokioRuntime};
use tokio::runtime::{Builder, Runtime as Tokio};

fn all(mut builder: Builder) -> Tokio {
    builder.enable_all().build().unwrap()
}

fn of(tokio: &Tokio) -> Arc<dyn Runtime> {
    Arc::new(TokioRuntime::new(tokio.handle().clone()))
}

/// Called from within another one, as a program with two would.
#[test]
fn what_waits_on_a_runtime_that_has_ended_goes_on() {
    let around = all(Builder::new_current_thread());
    for builder in [Builder::new_current_thread(), Builder::new_multi_thread()] {
        let tokio = all(builder);
        let (unasked, runtime) = (of(&tokio), of(&tokio));
        runtime.check().unwrap();
        let hour = Duration::from_secs(3600);
        let before = runtime.sleep(hour);
        let began = Instant::now();
        around.block_on(async {
            // It waits already when the runtime ends.
            tokio::join!(biased; before, async { tokio.shutdown_background() });
            runtime.sleep(hour).await;
            unasked.sleep(hour).await;
            assert!(runtime.timeout(hour, std::future::pending::<()>()).await.is_err());
            let mut moved = runtime.sleep(hour);
            moved.reset(runtime.now() + hour);
            moved.await;
            for runtime in [&runtime, &unasked] {
                assert!(matches!(runtime.check(), Err(Error::RuntimeEnded)));
                assert!(runtime.tcp_connect("127.0.0.1:1".parse().unwrap()).await.is_err());
                assert!(runtime.tcp_listen("127.0.0.1:0".parse().unwrap()).is_err());
                assert!(runtime.udp_bind("127.0.0.1:0".parse().unwrap()).is_err());
            }
        });
        assert!(began.elapsed() < hour);
    }
}

#[test]
fn a_runtime_without_time_or_io_says_so() {
    for (time, io, lacks) in [(true, true, None), (false, true, Some("time")), (true, false, Some("I/O"))] {
        let mut builder = Builder::new_current_thread();
        if time {
            builder.enable_time();
        }
        if io {
            builder.enable_io();
        }
        let tokio = builder.build().unwrap();
        let runtime = of(&tokio);
        for _ in 0..2 {
            match (runtime.check(), lacks) {
                (Ok(()), None) => {}
                (Err(error @ Error::NoDriver(_)), Some(lacks)) => {
                    let text = error.to_string();
                    assert!(text.contains(lacks) && text.contains("enable_all"), "{text}");
                }
                (result, lacks) => panic!("{result:?}, not {lacks:?}"),
            }
        }
    }
}

/// A program may make many of them for one runtime.
#[test]
fn nothing_is_left_on_the_runtime() {
    let tokio = all(Builder::new_current_thread());
    tokio.block_on(async {
        for _ in 0..100 {
            let runtime = TokioRuntime::current().unwrap();
            runtime.check().unwrap();
            drop(runtime);
        }
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    });
}
