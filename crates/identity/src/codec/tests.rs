use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    One(u64),
    Two(i16, String),
    Named { a: Option<i128>, b: Vec<u16> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct All {
    flags: (bool, u8, i8),
    ints: (u16, u32, u64, u128),
    signed: (i16, i32, i64, i128),
    float: (f32, f64),
    text: (char, String),
    kinds: Vec<Kind>,
    map: BTreeMap<u32, Option<String>>,
    nothing: (),
    array: [u8; 3],
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Unit),
        any::<u64>().prop_map(Kind::One),
        (any::<i16>(), ".{0,4}").prop_map(|(n, text)| Kind::Two(n, text)),
        (any::<Option<i128>>(), prop::collection::vec(any::<u16>(), 0..4)).prop_map(|(a, b)| Kind::Named { a, b }),
    ]
}

prop_compose! {
    fn all()(
        flags in any::<(bool, u8, i8)>(),
        ints in any::<(u16, u32, u64, u128)>(),
        signed in any::<(i16, i32, i64, i128)>(),
        float in (-1e9f32..1e9, -1e9f64..1e9),
        text in (any::<char>(), ".{0,9}"),
        kinds in prop::collection::vec(kind(), 0..5),
        map in prop::collection::btree_map(any::<u32>(), prop::option::of(".{0,3}"), 0..4),
        array in any::<[u8; 3]>(),
    ) -> All {
        All { flags, ints, signed, float, text, kinds, map, nothing: (), array }
    }
}

proptest! {
    #[test]
    fn what_postcard_writes_is_read_back(value in all()) {
        prop_assert_eq!(decode::<All>(&encode(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn every_truncation_and_every_addition_is_refused(value in all(), extra in any::<u8>()) {
        let bytes = encode(&value).unwrap();
        for len in 0..bytes.len() {
            prop_assert!(decode::<All>(&bytes[..len]).is_err(), "{} of {} bytes", len, bytes.len());
        }
        let longer = [&bytes[..], &[extra]].concat();
        prop_assert!(matches!(decode::<All>(&longer), Err(Error::Decode(DecodeError::TrailingBytes(1)))));
    }

    /// The point of it all: whatever is accepted is what the value is written as.
    #[test]
    fn what_is_accepted_is_canonical(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0x80), Just(1), any::<u8>()], 0..40)) {
        type Shape = (Vec<Kind>, Option<u64>, Vec<i32>, u128);
        if let Ok(value) = decode::<Shape>(&bytes) {
            prop_assert_eq!(encode(&value).unwrap(), bytes);
        }
    }

    #[test]
    fn numbers_have_one_form(value in any::<u64>(), pad in 1usize..4) {
        let mut bytes = encode(&value).unwrap().to_vec();
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.extend(std::iter::repeat_n(0x80, pad - 1));
        bytes.push(0);
        prop_assert!(decode::<u64>(&bytes).is_err());
    }
}

#[test]
fn the_edges_of_numbers() {
    assert_eq!(decode::<u16>(&encode(&u16::MAX).unwrap()).unwrap(), u16::MAX);
    assert_eq!(decode::<i128>(&encode(&i128::MIN).unwrap()).unwrap(), i128::MIN);
    assert_eq!(decode::<u128>(&encode(&u128::MAX).unwrap()).unwrap(), u128::MAX);
    for bad in [&[0xff, 0xff, 0x04][..], &[0xff, 0xff, 0x83, 0x00], &[0x80, 0x00], &[0xff, 0xff, 0xff]] {
        assert!(matches!(decode::<u16>(bad), Err(Error::Decode(DecodeError::Number))), "{bad:?}");
    }
    assert!(postcard::from_bytes::<u16>(&[0x80, 0x00]).is_ok(), "postcard's own reader would not do");
    assert!(matches!(decode::<bool>(&[2]), Err(Error::Decode(DecodeError::Flag))));
    assert!(matches!(decode::<Option<u8>>(&[2, 0]), Err(Error::Decode(DecodeError::Flag))));
    assert!(matches!(decode::<String>(&[1, 0xff]), Err(Error::Decode(DecodeError::Text))));
    assert!(matches!(decode::<char>(&[2, b'a', b'b']), Err(Error::Decode(DecodeError::Text))));
}

#[test]
fn a_claim_costs_nothing() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(decode::<Vec<u64>>(&huge).is_err());
    assert!(decode::<Vec<()>>(&huge).is_err(), "elements without bytes must not be counted to 2^64");
    assert!(decode::<String>(&huge).is_err());
    assert_eq!(decode::<Vec<()>>(&[3]).unwrap().len(), 3);
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Chain {
        End,
        Link(Box<Chain>),
    }
    let depth = |links: usize| [vec![1; links], vec![0]].concat();
    assert!(decode::<Chain>(&depth(MAX_DEPTH - 1)).is_ok());
    for links in [MAX_DEPTH, 1_000_000] {
        assert!(matches!(decode::<Chain>(&depth(links)), Err(Error::Decode(DecodeError::TooDeep))));
    }
}

#[test]
fn a_type_that_stops_reading_early_is_no_way_to_hide_bytes() {
    #[derive(Debug)]
    struct First(#[expect(dead_code, reason = "only whether it can be read matters")] u8);

    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = First;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("at least one byte")
                }

                fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<First, A::Error> {
                    Ok(First(seq.next_element()?.unwrap_or_default()))
                }
            }

            deserializer.deserialize_seq(Visitor)
        }
    }

    assert!(decode::<First>(&[1, 7]).is_ok());
    assert!(matches!(decode::<(First, u8)>(&[2, 7, 8, 9]), Err(Error::Decode(DecodeError::Value(_)))));
}
