//! What others say makes a node dial nobody again and again, and is not needed to find one's way.

use std::net::SocketAddr;
use std::time::Duration;

use p2p_identity::{PeerRecord, Prefix};
use p2p_kademlia::engine::{Action, Answered, Command, Engine, Failure, Outcome};
use p2p_kademlia::message::Closer;
use p2p_kademlia::{KademliaConfig, Key, Refused, Request, Response, Target};
use p2p_net::{Endpoint, Transport};
use proptest::prelude::*;

use crate::net::{Dial, Net, address, endpoint, key_pair};

/// Somebody who has nothing to do with it.
const THIRD: [SocketAddr; 3] = [third(1), third(2), third(3)];

const fn third(n: u8) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(9, 8, 7, n)), 443)
}

fn is_third(dial: &Dial) -> bool {
    Prefix::of(dial.to.ip()) == Prefix::of(THIRD[0].ip())
}

/// The most that one node dials the third party within `time`.
fn most_within(net: &Net, time: Duration) -> usize {
    let dials: Vec<&Dial> = net.dials.iter().filter(|dial| is_third(dial)).collect();
    let within = |first: &&&Dial| {
        let same = dials.iter().filter(|dial| dial.by == first.by && dial.at >= first.at);
        same.filter(|dial| dial.at < first.at + time).count()
    };
    dials.iter().map(|first| within(&first)).max().unwrap_or(0)
}

/// Nodes that begin with others, of which some name nodes that do not exist at the addresses of `places`.
fn network(seed: u64, honest: usize, liars: usize, places: impl Fn(usize) -> Vec<SocketAddr>, vain_dials: u32) -> Net {
    let mut net = Net::new(seed);
    for n in 0..honest + liars {
        if n >= honest {
            net.inventors.insert(n, places(n));
        }
        // Everybody meets some liar early.
        let liar = honest + n % liars.max(1);
        let first = if n == 0 { vec![] } else { vec![0, if n > honest { 0 } else { liar }] };
        net.add(n, &first, |config| config.limits.vain_dials = vain_dials);
        net.run(Duration::from_millis(200));
    }
    net
}

fn honest_recall(net: &mut Net, honest: usize, liars: usize) -> f64 {
    let mut hits = 0;
    for n in 0..honest {
        let target = Key::of_value(&[n as u8, 77]);
        let Outcome::Closest(found) = net.outcome(n, Command::Closest(target)) else { panic!("another outcome") };
        let all = net.closest(&target, 20, n);
        let expected: Vec<usize> = all.into_iter().filter(|n| *n < honest).collect();
        let is_found = |n: &&usize| found.iter().any(|peer| peer.peer_id() == net.engine(**n).peer_id());
        hits += 1000 * expected.iter().filter(is_found).count() / expected.len();
    }
    let recall = hits as f64 / 1000.0 / honest as f64;
    println!("recall {recall} with {liars} liars of {}", honest + liars);
    recall
}

#[test]
fn who_names_new_nodes_at_one_address_has_it_dialed_a_few_times() {
    let mut most = Vec::new();
    for vain_dials in [4, 1 << 20] {
        let mut net = network(1, 8, 1, |_| vec![THIRD[0]], vain_dials);
        net.run(Duration::from_secs(600));
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        most.push((most_within(&net, second), most_within(&net, minute), most_within(&net, 10 * minute)));
        if vain_dials == 4 {
            assert!(honest_recall(&mut net, 8, 1) > 0.999);
        }
    }
    let (bounded, unbounded) = (most[0], most[1]);
    println!("in a second, a minute, ten minutes: {bounded:?}; unbounded {unbounded:?}");
    assert!(bounded.0 <= 4 && bounded.1 <= 5 && bounded.2 <= 8, "{bounded:?}");
    assert!(unbounded.2 > bounded.2, "it is the bound that does it: {unbounded:?}");
}

#[test]
fn those_who_name_nobody_anywhere_are_not_heard_for_long() {
    // Each contact is in a range of its own, so no budget stops them.
    let mut net = network(2, 20, 5, |n| (0..200).map(|m| address(100_000 + 200 * n + m)).collect(), 4);
    net.run(Duration::from_secs(60));
    let before = net.dials.iter().filter(|dial| !dial.met && dial.by == 3).count();
    net.run(Duration::from_secs(600));
    let after = net.dials.iter().filter(|dial| !dial.met && dial.by == 3).count();
    println!("in vain: {before} in a minute, {} in ten more; {} were invented", after - before, net.invented);
    assert!(honest_recall(&mut net, 20, 5) > 0.99);
    assert!(after - before < 5 * 12 * 6, "{}", after - before);
}

