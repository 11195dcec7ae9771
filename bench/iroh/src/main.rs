//! The same scenarios through iroh: endpoints without relays and without address lookup, and on their connections
//! bidirectional streams with the codec that raw sockets have.

mod connect;
mod conns;
mod lines;
mod node;

use bench_common::framed::{busy, fanout, fill, hol, one_way, rtt, stalled};
use bench_common::{Measured, Scenario, Transport};

use self::node::{hub, pair};

fn main() {
    bench_common::run(measure);
}

async fn measure(scenario: Scenario, transport: Transport) -> Result<Measured, String> {
    match scenario {
        Scenario::Lookup | Scenario::Find => return Err("only p2p's own DHT is measured".to_owned()),
        Scenario::Restart | Scenario::Moved => return Err("an endpoint keeps no peers: nothing to compare".to_owned()),
        _ => {}
    }
    if transport != Transport::Quic {
        return Err(format!("iroh has QUIC only, no {}", transport.name()));
    }
    let (count, width) = (scenario.count(transport), scenario.width());
    Ok(match scenario {
        Scenario::Rtt => {
            let (ends, _, _held) = pair().await;
            rtt(ends, count).await
        }
        Scenario::Small => {
            let (ends, _, _held) = pair().await;
            one_way(ends, count, 64, 1.0).await
        }
        Scenario::Bulk => {
            let (ends, _, _held) = pair().await;
            one_way(ends, count, 64 << 10, 1.0 / 16.0).await
        }
        Scenario::Connect | Scenario::Connect64 => connect::connect(count, width).await,
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => {
            let (peers, _held) = hub(width).await;
            fanout(peers, count).await
        }
        Scenario::Conns | Scenario::Conns5000 => conns::conns(count).await,
        Scenario::Hol => {
            let (alone, _, _alone) = pair().await;
            let (beside, mut unread, _beside) = pair().await;
            fill(&mut unread.0).await;
            hol(alone, beside, count / 20).await
        }
        Scenario::Busy => {
            let (full, ends, _held) = pair().await;
            busy(full, ends, count).await
        }
        Scenario::Stalled => {
            let (all, _all) = hub(width).await;
            let (others, _others) = hub(width).await;
            stalled(all, others, count / 20).await
        }
        Scenario::SlowHandshake => connect::slow_handshake(count, width).await,
        Scenario::Dial => lines::dial().await,
        Scenario::Fill | Scenario::Hundredth | Scenario::LongFat | Scenario::Gigabit => lines::fill(scenario).await,
        Scenario::Thin => {
            let ((full, end), (near, far), _held) = pair().await;
            bench_common::lines::thin(full, end, near, far).await
        }
        Scenario::Lossy => lines::lossy().await,
        Scenario::Uplink => {
            let (peers, _held) = hub(width).await;
            bench_common::lines::uplink(peers).await
        }
        Scenario::Outage => lines::outage(width).await,
        Scenario::Lookup | Scenario::Find | Scenario::Restart | Scenario::Moved => unreachable!(),
    })
}
