//! Tokio runtimes that are gone, or cannot do what a node needs.

use std::sync::Arc;

use p2p::endpoint::{Endpoint, Transport};
use p2p::protocol::ProtocolKind;
use p2p::{Config, Error, Node, Runtime, TokioRuntime};
use tokio::runtime::Builder;

use crate::common::{Host, PATIENCE, World, id, in_time, new_key};

const TRANSPORTS: [Transport; 3] = [Transport::Tcp, Transport::Tls, Transport::Quic];

/// Two nodes that were connected on a runtime which is gone.
fn orphans(transport: Transport, multi_thread: bool) -> (Host, Host) {
    let mut builder = if multi_thread { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    let tokio = builder.worker_threads(1).enable_all().build().unwrap();
    let nodes = tokio.block_on(async {
        let runtime: Arc<dyn Runtime> = Arc::new(TokioRuntime::current().unwrap());
        let world = World { runtime, transport, is_tokio: true };
        let (mut a, mut b) = (world.host().await, world.host().await);
        let _conns = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
        a.connect(&b.endpoint()).await.unwrap();
        a.added().await;
        b.added().await;
        (a, b)
    });
    tokio.shutdown_timeout(PATIENCE);
    nodes
}

#[test]
fn a_node_whose_runtime_is_gone_gives_errors_and_does_not_hang() {
    let around = Builder::new_current_thread().enable_all().build().unwrap();
    for transport in TRANSPORTS {
        for multi_thread in [true, false] {
            let (a, b) = orphans(transport, multi_thread);
            around.block_on(async {
                let (other, stranger) = (b.endpoint(), new_key().peer_id());
                let error = in_time("connect", a.connect(&other)).await.unwrap_err();
                assert!(matches!(error, Error::Core(_)), "{transport}: {error:?}");
                assert!(error.to_string().contains("runtime has ended"), "{error}");
                let error = in_time("connect by name", a.connect_peer(&stranger)).await.unwrap_err();
                assert!(matches!(error, Error::Core(_) | Error::NoAddress(_)), "{transport}: {error:?}");
                assert!(in_time("send", a.send_to(&b.peer_id(), &id("/x"), "hello")).await.is_err(), "{transport}");
                assert!(in_time("open a stream", a.open_stream(&b.peer_id(), &id("/x"))).await.is_err());
                in_time("disconnect", a.disconnect(&b.peer_id(), 0, "")).await;
                in_time("shutdown", a.shutdown()).await;
                assert_eq!(a.tasks(), 0);
                drop(b);
            });
        }
    }
}

#[test]
fn a_runtime_without_time_or_io_is_an_error_of_run() {
    for (time, lacks) in [(true, "I/O"), (false, "time")] {
        let mut builder = Builder::new_current_thread();
        let tokio = if time { builder.enable_time() } else { builder.enable_io() }.build().unwrap();
        tokio.block_on(async {
            for transport in TRANSPORTS {
                let endpoint: Endpoint = format!("{transport}://127.0.0.1:0").parse().unwrap();
                let config = Config { listen_endpoints: vec![endpoint.clone()], ..Config::loopback() };
                let node = Node::new(&new_key(), config).unwrap();
                let pool = node.pool().connect(&endpoint.with_port(1)).await;
                for error in [node.run().await.unwrap_err(), pool.unwrap_err()] {
                    assert!(matches!(error, Error::Core(_)), "{error:?}");
                    let text = error.to_string();
                    assert!(text.contains(lacks) && text.contains("enable_all"), "{text}");
                }
                node.shutdown().await;
            }
        });
    }
}
