use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use p2p_core::runtime;
use p2p_sim::{HostState, JoinError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn a_task_finds_the_runtime_of_its_host() {
    let (sim, alice, _) = world(steady());
    sim.block_on(async {
        let name = |runtime: Arc<dyn p2p_core::Runtime>| format!("{runtime:?}");
        assert_eq!(name(runtime::current().unwrap()), name(sim.runtime()));
        let inside = alice.spawn(async { format!("{:?}", runtime::current().unwrap()) }).await.unwrap();
        assert_eq!(inside, name(alice.runtime()));
        assert_ne!(inside, name(sim.runtime()));
    });
}

#[test]
fn a_paused_host_stands_still_while_its_kernel_goes_on() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let (mut from, mut to) = connected(&alice, &bob).await;
        let reading = bob.spawn(async move {
            let mut all = String::new();
            to.read_to_string(&mut all).await.unwrap();
            (all, runtime::current().unwrap().now())
        });
        let began = bob.runtime().now();
        bob.pause();
        assert_eq!(bob.state(), HostState::Paused);
        from.write_all(b"patience").await.unwrap();
        from.shutdown().await.unwrap();
        sim.sleep(60 * SECOND).await;
        bob.resume();
        let (all, ended) = reading.await.unwrap();
        assert_eq!((all.as_str(), ended - began), ("patience", 60 * SECOND));
        assert_eq!(bob.state(), HostState::Up);
    });
}

#[test]
fn a_host_that_moves_is_reached_at_its_new_address_only() {
    let (sim, alice, bob) = world(steady());
    sim.block_on(async {
        let anywhere = || bob.runtime().udp_bind("0.0.0.0:7".parse().unwrap()).unwrap();
        let (from, at_bob) = (bind(&alice), anywhere());
        let (mut dialed, mut accepted) = connected(&alice, &bob).await;
        let (old, new) = (bob.ipv4(), "62.1.2.3".parse().unwrap());
        send(&from, (old, 7).into(), b"late");
        bob.move_to([new]);
        assert_eq!((bob.addresses(), bob.runtime().local_addresses().unwrap()), (vec![new], vec![new]));
        send(&from, (old, 7).into(), b"lost");
        send(&from, (new, 7).into(), b"found");
        dialed.write_all(b"lost").await.unwrap();
        accepted.write_all(b"lost too").await.unwrap();
        assert_eq!(receive_all(&sim, &at_bob, SECOND).await.len(), 1, "what was under way is lost too");
        let mut byte = [0];
        let runtime = sim.runtime();
        assert!(runtime.timeout(SECOND, dialed.read(&mut byte)).await.is_err(), "nobody is told");
        assert!(runtime.timeout(SECOND, accepted.read(&mut byte)).await.is_err(), "on no side");
        send(&at_bob, from.local_addr(), b"from there");
        let (src, data) = receive(&from).await;
        assert_eq!((src, &data[..]), ((new, 7).into(), &b"from there"[..]));
        let (mut there, mut here) = connected(&alice, &bob).await;
        there.write_all(b"!").await.unwrap();
        assert_eq!(here.read_u8().await.unwrap(), b'!');
        assert_eq!(alice.runtime().resolve("bob").await.unwrap(), [new]);
        bob.move_to([old]);
        send(&from, (old, 7).into(), b"back");
        assert_eq!(receive(&at_bob).await.1, b"back");
    });
}

#[test]
fn programs_end_with_a_host_and_start_with_it() {
    let (sim, alice, _) = world(steady());
    let starts = Arc::new(AtomicUsize::new(0));
    let alive = Arc::new(());
    let (counted, held) = (starts.clone(), alive.clone());
    alice.on_start(move |host| {
        counted.fetch_add(1, Ordering::Relaxed);
        let held = held.clone();
        async move {
            let _held = held;
            let _socket = host.runtime().udp_bind((host.ipv4(), 9).into()).unwrap();
            std::future::pending::<()>().await;
        }
    });
    sim.block_on(async {
        for (n, stop) in [Host::crash, Host::kill, Host::restart].into_iter().enumerate() {
            sim.sleep(SECOND).await;
            assert_eq!((starts.load(Ordering::Relaxed), alice.live_tasks(), alice.open_sockets()), (n + 1, 1, 1));
            // Ours, the program's, and its task's.
            assert_eq!(Arc::strong_count(&alive), 3);
            let before = alice.runtime();
            let joined = alice.spawn(std::future::pending::<()>());
            stop(&alice);
            assert_eq!(joined.await, Err(JoinError::Gone));
            if n < 2 {
                assert_eq!((alice.live_tasks(), alice.open_sockets()), (0, 0));
                assert_eq!(alice.state(), [HostState::Off, HostState::Killed][n]);
                assert_eq!(Arc::strong_count(&alive), 2, "the task's future is dropped");
                assert_eq!(alice.spawn(async {}).await, Err(JoinError::Gone), "nothing runs on a host that is down");
                alice.restart();
            }
            assert!(before.udp_bind((alice.ipv4(), 0).into()).is_err(), "what is left of a former life does nothing");
        }
    });
    assert_eq!(starts.load(Ordering::Relaxed), 4);
}

