use std::net::IpAddr;

use p2p_sim::NatBehavior::{AddressAndPortDependent, EndpointIndependent};
use p2p_sim::{HostConfig, Nat, NatConfig, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A world with one host behind each of two boxes, and one in the open.
struct Boxes {
    sim: Sim,
    nats: [Nat; 2],
    inside: [Host; 2],
    open: Host,
}

fn boxes(config: NatConfig) -> Boxes {
    let sim = Sim::with(1, Settings { link: steady(), ..Settings::default() });
    let nats = [(); 2].map(|()| sim.nat(config.clone()));
    let inside = [0, 1].map(|n| sim.add_host(HostConfig::new(format!("inside{n}")).behind(&nats[n])));
    let open = sim.host("open");
    Boxes { sim, nats, inside, open }
}

impl Boxes {
    /// Where the world sees a socket behind a box.
    async fn seen(&self, socket: &Arc<dyn UdpSocket>) -> SocketAddr {
        let mirror = bind(&self.open);
        send(socket, mirror.local_addr(), b"where am I?");
        receive(&mirror).await.0
    }
}

#[test]
fn a_host_behind_a_box_is_seen_with_the_boxs_address_and_can_be_answered() {
    let boxes = boxes(NatConfig::default());
    let (here, there) = (bind(&boxes.inside[0]), bind(&boxes.open));
    boxes.sim.block_on(async {
        send(&here, there.local_addr(), b"?");
        let (seen, _) = receive(&there).await;
        assert_eq!(seen.ip(), boxes.nats[0].address());
        assert_ne!(seen, here.local_addr());
        send(&there, seen, b"!");
        assert_eq!(receive(&here).await, (there.local_addr(), b"!".to_vec()));

        let stranger = bind(&boxes.open);
        send(&stranger, seen, b"?");
        assert!(receive_all(&boxes.sim, &here, SECOND).await.is_empty(), "who was not sent to is not let in");
        send(&stranger, here.local_addr(), b"?");
        assert!(receive_all(&boxes.sim, &here, SECOND).await.is_empty(), "a private address is nobody's out there");
    });
}

/// Both sides learn where the other is seen and send there at the same time.
async fn punch(boxes: &Boxes) -> [usize; 2] {
    let sockets = [bind(&boxes.inside[0]), bind(&boxes.inside[1])];
    let seen = [boxes.seen(&sockets[0]).await, boxes.seen(&sockets[1]).await];
    for _ in 0..3 {
        send(&sockets[0], seen[1], b"hole");
        send(&sockets[1], seen[0], b"hole");
        boxes.sim.sleep(SECOND).await;
    }
    let mut received = [0; 2];
    for (count, socket) in received.iter_mut().zip(&sockets) {
        *count = receive_all(&boxes.sim, socket, SECOND).await.len();
    }
    received
}

#[test]
fn holes_are_punched_where_ports_are_shared() {
    let easy = boxes(NatConfig::default());
    assert_eq!(easy.sim.block_on(punch(&easy)), [3, 3], "both were under way when both boxes had been told");
    let hard = boxes(NatConfig::symmetric());
    assert_eq!(hard.sim.block_on(punch(&hard)), [0, 0], "the port that was seen is another remote's");
}

#[test]
fn an_open_box_lets_everybody_in_until_its_mapping_is_over() {
    let boxes = boxes(NatConfig { udp_timeout: 60 * SECOND, ..NatConfig::open() });
    let here = bind(&boxes.inside[0]);
    let stranger = bind(&boxes.inside[1]);
    boxes.sim.block_on(async {
        let seen = boxes.seen(&here).await;
        boxes.sim.sleep(59 * SECOND).await;
        send(&stranger, seen, b"in time");
        assert_eq!(receive(&here).await.1, b"in time");
        boxes.sim.sleep(2 * SECOND).await;
        send(&stranger, seen, b"late");
        assert!(receive_all(&boxes.sim, &here, SECOND).await.is_empty());
        assert_eq!(boxes.nats[0].mappings(), 1, "it is forgotten when the next one is made");
        boxes.nats[0].reset();
        assert_eq!(boxes.nats[0].mappings(), 0);
    });
}

#[test]
fn streams_leave_and_do_not_enter() {
    let boxes = boxes(NatConfig::default());
    let listen = |host: &Host| host.runtime().tcp_listen((host.ipv4(), 80).into()).unwrap();
    let (outer, inner) = (listen(&boxes.open), listen(&boxes.inside[0]));
    boxes.sim.block_on(async {
        let mut dialed = boxes.inside[0].runtime().tcp_connect(outer.local_addr()).await.unwrap();
        let mut accepted = accept(&*outer).await.unwrap();
        assert_eq!(accepted.peer_addr().ip(), boxes.nats[0].address());
        dialed.write_all(b"?").await.unwrap();
        accepted.write_all(b"!").await.unwrap();
        assert_eq!((accepted.read_u8().await.unwrap(), dialed.read_u8().await.unwrap()), (b'?', b'!'));

        let public = SocketAddr::new(boxes.nats[0].address(), 80);
        let closed = boxes.open.runtime().tcp_connect(public).await.unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::TimedOut);
        boxes.nats[0].forward(Transport::Tcp, 80, inner.local_addr());
        let mut dialed = boxes.inside[1].runtime().tcp_connect(public).await.unwrap();
        let mut accepted = accept(&*inner).await.unwrap();
        assert_eq!(accepted.peer_addr().ip(), boxes.nats[1].address(), "from behind one box to behind another");
        accepted.write_all(b"forwarded").await.unwrap();
        drop(accepted);
        let mut all = String::new();
        dialed.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "forwarded");
    });
}

