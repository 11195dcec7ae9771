//! A peer id has one spelling, and never names a key that nobody holds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use p2p_core::{InvalidPeerId, PeerId};
use proptest::prelude::*;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn any_id() -> impl Strategy<Value = PeerId> {
    any::<[u8; 32]>().prop_filter_map("a key that is refused", |bytes| PeerId::from_bytes(bytes).ok())
}

proptest! {
    #[test]
    fn text_and_bytes_round_trip(id in any_id()) {
        let text = id.to_string();
        prop_assert_eq!(text.len(), PeerId::TEXT_LEN);
        prop_assert!(text.bytes().all(|b| ALPHABET.contains(&b)));
        prop_assert_eq!(text.parse::<PeerId>(), Ok(id));
        prop_assert_eq!(PeerId::from_bytes(*id.as_bytes()), Ok(id));
        prop_assert_eq!(PeerId::try_from(&id.as_bytes()[..]), Ok(id));
        prop_assert!(text.starts_with(&id.short()) && id.short().len() == 8);
        let debug = format!("{id:?}");
        prop_assert!(debug.contains(&id.short()));
    }

    #[test]
    fn order_is_that_of_the_bytes(a in any_id(), b in any_id()) {
        prop_assert_eq!(a.cmp(&b), a.as_bytes().cmp(b.as_bytes()));
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
    }

    #[test]
    fn arbitrary_text_is_refused_or_the_one_spelling(text in ".{0,60}") {
        if let Ok(id) = text.parse::<PeerId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}

#[test]
fn every_change_of_one_character_is_refused_or_another_id() {
    let id = PeerId::from_bytes([0xa5; 32]).unwrap();
    let text = id.to_string();
    for at in 0..text.len() {
        for byte in 0..128u8 {
            let mut changed = text.clone().into_bytes();
            if changed[at] == byte {
                continue;
            }
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            match changed.parse::<PeerId>() {
                Ok(other) => assert!(other != id && other.to_string() == changed, "{changed}"),
                Err(error) => assert!(
                    error == InvalidPeerId::Encoding || ALPHABET.contains(&byte),
                    "{changed}: {error}, though {byte} is no letter of base32"
                ),
            }
        }
    }
}

#[test]
fn other_spellings_are_refused() {
    let text = PeerId::from_bytes([0xa5; 32]).unwrap().to_string();
    let parse = |text: &str| text.parse::<PeerId>().unwrap_err();
    assert_eq!(parse(&text.to_uppercase()), InvalidPeerId::Encoding);
    assert_eq!(parse(&format!("{}{}", text[..1].to_uppercase(), &text[1..])), InvalidPeerId::Encoding);
    for wrong in
        ["", &text[..51], &format!("{text}a"), &format!("{text}===="), &format!(" {text}"), &"a".repeat(3 << 20)]
    {
        assert_eq!(parse(wrong), InvalidPeerId::Length);
    }
    // Two bytes for one character: right in bytes, wrong in letters.
    assert_eq!(parse(&format!("é{}", &text[2..])), InvalidPeerId::Encoding);
    // 52 characters carry 260 bits: the last four must be zero.
    let last = ALPHABET.iter().position(|&b| b == text.as_bytes()[51]).unwrap();
    assert_eq!(last % 16, 0);
    for bits in 1..16 {
        let trailing = format!("{}{}", &text[..51], ALPHABET[last + bits] as char);
        assert_eq!(parse(&trailing), InvalidPeerId::Encoding, "trailing bits {bits:04b}");
    }
    assert_eq!(PeerId::try_from(&[1; 31][..]), Err(InvalidPeerId::Length));
    assert_eq!(PeerId::try_from(&[1; 33][..]), Err(InvalidPeerId::Length));
}

#[test]
fn encodings_that_are_not_reduced_are_refused() {
    for low in 0xed..=0xff {
        for sign in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, sign);
            assert_eq!(PeerId::from_bytes(bytes), Err(InvalidPeerId::NonCanonical));
            // One byte less anywhere above is below p, and a different number.
            for at in 1..31 {
                let mut below = bytes;
                below[at] = 0xfe;
                assert!(PeerId::from_bytes(below).is_ok());
            }
        }
    }
    let mut largest = [0xff; 32];
    (largest[0], largest[31]) = (0xeb, 0x7f);
    assert!(PeerId::from_bytes(largest).is_ok(), "p − 2 is reduced and not of small order");
}

/// The eight points as encoded by RFC 8032, from the torsion table of curve25519-dalek.
#[test]
fn points_of_small_order_are_refused_with_either_sign() {
    let torsion = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ];
    for point in torsion {
        let mut bytes: [u8; 32] = data_encoding::HEXLOWER.decode(point.as_bytes()).unwrap().try_into().unwrap();
        for _ in 0..2 {
            assert_eq!(PeerId::from_bytes(bytes), Err(InvalidPeerId::SmallOrder), "{point}");
            let text = data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase();
            assert_eq!(text.parse::<PeerId>(), Err(InvalidPeerId::SmallOrder), "as text, too");
            bytes[31] ^= 0x80;
        }
    }
}

#[cfg(feature = "serde")]
mod serde {
    use ::serde::Deserialize;
    use ::serde::Serialize;
    use ::serde::de::IntoDeserializer;
    use ::serde::de::value::{Error, StrDeserializer, StringDeserializer};

    use super::*;

    struct Shown(PeerId);

    impl std::fmt::Display for Shown {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.serialize(f)
        }
    }

    #[test]
    fn formats_for_people_have_the_text() {
        let id = PeerId::from_bytes([0xa5; 32]).unwrap();
        let text = Shown(id).to_string();
        assert_eq!(text, id.to_string());
        let borrowed: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
        assert_eq!(PeerId::deserialize(borrowed), Ok(id));
        let owned: StringDeserializer<Error> = text.clone().into_deserializer();
        assert_eq!(PeerId::deserialize(owned), Ok(id));
        let upper: StringDeserializer<Error> = text.to_uppercase().into_deserializer();
        assert!(PeerId::deserialize(upper).is_err());
    }

    #[test]
    fn binary_formats_have_the_32_bytes() {
        let id = PeerId::from_bytes([0xa5; 32]).unwrap();
        let bytes = postcard::to_allocvec(&id).unwrap();
        assert_eq!(bytes, id.as_bytes());
        assert_eq!(postcard::from_bytes(&bytes), Ok(id));
        assert!(postcard::from_bytes::<PeerId>(&bytes[..31]).is_err());
        assert!(postcard::from_bytes::<PeerId>(&[0; 32]).is_err(), "refused keys are refused from the wire");
        assert!(postcard::from_bytes::<PeerId>(&[0xff; 32]).is_err(), "refused keys are refused from the wire");
    }
}
