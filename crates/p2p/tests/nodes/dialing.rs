//! Dials that lead nowhere.

use std::collections::VecDeque;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use p2p::discovery::{DiscoveredPeer, Discovery, PeerConnectionEvent};
use p2p::endpoint::{Endpoint, Transport};
use p2p::{Config, Error, Node, Runtime, async_trait};

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

fn quick(world: &World) -> Config {
    Config {
        dial_timeout: Duration::from_millis(700),
        handshake_timeout: Duration::from_millis(700),
        max_connect_retries: 0,
        ..world.config()
    }
}

#[test]
fn dialing_oneself_fails_at_once() {
    everywhere(|world| async move {
        let host = world.host().await;
        let (started, own) = (world.runtime.now(), host.endpoint());
        let error = host.connect(&own.clone().with_peer_id(host.peer_id())).await.unwrap_err();
        assert!(matches!(error, Error::SelfDial), "{error:?}");
        let error = host.connect(&own).await.unwrap_err();
        assert!(matches!(error, Error::SelfDial), "without an id in it: {error:?}");
        let error = host.connect_peer(&host.peer_id()).await.unwrap_err();
        assert!(matches!(error, Error::SelfDial), "{error:?}");
        assert!(world.runtime.now() - started < host.config().dial_timeout, "it was dialed and waited for");
        assert_eq!(host.peers(), 0);
        let peer = world.host().await;
        peer.connect(&own).await.unwrap();
        shutdown([host, peer]).await;
    });
}

#[test]
fn the_dead_and_the_silent_fail_in_time_and_delay_nobody() {
    everywhere(|world| async move {
        let (host, honest) = (world.host_with(quick(&world)).await, world.host().await);
        let dead = dead(&world);
        let silent = Silent::new(world.transport);
        let bound = host.config().dial_timeout + host.config().handshake_timeout + Duration::from_secs(3);
        let fails = |endpoint: Endpoint| {
            let host = &host;
            async move {
                let started = host.runtime().now();
                let error = host.connect(&endpoint).await.unwrap_err();
                (error, host.runtime().now() - started)
            }
        };
        let (error, took) = fails(dead.clone()).await;
        assert!(took < bound && matches!(error, Error::Net(_)), "{error:?} after {took:?}");
        assert!(error.to_string().contains(&dead.to_string()), "{error}");
        // The machine may have something else to do, but hardly each time.
        let mut honest_took = Vec::new();
        let at_once = |took: &[Duration]| took.iter().any(|took| *took < Duration::from_millis(600));
        while honest_took.len() < 5 && !at_once(&honest_took) {
            let silent_dials = futures_util::future::join_all((0..20).map(|_| fails(silent.endpoint(world.transport))));
            let honest_dial = async {
                let started = host.runtime().now();
                while let Err(error) = host.connect(&honest.endpoint()).await {
                    println!("an honest dial: {error}");
                }
                host.runtime().now() - started
            };
            let (errors, took) = in_time("dials", async { tokio::join!(silent_dials, honest_dial) }).await;
            for (error, took) in errors {
                assert!(took < bound, "{error:?} after {took:?}");
                assert!(matches!(error, Error::Net(_) | Error::Handshake(_)), "{error:?}");
            }
            honest_took.push(took);
            host.disconnect(&honest.peer_id(), 0, "once more").await;
            eventually("it is gone", || honest.peers() == 0).await;
        }
        assert!(at_once(&honest_took), "honest dials waited {honest_took:?}");
        shutdown([host, honest]).await;
    });
}