#[test]
fn a_refusal_finds_its_way_back_through_a_box() {
    let boxes = boxes(NatConfig::default());
    let dialing = boxes.inside[0].runtime().tcp_connect((boxes.open.ipv4(), 81).into());
    let refused = boxes.sim.block_on(dialing).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_box_that_forgets_cuts_its_streams() {
    for quiet in [false, true] {
        let mut settings = Settings { link: steady(), ..Settings::default() };
        settings.streams.timeout = 60 * SECOND;
        let sim = Sim::with(1, settings);
        let nat = sim.nat(NatConfig { tcp_timeout: 100 * SECOND, ..NatConfig::default() });
        let inside = sim.add_host(HostConfig::new("inside").behind(&nat));
        let open = sim.host("open");
        sim.block_on(async {
            let (mut dialed, mut accepted) = connected(&inside, &open).await;
            if quiet {
                sim.sleep(101 * SECOND).await;
            } else {
                nat.reset();
            }
            accepted.write_all(b"?").await.unwrap();
            assert_eq!(accepted.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            dialed.write_all(b"?").await.unwrap();
            assert_eq!(dialed.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        });
    }
}

#[test]
fn neighbors_meet_at_home_and_by_the_public_address_if_the_box_can() {
    for hairpin in [false, true] {
        let sim = Sim::with(1, Settings { link: steady(), ..Settings::default() });
        let config = NatConfig { hairpin, filtering: EndpointIndependent, ..NatConfig::default() };
        let nat = sim.nat(config);
        let neighbors = ["one", "two"].map(|name| sim.add_host(HostConfig::new(name).behind(&nat)));
        let boxes = Boxes { nats: [nat.clone(), nat], inside: neighbors, open: sim.host("open"), sim };
        let (one, two) = (bind(&boxes.inside[0]), bind(&boxes.inside[1]));
        boxes.sim.block_on(async {
            send(&one, two.local_addr(), b"at home");
            assert_eq!(receive(&two).await, (one.local_addr(), b"at home".to_vec()));
            let seen = boxes.seen(&two).await;
            send(&one, seen, b"by the door");
            let received = receive_all(&boxes.sim, &two, SECOND).await;
            assert_eq!(received.len(), usize::from(hairpin));
            assert!(received.iter().all(|(from, _)| from.ip() == boxes.nats[0].address()));
        });
    }
}

#[test]
fn a_host_behind_a_box_may_have_a_public_address_beside_its_private_one() {
    let sim = Sim::with(1, Settings { link: steady(), ..Settings::default() });
    let nat = sim.nat(NatConfig { mapping: AddressAndPortDependent, ..NatConfig::default() });
    let v6 = "2a09::1".parse().unwrap();
    let inside = sim.add_host(HostConfig::new("inside").behind(&nat).addresses([v6]));
    let open = sim.host("open");
    let listener = inside.runtime().tcp_listen((v6, 80).into()).unwrap();
    sim.block_on(async {
        open.runtime().tcp_connect((v6, 80).into()).await.unwrap();
        assert_eq!(accept(&*listener).await.unwrap().peer_addr().ip(), open.ipv6());
    });
}

#[test]
fn a_firewall_keeps_strangers_out_of_hosts_that_have_public_addresses() {
    let boxes = boxes(NatConfig::firewall());
    let [here, there] = [&boxes.inside[0], &boxes.open].map(bind);
    let listener = boxes.inside[0].runtime().tcp_listen((boxes.inside[0].ipv4(), 80).into()).unwrap();
    let listener6 = boxes.inside[0].runtime().tcp_listen((boxes.inside[0].ipv6(), 80).into()).unwrap();
    boxes.sim.block_on(async {
        send(&there, here.local_addr(), b"?");
        assert!(receive_all(&boxes.sim, &here, SECOND).await.is_empty());
        send(&here, there.local_addr(), b"?");
        assert_eq!(receive(&there).await.0, here.local_addr(), "nothing is translated");
        send(&there, here.local_addr(), b"!");
        assert_eq!(receive(&here).await.1, b"!");
        let stranger = bind(&boxes.open);
        send(&stranger, here.local_addr(), b"?");
        assert!(receive_all(&boxes.sim, &here, SECOND).await.is_empty(), "it is another port");

        for closed in [listener.local_addr(), listener6.local_addr()] {
            let error = boxes.open.runtime().tcp_connect(closed).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        boxes.nats[0].forward(Transport::Tcp, 80, listener.local_addr());
        let mut dialed = boxes.open.runtime().tcp_connect(listener.local_addr()).await.unwrap();
        accept(&*listener).await.unwrap().write_all(b"!").await.unwrap();
        assert_eq!(dialed.read_u8().await.unwrap(), b'!');
        let (mut out, mut back) = connected(&boxes.inside[0], &boxes.open).await;
        back.write_all(b"!").await.unwrap();
        assert_eq!(out.read_u8().await.unwrap(), b'!', "what goes out is answered");
    });
}

#[test]
fn a_guarded_host_that_moves_is_guarded_where_it_is() {
    let boxes = boxes(NatConfig::firewall());
    let new = IpAddr::from([45, 99, 0, 1]);
    let former = boxes.inside[0].ipv4();
    boxes.inside[0].move_to([new]);
    let here = boxes.inside[0].runtime().udp_bind((new, 5000).into()).unwrap();
    let there = bind(&boxes.open);
    boxes.sim.block_on(async {
        send(&there, here.local_addr(), b"?");
        assert!(receive_all(&boxes.sim, &here, SECOND).await.is_empty());
        let next = boxes.sim.add_host(HostConfig::new("next").addresses([former]));
        let next = bind(&next);
        send(&there, next.local_addr(), b"?");
        assert_eq!(receive(&next).await.1, b"?", "its former address is somebody else's");
    });
}

#[test]
fn hosts_behind_a_one_to_one_box_are_reached_at_addresses_of_their_own() {
    let sim = Sim::with(1, Settings { link: steady(), ..Settings::default() });
    let nat = sim.nat(NatConfig::one_to_one());
    let inside = ["one", "two"].map(|name| sim.add_host(HostConfig::new(name).behind(&nat)));
    let open = sim.host("open");
    let sockets = [bind(&inside[0]), bind(&inside[1]), bind(&open)];
    sim.block_on(async {
        for (host, socket) in inside.iter().zip(&sockets) {
            let outer = SocketAddr::new(nat.outer(host.ipv4()), socket.local_addr().port());
            send(&sockets[2], outer, b"?");
            assert_eq!(receive(socket).await.0, sockets[2].local_addr());
            send(socket, sockets[2].local_addr(), b"!");
            assert_eq!(receive(&sockets[2]).await.0, outer);
        }
        assert_ne!(nat.outer(inside[0].ipv4()), nat.outer(inside[1].ipv4()));
    });
}

#[test]
fn a_port_may_be_forwarded_to_another_one() {
    let boxes = boxes(NatConfig::keeping_ports());
    let (here, there) = (bind(&boxes.inside[0]), bind(&boxes.open));
    let public = SocketAddr::new(boxes.nats[0].address(), 9000);
    boxes.nats[0].forward(Transport::Udp, 9000, here.local_addr());
    boxes.sim.block_on(async {
        let seen = boxes.seen(&here).await;
        assert_eq!(seen.port(), here.local_addr().port(), "what it sends first leaves by its own port");
        send(&there, public, b"?");
        assert_eq!(receive(&here).await.0, there.local_addr());
        send(&here, there.local_addr(), b"!");
        assert_eq!(receive(&there).await.0, public, "and an answer by that which was asked");
    });
}
