use super::*;

#[test]
fn a_datagram_takes_the_latency_of_its_link() {
    let (sim, alice, bob) = world(steady());
    let (here, there) = (bind(&alice), bind(&bob));
    sim.block_on(async {
        send(&here, there.local_addr(), b"hello");
        assert_eq!(receive(&there).await, (here.local_addr(), b"hello".to_vec()));
        assert_eq!(sim.now(), 10 * MS);
        sim.network().set_link(&alice, &bob, Link::WAN.latency(Latency::Fixed(SECOND)));
        send(&here, there.local_addr(), b"slow");
        receive(&there).await;
        assert_eq!(sim.now(), SECOND + 10 * MS, "one direction was changed");
        send(&there, here.local_addr(), b"quick");
        receive(&here).await;
        assert_eq!(sim.now(), SECOND + 20 * MS, "the other was not");
    });
}

#[test]
fn losses_and_copies_have_the_shares_they_should() {
    const SENT: usize = 20_000;
    let (sim, alice, bob) = world(Link { duplicate: 0.1, ..steady().loss(0.2) });
    let (here, there) = (bind(&alice), bind(&bob));
    sim.block_on(async {
        for n in 0..SENT as u32 {
            send(&here, there.local_addr(), &n.to_be_bytes());
            // Not all at once: the receiver's buffer is bounded.
            if n % 1000 == 999 {
                sim.sleep(SECOND).await;
            }
            while let Ok(received) = sim.runtime().timeout(Duration::ZERO, receive(&there)).await {
                assert_eq!(received.1.len(), 4);
            }
        }
    });
    let lines = sim.report().lines as usize;
    let arrived = lines - SENT;
    // Of 20,000: 16,000 arrive, 1,600 of them twice; the standard deviation of the sum is below 80.
    assert!((17_200..18_000).contains(&arrived), "{arrived} arrived of {SENT}");
}

#[test]
fn datagrams_keep_their_order_unless_the_link_reorders() {
    let arrivals = |link| {
        let (sim, alice, bob) = world(link);
        let (here, there) = (bind(&alice), bind(&bob));
        sim.block_on(async {
            for n in 0..200u8 {
                send(&here, there.local_addr(), &[n]);
                sim.sleep(MS).await;
            }
            let all = receive_all(&sim, &there, SECOND).await;
            all.into_iter().map(|(_, data)| data[0]).collect::<Vec<_>>()
        })
    };
    let in_order: Vec<u8> = (0..200).collect();
    let jittery = Link::WAN.latency(Latency::Uniform { base: 10 * MS, jitter: 50 * MS });
    assert_eq!(arrivals(jittery), in_order);
    let mut reordered = arrivals(Link { reorder: 0.2, ..jittery });
    assert_ne!(reordered, in_order);
    reordered.sort_unstable();
    assert_eq!(reordered, in_order, "nothing is lost by it");
}

#[test]
fn corruption_flips_one_bit() {
    let (sim, alice, bob) = world(Link { corrupt: 0.5, ..steady() });
    let (here, there) = (bind(&alice), bind(&bob));
    let received = sim.block_on(async {
        for _ in 0..1000 {
            send(&here, there.local_addr(), &[0; 100]);
        }
        receive_all(&sim, &there, SECOND).await
    });
    let flipped: Vec<u32> = received.iter().map(|(_, data)| data.iter().map(|byte| byte.count_ones()).sum()).collect();
    assert_eq!(flipped.len(), 1000);
    assert!(flipped.iter().all(|bits| *bits <= 1));
    let corrupted = flipped.iter().filter(|bits| **bits == 1).count();
    assert!((430..570).contains(&corrupted), "{corrupted} of 1000 at 50 %");
}

#[test]
fn what_exceeds_the_mtu_is_lost_in_silence() {
    let (sim, alice, bob) = world(Link { mtu: 1500, ..steady() });
    for (ip, headers) in [(bob.ipv4(), 28), (bob.ipv6(), 48)] {
        let there = bob.runtime().udp_bind((ip, 0).into()).unwrap();
        let any = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let here = alice.runtime().udp_bind(any.parse().unwrap()).unwrap();
        let received = sim.block_on(async {
            for len in [1500 - headers, 1501 - headers] {
                send(&here, there.local_addr(), &vec![0; len]);
            }
            receive_all(&sim, &there, SECOND).await
        });
        assert_eq!(received.iter().map(|(_, data)| data.len()).collect::<Vec<_>>(), [1500 - headers]);
        let own = if ip.is_ipv4() { alice.ipv4() } else { alice.ipv6() };
        assert_eq!(received[0].0.ip(), own, "a wildcard socket sends from the host's address");
    }
}

