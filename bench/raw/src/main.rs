//! The stack that everything is compared with: tokio TCP, tokio-rustls or quinn, with a four-byte length codec.

mod connect;
mod conns;
mod lines;
mod stack;
mod tls;

use bench_common::framed::{fanout, one_way, rtt};
use bench_common::{Measured, Scenario, Transport};

use self::stack::{Quic, Stack, Tcp, Tls, pair};

fn main() {
    bench_common::run(|scenario, transport| async move {
        match transport {
            Transport::Tcp => measure(Tcp::new().await, scenario, transport).await,
            Transport::Tls => measure(Tls::new().await, scenario, transport).await,
            Transport::Quic => measure(Quic::new(), scenario, transport).await,
        }
    });
}

async fn measure<T: Stack>(stack: T, scenario: Scenario, transport: Transport) -> Result<Measured, String> {
    let count = scenario.count(transport);
    let width = scenario.width();
    Ok(match scenario {
        Scenario::Rtt => {
            let (ends, _held) = pair(&stack).await;
            rtt(ends, count).await
        }
        Scenario::Small => {
            let (ends, _held) = pair(&stack).await;
            one_way(ends, count, 64, 1.0).await
        }
        Scenario::Bulk => {
            let (ends, _held) = pair(&stack).await;
            one_way(ends, count, 64 << 10, 1.0 / 16.0).await
        }
        Scenario::Connect | Scenario::Connect64 => connect::connect(stack, count, width).await,
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => {
            let (mut peers, mut held) = (Vec::new(), Vec::new());
            for _ in 0..width {
                let (ends, guards) = pair(&stack).await;
                peers.push(ends);
                held.push(guards);
            }
            fanout(peers, count).await
        }
        Scenario::Conns | Scenario::Conns5000 => conns::conns(&stack, count).await,
        Scenario::Hol | Scenario::Busy | Scenario::Stalled => {
            return Err("raw sockets have one stream: nothing to compare".into());
        }
        Scenario::SlowHandshake => return Err("raw sockets bound nothing: nothing to compare".into()),
        Scenario::Lookup => return Err("raw sockets have no DHT".into()),
        Scenario::Dial => lines::dial(stack).await,
        Scenario::Fill | Scenario::Hundredth | Scenario::LongFat | Scenario::Gigabit => {
            lines::fill(&stack, scenario).await
        }
        Scenario::Thin => lines::thin(&stack).await,
        Scenario::Lossy => lines::lossy(stack).await,
        Scenario::Uplink => lines::uplink(&stack, width).await,
        Scenario::Outage => lines::outage(&stack, width).await,
        Scenario::Restart | Scenario::Moved | Scenario::Find => {
            return Err("raw sockets keep no peers: nothing to compare".into());
        }
    })
}
