//! The simulated world from the outside: sockets, faults, hosts, boxes, and that it repeats itself.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod checking;
mod determinism;
mod disks;
mod forgetting;
mod hosts;
mod nat;
mod plans;
mod sockets;
mod streams;
mod streams_broken;
mod streams_random;
mod stuck;
mod udp;

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p2p_core::runtime::{ByteListener, ByteStream, Datagrams, RecvMeta, UdpSocket};
use p2p_sim::{Host, Latency, Link, Settings, Sim};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A link of 10 ms, always.
fn steady() -> Link {
    Link::WAN.latency(Latency::Fixed(10 * MS))
}

fn world(link: Link) -> (Sim, Host, Host) {
    let sim = Sim::with(1, Settings { link, ..Settings::default() });
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    (sim, alice, bob)
}

async fn accept(listener: &dyn ByteListener) -> io::Result<Box<dyn ByteStream>> {
    poll_fn(|cx| listener.poll_accept(cx)).await
}

/// Both ends of a new stream: the one `from` dialed, the one `to` accepted.
async fn connected(from: &Host, to: &Host) -> (Box<dyn ByteStream>, Box<dyn ByteStream>) {
    let listener = to.runtime().tcp_listen((to.ipv4(), 0).into()).unwrap();
    let dialed = from.runtime().tcp_connect(listener.local_addr()).await.unwrap();
    (dialed, accept(&*listener).await.unwrap())
}

fn bind(host: &Host) -> Arc<dyn UdpSocket> {
    host.runtime().udp_bind((host.ipv4(), 0).into()).unwrap()
}

fn send(socket: &Arc<dyn UdpSocket>, destination: SocketAddr, contents: &[u8]) {
    let datagrams = Datagrams { destination, ecn: None, contents, segment_size: None, src_ip: None };
    socket.try_send(&datagrams).unwrap();
}

async fn receive(socket: &Arc<dyn UdpSocket>) -> (SocketAddr, Vec<u8>) {
    let mut buf = vec![0; 65_536];
    let mut metas = [RecvMeta::default()];
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut metas)).await;
    assert_eq!(received.unwrap(), 1);
    buf.truncate(metas[0].len);
    (metas[0].addr, buf)
}

/// Everything that has arrived by the end of `time`.
async fn receive_all(sim: &Sim, socket: &Arc<dyn UdpSocket>, time: Duration) -> Vec<(SocketAddr, Vec<u8>)> {
    let runtime = sim.runtime();
    let deadline = runtime.now() + time;
    let mut all = Vec::new();
    while let Ok(one) = runtime.timeout(deadline - runtime.now(), receive(socket)).await {
        all.push(one);
    }
    all
}
