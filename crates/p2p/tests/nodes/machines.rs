//! Machines as they are.

use std::io;
use std::sync::Arc;

use futures_util::FutureExt;
use p2p::endpoint::{Endpoint, Transport};
use p2p::protocol::ProtocolKind;
use p2p::{Config, ConnectionEventKind, Error, Node, Runtime, TokioRuntime};
use tokio::runtime::Builder;

use crate::common::machine::Machine;
use crate::common::{World, eventually, exchange, in_time, new_key, over_tcp, shutdown};

#[test]
fn a_disk_that_stands_still_is_in_nobodys_way() {
    let tokio = Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new(Arc::new(TokioRuntime::current().unwrap()));
        let disk = machine.disk.clone();
        let world = World { runtime: Arc::new(machine), transport: Transport::Tcp, is_tokio: true };
        let with_dht = || Config { discovery_endpoints: vec!["udp://127.0.0.1:0".parse().unwrap()], ..world.config() };
        let mut b = world.host_with(with_dht()).await;
        let state_dir = Some(folder.path().join("state"));
        let config = Config { state_dir, bootstrap_peers: vec![b.endpoint()], ..with_dht() };
        let mut a = world.host_with(config).await;
        disk.stand_still();
        let (mut a_conns, mut b_conns) = (a.hold("/x", ProtocolKind::Optional), b.hold("/x", ProtocolKind::Optional));
        in_time("connect", a.connect(&b.endpoint())).await.unwrap();
        a.added().await;
        b.added().await;
        let (here, there) = (a_conns.recv().await.unwrap(), b_conns.recv().await.unwrap());
        eventually("the peer is being written down", || disk.waiting() > 0).await;
        exchange(&here, &there).await;
        let dht = a.node.dht().unwrap();
        eventually("there is a contact to save", || !dht.contacts().is_empty()).await;
        tokio::join!(in_time("shutdown", a.node.shutdown()), async {
            // The peers' file, or the contacts beside it.
            in_time("the other one goes on", b.node.shutdown()).await;
            assert!(disk.waiting() > 0);
            disk.go_on();
        });
        assert!(!disk.gave_up(), "a write stood in the way of who lets the disk go on");
        let written = |name: &str| std::fs::read(folder.path().join("state").join(name)).unwrap();
        assert!(String::from_utf8(written("peers")).unwrap().contains(&b.peer_id().to_string()));
        assert!(!written("dht-contacts").is_empty());
    });
}

/// What Linux says where IPv6 is not built in, and where it is turned off.
#[cfg(target_os = "linux")]
const NO_IPV6: [fn() -> io::Error; 2] =
    [|| io::Error::from_raw_os_error(97), || io::ErrorKind::AddrNotAvailable.into()];

#[cfg(target_os = "linux")]
#[test]
fn a_server_starts_on_a_machine_without_ipv6() {
    over_tcp(|world| async move {
        for no_ipv6 in NO_IPV6 {
            let runtime: Arc<dyn Runtime> =
                Arc::new(Machine { no_ipv6: Some(no_ipv6), ..Machine::new(world.runtime.clone()) });
            let build = |config| Node::builder(&new_key()).config(config).runtime(runtime.clone()).build().unwrap();
            let server = build(Config::server(0));
            in_time("run", server.run()).await.unwrap();
            let listening = server.listen_endpoints();
            assert_eq!(listening.len(), 2, "quic and tls: {listening:?}");
            let serving = server.dht().unwrap().endpoints();
            assert_eq!(serving.len(), 1, "{serving:?}");
            for endpoint in listening.iter().chain(&serving) {
                assert!(endpoint.addr().ip().unwrap().is_ipv4(), "{endpoint}");
            }
            let client = world.host().await;
            for endpoint in &listening {
                let loopback = std::net::IpAddr::from([127, 0, 0, 1]);
                let endpoint = Endpoint::new(endpoint.transport(), loopback, endpoint.port());
                assert_eq!(in_time("connect", client.connect(&endpoint)).await.unwrap(), server.peer_id());
                client.disconnect(&server.peer_id(), 0, "").await;
            }
            // An address of the other family is not tried again and again.
            let mut events = server.pool().connection_events().register();
            for transport in [Transport::Quic, Transport::Tls] {
                let nowhere = Endpoint::new(transport, std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST), 9);
                assert!(in_time("connect", server.connect(&nowhere)).await.is_err());
            }
            while let Some(Ok(event)) = events.recv().now_or_never() {
                assert!(!matches!(event.kind, ConnectionEventKind::ConnectRetried { .. }), "{event:?}");
            }
            server.shutdown().await;
            shutdown([client]).await;

            // Where nothing is left, or where an address of its own is asked for, it is an error.
            for endpoints in [&["quic://[::]:0", "tls://[::]:0"][..], &["tls://127.0.0.1:0", "tls://[::1]:0"]] {
                let listen_endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
                let node = build(Config { listen_endpoints, ..Config::default() });
                let error = in_time("run", node.run()).await.unwrap_err();
                assert!(matches!(error, Error::Net(p2p_net::Error::Listen { .. })), "{error:?}");
            }
        }
    });
}
