//! How fast the world itself is: `cargo run --release -p p2p-sim --example throughput`.
//!
//! A few hosts bounce datagrams, pass bytes through streams, or sleep; what is counted are polls, timers and packets.

use std::future::poll_fn;
use std::io::IoSliceMut;
use std::time::Duration;

use p2p_core::runtime::{Datagrams, RecvMeta};
use p2p_sim::{Host, Sim};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOSTS: usize = 16;

/// Starts what one of the hosts does.
type Load = fn(&[Host], &Host);

#[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
fn main() {
    let loads: [(&str, u64, Load); 3] =
        [("datagrams", 600, datagrams), ("streams", 120, streams), ("timers", 6_000, timers)];
    for (name, seconds, load) in loads {
        let sim = Sim::new(1);
        let hosts: Vec<_> = (0..HOSTS).map(|n| sim.host(format!("host{n}"))).collect();
        hosts.iter().for_each(|host| load(&hosts, host));
        let began = std::time::Instant::now();
        sim.run_for(Duration::from_secs(seconds));
        let took = began.elapsed().as_secs_f64();
        let report = sim.report();
        println!(
            "{name:>9}: {:>5.2} M events/s, {:>7} packets/s, {:>6.0} x real time ({report})",
            report.events as f64 / took / 1e6,
            (report.packets as f64 / took) as u64,
            report.time.as_secs_f64() / took,
        );
    }
}

/// Each host keeps eight datagrams going to and fro.
fn datagrams(hosts: &[Host], host: &Host) {
    let Ok(socket) = host.runtime().udp_bind((host.ipv4(), 53).into()) else { return };
    let peers: Vec<_> = hosts.iter().filter(|peer| peer.id() != host.id()).take(8).map(Host::ipv4).collect();
    host.spawn(async move {
        let send = |destination, contents: &[u8]| {
            // What is lost is lost.
            let _ = socket.try_send(&Datagrams { destination, ecn: None, contents, segment_size: None, src_ip: None });
        };
        peers.iter().for_each(|ip| send((*ip, 53).into(), &[7; 200]));
        let mut buf = [0; 1500];
        let mut metas = [RecvMeta::default()];
        while poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buf)], &mut metas)).await.is_ok() {
            send(metas[0].addr, &buf[..metas[0].len]);
        }
    });
}

/// Each host keeps a stream to its neighbor full.
fn streams(hosts: &[Host], host: &Host) {
    let Ok(listener) = host.runtime().tcp_listen((host.ipv4(), 80).into()) else { return };
    let reader = host.clone();
    host.spawn(async move {
        while let Ok(mut stream) = poll_fn(|cx| listener.poll_accept(cx)).await {
            reader.spawn(async move {
                let mut buf = vec![0; 64 << 10];
                while let Ok(1..) = stream.read(&mut buf).await {}
            });
        }
    });
    let neighbor = (hosts[(host.id().0 as usize) % HOSTS].ipv4(), 80).into();
    let runtime = host.runtime();
    host.spawn(async move {
        let Ok(mut stream) = runtime.tcp_connect(neighbor).await else { return };
        while stream.write_all(&[7; 16 << 10]).await.is_ok() {}
    });
}

/// Each host has a hundred tasks that sleep.
fn timers(_: &[Host], host: &Host) {
    for n in 0..100 {
        let runtime = host.runtime();
        host.spawn(async move {
            loop {
                runtime.sleep(Duration::from_millis(500 + n)).await;
            }
        });
    }
}
