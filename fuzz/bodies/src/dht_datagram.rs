//! Datagrams of the DHT: one length and one form, answers no larger than questions, and none without the right key.

use p2p_core::PeerId;
use p2p_identity::KeyPair;
use p2p_kademlia::message::{DATAGRAM_LEN, Datagram, Ping, Pong};

const NETWORK: &str = "test";

thread_local! {
    static KEY_PAIR: KeyPair = KeyPair::from_seed([1; 32]);
    static PING: Ping = ping(KEY_PAIR.with(KeyPair::peer_id));
    static PONG: Pong = answer(&PING.with(|ping| *ping), 7);
}

pub fn run(data: &[u8]) {
    let decoded = Datagram::decode(data);
    assert!(decoded.is_err() || data.len() == DATAGRAM_LEN);
    // A signature takes as long to make or to check as a hundred datagrams to read.
    let sampled = data.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).is_multiple_of(64);
    match decoded {
        Ok(datagram @ Datagram::Ping(ping)) => {
            assert_eq!(&datagram.encode()[..], data);
            let to_us = ping.to == KEY_PAIR.with(KeyPair::peer_id);
            if sampled || !to_us {
                check_answered(&ping, to_us);
            }
        }
        Ok(datagram @ Datagram::Pong(pong)) => {
            assert_eq!(&datagram.encode()[..], data);
            let (ping, own) = (PING.with(|ping| *ping), PONG.with(|pong| *pong));
            if sampled || pong.nonce != ping.nonce {
                assert_eq!(pong.answers(&ping, NETWORK), pong == own, "nobody has signed this");
            }
        }
        Err(_) => {
            // What differs is its length, its first two bytes, or an id that nobody has.
            let ids = data.get(2..66).unwrap_or_default().as_chunks::<32>().0;
            let anybody = ids.iter().all(|id| PeerId::from_bytes(*id).is_ok());
            assert!(data.len() != DATAGRAM_LEN || !matches!(data, [1, 0 | 1, ..]) || data[1] == 0 && !anybody);
        }
    }
}

fn check_answered(ping: &Ping, to_us: bool) {
    let pong = KEY_PAIR.with(|key_pair| ping.answer(key_pair, NETWORK, ping.seq ^ 1));
    assert_eq!(pong.is_some(), to_us);
    let Some(pong) = pong else { return };
    assert_eq!((pong.nonce, pong.seq), (ping.nonce, ping.seq ^ 1));
    assert!(Datagram::Pong(pong).encode().len() <= Datagram::Ping(*ping).encode().len());
    assert!(pong.answers(ping, NETWORK));
    let mut other = *ping;
    other.nonce[0] ^= 1;
    assert!(!pong.answers(&other, NETWORK));
    match ping.seq % 4 {
        0 => assert!(!pong.answers(ping, "other")),
        1 => {
            let [other, another] = [8, 9].map(crate::input::peer);
            let from = if ping.from == other { another } else { other };
            assert!(!pong.answers(&Ping { from, ..*ping }, NETWORK));
        }
        2 => assert!(!Pong { seq: ping.seq, ..pong }.answers(ping, NETWORK)),
        _ => {}
    }
}

fn ping(to: PeerId) -> Ping {
    Ping { from: crate::input::peer(2), to, nonce: [5; 16], seq: 3 }
}

fn answer(ping: &Ping, seq: u64) -> Pong {
    let pong = KEY_PAIR.with(|key_pair| ping.answer(key_pair, NETWORK, seq));
    pong.expect("a ping that is meant for it")
}

pub fn seeds() -> Vec<Vec<u8>> {
    let to_us = PING.with(|ping| *ping);
    let numbered = |seq| {
        let mut ping = to_us;
        ping.seq = seq;
        Datagram::Ping(ping)
    };
    let pings = (0..8).map(numbered);
    let others = [Datagram::Ping(ping(crate::input::peer(9))), Datagram::Pong(answer(&to_us, 7))];
    let forged = [Pong { seq: 8, ..answer(&to_us, 7) }, Pong { nonce: [6; 16], ..answer(&to_us, 7) }];
    let datagrams = pings.chain(others).chain(forged.map(Datagram::Pong));
    let mut seeds: Vec<Vec<u8>> = datagrams.map(|datagram| datagram.encode().to_vec()).collect();
    let mut nobody = seeds[0].clone();
    nobody[2..34].fill(0);
    seeds.extend([nobody, seeds[0][1..].to_vec()]);
    seeds
}
