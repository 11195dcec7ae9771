//! The file of remembered peers: any text is read, and what was read is written and read as the same.

use p2p::fuzzing::rewrite_remembered;

/// The most peers that are remembered.
const MAX_PEERS: usize = 256;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (written, peers) = rewrite_remembered(&text);
    assert!(peers <= MAX_PEERS);
    assert_eq!(written.lines().count(), 1 + peers);
    assert_eq!(rewrite_remembered(&written), (written, peers));
}

pub fn seeds() -> Vec<Vec<u8>> {
    let line = |n: u8| format!("quic://{}@192.0.2.{n}:9000\n", crate::input::peer(n));
    let twice = format!("# p2p peers 1\n{}{}{}", line(1), line(2), line(1).replace("9000", "9001"));
    let damaged = format!("# p2p peers 1\r\n{}garbage\n{}", line(3), &line(4)[..40]);
    let full: String = (0..=255).chain(0..9).map(line).collect();
    [twice, damaged, full].map(String::into_bytes).into()
}
