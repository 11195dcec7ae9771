//! The strict reader of postcard: what it takes is written as the same bytes, and postcard's own reader agrees.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    One(u64),
    Two(i16, String),
    Named { a: Option<i128>, b: Vec<u16> },
    Deep(Box<Kind>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    small: (bool, u8, i8),
    unsigned: (u16, u32, u64, u128),
    signed: (i16, i32, i64, i128),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(Option<Box<Newtype>>);

pub fn run(data: &[u8]) {
    let Some((shape, bytes)) = data.split_first() else { return };
    match shape & 15 {
        0 => canonical::<Vec<Kind>>(bytes),
        1 => canonical::<Numbers>(bytes),
        2 => canonical::<(Option<u64>, Vec<i32>, u128)>(bytes),
        3 => canonical::<(char, String, Vec<char>)>(bytes),
        4 => canonical::<Newtype>(bytes),
        5 => canonical::<(Vec<()>, u8)>(bytes),
        6 => canonical::<([u8; 5], Vec<u8>, [Option<bool>; 3])>(bytes),
        7 => canonical::<Vec<Vec<(u8, String)>>>(bytes),
        8 => floats(bytes),
        9 => map(bytes),
        10 => canonical::<Kind>(bytes),
        _ => canonical::<(u64, i64)>(bytes),
    }
}

fn canonical<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let ours = p2p_identity::decode::<T>(bytes).ok();
    // postcard's reader counts as many empty elements as it is told to, up to 2^64.
    let endless = size_of::<T>() == size_of::<(Vec<()>, u8)>() && claims_much(bytes);
    let theirs = if endless { None } else { postcard::from_bytes::<T>(bytes).ok() };
    if let Some(value) = &ours {
        assert_eq!(p2p_identity::encode(value).ok().as_deref(), Some(bytes), "{value:?}");
        assert!(theirs.is_none() || theirs == ours);
    }
    // What has the one encoding is taken, unless it is nested too deep, which takes more bytes than this.
    if let Some(value) = &theirs
        && bytes.len() < 60
        && p2p_identity::encode(value).ok().as_deref() == Some(bytes)
    {
        assert_eq!(ours.as_ref(), Some(value));
    }
}

/// Whether a number above 1,023 may be in there.
fn claims_much(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair[0] >= 0x80 && pair[1] >= 0x08)
}

/// A number that is none is not equal to itself.
fn floats(bytes: &[u8]) {
    if let Ok(value) = p2p_identity::decode::<(f32, f64, bool)>(bytes) {
        assert_eq!(p2p_identity::encode(&value).ok().as_deref(), Some(bytes));
    }
}

/// The order of a map's keys is up to the type: what is written is a fixed point.
fn map(bytes: &[u8]) {
    if let Ok(value) = p2p_identity::decode::<BTreeMap<u32, Option<String>>>(bytes) {
        let written = p2p_identity::encode(&value).expect("a map has an encoding");
        assert!(written.len() <= bytes.len());
        assert_eq!(p2p_identity::decode::<BTreeMap<u32, Option<String>>>(&written).ok(), Some(value));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    fn with(shape: u8, value: &impl Serialize) -> Vec<u8> {
        let bytes = p2p_identity::encode(value).expect("each of these has an encoding");
        [&[shape], &bytes[..]].concat()
    }
    let named = Kind::Named { a: Some(i128::MIN), b: vec![0, 300, u16::MAX] };
    let numbers = Numbers {
        small: (true, 255, -128),
        unsigned: (u16::MAX, u32::MAX, u64::MAX, u128::MAX),
        signed: (i16::MIN, i32::MIN, i64::MIN, i128::MIN),
    };
    vec![
        with(0, &vec![Kind::Unit, Kind::One(300), Kind::Two(-1, "é".into()), named, Kind::Deep(Kind::Unit.into())]),
        with(1, &numbers),
        with(2, &(Some(1u64), vec![-1i32, 1 << 30], 1u128 << 100)),
        with(3, &('é', "text", vec!['a', '\u{10ffff}'])),
        with(4, &Newtype(Some(Newtype(None).into()))),
        with(5, &(vec![(); 3], 9u8)),
        with(6, &([1u8; 5], vec![2u8; 3], [None, Some(true), Some(false)])),
        with(7, &vec![vec![(1u8, "a")], vec![]]),
        with(8, &(1.5f32, f64::NAN, true)),
        with(9, &BTreeMap::from([(1u32, Some("a")), (300, None)])),
        with(11, &(127u64, -64i64)),
        // A number with a byte more than it needs, and one with a bit more than its type has.
        vec![11, 0x85, 0x00, 0x02],
        vec![11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x02],
        [vec![10], vec![4; 127], vec![0]].concat(),
        [vec![10], vec![4; 200], vec![0]].concat(),
    ]
}
