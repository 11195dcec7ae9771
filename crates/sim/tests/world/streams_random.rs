//! Whatever the network does, a stream gives exactly the bytes that were written, in order.

use futures_util::future::join;
use p2p_sim::{Bounds, Kinds, Plan};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 7) as u8).collect()
}

async fn transfer(sim: &Sim, from: &mut Box<dyn ByteStream>, sent: &[u8], pause: Duration) {
    for (n, chunk) in sent.chunks(7_001).enumerate() {
        from.write_all(chunk).await.unwrap();
        if n % 3 == 0 {
            sim.sleep(pause).await;
        }
    }
    from.shutdown().await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn streams_deliver_what_was_sent(
        seed: u64,
        loss in 0.0..0.25f64,
        jitter in 0..200u64,
        reorder in 0.0..0.3f64,
        bandwidth in prop::option::of(500_000..50_000_000u64),
        window in 2_000..200_000usize,
        troubles in 0..8usize,
        len in 0..300_000usize,
    ) {
        let latency = Latency::Uniform { base: 5 * MS, jitter: jitter as u32 * MS };
        let link = Link { loss, reorder, latency, bandwidth, ..Link::WAN };
        let mut settings = Settings { link, ..Settings::default() };
        settings.streams.window = window;
        // With a quarter of all packets lost, the usual patience is too short once in some hundred runs: the troubles stretch
        // the time between two tries to two minutes, and eight tries in a row can be lost.
        settings.streams.connect_retries = 20;
        settings.streams.timeout = Duration::from_secs(12 * 3600);
        let sim = Sim::with(seed, settings);
        let (alice, bob) = (sim.host("alice"), sim.host("bob"));
        let (there, back) = (bytes(seed, len), bytes(!seed, len / 3));
        let got = sim.block_on(async {
            let (mut dialed, mut accepted) = connected(&alice, &bob).await;
            let bounds = Bounds { kinds: Kinds { bad_links: false, ..Kinds::NETWORK }, ..Bounds::new(
                [alice.id(), bob.id()], 60 * SECOND, troubles) };
            sim.schedule(&Plan::random(seed, &bounds));
            let (mut got_there, mut got_back) = (Vec::new(), Vec::new());
            let one = async {
                let mut halves = tokio::io::split(&mut dialed);
                join(async {
                    for chunk in there.chunks(7_001) {
                        halves.1.write_all(chunk).await.unwrap();
                    }
                    halves.1.shutdown().await.unwrap();
                }, halves.0.read_to_end(&mut got_back)).await.1.unwrap();
            };
            let other = async {
                accepted.read_to_end(&mut got_there).await.unwrap();
                transfer(&sim, &mut accepted, &back, 10 * MS).await;
            };
            join(one, other).await;
            (got_there, got_back)
        });
        prop_assert!(got.0 == there && got.1 == back);
        sim.run_for(2000 * SECOND);
        prop_assert_eq!(sim.network().sockets(), 0, "both ends closed in order, so nothing is left");
    }
}
