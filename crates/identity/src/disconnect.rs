//! Why a connection to a peer ended, and who ended it.

use p2p_net::CloseReason;

use crate::ProtocolId;

/// Why a connection to a peer ended.
///
/// [`origin`](Self::origin) says who ended it. What the other side is told is
/// [`close_code`](Self::close_code) and the text of [`close_reason`](Self::close_reason), which
/// [`from_close`](Self::from_close) turns into that side's own view.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The application on this side asked for it.
    #[error("closed by this side{}", in_words(*code, reason))]
    Local {
        /// What the application gave, below [`close_code::RESERVED`].
        code: u32,
        /// What the application gave.
        reason: String,
    },
    /// The remote closed it, for a reason of its application's or one of the [`close_code`]s.
    #[error("closed by the remote{}", in_words(*code, reason))]
    Remote {
        /// What the remote gave.
        code: u32,
        /// What the remote gave: at most [`MAX_REASON_LEN`] bytes, control characters replaced.
        reason: String,
    },
    /// This node shut down.
    #[error("this node shut down")]
    LocalShutdown,
    /// The remote node shut down.
    #[error("the remote node shut down")]
    RemoteShutdown,
    /// The remote answered no ping in time, and nothing else came from it.
    #[error("the remote answered no ping in time")]
    PingTimeout,
    /// The connection accepted no byte for `stall_timeout`.
    #[error("the connection accepted nothing for too long")]
    Stalled,
    /// The transport failed: reset, unreachable, or ended without a word.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// The remote broke the rules.
    #[error("the remote broke the protocol: {0}")]
    ProtocolViolation(String),
    /// A mandatory protocol on this side ended with an error.
    #[error("protocol {protocol} failed: {error}")]
    ProtocolFailed {
        /// Which.
        protocol: ProtocolId,
        /// Its error as text.
        error: String,
    },
    /// A mandatory protocol on this side panicked.
    #[error("protocol {protocol} panicked: {message}")]
    ProtocolPanicked {
        /// Which.
        protocol: ProtocolId,
        /// The panic's message.
        message: String,
    },
    /// A newer connection of the same peer took its place.
    #[error("replaced by a newer connection of the same peer")]
    Replaced,
    /// Both sides dialed each other at once, and the other connection stays.
    #[error("the other of two connections to the same peer stays")]
    Duplicate,
    /// Access control on this side no longer allows the peer.
    #[error("access control no longer allows the peer")]
    Denied,
    /// The peer was banned on this side.
    #[error("the peer is banned")]
    Banned,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// This side decided so, or both sides alike.
    Local,
    /// The remote decided so.
    Remote,
    /// Neither: the transport failed.
    Transport,
    /// Neither: something took too long.
    Timeout,
}

/// The longest reason that goes over the wire, in bytes.
pub const MAX_REASON_LEN: usize = 256;

/// Codes a connection is closed with. Those from [`RESERVED`](close_code::RESERVED) up are ours; below, the
/// application's.
pub mod close_code {
    /// The first code that is not the application's.
    pub const RESERVED: u32 = p2p_net::RESERVED_CODES;
    /// The node shuts down.
    pub const SHUTDOWN: u32 = RESERVED;
    /// No ping was answered in time.
    pub const PING_TIMEOUT: u32 = RESERVED + 1;
    /// The connection accepted nothing for too long.
    pub const STALLED: u32 = RESERVED + 2;
    /// The connection failed.
    pub const LOST: u32 = RESERVED + 3;
    /// The other side broke the rules.
    pub const PROTOCOL_VIOLATION: u32 = RESERVED + 4;
    /// A mandatory protocol failed.
    pub const PROTOCOL_FAILED: u32 = RESERVED + 5;
    /// A mandatory protocol panicked.
    pub const PROTOCOL_PANICKED: u32 = RESERVED + 6;
    /// A newer connection of the same peer took its place.
    pub const REPLACED: u32 = RESERVED + 7;
    /// The other of two connections stays.
    pub const DUPLICATE: u32 = RESERVED + 8;
    /// Access control says no.
    pub const DENIED: u32 = RESERVED + 9;
    /// The peer is banned.
    pub const BANNED: u32 = RESERVED + 10;
    /// The handshake was refused; the handshake itself has said why.
    pub const HANDSHAKE: u32 = RESERVED + 11;

    /// What it means that the other side closed a connection with a code of ours; `None` for those of applications, and for
    /// those of newer versions.
    pub fn meaning(code: u32) -> Option<&'static str> {
        Some(match code {
            SHUTDOWN => "it shuts down",
            PING_TIMEOUT => "it got no answer to its pings in time",
            STALLED => "nothing was taken from it for too long",
            LOST => "its connection failed",
            PROTOCOL_VIOLATION => "it says that the protocol was broken",
            PROTOCOL_FAILED => "a mandatory protocol failed there",
            PROTOCOL_PANICKED => "a mandatory protocol panicked there",
            REPLACED => "a newer connection took its place",
            DUPLICATE => "the other of two connections stays",
            DENIED => "access control there does not allow it",
            BANNED => "it has banned this node",
            HANDSHAKE => "the handshake was refused",
            _ => return None,
        })
    }
}

