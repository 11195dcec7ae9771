//! One seed, one trace: in one process and in two.

use futures_util::future::join_all;
use p2p_sim::{Bounds, Plan, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Set for the process that only prints a hash.
const ASKED: &str = "P2P_SIM_TEST_ASKED";

/// Everything at once: streams and datagrams among many hosts over bad links, under a random plan.
async fn town(sim: Sim) {
    let hosts: Vec<_> = (0..6).map(|n| sim.host(format!("host{n}"))).collect();
    sim.network().set_default_link(Link { duplicate: 0.05, reorder: 0.05, corrupt: 0.05, ..Link::WAN.loss(0.05) });
    let everybody: Vec<_> = hosts.iter().map(Host::ipv4).collect();
    for host in &hosts {
        let everybody = everybody.clone();
        host.on_start(move |host| live(host, everybody.clone()));
    }
    sim.schedule(&Plan::random(sim.seed(), &Bounds::new(hosts.iter().map(Host::id), 60 * SECOND, 10)));
    sim.sleep(90 * SECOND).await;
}

async fn live(host: Host, everybody: Vec<std::net::IpAddr>) {
    let runtime = host.runtime();
    let listener = runtime.tcp_listen((host.ipv4(), 80).into()).unwrap();
    let echo = host.clone();
    host.spawn(async move {
        while let Ok(mut stream) = accept(&*listener).await {
            echo.spawn(async move {
                let mut byte = [0; 512];
                while let Ok(1..) = stream.read(&mut byte).await {
                    if stream.write_all(&byte).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let socket = runtime.udp_bind((host.ipv4(), 53).into()).unwrap();
    let gossip = socket.clone();
    host.spawn(async move {
        loop {
            let (from, data) = receive(&gossip).await;
            // Half of it: copies must not breed copies for ever.
            if data.len() > 1 {
                send(&gossip, from, &data[data.len() / 2 + 1..]);
            }
        }
    });
    loop {
        let to = everybody[(runtime.random_u64() % everybody.len() as u64) as usize];
        send(&socket, (to, 53).into(), &vec![0; (runtime.random_u64() % 600) as usize]);
        let talking = async {
            let mut stream = runtime.tcp_connect((to, 80).into()).await?;
            stream.write_all(&vec![1; (runtime.random_u64() % 5_000) as usize + 1]).await?;
            stream.read_u8().await
        };
        let heard = runtime.timeout(5 * SECOND, talking).await.is_ok_and(|heard| heard.is_ok());
        host.trace(format!("{to}: {heard}"));
        runtime.sleep(Duration::from_millis(runtime.random_u64() % 1_000)).await;
    }
}

fn run(seed: u64) -> Report {
    let sim = Sim::new(seed);
    sim.block_on(town(sim.clone()));
    sim.report()
}

#[test]
fn in_one_process() {
    let reports = p2p_sim::check(0..4, town);
    assert!(reports.iter().all(|report| report.packets > 1_000), "{reports:?}");
    let mut hashes: Vec<_> = reports.iter().map(|report| report.hash).collect();
    hashes.dedup();
    assert_eq!(hashes.len(), reports.len());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a world belongs to the thread that runs it; two threads have two")]
fn in_two_threads_at_once() {
    let runs: Vec<_> = (0..2).map(|_| std::thread::spawn(|| run(11))).collect();
    let reports: Vec<_> = runs.into_iter().map(|run| run.join().unwrap()).collect();
    assert_eq!(reports[0], reports[1]);
}

#[test]
fn in_two_processes() {
    if std::env::var_os(ASKED).is_some() {
        println!("<{}>", run(12));
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["determinism::in_two_processes", "--exact", "--nocapture"])
        .env(ASKED, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("<{}>", run(12))), "the other process says: {text}");
}

#[test]
fn tracing_more_or_less_changes_nothing() {
    let hash = |trace_lines| {
        let sim = Sim::with(13, Settings { trace_lines, ..Settings::default() });
        sim.block_on(town(sim.clone()));
        assert!(sim.trace_lines().len() <= trace_lines);
        sim.report()
    };
    assert_eq!(hash(0), hash(100_000));
}

#[test]
fn the_seed_decides_who_runs_first() {
    let order = |seed| {
        let sim = Sim::new(seed);
        let host = sim.host("host");
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tasks = (0..10).map(|n| {
            let order = order.clone();
            host.spawn(async move { order.lock().unwrap().push(n) })
        });
        let tasks: Vec<_> = tasks.collect();
        sim.block_on(join_all(tasks));
        Arc::into_inner(order).unwrap().into_inner().unwrap()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}
