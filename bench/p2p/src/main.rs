//! The same scenarios through `p2p`: whole nodes, a protocol, `PeerConn::send` and `recv`.

mod asker;
mod connect;
mod conns;
mod fairness;
mod fanout;
mod find;
mod kept;
mod lines;
mod lookup;
mod messages;
mod nodes;
mod remote;
mod silent;

use bench_common::Scenario;

fn main() {
    if remote::is_remote() {
        return remote::run();
    }
    bench_common::run(|scenario, transport| async move {
        let count = scenario.count(transport);
        let width = scenario.width();
        Ok(match scenario {
            Scenario::Rtt => messages::rtt(count, transport).await,
            Scenario::Small => messages::one_way(count, 64, transport, 1.0).await,
            Scenario::Bulk => messages::one_way(count, 64 << 10, transport, 1.0 / 16.0).await,
            Scenario::Connect | Scenario::Connect64 => connect::connect(count, width, transport).await,
            Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => {
                fanout::fanout(count, width, transport).await
            }
            Scenario::Conns | Scenario::Conns5000 => conns::conns(count, transport).await,
            Scenario::Hol => fairness::hol(count, transport).await,
            Scenario::Busy => fairness::busy(count, transport).await,
            Scenario::Stalled => fairness::stalled(count, width, transport).await,
            Scenario::SlowHandshake => silent::slow_handshake(count, width, transport).await,
            Scenario::Lookup => lookup::lookup(count, transport).await,
            Scenario::Dial => lines::dial(transport).await,
            Scenario::Fill | Scenario::Hundredth | Scenario::LongFat | Scenario::Gigabit => {
                lines::fill(scenario, transport).await
            }
            Scenario::Thin => lines::thin(transport).await,
            Scenario::Lossy => lines::lossy(transport).await,
            Scenario::Uplink => lines::uplink(width, transport).await,
            Scenario::Outage => lines::outage(width, transport).await,
            Scenario::Restart => kept::restart(transport).await,
            Scenario::Moved => kept::moved(transport).await,
            Scenario::Find => find::find(width, transport).await,
        })
    });
}
