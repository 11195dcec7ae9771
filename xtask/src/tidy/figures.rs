//! The figures of the book are those of the code.
//!
//! Each line says where a figure is told, in which words, and the statement of the code that sets it. Whoever changes one of the
//! two is told of the other. What is public is compared by a test of the facade (`crates/p2p/tests/book.rs`) instead.

use super::{File, Report};

const LIMITS: &str = "docs/src/limits.md";
const SECURITY: &str = "docs/src/security.md";
const KADEMLIA: &str = "docs/src/kademlia.md";

/// Page, words, file (`crate/path` for `crates/crate/src/path`), statement.
type Figure = (&'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const FIGURES: &[Figure] = &[
    (LIMITS, "| message of the handshake | 16 KiB |", "identity/handshake/wire.rs", "MAX_MESSAGE_LEN: usize = 16 << 10"),
    (LIMITS, "| hello in a listener's certificate | 1,536 bytes",
        "identity/tls/certificate.rs", "MAX_CERTIFIED_HELLO: usize = 1_536"),
    (LIMITS, "| protocols per hello | 64 |", "identity/handshake/wire.rs", "MAX_PROTOCOLS: usize = 64"),
    (LIMITS, "| protocol id | 64 bytes |", "identity/protocol_id.rs", "MAX_LEN: usize = 64"),
    (LIMITS, "| version text | 128 bytes |", "identity/version.rs", "MAX_LEN: usize = 128"),
    (LIMITS, "| network name | 64 bytes |", "identity/handshake/wire.rs", "MAX_NETWORK_LEN: usize = 64"),
    (LIMITS, "| peer record | 2,048 bytes;", "identity/record/mod.rs", "MAX_RECORD_LEN: usize = 2048"),
    (LIMITS, "8 addresses and 8 discovery addresses", "identity/record/mod.rs", "MAX_ADDRS: usize = 8"),
    (LIMITS, "| reason that goes with a close | 256 bytes |", "identity/disconnect.rs", "MAX_REASON_LEN: usize = 256"),
    (LIMITS, "| text in a refusal | 128 bytes |", "identity/handshake/reason.rs", "MAX_REASON_TEXT: usize = 128"),
    (LIMITS, "| control message | 1,024 bytes |", "peer-pool/control.rs", "MAX_CONTROL_MESSAGE: usize = 1 << 10"),
    (LIMITS, "| pings that are answered | 32 at once,", "peer-pool/control.rs", "PING_BURST: u32 = 32"),
    (LIMITS, "32 at once, 20 a second after that |\n| useless", "peer-pool/control.rs", "PINGS_PER_SECOND: u32 = 20"),
    (LIMITS, "| useless control messages | 256,", "peer-pool/control.rs", "USELESS_BURST: u32 = 256"),
    (LIMITS, "| inbound connections of one identity that wait for their remote | 4,",
        "peer-pool/registry/room.rs", "MAX_WAITING: usize = 4"),
    (LIMITS, "256, and one more each second;", "peer-pool/control.rs", "USELESS_PER_SECOND: u32 = 1"),
    (LIMITS, "the protocol has ended | 1,024,", "peer-pool/control.rs", "IDLE_STREAMS_BURST: u32 = 1024"),
    (LIMITS, "1,024, and 64 more each second;", "peer-pool/control.rs", "IDLE_STREAMS_PER_SECOND: u32 = 64"),
    (LIMITS, "| streams whose header is awaited | 32 per connection |",
        "peer-pool/peer/streams.rs", "MAX_PENDING_HEADERS: usize = 32"),
    (LIMITS, "| first ban | 10 minutes;", "peer-pool/config.rs", "ban_time: Duration::from_secs(600)"),
    (LIMITS, "twice as long, up to 64 times; a day without one halves that |",
        "peer-pool/reputation.rs", "MAX_BAN_FACTOR: u32 = 64"),
    (LIMITS, "a day without one halves that |",
        "peer-pool/reputation.rs", "BAN_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60)"),
    (LIMITS, "the IPv4 /16 and /24 (1 and 8), the IPv6 /32, /40 and /48 (1, 2 and 6);",
        "peer-pool/registry/crowd.rs", "WEIGHTS: [i64; 3] = [1, 2, 6]"),
    (LIMITS, "| how long a peer is useful after a message of an application | 10 minutes",
        "peer-pool/registry/crowd.rs", "USEFUL: Duration = Duration::from_secs(600)"),
    (LIMITS, "| lines in the log about peers that come and go | 256 at once,", "peer-pool/lines.rs", "BURST: u32 = 256"),
    (LIMITS, "256 at once, 16 a second after that;", "peer-pool/lines.rs", "PER_SECOND: u32 = 16"),
    (LIMITS, "| peers remembered in `state_dir` | 256 |", "p2p/node/remembered.rs", "PEERS: usize = 256"),
    (LIMITS, "| peers whose addresses are known | 4,096,", "p2p/node/addresses.rs", "PEERS: usize = 4096"),
    (LIMITS, "4,096, 8 addresses each |", "p2p/node/addresses.rs", "ENDPOINTS: usize = 8"),
    (LIMITS, "| QUIC connections that wait to be accepted | 1,024 |", "net/quic/setup.rs", "MAX_INCOMING: usize = 1024"),
    (LIMITS, "Half of them at most for QUIC dialers", "identity/limiter.rs", "UNPROVEN_SHARE: usize = 2"),
    (LIMITS, "| QUIC handshakes after which `Retry` is asked for | 128 |",
        "net/quic/endpoint.rs", "VALIDATE_ABOVE: usize = 128"),
    (LIMITS, "| QUIC stateless resets | one a millisecond",
        "net/quic/setup.rs", "RESET_INTERVAL: Duration = Duration::from_millis(1)"),
    (LIMITS, "one byte, 100 ms after the dial, then after 200, 400, 800 ms and each second",
        "net/quic/unanswered.rs", "PROBE_AFTER: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1))"),
    (LIMITS, "| failures in a row after which a socket is bound anew | 5;",
        "core/runtime/recovery.rs", "REBIND_AFTER: u32 = 5"),
    (LIMITS, "double from 50 ms to 30 s |",
        "core/runtime/recovery.rs", "REBIND: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30))"),
    (LIMITS, "twice the congestion window, 512 KiB to", "net/quic/send_window.rs", "LEAST: u64 = 512 << 10"),
    (LIMITS, "512 KiB to 8 MiB per connection |", "net/quic/send_window.rs", "MOST: u64 = 8 << 20"),
    (LIMITS, "over quic a remote has 64 until", "net/quic/allowance.rs", "FIRST: u32 = 64"),
    (LIMITS, "64 until 32 were accepted,", "net/quic/allowance.rs", "ENOUGH: u32 = 32"),
    (LIMITS, "outside of `memory` | 8 of 64 KiB,", "net/mux/buffers.rs", "KEPT: usize = 8"),
    (LIMITS, "| QUIC windows | 3.3 MiB per stream;", "net/quic/window.rs", "a window of 3.3 MiB"),
    (LIMITS, "handles are gone | 1,024 per connection;", "net/receipt.rs", "MAX_ORPHANS: usize = 1024"),
    (LIMITS, "| receipts over quic that the remote does not read | 64 KiB;",
        "net/quic/receipts.rs", "MAX_WAITING: usize = 64 << 10"),
    (LIMITS, "one for each attached protocol, 16 KiB together |", "net/mux/frame.rs", "EARLY_BYTES: u32 = (16 << 10) + 256"),
    (LIMITS, "| TCP connections that wait to be accepted | 1,024,", "core/runtime/host.rs", "BACKLOG: i32 = 1024"),
    (LIMITS, "what the line carries in 25 ms,", "net/mux/pace.rs", "AHEAD: Duration = Duration::from_millis(25)"),
    (LIMITS, "in 25 ms, 3 KiB to", "net/mux/pace.rs", "MIN_AHEAD: u32 = 3 << 10"),
    (LIMITS, "3 KiB to 64 KiB; in the kernel", "net/mux/out.rs", "DATA_LIMIT: usize = 64 << 10"),
    (LIMITS, "up to 128 KiB (Linux) |", "net/mux/pace.rs", "MAX_AHEAD: u32 = 128 << 10"),
    (LIMITS, "| addresses of one host name that are tried | 16 |", "net/transport/resolve.rs", "MAX_ADDRESSES: usize = 16"),
    (LIMITS, "| addresses that are tried for one dial | 64,", "identity/race/decider.rs", "candidates: 64 }"),
    (LIMITS, "| 64, of which 16 at the same time, each at most twice;", "identity/race/decider.rs", "at_once: 16,"),
    (LIMITS, "| own addresses that are not dialed again | 64,", "identity/race/own.rs", "MAX: usize = 64"),
    (LIMITS, "| nesting of a value in a message | 128 |", "identity/codec/strict.rs", "MAX_DEPTH: usize = 128"),
    (LIMITS, "host name 253 |", "net/endpoint.rs", "MAX_NAME_LEN: usize = 253"),
    (LIMITS, "| endpoint text | 319 characters;",
        "net/endpoint.rs", "MAX_ENDPOINT_LEN: usize = 7 + PeerId::TEXT_LEN + 1 + MAX_NAME_LEN + 6"),
    (LIMITS, "| key file | 1,024 bytes |", "identity/keypair/pem.rs", "MAX_PEM_LEN: usize = 1024"),
    (LIMITS, "at most 10,000 |\n| `discovery_endpoints`", "p2p/config/validate.rs", "ENDPOINTS: usize = 10_000"),
    (LIMITS, "more than zero and at most a day.",
        "p2p/config/validate.rs", "LONGEST: Duration = Duration::from_secs(24 * 3600)"),
    (LIMITS, "both are at least 1,500.", "peer-pool/config.rs", "MIN_RATE: u64 = 1_500"),

    (LIMITS, "count with 1,024 for each record", "kademlia/store/config.rs", "ITEM_OVERHEAD: usize = 1024"),
    (LIMITS, "| contacts, providers in a response | 20 each |", "kademlia/message/response.rs", "MAX_CONTACTS: usize = 20"),
    (LIMITS, "| contacts, providers in a response | 20 each |", "kademlia/message/response.rs", "MAX_PROVIDERS: usize = 20"),
    (LIMITS, "| request | 5,120 bytes |", "kademlia/message/request.rs", "MAX_REQUEST_LEN: usize = 5120"),
    (LIMITS, "| response | 96 KiB |", "kademlia/message/response.rs", "MAX_RESPONSE_LEN: usize = 96 << 10"),
    (LIMITS, "| value | 1,000 bytes;", "kademlia/store/value.rs", "MAX_VALUE_LEN: usize = 1000"),
    (LIMITS, "salt 64 bytes |", "kademlia/store/value.rs", "MAX_SALT_LEN: usize = 64"),
    (LIMITS, "| store | 64 MiB |", "kademlia/store/config.rs", "max_bytes: 64 << 20"),
    (LIMITS, "| store, from one IPv4 /24 or IPv6 /48 | 1 MiB |", "kademlia/store/config.rs", "prefix_bytes: 1 << 20"),
    (LIMITS, "| address ranges that vouch for a value | 4 |", "kademlia/store/config.rs", "MAX_SPONSORS: usize = 4"),
    (LIMITS, "| providers of a key | 64 KiB |", "kademlia/store/config.rs", "key_bytes: 64 << 10"),
    (LIMITS, "| providers of a key, from one address range | 4 |", "kademlia/store/config.rs", "key_prefix_providers: 4"),
    (LIMITS, "| a value's time | 24 h |",
        "kademlia/store/config.rs", "VALUE_TTL: Duration = Duration::from_secs(24 * 60 * 60)"),
    (LIMITS, "| a provider's time | 2 h |",
        "kademlia/store/config.rs", "PROVIDER_TTL: Duration = Duration::from_secs(2 * 60 * 60)"),
    (LIMITS, "| pongs to one address range | 32 at once, 8 a second after that |",
        "kademlia/message/limiter.rs", "source_burst: 32, source_per_second: 8,"),
    (LIMITS, "| pongs to nodes that are no contacts | 512 at once, 512 a second after that |",
        "kademlia/message/limiter.rs", "strangers_burst: 512, strangers_per_second: 512,"),
    (LIMITS, "| address ranges whose rate of pings is remembered | 4,096 |",
        "kademlia/message/limiter.rs", "sources: 4096 }"),
    (LIMITS, "| address ranges that say where they see us | 128 for IPv4, 128 for IPv6, for an hour |",
        "kademlia/address/observed.rs", "lifetime: Duration::from_secs(60 * 60), max_prefixes: 128"),
    (LIMITS, "| address ranges that must agree on it | 4,", "kademlia/address/observed.rs", "min_prefixes: 4,"),

    (SECURITY, "ten points are forgiven each minute;",
        "peer-pool/reputation.rs", "FORGIVEN_EVERY: Duration = Duration::from_secs(6)"),
    (SECURITY, "a hundred are a ban,", "peer-pool/reputation.rs", "BAN_AT: u32 = 100"),
    (SECURITY, "a ban, ten minutes at first", "peer-pool/config.rs", "ban_time: Duration::from_secs(600)"),
    (SECURITY, "time, up to 64 times;", "peer-pool/reputation.rs", "MAX_BAN_FACTOR: u32 = 64"),
    (SECURITY, "each day without one halves that again",
        "peer-pool/reputation.rs", "BAN_FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60)"),
    (SECURITY, "bears a fifth", "peer-pool/reputation.rs", "ADDR_SHARE: u32 = 5"),
    (SECURITY, "has passed within the last ten minutes", "peer-pool/registry/crowd.rs", "USEFUL: Duration = Duration::from_secs(600)"),

    (KADEMLIA, "| `limits.operations` 64 |", "kademlia/config.rs", "operations: 64,"),
    (KADEMLIA, "| `limits.requests` 128 |", "kademlia/config.rs", "requests: 128,"),
    (KADEMLIA, "| `limits.connections` 256, idle for 30 s |",
        "kademlia/config.rs", "connections: 256,\n            idle_timeout: Duration::from_secs(30),"),
    (KADEMLIA, "| `limits.vain_dials` 4; one more", "kademlia/config.rs", "vain_dials: 4,"),
    (KADEMLIA, "one more after a minute, then after 2, 4, .. 64 while",
        "kademlia/engine/dials/budget.rs", "AGAIN: Duration = Duration::from_secs(60);\nconst MAX_FACTOR: u32 = 64"),
    (KADEMLIA, "| address ranges whose dials in vain are remembered | 8,192 |",
        "kademlia/engine/dials/budget.rs", "MAX_RANGES: usize = 8192"),
    (KADEMLIA, "of those that one node has named | one less |", "kademlia/engine/dials/budget.rs", "KEPT: u32 = 1"),
    (LIMITS, "of those that one node has named | one less |", "kademlia/engine/dials/budget.rs", "KEPT: u32 = 1"),
    (KADEMLIA, "remembered where they were met | 4,096 |", "kademlia/engine/dials/mod.rs", "MAX_MET: usize = 4096"),
    (LIMITS, "limit where they were met | 4,096,", "kademlia/engine/dials/mod.rs", "MAX_MET: usize = 4096"),
    (KADEMLIA, "| dial-backs of an address range in vain | 16, and one more every 4 s;",
        "kademlia/engine/dials/budget.rs", "BACK: u32 = 16;\nconst BACK_AGAIN: Duration = Duration::from_secs(4)"),
    (KADEMLIA, "contacts are not there | 12 points |", "kademlia/engine/dials/namers.rs", "ENOUGH: u32 = 12"),
    (KADEMLIA, "left out for 15 s, each further time twice as long, up to 64 minutes",
        "kademlia/engine/dials/namers.rs", "ASIDE: Duration = Duration::from_secs(15);\nconst MAX_FACTOR: u32 = 256"),
    (KADEMLIA, "| nodes with blame that are remembered | 1,024 |",
        "kademlia/engine/dials/namers.rs", "MAX_NAMERS: usize = 1024"),
    (LIMITS, "whoever was meant | `limits.vain_dials`: 4, then", "kademlia/config.rs", "vain_dials: 4,"),
    (LIMITS, "to where the asker comes from | 16, then one every 4 s |",
        "kademlia/engine/dials/budget.rs", "BACK: u32 = 16;\nconst BACK_AGAIN: Duration = Duration::from_secs(4)"),
    (LIMITS, "| address ranges whose dials in vain are remembered | 8,192 |",
        "kademlia/engine/dials/budget.rs", "MAX_RANGES: usize = 8192"),
    (LIMITS, "and that are not there | 12, or 4 of one range,", "kademlia/engine/dials/namers.rs", "ENOUGH: u32 = 12"),
    (LIMITS, "left out for 15 s, then 30, 60 s, .. 64 minutes |",
        "kademlia/engine/dials/namers.rs", "ASIDE: Duration = Duration::from_secs(15);\nconst MAX_FACTOR: u32 = 256"),
    (LIMITS, "| nodes of which such contacts are remembered | 1,024 |",
        "kademlia/engine/dials/namers.rs", "MAX_NAMERS: usize = 1024"),
    (KADEMLIA, "| `limits.inbound_connections` 512, 32 of a prefix |",
        "kademlia/config.rs", "inbound_connections: 512,\n            inbound_per_prefix: 32,"),
    (KADEMLIA, "| requests at the same time on a connection | 16 |", "kademlia/config.rs", "requests_per_connection: 16,"),
    (KADEMLIA, "| 50/s (burst 200), 200/s (burst 800) |",
        "kademlia/config.rs", "requests_per_second: 50,\n            requests_per_prefix: 200,"),
    (KADEMLIA, "| 50/s (burst 200), 200/s (burst 800) |", "kademlia/lookup_service/rate.rs", "BURST: u32 = 4"),
    (KADEMLIA, "| dial-backs | 16 at the same time, 128 waiting,",
        "kademlia/engine/dial_back.rs", "MAX_DIAL_BACKS: usize = 16"),
    (KADEMLIA, "16 at the same time, 128 waiting, 8/s (burst 128),",
        "kademlia/engine/dial_back.rs", "MAX_WAITING: usize = 128"),
    (KADEMLIA, "128 waiting, 8/s (burst 128), one a minute",
        "kademlia/engine/dial_back.rs", "BURST: u32 = 128;\nconst PER_SECOND: u32 = 8"),
    (KADEMLIA, "| pings in flight | 256 |", "kademlia/refresh_service/mod.rs", "MAX_PINGS: usize = 256"),
    (KADEMLIA, "| verified records kept | 2,048 |", "kademlia/engine/verified.rs", "KEPT: usize = 2048"),
    (KADEMLIA, "republications at the same time | 16, 2, 2 |",
        "kademlia/engine/upkeep.rs",
        "MAX_CHECKS: usize = 16;\nconst MAX_REFRESHES: usize = 2;\nconst MAX_REPUBLISHES: usize = 2"),
    (KADEMLIA, "| writes and fetches of one operation | 256 nodes |", "kademlia/engine/put.rs", "MAX_WRITES: usize = 256"),
    (KADEMLIA, "| writes and fetches of one operation | 256 nodes |", "kademlia/engine/get.rs", "MAX_FETCHES: usize = 256"),
    (KADEMLIA, "| addresses at which a node was reached | 8 |", "kademlia/address/reached.rs", "MAX_REACHED: usize = 8"),
    (KADEMLIA, "| providers that one search finds | 256 |", "kademlia/engine/get.rs", "MAX_FOUND: usize = 256"),
    (KADEMLIA, "| contacts on disk | 512 |", "kademlia/engine/upkeep.rs", "MAX_REMEMBERED: usize = 512"),
];