#[test]
fn a_batch_is_split() {
    let (sim, alice, bob) = world(steady());
    let (here, there) = (bind(&alice), bind(&bob));
    let datagrams = Datagrams {
        destination: there.local_addr(),
        ecn: None,
        contents: &[7; 2500],
        segment_size: Some(1000),
        src_ip: None,
    };
    let received = sim.block_on(async {
        here.try_send(&datagrams).unwrap();
        receive_all(&sim, &there, SECOND).await
    });
    assert_eq!(received.iter().map(|(_, data)| data.len()).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(sim.network().packets(), 3);
}

#[test]
fn bandwidth_spaces_datagrams_out_and_its_queue_is_bounded() {
    // 1 Mbit/s: a packet of 1,000 bytes takes 8 ms; ten of them fit the queue.
    let (sim, alice, bob) = world(Link { queue: 10_000, ..steady().bandwidth(1_000_000) });
    let (here, there) = (bind(&alice), bind(&bob));
    sim.block_on(async {
        for _ in 0..50 {
            send(&here, there.local_addr(), &[0; 1000 - 28]);
        }
        for n in 1..=10 {
            receive(&there).await;
            assert_eq!(sim.now(), 10 * MS + n * 8 * MS);
        }
        assert!(receive_all(&sim, &there, SECOND).await.is_empty(), "what finds no room is lost");
    });
}

#[test]
fn a_receiver_that_stands_still_keeps_what_its_buffer_holds() {
    let settings = Settings { link: steady(), udp_buffer: 10_000, ..Settings::default() };
    let sim = Sim::with(1, settings);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    let (here, there) = (bind(&alice), bind(&bob));
    let received = sim.block_on(async {
        for _ in 0..100 {
            send(&here, there.local_addr(), &[0; 1000]);
        }
        sim.sleep(SECOND).await;
        receive_all(&sim, &there, SECOND).await
    });
    // 1,000 bytes, their headers, and what the kernel needs beside them.
    assert_eq!(received.len(), 10_000 / (1000 + 28 + 256));
}

#[test]
fn loopback_is_a_hosts_own() {
    let (sim, alice, bob) = world(steady());
    let bind = |host: &Host| host.runtime().udp_bind("127.0.0.1:700".parse().unwrap()).unwrap();
    let (here, there) = (bind(&alice), bind(&bob));
    sim.block_on(async {
        send(&here, there.local_addr(), b"to myself");
        assert_eq!(receive(&here).await.1, b"to myself");
        assert!(sim.now() < MS);
        // Nor does it leave the host when it is sent elsewhere from there.
        send(&here, (bob.ipv4(), 700).into(), b"?");
        assert!(receive_all(&sim, &there, SECOND).await.is_empty());
    });
    let foreign = alice.runtime().udp_bind((bob.ipv4(), 0).into()).unwrap_err();
    assert_eq!(foreign.kind(), io::ErrorKind::AddrNotAvailable);
}

#[test]
fn holds_keep_and_blocks_drop_one_direction() {
    let (sim, alice, bob) = world(steady());
    let (here, there) = (bind(&alice), bind(&bob));
    sim.block_on(async {
        sim.network().hold(&alice, &bob);
        send(&here, there.local_addr(), b"1");
        send(&here, there.local_addr(), b"2");
        send(&there, here.local_addr(), b"back");
        assert_eq!(receive(&here).await.1, b"back");
        assert!(receive_all(&sim, &there, SECOND).await.is_empty());
        sim.network().release(&alice, &bob);
        let both: Vec<_> = receive_all(&sim, &there, SECOND).await.into_iter().map(|(_, data)| data).collect();
        assert_eq!(both, [b"1", b"2"]);

        sim.network().block(&alice, &bob);
        send(&here, there.local_addr(), b"lost");
        send(&there, here.local_addr(), b"back");
        assert_eq!(receive(&here).await.1, b"back");
        sim.network().unblock(&alice, &bob);
        assert!(receive_all(&sim, &there, SECOND).await.is_empty());
    });
}

#[test]
fn held_packets_are_bounded() {
    let settings = Settings { link: steady(), held_packets: 3, ..Settings::default() };
    let sim = Sim::with(1, settings);
    let (alice, bob) = (sim.host("alice"), sim.host("bob"));
    let (here, there) = (bind(&alice), bind(&bob));
    sim.block_on(async {
        sim.network().hold(&alice, &bob);
        for n in 0..5 {
            send(&here, there.local_addr(), &[n]);
        }
        sim.network().heal();
        let kept: Vec<_> = receive_all(&sim, &there, SECOND).await.into_iter().map(|(_, data)| data[0]).collect();
        assert_eq!(kept, [0, 1, 2]);
    });
}

#[test]
fn a_partition_cuts_what_is_under_way_and_is_as_wide_as_its_groups() {
    let (sim, alice, bob) = world(steady());
    let carol = sim.host("carol");
    let (a, b, c) = (bind(&alice), bind(&bob), bind(&carol));
    sim.block_on(async {
        send(&a, b.local_addr(), b"under way");
        sim.sleep(5 * MS).await;
        sim.network().partition(&[&[&alice]]);
        send(&b, c.local_addr(), b"same side");
        assert_eq!(receive(&c).await.1, b"same side");
        assert!(receive_all(&sim, &b, SECOND).await.is_empty());
        sim.network().heal();
        send(&a, b.local_addr(), b"healed");
        assert_eq!(receive(&b).await.1, b"healed");
    });
}
