//! The stack that everything is compared with: tokio TCP, tokio-rustls or quinn, with a four-byte length codec.

mod connect;
mod conns;
mod fanout;
mod messages;
mod stack;
mod tls;

use bench_common::{Measured, Scenario, Transport};

use self::stack::{Quic, Stack, Tcp, Tls};

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
        Scenario::Rtt => messages::rtt(&stack, count).await,
        Scenario::Small => messages::one_way(&stack, count, 64, 1.0).await,
        Scenario::Bulk => messages::one_way(&stack, count, 64 << 10, 1.0 / 16.0).await,
        Scenario::Connect | Scenario::Connect64 => connect::connect(stack, count, width).await,
        Scenario::Fanout | Scenario::Fanout500 | Scenario::Fanout2000 => fanout::fanout(&stack, count, width).await,
        Scenario::Conns | Scenario::Conns5000 => conns::conns(&stack, count).await,
        Scenario::Hol | Scenario::Stalled => return Err("raw sockets have one stream: nothing to compare".into()),
        Scenario::SlowHandshake => return Err("raw sockets bound nothing: nothing to compare".into()),
        Scenario::Lookup => return Err("raw sockets have no DHT".into()),
    })
}
