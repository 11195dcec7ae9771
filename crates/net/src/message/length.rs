//! The length before each message (RFC 9000 §16, shortest form only).

use bytes::{BufMut, BytesMut};

use crate::{Error, Result};

/// The most bytes a length takes.
pub(crate) const MAX_LEN: usize = 8;

/// The largest number the encoding can express.
const MAX_VALUE: u64 = (1 << 62) - 1;

/// Bytes that the encoding of `value` takes.
pub(super) fn encoded_len(value: u64) -> usize {
    match value {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// Appends `value`, which is at most 2^62 − 1 (a length in memory always is).
pub(crate) fn encode(value: u64, out: &mut BytesMut) {
    debug_assert!(value <= MAX_VALUE);
    match encoded_len(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(value as u16 | 0x4000),
        4 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// Reads a length from the start of `bytes`: the value and the bytes it took, or `None` when bytes are missing.
///
/// # Errors
/// [`Error::LengthEncoding`] when it is not the shortest encoding.
#[inline]
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(u64, usize)>> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let len = 1usize << (first >> 6);
    let Some(encoded) = bytes.get(..len) else { return Ok(None) };
    let value = encoded[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    if encoded_len(value) != len {
        return Err(Error::LengthEncoding);
    }
    Ok(Some((value, len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(value in 0..=MAX_VALUE, shift in 0u32..62, rest in proptest::collection::vec(any::<u8>(), 0..4)) {
            let value = value >> shift;
            let mut out = BytesMut::new();
            encode(value, &mut out);
            let len = out.len();
            prop_assert_eq!(len, encoded_len(value));
            for cut in 0..len {
                prop_assert!(decode(&out[..cut]).unwrap().is_none());
            }
            out.extend_from_slice(&rest);
            prop_assert_eq!(decode(&out).unwrap(), Some((value, len)));
        }

        #[test]
        fn longer_forms_are_refused(value in 0u64..0x4000) {
            let long = (value as u32 | 0x8000_0000).to_be_bytes();
            prop_assert!(matches!(decode(&long), Err(Error::LengthEncoding)));
        }
    }
}
