//! The same scenarios through libp2p: whole swarms, and on them raw streams (libp2p-stream) with the codec that raw
//! sockets have. `tcp` is TCP with Noise and yamux, `tls` is TCP with TLS and yamux, all as they come.

mod connect;
mod conns;
mod fanout;
mod hol;
mod message;
mod node;
mod request_response;

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
    match scenario {
        Scenario::Rtt => {
            let measured = Measured::new(message::rtt(scenario.count(transport), transport).await);
            let other = request_response::rtt(scenario.count(transport) / 10, transport).await;
            Ok(measured.beside("request-response µs", other))
        }
        Scenario::Small => Ok(message::one_way(scenario.count(transport), 64, transport, 1.0).await),
        Scenario::Bulk => Ok(message::one_way(scenario.count(transport), 64 << 10, transport, 1.0 / 16.0).await),
        Scenario::Connect | Scenario::Connect64 => {
            Ok(connect::connect(scenario.count(transport), scenario.width(), transport).await)
        }
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => {
            Ok(fanout::fanout(scenario.count(transport), scenario.width(), transport).await)
        }
        Scenario::Conns | Scenario::Conns5000 => Ok(conns::conns(scenario.count(transport), transport).await),
        Scenario::Hol => Ok(hol::hol(scenario.count(transport) / 20, transport).await),
        Scenario::Stalled => Ok(fanout::stalled(scenario.count(transport) / 20, scenario.width(), transport).await),
        Scenario::SlowHandshake => {
            Ok(connect::slow_handshake(scenario.count(transport), scenario.width(), transport).await)
        }
        Scenario::Lookup => Err("only p2p's own DHT is measured".to_owned()),
    }
}