#[test]
fn a_host_may_stop_itself() {
    let (sim, alice, _) = world(steady());
    sim.block_on(async {
        let crashing = alice.clone();
        let joined = alice.spawn(async move {
            crashing.crash();
            crashing.runtime().sleep(SECOND).await;
        });
        assert_eq!(joined.await, Err(JoinError::Gone));
        assert_eq!(alice.live_tasks(), 0);
    });
}

#[test]
fn a_panic_ends_its_task_alone_and_is_counted() {
    let (sim, alice, _) = world(steady());
    sim.block_on(async {
        let joined = alice.spawn(async { panic!("on purpose") });
        assert_eq!(joined.await, Err(JoinError::Panicked("on purpose".into())));
        assert_eq!(sim.report().panics, 0, "who waits for a task has its panic");
        alice.runtime().spawn(Box::pin(async { panic!("on purpose") }));
        assert_eq!(alice.spawn(async { 7 }).await, Ok(7));
        sim.sleep(SECOND).await;
        assert_eq!((sim.report().panics, alice.live_tasks()), (1, 0));
    });
}

#[test]
fn sockets_are_limited_as_file_descriptors_are() {
    let (sim, alice, bob) = world(steady());
    bob.set_max_sockets(2);
    let listener = bob.runtime().tcp_listen((bob.ipv4(), 80).into()).unwrap();
    let is_emfile = |error: io::Error| error.raw_os_error() == Some(if cfg!(windows) { 10024 } else { 24 });
    sim.block_on(async {
        let dial = || async { alice.runtime().tcp_connect((bob.ipv4(), 80).into()).await.unwrap() };
        let (_one, mut two) = (dial().await, dial().await);
        let first = accept(&*listener).await.unwrap();
        assert!(is_emfile(accept(&*listener).await.unwrap_err()));
        assert!(is_emfile(bob.runtime().udp_bind((bob.ipv4(), 0).into()).unwrap_err()));
        assert!(is_emfile(bob.runtime().tcp_listen((bob.ipv4(), 0).into()).unwrap_err()));
        assert!(is_emfile(bob.runtime().tcp_connect((alice.ipv4(), 1).into()).await.unwrap_err()));
        drop(first);
        let mut second = accept(&*listener).await.unwrap();
        two.write_all(b"!").await.unwrap();
        assert_eq!(second.read_u8().await.unwrap(), b'!', "who waited was not lost");
        assert_eq!(bob.open_sockets(), 2);
    });
}

#[test]
fn wall_clocks_step_and_time_does_not() {
    const YEAR: i64 = 365 * 24 * 3600;
    let (sim, alice, bob) = world(steady());
    let (wall, mono) = (alice.wall_clock(), alice.runtime().now());
    assert!(wall > UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    alice.step_clock(-10 * YEAR);
    assert_eq!(wall.duration_since(alice.runtime().system_time()).unwrap(), Duration::from_secs(10 * YEAR as u64));
    assert_eq!(bob.wall_clock(), wall, "each host has its own");
    alice.step_clock(30 * YEAR);
    sim.run_for(SECOND);
    let ahead = alice.wall_clock().duration_since(wall).unwrap();
    assert_eq!(ahead, Duration::from_secs(20 * YEAR as u64) + SECOND);
    assert_eq!(alice.runtime().now() - mono, SECOND);
    alice.step_clock(i64::MIN);
    assert!(alice.wall_clock() <= wall, "the longest step does not overflow");
}

#[test]
fn entropy_is_the_seeds_and_the_hosts() {
    let draw = |seed, name: &str| {
        let sim = Sim::new(seed);
        let hosts = [sim.host("a"), sim.host("b")];
        hosts.iter().find(|host| host.name() == name).unwrap().runtime().random_u64()
    };
    assert_eq!(draw(1, "a"), draw(1, "a"));
    assert_ne!(draw(1, "a"), draw(1, "b"));
    assert_ne!(draw(1, "a"), draw(2, "a"));
}

#[test]
fn names_are_the_worlds() {
    let (sim, alice, bob) = world(steady());
    sim.network().set_name("Pool.Example", [alice.ipv4(), bob.ipv6()]);
    sim.block_on(async {
        let runtime = alice.runtime();
        assert_eq!(runtime.resolve("pool.example.").await.unwrap(), [alice.ipv4(), bob.ipv6()]);
        assert!(sim.now() > Duration::ZERO, "a look-up takes time");
        assert_eq!(runtime.resolve("BOB").await.unwrap(), bob.addresses());
        assert_eq!(runtime.resolve("unknown.example").await.unwrap_err().kind(), io::ErrorKind::NotFound);
        sim.network().remove_name("pool.example");
        assert!(runtime.resolve("pool.example").await.is_err());
    });
}

#[test]
fn hosts_are_in_prefixes_of_their_own_unless_they_are_told() {
    let sim = Sim::new(1);
    let hosts: Vec<_> = (0..300).map(|n| sim.host(format!("host{n}"))).collect();
    let prefixes = |of: fn(&Host) -> String| hosts.iter().map(of).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(prefixes(|host| host.ipv4().to_string().rsplit_once('.').unwrap().0.into()), 300);
    assert_eq!(prefixes(|host| format!("{:?}", &host.ipv6().to_string().split(':').take(3).collect::<Vec<_>>())), 300);
    let same = ["45.200.0.1", "45.200.0.2"].map(|ip| ip.parse().unwrap());
    let crowd = sim.add_host(p2p_sim::HostConfig::new("crowd").addresses(same));
    assert_eq!(crowd.addresses(), same);
}