/// How a code and a reason end a sentence: the numbers of applications as they are, ours in words.
fn in_words(code: u32, reason: &str) -> String {
    use close_code as c;
    let colon = |text: &str| if text.is_empty() { String::new() } else { format!(": {text}") };
    match (code, c::meaning(code)) {
        // The remote says more than the code does.
        (c::PROTOCOL_VIOLATION | c::PROTOCOL_FAILED | c::PROTOCOL_PANICKED | c::HANDSHAKE, Some(meaning)) => {
            format!(": {meaning}{}", colon(reason))
        }
        (_, Some(meaning)) => colon(meaning),
        (0 | c::RESERVED.., None) if reason.is_empty() => " without a reason".into(),
        (0 | c::RESERVED.., None) => colon(reason),
        (code, None) => format!("{} (code {code})", colon(reason)),
    }
}

impl DisconnectReason {
    /// Who ended it.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Remote { .. } | Self::RemoteShutdown => Origin::Remote,
            Self::Lost(_) => Origin::Transport,
            Self::PingTimeout | Self::Stalled => Origin::Timeout,
            Self::Local { .. }
            | Self::LocalShutdown
            | Self::ProtocolViolation(_)
            | Self::ProtocolFailed { .. }
            | Self::ProtocolPanicked { .. }
            | Self::Replaced
            | Self::Duplicate
            | Self::Denied
            | Self::Banned => Origin::Local,
        }
    }

    /// Whether this side decided so.
    pub fn is_local(&self) -> bool {
        self.origin() == Origin::Local
    }

    /// Whether somebody wanted it and nothing went wrong: an application's `disconnect`, or a shutdown. One that a
    /// restarted peer's new connection replaced is not: what the peer had sent before it went down may be lost. Neither is
    /// one of two that were dialed at once: what was said on it early is lost.
    pub fn is_orderly(&self) -> bool {
        match self {
            Self::Remote { code, .. } => *code < close_code::RESERVED,
            Self::Local { .. } | Self::LocalShutdown | Self::RemoteShutdown => true,
            _ => false,
        }
    }

    /// The code to close the connection with. An application's code from [`close_code::RESERVED`] up becomes the
    /// largest below it, so that no application can speak for this stack.
    pub fn close_code(&self) -> u32 {
        use close_code as code;
        match self {
            Self::Local { code, .. } | Self::Remote { code, .. } => (*code).min(code::RESERVED - 1),
            Self::LocalShutdown | Self::RemoteShutdown => code::SHUTDOWN,
            Self::PingTimeout => code::PING_TIMEOUT,
            Self::Stalled => code::STALLED,
            Self::Lost(_) => code::LOST,
            Self::ProtocolViolation(_) => code::PROTOCOL_VIOLATION,
            Self::ProtocolFailed { .. } => code::PROTOCOL_FAILED,
            Self::ProtocolPanicked { .. } => code::PROTOCOL_PANICKED,
            Self::Replaced => code::REPLACED,
            Self::Duplicate => code::DUPLICATE,
            Self::Denied => code::DENIED,
            Self::Banned => code::BANNED,
        }
    }

    /// The text to close the connection with, at most [`MAX_REASON_LEN`] bytes. An error or a panic of the
    /// application stays on this side: only the protocol's name goes out.
    pub fn close_reason(&self) -> String {
        let text = match self {
            Self::Local { reason, .. } | Self::Remote { reason, .. } => reason.clone(),
            Self::LocalShutdown | Self::RemoteShutdown => "shutdown".into(),
            Self::PingTimeout => "no answer to ping".into(),
            Self::Stalled => "stalled".into(),
            Self::Lost(_) => "connection lost".into(),
            Self::ProtocolViolation(what) => what.clone(),
            Self::ProtocolFailed { protocol, .. } => format!("protocol {protocol} failed"),
            Self::ProtocolPanicked { protocol, .. } => format!("protocol {protocol} panicked"),
            Self::Replaced => "replaced".into(),
            Self::Duplicate => "duplicate".into(),
            Self::Denied => "not allowed".into(),
            Self::Banned => "banned".into(),
        };
        clean(&text, MAX_REASON_LEN)
    }

    /// What it means here that the remote closed the connection with `code` and `reason`. The reason is cut to
    /// [`MAX_REASON_LEN`] bytes and its control characters are replaced: it is a stranger's text.
    pub fn from_close(code: u32, reason: &str) -> Self {
        match code {
            close_code::SHUTDOWN => Self::RemoteShutdown,
            close_code::REPLACED => Self::Replaced,
            close_code::DUPLICATE => Self::Duplicate,
            _ => Self::Remote { code, reason: clean(reason, MAX_REASON_LEN) },
        }
    }
}

/// What the end of a connection means that the layers above had no part in.
impl From<CloseReason> for DisconnectReason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Local { code, reason } => Self::Local { code, reason },
            CloseReason::Remote { code, reason } => Self::from_close(code, &reason),
            CloseReason::TimedOut => Self::PingTimeout,
            CloseReason::Violation(what) => Self::ProtocolViolation(what),
            CloseReason::Lost(why) => Self::Lost(why),
            other => Self::Lost(other.to_string()),
        }
    }
}

