use std::collections::BTreeSet;

use p2p_sim::{Bounds, Fault, HostState, Plan};

use super::*;

#[test]
fn a_plan_happens_when_it_says() {
    let (sim, alice, bob) = world(steady());
    let plan = Plan::new()
        .at(2 * SECOND, Fault::Resume(alice.id()))
        .at(SECOND, Fault::Pause(alice.id()))
        .at(SECOND, Fault::StepClock { host: bob.id(), seconds: 100 })
        .at(3 * SECOND, Fault::MaxSockets { host: bob.id(), most: 0 });
    assert_eq!((plan.len(), plan.end()), (4, 3 * SECOND));
    let wall = bob.wall_clock();
    sim.schedule(&plan);
    let mut states = Vec::new();
    for _ in 0..3 {
        states.push(alice.state());
        sim.run_for(SECOND);
    }
    assert_eq!(states, [HostState::Up, HostState::Paused, HostState::Up]);
    assert_eq!(bob.wall_clock().duration_since(wall).unwrap(), 103 * SECOND);
    assert!(bob.runtime().udp_bind((bob.ipv4(), 0).into()).is_err());
}

#[test]
#[should_panic(expected = "names a host that does not exist")]
fn a_plan_is_for_hosts_that_exist() {
    Sim::new(1).schedule(&Plan::new().at(SECOND, Fault::Crash(p2p_sim::HostId(7))));
}

#[test]
fn random_plans_differ_repeat_and_leave_all_well() {
    let mut kinds = BTreeSet::new();
    for seed in 0..50 {
        let sim = Sim::with(seed, Settings { link: steady(), ..Settings::default() });
        let hosts = ["a", "b", "c", "d"].map(|name| sim.host(name));
        let bounds = Bounds::new(hosts.iter().map(Host::id), 60 * SECOND, 20);
        let plan = Plan::random(seed, &bounds);
        assert_eq!(plan, Plan::random(seed, &bounds));
        assert_ne!(plan, Plan::random(seed + 1, &bounds));
        assert!(plan.end() <= 60 * SECOND && plan.len() > 20);
        kinds.extend(plan.iter().map(|(_, fault)| format!("{fault:?}").split(['(', ' ']).next().unwrap().to_owned()));

        let wall = hosts.each_ref().map(Host::wall_clock);
        sim.schedule(&plan);
        sim.run_for(60 * SECOND);
        for (host, wall) in hosts.iter().zip(wall) {
            assert_eq!(host.state(), HostState::Up, "seed {seed}: {plan:?}");
            assert_eq!(host.wall_clock().duration_since(wall).unwrap(), 60 * SECOND);
            host.runtime().files().replace("/state".as_ref(), b"whole").unwrap();
        }
        let sockets = hosts.each_ref().map(bind);
        sim.block_on(async {
            for (from, to) in (0..4).flat_map(|from| (0..4).map(move |to| (from, to))).filter(|(from, to)| from != to) {
                let began = sim.now();
                send(&sockets[from], sockets[to].local_addr(), b"well?");
                receive(&sockets[to]).await;
                assert_eq!(sim.now() - began, 10 * MS, "seed {seed}: the link is as it was");
            }
        });
    }
    let all = "Block Crash Disk Heal Hold Kill Link Partition Pause Release Restart Resume StepClock Unblock";
    assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(" "), all);
}

#[cfg(feature = "serde")]
#[test]
fn a_plan_is_data() {
    let (_sim, alice, bob) = world(steady());
    let plan = Plan::random(7, &Bounds::new([alice.id(), bob.id()], 60 * SECOND, 30));
    let bytes = postcard::to_stdvec(&plan).unwrap();
    assert_eq!(postcard::from_bytes::<Plan>(&bytes).unwrap(), plan);
}
