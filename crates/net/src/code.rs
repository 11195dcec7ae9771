//! The numbers that connections and streams end with, and the words for them.

use std::fmt;

/// Codes from here up belong to this stack, on connections and on streams; those below are the application's.
pub const RESERVED_CODES: u32 = 0x8000_0000;

/// Codes that this stack resets streams with.
pub mod stream_code {
    use super::RESERVED_CODES;

    /// Given up without a reason.
    pub const NONE: u32 = 0;
    /// The header is not one, or came too late.
    pub const BAD_HEADER: u32 = RESERVED_CODES;
    /// The protocol was not negotiated on this connection, or has ended.
    pub const UNKNOWN_PROTOCOL: u32 = RESERVED_CODES + 1;
    /// There is a message stream of that protocol already, or it is not for the remote to open.
    pub const DUPLICATE: u32 = RESERVED_CODES + 2;
    /// Too many streams wait to be accepted.
    pub const BUSY: u32 = RESERVED_CODES + 3;
}

/// How a stream's code ends a sentence: an application knows its own numbers, nobody knows this stack's.
pub(crate) struct OfStream(pub(crate) u32);

impl fmt::Display for OfStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            stream_code::NONE => " without a reason",
            stream_code::BAD_HEADER => ": its header was not valid or came too late",
            stream_code::UNKNOWN_PROTOCOL => ": its protocol is not spoken there, or has ended",
            stream_code::DUPLICATE => ": its protocol has a message stream already",
            stream_code::BUSY => ": too many streams wait there to be accepted",
            code if code >= RESERVED_CODES => " for a reason that this version does not know",
            code => return write!(f, " with code {code}"),
        })
    }
}

/// How the code and the reason of a close end a sentence. The reason is words; a number of this stack's adds nothing to them.
pub(crate) struct OfClose<'a>(pub(crate) u32, pub(crate) &'a str);

impl fmt::Display for OfClose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (0 | RESERVED_CODES.., "") => f.write_str(" without a reason"),
            (0 | RESERVED_CODES.., reason) => write!(f, ": {reason}"),
            (code, "") => write!(f, " with code {code}"),
            (code, reason) => write!(f, " with code {code}: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CloseReason, Error};

    /// Ten digits in a row are no words.
    fn is_words(text: &str) -> bool {
        !text.as_bytes().windows(10).any(|part| part.iter().all(u8::is_ascii_digit))
    }

    #[test]
    fn no_text_shows_a_number_of_this_stack() {
        let known = stream_code::BAD_HEADER..=stream_code::BUSY;
        for code in known.chain([RESERVED_CODES + 99, u32::MAX]) {
            for error in [Error::Reset(code), Error::Stopped(code)] {
                assert!(is_words(&error.to_string()), "{error}");
            }
            for reason in ["", "shutdown"] {
                let ends = [
                    CloseReason::Local { code, reason: reason.into() },
                    CloseReason::Remote { code, reason: reason.into() },
                ];
                for end in ends {
                    assert!(
                        is_words(&end.to_string())
                            && end.to_string().ends_with(if reason.is_empty() { "reason" } else { reason }),
                        "{end}"
                    );
                }
            }
        }
        assert_eq!(
            Error::Reset(stream_code::BUSY).to_string(),
            "the remote reset the stream: too many streams wait there to be accepted"
        );
    }

    #[test]
    fn an_application_sees_its_own_numbers() {
        assert_eq!(Error::Reset(7).to_string(), "the remote reset the stream with code 7");
        assert_eq!(Error::Stopped(0).to_string(), "the remote stopped reading the stream without a reason");
        let closed = CloseReason::Remote { code: 7, reason: "bye".into() };
        assert_eq!(closed.to_string(), "closed by the remote with code 7: bye");
        assert_eq!(CloseReason::Local { code: 0, reason: String::new() }.to_string(), "closed here without a reason");
    }
}
