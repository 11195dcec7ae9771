//! What a signature is for.

/// What a signature is for: its label and a zero byte stand before everything that is signed, so that no signature can
/// be taken for one of another purpose.
///
/// Layers of this stack define their own; an application uses [`KeyPair::sign`](crate::KeyPair::sign).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain(&'static str);

impl Domain {
    /// What applications sign.
    pub const APPLICATION: Self = Self::new("p2p/1 application");

    /// A domain of this label: printable ASCII that begins with `p2p/1 ` and that no other domain has.
    ///
    /// # Panics
    /// On another label; as a constant, when compiling.
    pub const fn new(label: &'static str) -> Self {
        // A zero byte inside would let one label run into another's message, and the beginning keeps us apart from TLS
        // (64 spaces), X.509 (0x30) and other programs.
        let bytes = label.as_bytes();
        assert!(bytes.len() > 6, "a domain's label begins with \"p2p/1 \"");
        let mut at = 0;
        while at < bytes.len() {
            assert!(at >= 6 || bytes[at] == b"p2p/1 "[at], "a domain's label begins with \"p2p/1 \"");
            assert!(bytes[at] >= 0x20 && bytes[at] < 0x7f, "a domain's label is printable ASCII");
            at += 1;
        }
        Self(label)
    }

    /// Its label.
    pub fn label(self) -> &'static str {
        self.0
    }

    /// The bytes that are signed.
    pub(super) fn message(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.0.len() + 1 + parts.iter().map(|part| part.len()).sum::<usize>());
        message.extend_from_slice(self.0.as_bytes());
        message.push(0);
        parts.iter().for_each(|part| message.extend_from_slice(part));
        message
    }
}
