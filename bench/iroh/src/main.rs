//! The same scenarios through iroh: endpoints without relays and without address lookup, and on their connections
//! bidirectional streams with the codec that raw sockets have.

mod connect;
mod conns;
mod fanout;
mod hol;
mod message;
mod node;

use std::time::Duration;

use bench_common::{Measured, Scenario, Transport};

/// Whatever takes longer is stopped, and what was done until then counts.
const LIMIT: Duration = Duration::from_secs(20);

/// Where nothing came for so long, nothing comes any more.
const STOPPED: Duration = Duration::from_secs(2);

fn main() {
    bench_common::run(measure);
}

async fn measure(scenario: Scenario, transport: Transport) -> Result<Measured, String> {
    if scenario == Scenario::Lookup {
        return Err("only p2p's own DHT is measured".to_owned());
    }
    if transport != Transport::Quic {
        return Err(format!("iroh has QUIC only, no {}", transport.name()));
    }
    let (count, width) = (scenario.count(transport), scenario.width());
    Ok(match scenario {
        Scenario::Rtt => message::rtt(count).await,
        Scenario::Small => message::one_way(count, 64, 1.0).await,
        Scenario::Bulk => message::one_way(count, 64 << 10, 1.0 / 16.0).await,
        Scenario::Connect | Scenario::Connect64 => connect::connect(count, width).await,
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => fanout::fanout(count, width).await,
        Scenario::Conns | Scenario::Conns5000 => conns::conns(count).await,
        Scenario::Hol => hol::hol(count / 20).await,
        Scenario::Stalled => fanout::stalled(count / 20, width).await,
        Scenario::SlowHandshake => connect::slow_handshake(count, width).await,
        Scenario::Lookup => unreachable!(),
    })
}
