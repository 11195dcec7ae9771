//! The defaults that the book tells are those of the code. The weights of offences are compared by `cargo xtask tidy`.

use std::time::Duration;

use p2p::{Config, Limits};

const LIMITS: &str = include_str!("../../../docs/src/limits.md");

/// The second cell of the row that begins with `first`.
fn cell<'a>(page: &'a str, first: &str) -> &'a str {
    let rows: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(&format!("| {first} | "))).collect();
    assert_eq!(rows.len(), 1, "rows for {first}");
    rows[0].split(" |").next().unwrap_or_default()
}

/// Whether a cell says a figure, and perhaps of what.
fn says(cell: &str, figure: &str) -> bool {
    cell.strip_prefix(figure).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn seconds(duration: Duration) -> String {
    assert_eq!(duration.subsec_nanos(), 0);
    format!("{} s", duration.as_secs())
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// 16384 as 16,384.
fn count(count: usize) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}

fn yes(yes: bool) -> String {
    if yes { "yes".into() } else { "no".into() }
}

fn none<T>(option: &Option<T>) -> String {
    assert!(option.is_none());
    "none".into()
}

#[test]
fn the_defaults_of_the_settings_are_those_in_the_book() {
    // Without a rest: who adds a field is told of the book.
    let Config {
        network,
        version,
        listen_endpoints,
        discovery_endpoints,
        bootstrap_peers,
        dial_peers,
        public_ip,
        external_endpoints,
        state_dir,
        inbound_slots,
        outbound_slots,
        max_connect_retries,
        handshake_timeout,
        dial_timeout,
        ping_interval,
        ping_timeout,
        stall_timeout,
        drain_timeout,
        seeding_interval,
        kademlia: _,
        limits: _,
        access_control: _,
        enable_monitor,
    } = Config::default();
    for endpoints in [&listen_endpoints, &discovery_endpoints, &bootstrap_peers, &dial_peers, &external_endpoints] {
        assert!(endpoints.is_empty());
    }
    for (field, figure) in [
        ("network", format!("`\"{network}\"`")),
        ("version", format!("`{}`", version.own())),
        ("listen_endpoints", "none".into()),
        ("discovery_endpoints", "none".into()),
        ("bootstrap_peers", "none".into()),
        ("dial_peers", "none".into()),
        ("public_ip", none(&public_ip)),
        ("external_endpoints", "none".into()),
        ("state_dir", none(&state_dir)),
        ("inbound_slots", count(inbound_slots)),
        ("outbound_slots", count(outbound_slots)),
        ("max_connect_retries", count(max_connect_retries)),
        ("handshake_timeout", seconds(handshake_timeout)),
        ("dial_timeout", seconds(dial_timeout)),
        ("ping_interval", seconds(ping_interval)),
        ("ping_timeout", seconds(ping_timeout)),
        ("stall_timeout", seconds(stall_timeout)),
        ("drain_timeout", seconds(drain_timeout)),
        ("seeding_interval", seconds(seeding_interval)),
        ("enable_monitor", yes(enable_monitor)),
    ] {
        let told = cell(LIMITS, &format!("`{field}`"));
        assert!(says(told, &figure), "{field} is {figure}, and limits.md says {told}");
    }
}

#[test]
fn the_defaults_of_the_limits_are_those_in_the_book() {
    let Limits {
        message,
        inbound_streams,
        waiting_streams,
        queue_messages,
        queue_bytes,
        stream_window,
        connection_window,
        memory,
        upload,
        download,
        handshakes,
        handshakes_per_prefix,
        exempt_private,
        handshake_message: _,
        protocols,
        kept,
        dials,
        offenders,
        event_queue,
    } = Limits::default();
    assert_eq!(upload, None);
    for (field, figure) in [
        ("message", bytes(message as u64)),
        ("inbound_streams", count(inbound_streams as usize)),
        ("waiting_streams", count(waiting_streams)),
        ("queue_messages", count(queue_messages)),
        ("queue_bytes", bytes(queue_bytes as u64)),
        ("stream_window", bytes(u64::from(stream_window))),
        ("connection_window", bytes(u64::from(connection_window))),
        ("memory", bytes(memory as u64)),
        ("download", none(&download)),
        ("handshakes", count(handshakes)),
        ("handshakes_per_prefix", count(handshakes_per_prefix)),
        ("exempt_private", yes(exempt_private)),
        ("protocols", count(protocols)),
        ("kept", count(kept)),
        ("dials", count(dials)),
        ("offenders", count(offenders)),
        ("event_queue", count(event_queue)),
    ] {
        let told = cell(LIMITS, &format!("`{field}`"));
        assert!(says(told, &figure), "limits.{field} is {figure}, and limits.md says {told}");
    }
}
