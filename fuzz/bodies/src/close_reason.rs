//! Why a remote says that it closed: a stranger's code and text.

use p2p_identity::disconnect::MAX_REASON_LEN;
use p2p_identity::{DisconnectReason, Origin, close_code};

use crate::input::Input;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let near = close_code::RESERVED.wrapping_add(u32::from(input.byte())).wrapping_sub(8);
    let code = if input.flag() { near } else { input.any() };
    let text = String::from_utf8_lossy(input.rest());
    let reason = DisconnectReason::from_close(code, &text);
    assert!(matches!(
        reason,
        DisconnectReason::Remote { .. }
            | DisconnectReason::RemoteShutdown
            | DisconnectReason::Replaced
            | DisconnectReason::Duplicate
    ));
    let said = reason.close_reason();
    assert!(said.len() <= MAX_REASON_LEN && !said.contains(char::is_control), "{said:?}");
    if let DisconnectReason::Remote { code: kept, reason: said } = &reason {
        assert_eq!((*kept, reason.origin()), (code, Origin::Remote));
        assert!(said.len() <= MAX_REASON_LEN && !said.contains(char::is_control), "{said:?}");
        // What was made safe once stays as it is.
        assert_eq!(DisconnectReason::from_close(code, said), reason);
        assert!(reason.close_code() < close_code::RESERVED, "nobody speaks for this stack by passing a code on");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let with = |code: u8, text: &str| [&[code, 1][..], text.as_bytes()].concat();
    vec![with(8, ""), with(15, "replaced"), with(7, "\x1b[2J\u{202e}text"), with(0, &"é".repeat(200))]
}