#[test]
fn retries_are_counted_and_bounded() {
    everywhere(|world| async move {
        use p2p::{ConnectionEvent, ConnectionEventKind as Kind};
        let host = world.host_with(Config { max_connect_retries: 2, ..world.config() }).await;
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

#[test]
fn ten_thousand_dial_peers_at_once_delay_nobody() {
    everywhere(|world| async move {
        let (kept, honest) = (world.host().await, world.host().await);
        let silent = Silent::new(world.transport);
        let mut dial_peers: Vec<Endpoint> = (0..9_989u32)
            .map(|n| Endpoint::new(world.transport, std::net::IpAddr::from((0x7f01_0000 + n).to_be_bytes()), 9))
            .collect();
        dial_peers.extend((0..10).map(|_| silent.endpoint(world.transport)));
        dial_peers.push(kept.endpoint());
        // Where nobody is, UDP says nothing: each of those dials takes this long.
        let dial_timeout = Duration::from_millis(150);
        let host =
            world.build(&new_key(), Config { dial_peers, dial_timeout, max_connect_retries: 5, ..quick(&world) });
        let started = world.runtime.now();
        in_time("run", host.run()).await.unwrap();
        let ran = world.runtime.now() - started;
        in_time("an honest dial", async {
            // On a busy machine an attempt may take longer than the little time that each has.
            while let Err(error) = host.connect(&honest.endpoint()).await {
                println!("an honest dial: {error}");
            }
        })
        .await;
        let dialed = world.runtime.now() - started;
        eventually("the last of them is a peer", || host.peer(&kept.peer_id()).is_some()).await;
        let kept_after = world.runtime.now() - started;
        println!(
            "{}: ran after {ran:?}, dialed after {dialed:?}, the last dial peer after {kept_after:?}",
            world.transport
        );
        // One after another, those where nobody is would take 25 minutes.
        assert!(ran < Duration::from_secs(30) && dialed < Duration::from_secs(90), "{ran:?} {dialed:?}");
        let stopping = world.runtime.now();
        host.shutdown().await;
        assert!(world.runtime.now() - stopping < host.config().drain_timeout + Duration::from_secs(3));
        shutdown([host, kept, honest]).await;
    });
}

/// Finds these, in this order, and keeps what it is told of those that failed.
struct Finds {
    runtime: Arc<dyn Runtime>,
    found: Mutex<VecDeque<Endpoint>>,
    failed: Mutex<Vec<Endpoint>>,
}

impl Finds {
    fn new(world: &World, found: impl IntoIterator<Item = Endpoint>) -> Arc<Self> {
        let (runtime, found) = (world.runtime.clone(), Mutex::new(found.into_iter().collect()));
        Arc::new(Self { runtime, found, failed: Mutex::default() })
    }

    fn find(&self, endpoint: Endpoint) {
        self.found.lock().unwrap().push_back(endpoint);
    }
}

#[async_trait]
impl Discovery for Finds {
    async fn start(self: Arc<Self>) -> Result<(), Error> {
        Ok(())
    }

    async fn shutdown(&self) {}

    async fn recv(&self) -> DiscoveredPeer {
        loop {
            let found = self.found.lock().unwrap().pop_front();
            if let Some(endpoint) = found {
                return endpoint.into();
            }
            self.runtime.sleep(Duration::from_millis(5)).await;
        }
    }

    fn find_peers_with(&self, _: &[u8]) -> Vec<DiscoveredPeer> {
        Vec::new()
    }

    fn on_event(&self, event: PeerConnectionEvent) {
        if let PeerConnectionEvent::ConnectFailed { endpoint, .. } = event {
            self.failed.lock().unwrap().push(endpoint);
        }
    }
}

/// One slot, and little time for each dial; enough for an honest one on a busy machine.
fn one_slot(world: &World) -> Config {
    let time = Duration::from_millis(1500);
    Config { outbound_slots: 1, dial_timeout: time, handshake_timeout: time, ..quick(world) }
}

#[test]
fn a_silent_peer_costs_those_found_after_it_nothing_but_time() {
    everywhere(|world| async move {
        let (silent, honest) = (Silent::new(world.transport), world.host().await);
        let dead = silent.endpoint(world.transport);
        for max_connect_retries in [0, 1] {
            let finds = Finds::new(&world, [dead.clone(), honest.endpoint()]);
            let config = Config { max_connect_retries, ..one_slot(&world) };
            let builder = Node::builder(&new_key()).config(config).runtime(world.runtime.clone());
            let host = builder.discovery(finds.clone()).build().unwrap();
            host.run().await.unwrap();
            eventually("the next one has the slot", || host.peer(&honest.peer_id()).is_some()).await;
            eventually("the silent one was given up", || !finds.failed.lock().unwrap().is_empty()).await;
            assert_eq!(*finds.failed.lock().unwrap(), std::slice::from_ref(&dead));
            host.shutdown().await;
        }
        shutdown([honest]).await;
    });
}

#[test]
fn a_discovery_that_finds_only_silent_peers_keeps_no_slot_from_another() {
    everywhere(|world| async move {
        let (silent, honest) = (Silent::new(world.transport), world.host().await);
        let many = std::iter::repeat_n(silent.endpoint(world.transport), 100);
        let (bad, good) = (Finds::new(&world, many), Finds::new(&world, []));
        let builder = Node::builder(&new_key()).config(one_slot(&world)).runtime(world.runtime.clone());
        let host = builder.discovery(bad.clone()).add_discovery(good.clone()).build().unwrap();
        host.run().await.unwrap();
        eventually("the slot is taken", || bad.found.lock().unwrap().len() < 100).await;
        good.find(honest.endpoint());
        eventually("the other has its turn", || host.peer(&honest.peer_id()).is_some()).await;
        let tried = 100 - bad.found.lock().unwrap().len();
        // Each holds the slot for a moment, and a busy machine needs several of them to connect.
        assert!(tried <= 50, "{tried} silent peers had their turn before");
        host.shutdown().await;
        shutdown([honest]).await;
    });
}
