//! Finding out the own address from what others see, against a plain list: one say for each prefix, and a majority wins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use p2p_identity::Prefix;
use p2p_kademlia::address::{ObservedAddresses, ObservedConfig, Scope, advertised, is_believed};
use p2p_net::{Endpoint, Transport};

use crate::input::{Input, ip, start};

struct Say {
    prefix: Prefix,
    saw: IpAddr,
    at: Instant,
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let config = ObservedConfig {
        min_prefixes: input.below(4),
        lifetime: Duration::from_secs(input.byte().into()),
        max_prefixes: input.below(6),
        public_ip: input.flag().then(|| ip(&mut input)),
    };
    let mut observed = ObservedAddresses::new(config);
    // In each family, by prefix: of two that spoke at the same time the lower one is evicted.
    let mut says: [Vec<Say>; 2] = Default::default();
    let mut now = start();
    while !input.is_empty() {
        let (responder, saw) = (some(&mut input), some(&mut input));
        now += Duration::from_secs(u64::from(input.byte() & 31));
        observed.observe(now, responder, saw);
        listen(&config, &mut says, now, responder, saw);
        assert_eq!(observed.votes(), says.iter().map(Vec::len).sum::<usize>());
        let external = observed.external(now);
        let public = config.public_ip.map(|ip| ip.to_canonical());
        let expected = says.iter().zip([true, false]).filter_map(|(says, is_v4)| {
            public.filter(|ip| ip.is_ipv4() == is_v4).or_else(|| winner(&config, says, now))
        });
        assert_eq!(external, expected.collect::<Vec<_>>());
        check_belief(responder, saw);
        check_advertised([responder, saw], &external, &[]);
        let everywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        check_advertised(everywhere, &external, &[responder, saw].map(|ip| ip.to_canonical()));
    }
}

fn listen(config: &ObservedConfig, says: &mut [Vec<Say>; 2], now: Instant, responder: IpAddr, saw: IpAddr) {
    let (responder, saw) = (responder.to_canonical(), saw.to_canonical());
    let is_public = |ip| Scope::of(ip) == Scope::Public;
    if !is_public(responder) || !is_public(saw) || responder.is_ipv4() != saw.is_ipv4() || config.max_prefixes == 0 {
        return;
    }
    let says = &mut says[usize::from(saw.is_ipv6())];
    let prefix = Prefix::of(responder);
    says.retain(|say| say.prefix != prefix);
    if says.len() == config.max_prefixes {
        says.sort_by_key(|say| (say.at, say.prefix));
        says.remove(0);
    }
    says.push(Say { prefix, saw, at: now });
}

fn winner(config: &ObservedConfig, says: &[Say], now: Instant) -> Option<IpAddr> {
    let live: Vec<IpAddr> = says.iter().filter(|say| now - say.at < config.lifetime).map(|say| say.saw).collect();
    let count = |ip: &IpAddr| live.iter().filter(|saw| *saw == ip).count();
    live.iter().copied().find(|ip| count(ip) >= config.min_prefixes && 2 * count(ip) > live.len())
}

/// Who was reached inside a network may tell of it, and anybody of what is public; whichever form addresses have.
fn check_belief(told: IpAddr, reached: IpAddr) {
    let believed = is_believed(told, reached);
    let private = |scope| matches!(scope, Scope::Private | Scope::UniqueLocal);
    let (told_scope, reached_scope) = (Scope::of(told), Scope::of(reached));
    let expected = match told_scope {
        Scope::Public => true,
        Scope::Documentation => matches!(reached_scope, Scope::Documentation | Scope::Loopback),
        Scope::Loopback => told_scope == reached_scope,
        Scope::Shared => matches!(reached_scope, Scope::Shared | Scope::Loopback),
        scope => private(scope) && (private(reached_scope) || reached_scope == Scope::Loopback),
    };
    assert_eq!(believed, expected, "{told} from {reached}");
    assert_eq!(is_believed(told.to_canonical(), reached.to_canonical()), believed);
}

/// What is advertised is listened on, seen from outside, or, where all addresses are listened on, reached; it can be
/// reached by somebody, and comes once.
fn check_advertised(listening: [IpAddr; 2], external: &[IpAddr], reached: &[IpAddr]) {
    let listening = listening.map(|ip| Endpoint::new(Transport::Quic, ip, 9000));
    let advertised = advertised(&listening, external, reached);
    let most = |endpoint: &Endpoint| match endpoint.addr().ip() {
        Some(ip) if ip.is_unspecified() => reached.len().max(1),
        _ => 1,
    };
    assert!(advertised.len() <= listening.iter().map(most).sum());
    for (n, endpoint) in advertised.iter().enumerate() {
        let ip = endpoint.addr().ip().expect("an address and no name");
        let everywhere = listening.iter().filter_map(|it| it.addr().ip()).any(|ip| ip.is_unspecified());
        assert!(external.contains(&ip) || listening.contains(endpoint) || everywhere && reached.contains(&ip));
        assert!(!matches!(Scope::of(ip), Scope::Unspecified | Scope::LinkLocal | Scope::Multicast), "{endpoint}");
        assert!(!advertised[..n].contains(endpoint));
    }
}

/// An address of few, most of them public, or any other one.
fn some(input: &mut Input<'_>) -> IpAddr {
    let [which, net] = input.any::<[u8; 2]>();
    match which & 7 {
        0..=2 => IpAddr::from([8, 8, net & 7, which >> 5]),
        3 | 4 => IpAddr::from([0x2600, u16::from(net & 7), 0, 0, 0, 0, 0, u16::from(which >> 5)]),
        5 => IpAddr::from(input.any::<[u8; 4]>()),
        6 => IpAddr::from(input.any::<[u8; 16]>()),
        _ => ip(input),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let say = |by: u8, family: u8, saw: u8, after: u8| vec![family, by, family, saw, after];
    let votes = |family: u8| -> Vec<u8> { (0..8).flat_map(|n| say(n, family, n / 5, 1)).collect() };
    vec![
        [vec![3, 200, 5, 0], votes(0), votes(3)].concat(),
        [vec![2, 9, 4, 0], votes(0), votes(0), say(1, 0, 3, 31)].concat(),
        [vec![1, 100, 3, 1, 0, 9], votes(0), votes(3)].concat(),
        vec![1, 50, 5, 0, 5, 0, 10, 0, 0, 1, 5, 0, 192, 168, 0, 1, 0, 5, 0, 127, 0, 0, 1, 5, 0, 100, 64, 0, 1, 0],
    ]
}
