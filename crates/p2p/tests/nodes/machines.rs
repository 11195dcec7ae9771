//! Machines as they are.

use std::sync::Arc;

use p2p::endpoint::Transport;
use p2p::protocol::ProtocolKind;
use p2p::{Config, TokioRuntime};
use tokio::runtime::Builder;

use crate::common::machine::Machine;
use crate::common::{World, eventually, exchange, in_time};

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