#[test]
fn records_with_a_throw_away_address_make_nobody_dial_the_others_of_it() {
    let (honest, sybils) = (16, 6);
    let minute = Duration::from_secs(60);
    let mut seen = Vec::new();
    for (vain_dials, minutes) in [(4, 60), (1 << 20, 5)] {
        let mut net = Net::new(3);
        for n in 0..honest + sybils {
            net.add(n, if n == 0 { &[] } else { &[0] }, |config| {
                config.limits.vain_dials = vain_dials;
                if n >= honest {
                    let claims = THIRD.map(|at| Endpoint::from_socket_addr(Transport::Tcp, at));
                    config.external_endpoints = claims.to_vec();
                }
            });
            net.run(Duration::from_millis(200));
        }
        net.run(minute);
        let sybils_of = |n| net.engine(n).table().iter().filter(|peer| peer.target().endpoints.len() > 1).count();
        assert!((0..honest).map(sybils_of).sum::<usize>() > honest, "they are known");
        // Half of them answer, at the address that nobody needs.
        (honest + sybils / 2..honest + sybils).for_each(|n| net.kill(n));
        for n in 0..honest {
            let first = net.dials.len();
            net.outcome(n, Command::Get(Key::of_value(&[n as u8, 9])));
            let of_one = net.dials[first..].iter().filter(|dial| dial.by == n && is_third(dial)).count();
            assert!(vain_dials > 4 || of_one <= 4, "{of_one} dials by one get");
        }
        let begun = net.now;
        net.run(minute * minutes);
        let since = |net: &Net, time| net.dials.iter().filter(|dial| is_third(dial) && dial.at >= time).count();
        let (all, late) = (since(&net, begun), since(&net, begun + minute * minutes / 2));
        println!("{vain_dials}: {all} in {minutes} minutes by {honest} idle nodes, {late} of them in the second half");
        if vain_dials == 4 {
            assert!(most_within(&net, minute) <= 5);
            assert!(late <= 5 * minutes as usize / 2, "{late}: at most five a minute by all of them together");
        }
        seen.push(all);
    }
    assert!(seen[1] > 2 * seen[0], "it is the bound that does it: {seen:?}");
}

/// A record of the node `n` at these addresses.
fn told(n: usize, at: &[SocketAddr]) -> PeerRecord {
    let at = at.iter().map(|at| Endpoint::from_socket_addr(Transport::Tcp, *at));
    at.fold(PeerRecord::builder(), |record, at| record.discovery_addr(at)).sign(&key_pair(n), 1).unwrap()
}

/// One step of a run: how many milliseconds pass, what happens, and to whom.
type Step = (u64, u8, usize);

/// Some liars answer what they like: of 30 nodes they say that they are in three address ranges, of others the truth.
fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut now = Net::new(0).now;
    let mut state = 1u64;
    let random = Box::new(move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state
    });
    let config = KademliaConfig { bootstrap_peers: vec![endpoint(1), endpoint(2)], ..KademliaConfig::default() };
    let mut engine = Engine::new(&key_pair(0), &config, 0, now, random);
    engine.set_endpoints(now, vec![endpoint(0)], Vec::new());
    engine.start(now);
    let liars = 1..=4;
    let (mut open, mut in_vain) = (Vec::new(), Vec::new());
    for (wait, what, n) in steps {
        now += Duration::from_millis(wait);
        match what {
            0 => _ = engine.begin(now, Command::Closest(Key::of_value(&[n as u8]))),
            1 => engine.on_timeout(now),
            _ if open.is_empty() => engine.on_timeout(now),
            _ => {
                let (id, target, request): (_, Target, Request) = open.swap_remove(n % open.len());
                let who = liars.clone().find(|liar| target.peer_id.is_none_or(|id| id == key_pair(*liar).peer_id()));
                let mut met = None;
                for at in &target.endpoints {
                    let here = who.map(endpoint).filter(|own| own.socket_addr() == at.socket_addr());
                    if met.is_none() && engine.may_dial(now, id, at) {
                        match &here {
                            Some(_) => engine.on_met(now, id, at),
                            None => in_vain.push((now, Prefix::of(at.addr().ip().unwrap()))),
                        }
                        met = here;
                    }
                }
                let Some((who, at)) = who.zip(met).filter(|_| what != 2) else {
                    engine.on_failure(now, id, Failure::Unreachable);
                    continue;
                };
                let third = |m: usize| SocketAddr::from(([9, 8, (m % 3) as u8, m as u8], 443));
                let record = |m: usize| match m % 4 {
                    0 => told(1 + m % 4, &[address(1 + m % 4)]),
                    1 => told(100 + m % 30, &[third(m), third(m + 1), address(100 + m)]),
                    _ => told(100 + m % 30, &[third(m)]),
                };
                let contacts = (n..n + what as usize).map(record).collect();
                let closer = Closer { contacts, seq: 0, observed: None };
                let response = match request {
                    Request::FindNode { .. } => Response::Contacts(closer),
                    Request::GetRecord => Response::Record(told(who, &[address(who)])),
                    _ => Response::Refused(Refused::Busy),
                };
                let record = Some(told(who, &[address(who), third(n)]));
                engine.on_answer(
                    now,
                    id,
                    Answered { peer_id: key_pair(who).peer_id(), endpoint: at, record, response },
                );
            }
        }
        while let Some(action) = engine.next_action() {
            match action {
                Action::Ask { id, target, request } => open.push((id, target, request)),
                Action::DialBack { id, target, .. } => open.push((id, target, Request::GetRecord)),
                _ => {}
            }
        }
    }
    for (first, range) in &in_vain {
        let later = in_vain.iter().filter(|(at, other)| other == range && at >= first);
        let [second, minute] = [1, 60].map(|n| *first + Duration::from_secs(n));
        let (within_second, within_minute) =
            (later.clone().filter(|(at, _)| *at < second).count(), later.filter(|(at, _)| *at < minute).count());
        prop_assert!(within_second <= 4 && within_minute <= 5, "{within_second}, {within_minute}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_liars_answer_no_range_is_dialed_in_vain_more_than_five_times_a_minute(
        steps in prop::collection::vec((0u64..3000, 0u8..16, any::<usize>().prop_map(|n| n % 1000)), 1..200)
    ) {
        run(steps)?;
    }
}
