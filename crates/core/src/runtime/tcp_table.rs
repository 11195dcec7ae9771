//! What Linux says of a TCP connection in `/proc/net/tcp`: whether the remote answers and takes nothing.
//!
//! Nothing else tells this without unsafe code. The table has a line for each connection of the network namespace, so it
//! is for suspicions, not for every connection all the time.

use std::net::{IpAddr, SocketAddr};

/// The timer of a connection that has data to send, and whose remote has closed its window: the system asks from time to
/// time whether it has opened.
const ZERO_WINDOW_PROBE: &str = "04";

/// Whether the remote of the connection has closed its window, and answers when it is asked about that.
#[cfg(target_os = "linux")]
#[expect(clippy::disallowed_methods, reason = "a runtime asks the system; the table is in memory")]
pub(super) fn remote_is_full(local: SocketAddr, remote: SocketAddr) -> bool {
    let path = if local.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    std::fs::read_to_string(path).is_ok_and(|table| is_full(&table, local, remote))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn remote_is_full(_: SocketAddr, _: SocketAddr) -> bool {
    false
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn is_full(table: &str, local: SocketAddr, remote: SocketAddr) -> bool {
    let (local, remote) = (in_table(local), in_table(remote));
    table.lines().any(|line| {
        // The number, local, remote, state, queues, timer and when it is due, retransmissions, user, unanswered probes.
        let mut fields = line.split_ascii_whitespace().skip(1);
        fields.next() == Some(&local)
            && fields.next() == Some(&remote)
            && fields.nth(2).and_then(|timer| timer.split(':').next()) == Some(ZERO_WINDOW_PROBE)
            // One may be under way.
            && fields.nth(2).and_then(|unanswered| unanswered.parse().ok()).is_some_and(|unanswered: u32| unanswered <= 1)
    })
}

/// An address as the table has it: each four bytes of the address as a number in the machine's own order.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn in_table(addr: SocketAddr) -> String {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_ne_bytes);
    let ip: String = match addr.ip() {
        IpAddr::V4(ip) => format!("{:08X}", word(&ip.octets())),
        IpAddr::V6(ip) => ip.octets().chunks(4).map(|bytes| format!("{:08X}", word(bytes))).collect(),
    };
    format!("{ip}:{:04X}", addr.port())
}

#[cfg(all(test, target_os = "linux", target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1514 1 0 100 0 0 10 0
   1: 0100007F:1F90 0200007F:C350 01 0009C400:00000000 04:00000021 00000000     0        0 1515 2 0 20 4 30 10 -1
   2: 0100007F:1F90 0200007F:C351 01 0009C400:00000000 04:00000021 00000000     0        5 1516 2 0 20 4 30 10 -1
   3: 0100007F:1F90 0200007F:C352 01 0009C400:00000000 01:00000021 00000003     0        0 1517 2 0 20 4 30 10 -1
";

    #[test]
    fn a_closed_window_counts_if_the_remote_answers() {
        let local = "127.0.0.1:8080".parse().unwrap();
        let full = |remote: &str| is_full(TABLE, local, remote.parse().unwrap());
        assert!(full("127.0.0.2:50000"));
        assert!(!full("127.0.0.2:50001"), "it no longer answers");
        assert!(!full("127.0.0.2:50002"), "packets are lost");
        assert!(!full("127.0.0.2:50003"), "there is no such connection");
    }

    #[test]
    fn addresses_are_written_as_in_the_table() {
        assert_eq!(in_table("127.0.0.1:8080".parse().unwrap()), "0100007F:1F90");
        assert_eq!(in_table("[::1]:1".parse().unwrap()), "00000000000000000000000001000000:0001");
    }
}