pub(super) fn check(files: &[File], report: &mut Report) {
    compare(FIGURES, files, report);
    told(LIMITS, "\n## Fixed\n", files, report);
}

fn compare(figures: &[Figure], files: &[File], report: &mut Report) {
    let has = |path: &str, text: &str| files.iter().any(|file| file.path == path && file.text.contains(text));
    for (page, words, source, statement) in figures {
        let (package, path) = source.split_once('/').unwrap_or(("", source));
        let source = format!("crates/{package}/src/{path}");
        if !has(page, words) {
            report.problem(format!("{page} has no `{words}`, which `{statement}` in {source} would be told in"));
        }
        if !has(&source, statement) {
            report.problem(format!("{source} has no `{statement}`, and {page} says `{words}`: make them agree"));
        }
    }
}

/// Each row of the table below a heading tells a figure that is compared, or has none.
fn told(page: &str, heading: &str, files: &[File], report: &mut Report) {
    let Some(text) = files.iter().find(|file| file.path == page).map(|file| &file.text) else { return };
    let table = text.split_once(heading).map_or("", |(_, rest)| rest.split("\n## ").next().unwrap_or_default());
    let has_figure = |row: &&str| row.starts_with('|') && row.chars().any(|c| c.is_ascii_digit());
    for row in table.lines().filter(has_figure) {
        let is_told = |figure: &Figure| figure.0 == page && figure.1.lines().any(|line| row.contains(line));
        if !FIGURES.iter().any(is_told) {
            report.problem(format!("{page}: nothing compares `{row}` with the code: see figures.rs"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURE: Figure = (LIMITS, "| value | 10 |", "x/a.rs", "MAX: usize = 10");

    fn problems(page: &str, source: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let mut report = Report::default();
        compare(&[FIGURE], &[file(LIMITS, page), file("crates/x/src/a.rs", source)], &mut report);
        report.problems
    }

    #[test]
    fn a_figure_that_changes_on_one_side_is_found() {
        assert_eq!(problems("| value | 10 |\n", "const MAX: usize = 10;"), [""; 0]);
        assert!(problems("| value | 10 |\n", "const MAX: usize = 11;")[0].contains("make them agree"));
        assert!(problems("| value | 11 |\n", "const MAX: usize = 10;")[0].contains("has no `| value | 10 |`"));
    }

    #[test]
    fn a_row_without_a_comparison_is_found() {
        let text =
            "\n## Fixed\n\n| key file | 1,024 bytes |\n| teeth | 32 |\n| hair | any |\n\n## Else\n\n| toes | 10 |\n";
        let mut report = Report::default();
        told(LIMITS, "\n## Fixed\n", &[File { path: LIMITS.into(), text: text.into() }], &mut report);
        assert!(report.problems.len() == 1 && report.problems[0].contains("teeth"), "{report:?}");
    }
}
