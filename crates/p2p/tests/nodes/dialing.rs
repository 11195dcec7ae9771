//! Dials that lead nowhere. How long they take is shown in virtual time: `tests/silent.rs`, `tests/dials.rs`.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use p2p::endpoint::{Endpoint, Transport};
use p2p::{Config, Error};

use crate::common::{World, eventually, everywhere, in_time, new_key, shutdown};

/// Accepts whatever comes, in the kernel, and says nothing.
enum Silent {
    Stream(TcpListener),
    Datagrams(UdpSocket),
}

impl Silent {
    fn new(transport: Transport) -> Self {
        match transport {
            Transport::Quic => Self::Datagrams(UdpSocket::bind("127.0.0.1:0").unwrap()),
            _ => Self::Stream(TcpListener::bind("127.0.0.1:0").unwrap()),
        }
    }

    fn endpoint(&self, transport: Transport) -> Endpoint {
        let addr = match self {
            Self::Stream(listener) => listener.local_addr(),
            Self::Datagrams(socket) => socket.local_addr(),
        };
        Endpoint::from_socket_addr(transport, addr.unwrap())
    }
}

/// Where nobody is.
fn dead(world: &World) -> Endpoint {
    Endpoint::new(world.transport, std::net::IpAddr::from([127, 9, 9, 9]), 9)
}

/// For dials that are to fail.
fn quick(world: &World) -> Config {
    let time = Duration::from_millis(700);
    Config { dial_timeout: time, handshake_timeout: time, max_connect_retries: 0, ..world.config() }
}

#[test]
fn dialing_oneself_fails_at_once() {
    everywhere(|world| async move {
        let host = world.host().await;
        let own = host.endpoint();
        let error = host.connect(&own.clone().with_peer_id(host.peer_id())).await.unwrap_err();
        assert!(matches!(error, Error::SelfDial), "{error:?}");
        let error = host.connect(&own).await.unwrap_err();
        assert!(matches!(error, Error::SelfDial), "without an id in it: {error:?}");
        let error = host.connect_peer(&host.peer_id()).await.unwrap_err();
        assert!(matches!(error, Error::SelfDial), "{error:?}");
        assert_eq!(host.peers(), 0);
        let peer = world.host().await;
        peer.connect(&own).await.unwrap();
        shutdown([host, peer]).await;
    });
}

#[test]
fn the_dead_and_the_silent_fail_and_say_so() {
    everywhere(|world| async move {
        let host = world.host_with(quick(&world)).await;
        let dead = dead(&world);
        let error = in_time("a dead one", host.connect(&dead)).await.unwrap_err();
        assert!(matches!(error, Error::Net(_)), "{error:?}");
        assert!(error.to_string().contains(&dead.to_string()), "{error}");
        let silent = Silent::new(world.transport).endpoint(world.transport);
        for error in in_time("silent ones", join_all((0..20).map(|_| host.connect(&silent)))).await {
            assert!(matches!(error, Err(Error::Net(_) | Error::Handshake(_))), "{error:?}");
        }
        shutdown([host]).await;
    });
}

#[test]
fn the_silent_delay_nobody() {
    everywhere(|world| async move {
        let (host, honest) = (world.host().await, world.host().await);
        let listener = Silent::new(world.transport);
        let (silent, there) = (listener.endpoint(world.transport), honest.endpoint());
        // They are given up after all that is waited for here.
        let mut dials = std::pin::pin!(futures_util::future::select_all(
            (0..20).map(|_| host.connect(&silent).boxed()).collect::<Vec<_>>()
        ));
        assert!(dials.as_mut().now_or_never().is_none());
        tokio::select! {
            connected = host.connect(&there) => drop(connected.unwrap()),
            (ended, ..) = &mut dials => panic!("{ended:?}"),
        }
        shutdown([honest]).await;
        in_time("shutdown", host.shutdown()).await;
    });
}

#[test]
fn retries_are_counted_and_bounded() {
    everywhere(|world| async move {
        use p2p::{ConnectionEvent, ConnectionEventKind as Kind};
        // Over quic nobody says that nobody is there, and each try has its part of this.
        let dial_timeout = Duration::from_secs(6);
        let host = world.host_with(Config { max_connect_retries: 2, dial_timeout, ..world.config() }).await;
        let mut events = host.monitor().register::<ConnectionEvent>();
        let dead = dead(&world);
        assert!(host.connect(&dead).await.is_err());
        let mut attempts = Vec::new();
        loop {
            let event = in_time("an event", events.recv()).await.unwrap();
            match event.kind {
                Kind::ConnectRetried { attempt, .. } => attempts.push(attempt),
                Kind::ConnectFailed { .. } => break,
                other => panic!("{other:?}"),
            }
            assert_eq!(event.endpoint.as_ref(), Some(&dead));
        }
        assert_eq!(attempts, [1, 2]);
        shutdown([host]).await;
    });
}

/// Ten thousand do not either, in virtual time: `tests/silent.rs`, and `cargo xtask sim --scenario dead-peers`.
#[test]
fn a_thousand_dial_peers_at_once_delay_nobody() {
    everywhere(|world| async move {
        let (kept, honest) = (world.host().await, world.host().await);
        let silent = Silent::new(world.transport);
        let mut dial_peers: Vec<Endpoint> = (0..989u32)
            .map(|n| Endpoint::new(world.transport, std::net::IpAddr::from((0x7f01_0000 + n).to_be_bytes()), 9))
            .collect();
        dial_peers.extend((0..10).map(|_| silent.endpoint(world.transport)));
        dial_peers.insert(100, kept.endpoint());
        // Where nobody is, UDP says nothing: each of those dials takes this long, all of them one after the other more than an hour.
        let dial_timeout = Duration::from_secs(5);
        let host = world.build(&new_key(), Config { dial_peers, dial_timeout, ..world.config() });
        in_time("run", host.run()).await.unwrap();
        in_time("an honest dial", async {
            // On a busy machine an attempt may take longer than it has.
            while let Err(error) = host.connect(&honest.endpoint()).await {
                println!("an honest dial: {error}");
            }
        })
        .await;
        eventually("the live one is a peer", || host.peer(&kept.peer_id()).is_some()).await;
        in_time("shutdown", host.shutdown()).await;
        shutdown([host, kept, honest]).await;
    });
}
