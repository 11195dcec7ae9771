//! The same scenarios through karyon_p2p: whole nodes and a protocol of it.
//!
//! A node of karyon_p2p 1.1.6 can not be told to dial: it dials what its configuration lists (`dial_peers`) when it
//! starts, at most 128 of them, since it takes none of its queue before all are in it. A discovery of one's own can not
//! be written either, since `Discovery` takes a type that is not public. So clients are nodes that are configured to
//! dial and then started.

mod connect;
mod conns;
mod fanout;
mod hol;
mod lines;
mod message;
mod node;

use bench_common::{Measured, Scenario, Transport};

fn main() {
    // karyon's nodes want a runtime that they share, which the one of `run` can not be: it waits meanwhile.
    bench_common::run(|scenario, transport| async move {
        tokio::task::block_in_place(|| node::runtime().block_on(measure(scenario, transport)))
    });
}

async fn measure(scenario: Scenario, transport: Transport) -> Result<Measured, String> {
    let (count, width) = (scenario.count(transport), scenario.width());
    Ok(match scenario {
        Scenario::Rtt => message::rtt(count, transport).await,
        Scenario::Small => message::one_way(count, 64, transport, 1.0).await,
        Scenario::Bulk => message::one_way(count, 64 << 10, transport, 1.0 / 16.0).await,
        Scenario::Connect | Scenario::Connect64 => connect::connect(count, width, transport).await,
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => fanout::fanout(count, width, transport).await,
        Scenario::Conns | Scenario::Conns5000 => conns::conns(count, transport).await,
        Scenario::Hol => hol::hol(count / 20, transport).await,
        Scenario::Busy => hol::busy(count, transport).await,
        Scenario::Stalled => fanout::stalled(count / 20, width, transport).await,
        Scenario::SlowHandshake => connect::slow_handshake(count, width, transport).await,
        Scenario::Lookup | Scenario::Find => return Err("only p2p's own DHT is measured".to_owned()),
        Scenario::Dial => lines::dial(transport).await,
        Scenario::Fill | Scenario::Hundredth | Scenario::LongFat | Scenario::Gigabit => {
            lines::fill(scenario, transport).await
        }
        Scenario::Thin => lines::thin(transport).await,
        Scenario::Lossy => lines::lossy(transport).await,
        Scenario::Uplink => lines::uplink(width, transport).await,
        Scenario::Outage => lines::outage(width, transport).await,
        Scenario::Restart | Scenario::Moved => {
            return Err("a node dials what it is to dial once: nothing to compare".to_owned());
        }
    })
}
