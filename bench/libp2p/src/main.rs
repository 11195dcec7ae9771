//! The same scenarios through libp2p: whole swarms, and on them raw streams (libp2p-stream) with the codec that raw
//! sockets have. `tcp` is TCP with Noise and yamux, `tls` is TCP with TLS and yamux, all as they come.

mod connect;
mod conns;
mod lines;
mod node;
mod request_response;

use bench_common::framed::{busy, fanout, fill, hol, one_way, rtt, stalled};
use bench_common::{Measured, Scenario, Transport};

use self::node::{hub, pair};

fn main() {
    bench_common::run(measure);
}

async fn measure(scenario: Scenario, transport: Transport) -> Result<Measured, String> {
    let (count, width) = (scenario.count(transport), scenario.width());
    Ok(match scenario {
        Scenario::Rtt => {
            let (ends, _, _held) = pair(transport).await;
            let other = request_response::rtt(count / 10, transport).await;
            rtt(ends, count).await.beside("request-response µs", other)
        }
        Scenario::Small => {
            let (ends, _, _held) = pair(transport).await;
            one_way(ends, count, 64, 1.0).await
        }
        Scenario::Bulk => {
            let (ends, _, _held) = pair(transport).await;
            one_way(ends, count, 64 << 10, 1.0 / 16.0).await
        }
        Scenario::Connect | Scenario::Connect64 => connect::connect(count, width, transport).await,
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => {
            let (peers, _held) = hub(width, transport).await;
            fanout(peers, count).await
        }
        Scenario::Conns | Scenario::Conns5000 => conns::conns(count, transport).await,
        Scenario::Hol => {
            let (alone, _, _alone) = pair(transport).await;
            let (beside, mut unread, _beside) = pair(transport).await;
            fill(&mut unread.0).await;
            hol(alone, beside, count / 20).await
        }
        Scenario::Busy => {
            let (full, ends, _held) = pair(transport).await;
            busy(full, ends, count).await
        }
        Scenario::Stalled => {
            let (all, _all) = hub(width, transport).await;
            let (others, _others) = hub(width, transport).await;
            stalled(all, others, count / 20).await
        }
        Scenario::SlowHandshake => connect::slow_handshake(count, width, transport).await,
        Scenario::Lookup | Scenario::Find => return Err("only p2p's own DHT is measured".to_owned()),
        Scenario::Dial => lines::dial(transport).await,
        Scenario::Fill | Scenario::Hundredth | Scenario::LongFat | Scenario::Gigabit => {
            lines::fill(scenario, transport).await
        }
        Scenario::Thin => {
            let ((full, end), (near, far), _held) = pair(transport).await;
            bench_common::lines::thin(full, end, near, far).await
        }
        Scenario::Lossy => lines::lossy(transport).await,
        Scenario::Uplink => {
            let (peers, _held) = hub(width, transport).await;
            bench_common::lines::uplink(peers).await
        }
        Scenario::Outage => lines::outage(width, transport).await,
        Scenario::Restart | Scenario::Moved => {
            return Err("a swarm keeps no peers by itself: nothing to compare".to_owned());
        }
    })
}
