//! Floods of the udp endpoint.

use std::io::IoSliceMut;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use p2p_core::runtime::{Datagrams, RecvMeta, UdpSocket};
use p2p_kademlia::message::{DATAGRAM_LEN, Datagram};
use p2p_kademlia::{Dht, KademliaConfig};

use crate::common::{node, simulated, tcp, until, within};
use crate::udp::{ping, udp};

/// The datagrams that have come, in bytes.
fn received(socket: &dyn UdpSocket) -> u64 {
    let (mut buffer, mut bytes) = ([0; 2048], 0);
    loop {
        let mut metas = [RecvMeta::default()];
        let mut cx = Context::from_waker(Waker::noop());
        match socket.poll_recv(&mut cx, &mut [IoSliceMut::new(&mut buffer)], &mut metas) {
            Poll::Ready(received) => bytes += received.map(|_| metas[0].len as u64).unwrap(),
            Poll::Pending => return bytes,
        }
    }
}

#[test]
fn a_flood_gets_few_answers_and_harms_nobody() {
    simulated(|| async {
        let refresh_interval = Duration::from_secs(3);
        let short = |bootstrap: Option<&Dht>| KademliaConfig { refresh_interval, ..tcp(bootstrap) };
        let victim = node(1, short(None)).await;
        let friend = node(2, short(Some(&victim))).await;
        until("they know each other", || victim.contacts().len() == 1 && friend.contacts().len() == 1).await;

        let (runtime, destination) = (victim.runtime().clone(), udp(&victim));
        let limits = victim.config().datagrams;
        let begun = runtime.now();
        let (mut sent, mut answered) = (0u64, 0u64);
        let sockets = [(); 8].map(|()| runtime.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap());
        for n in 0..40_000u64 {
            let contents = &Datagram::Ping(ping(&victim, n)).encode();
            let datagram = Datagrams { destination, ecn: None, contents, segment_size: None, src_ip: None };
            sockets[n as usize % 8].try_send(&datagram).unwrap();
            sent += DATAGRAM_LEN as u64;
            if n % 20 == 0 {
                runtime.sleep(Duration::from_millis(1)).await;
                answered += sockets.iter().map(|socket| received(&**socket)).sum::<u64>();
            }
        }
        // Lookups go on, and so does the friend's pong.
        let put = within("put", friend.put("through it all")).await.unwrap();
        assert_eq!(put.stored, 1);
        runtime.sleep(4 * refresh_interval).await;
        assert!(victim.contacts().len() == 1 && friend.contacts().len() == 1);
        answered += sockets.iter().map(|socket| received(&**socket)).sum::<u64>();
        assert!(answered <= sent);
        // Each of the eight is a stranger of its own; all strangers together have one allowance.
        let pongs = answered / DATAGRAM_LEN as u64;
        let seconds = (runtime.now() - begun).as_secs() + 1;
        let allowed = u64::from(limits.strangers_burst) + u64::from(limits.strangers_per_second) * seconds;
        assert!(pongs > 0 && pongs <= allowed, "{pongs} of {allowed}");
        for dht in [victim, friend] {
            dht.shutdown().await;
            assert_eq!(dht.tasks(), 0);
        }
    });
}