/// A stranger's text, safe to log: at most `max_len` bytes, nothing that moves a cursor or hides text.
pub(crate) fn clean(text: &str, max_len: usize) -> String {
    let mut cleaned = String::new();
    for c in text.chars() {
        // Bidirectional overrides and zero-width characters make a log line lie.
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        let c = if hidden { '\u{fffd}' } else { c };
        if cleaned.len() + c.len_utf8() > max_len {
            break;
        }
        cleaned.push(c);
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<DisconnectReason> {
        use DisconnectReason as R;
        let protocol: ProtocolId = "/x".parse().unwrap();
        vec![
            R::Local { code: 7, reason: "bye".into() },
            R::Remote { code: 8, reason: "bye".into() },
            R::LocalShutdown,
            R::RemoteShutdown,
            R::PingTimeout,
            R::Stalled,
            R::Lost("reset".into()),
            R::ProtocolViolation("bad frame".into()),
            R::ProtocolFailed { protocol: protocol.clone(), error: "secret path".into() },
            R::ProtocolPanicked { protocol, message: "secret path".into() },
            R::Replaced,
            R::Duplicate,
            R::Denied,
            R::Banned,
        ]
    }

    #[test]
    fn the_other_side_learns_who_and_why() {
        for reason in all() {
            let theirs = DisconnectReason::from_close(reason.close_code(), &reason.close_reason());
            match (&reason, &theirs) {
                (DisconnectReason::LocalShutdown | DisconnectReason::RemoteShutdown, _) => {
                    assert_eq!(theirs, DisconnectReason::RemoteShutdown);
                }
                (DisconnectReason::Replaced | DisconnectReason::Duplicate, _) => assert_eq!(theirs, reason),
                (_, DisconnectReason::Remote { code, reason: text }) => {
                    assert_eq!((*code, text), (reason.close_code(), &reason.close_reason()));
                    assert!(!text.contains("secret"));
                    assert_eq!(theirs.origin(), Origin::Remote);
                }
                _ => panic!("{reason:?} arrived as {theirs:?}"),
            }
            assert!(!reason.is_orderly() || theirs.is_orderly(), "{reason:?}");
        }
        // Found by the simulator: what a peer had sent before it was killed is lost.
        assert!(!DisconnectReason::Replaced.is_orderly());
        // So is what was said early on a connection that another one crossed.
        assert!(!DisconnectReason::Duplicate.is_orderly());
    }

    #[test]
    fn no_text_shows_a_number_of_this_stack() {
        for reason in all() {
            let theirs = DisconnectReason::from_close(reason.close_code(), &reason.close_reason()).to_string();
            assert!(!theirs.contains("2147483"), "{theirs}");
        }
        for code in close_code::RESERVED..=close_code::HANDSHAKE {
            assert!(close_code::meaning(code).is_some(), "{code:#x} has no words");
        }
        let remote = |code, reason: &str| DisconnectReason::from_close(code, reason).to_string();
        assert_eq!(remote(close_code::BANNED, "banned"), "closed by the remote: it has banned this node");
        let failed = remote(close_code::PROTOCOL_FAILED, "protocol /x failed");
        assert_eq!(failed, "closed by the remote: a mandatory protocol failed there: protocol /x failed");
        assert_eq!(remote(close_code::RESERVED + 99, "too hot"), "closed by the remote: too hot");
        assert_eq!(remote(u32::MAX, ""), "closed by the remote without a reason");
        // Those of applications are theirs to know.
        assert_eq!(remote(7, "bye"), "closed by the remote: bye (code 7)");
        assert_eq!(remote(7, ""), "closed by the remote (code 7)");
        assert_eq!(remote(0, "bye"), "closed by the remote: bye");
    }

    #[test]
    fn the_end_of_a_transport_has_a_reason() {
        let closed = CloseReason::Remote { code: close_code::BANNED, reason: "banned".into() };
        let reason = DisconnectReason::from(closed);
        assert_eq!(reason, DisconnectReason::Remote { code: close_code::BANNED, reason: "banned".into() });
        assert!(!reason.is_orderly());
        assert_eq!(DisconnectReason::from(CloseReason::Lost("reset".into())).origin(), Origin::Transport);
        assert_eq!(DisconnectReason::from(CloseReason::TimedOut).origin(), Origin::Timeout);
    }

    #[test]
    fn an_application_cannot_speak_for_the_stack() {
        let reason = DisconnectReason::Local { code: close_code::SHUTDOWN, reason: String::new() };
        assert!(matches!(DisconnectReason::from_close(reason.close_code(), ""), DisconnectReason::Remote { .. }));
    }

    #[test]
    fn a_strangers_text_is_cut_and_cleaned() {
        let DisconnectReason::Remote { reason, .. } = DisconnectReason::from_close(1, &"a\x1b\u{202e}é".repeat(1000))
        else {
            panic!()
        };
        assert!(reason.len() <= MAX_REASON_LEN && reason.starts_with("a\u{fffd}\u{fffd}éa"), "{reason}");
    }
}
