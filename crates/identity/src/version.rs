//! Versions of nodes and protocols, and which of them get along.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use semver::{Comparator, Op, VersionReq};

use crate::Error;

/// A version of one's own, and the versions of others that one works with.
///
/// As text either `"0.2.0"`, which accepts what Cargo's caret requirement `^0.2.0` accepts, or
/// `"0.2.0, >=0.1.0, <0.4.0"`: split at the first comma, the own version stands before it and a
/// [requirement](VersionReq) after it. One's own version is always accepted. Equality and text are those of what was
/// parsed: `"0.2.0"` and `"0.2.0, ^0.2.0"` mean the same and are equal. Cheap to clone.
///
/// ```
/// use p2p_identity::Version;
///
/// let old: Version = "0.1.5".parse()?;
/// let new: Version = "0.2.0, >=0.1.0".parse()?;
/// assert!(new.accepts(old.own()));
/// assert!(!old.accepts(new.own()));
/// assert!(!old.is_compatible_with(&new), "both must accept the other");
/// # Ok::<(), p2p_identity::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Version(Arc<Parsed>);

#[derive(PartialEq, Eq, Hash)]
struct Parsed {
    /// Written once: it goes into each handshake. It follows from the rest.
    text: Box<str>,
    own: semver::Version,
    accepts: VersionReq,
}

/// Why text is not a [`Version`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidVersion {
    /// Longer than [`Version::MAX_LEN`] bytes; the length is given.
    #[error("a version has at most {max} characters, not {0}", max = Version::MAX_LEN)]
    TooLong(usize),
    /// What stands before the first comma is not a semantic version.
    #[error("{text:?} is not a version such as \"0.2.0\": {reason}")]
    Own {
        /// What was found.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What stands after the first comma is not a requirement.
    #[error("{text:?} is not a requirement such as \">=0.1.0\": {reason}")]
    Requirement {
        /// What was found.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Version {
    /// The longest text, in bytes.
    pub const MAX_LEN: usize = 128;

    /// One's own version.
    pub fn own(&self) -> &semver::Version {
        &self.0.own
    }

    /// What is accepted besides one's own version.
    pub fn requirement(&self) -> &VersionReq {
        &self.0.accepts
    }

    /// Whether `version` is one's own or meets the requirement.
    pub fn accepts(&self, version: &semver::Version) -> bool {
        *version == self.0.own || self.0.accepts.matches(version)
    }

    /// Whether each of the two accepts the other's own version.
    pub fn is_compatible_with(&self, other: &Self) -> bool {
        self.accepts(other.own()) && other.accepts(self.own())
    }

    fn caret(own: &semver::Version) -> VersionReq {
        VersionReq {
            comparators: vec![Comparator {
                op: Op::Caret,
                major: own.major,
                minor: Some(own.minor),
                patch: Some(own.patch),
                pre: own.pre.clone(),
            }],
        }
    }

    fn parse(text: &str) -> Result<Self, InvalidVersion> {
        if text.len() > Self::MAX_LEN {
            return Err(InvalidVersion::TooLong(text.len()));
        }
        let (own, requirement) = match text.split_once(',') {
            Some((own, requirement)) => (own.trim(), Some(requirement.trim())),
            None => (text.trim(), None),
        };
        let parsed = semver::Version::parse(own)
            .map_err(|error| InvalidVersion::Own { text: own.into(), reason: error.to_string() })?;
        let requirement = requirement.map(|text| {
            VersionReq::parse(text)
                .map_err(|error| InvalidVersion::Requirement { text: text.into(), reason: error.to_string() })
        });
        let caret = Self::caret(&parsed);
        let other = requirement.transpose()?.filter(|accepts| *accepts != caret);
        let text = match &other {
            // A version can be written in one way only.
            None => own.to_owned(),
            // A requirement's own text can be a little longer than what was written ("1.2" becomes "^1.2"), and that
            // text is what others will be sent.
            Some(accepts) => format!("{own}, {accepts}"),
        };
        match text.len() {
            len if len > Self::MAX_LEN => Err(InvalidVersion::TooLong(len)),
            _ => Ok(Self(Arc::new(Parsed { text: text.into(), own: parsed, accepts: other.unwrap_or(caret) }))),
        }
    }
}

impl From<semver::Version> for Version {
    /// Accepts what the caret requirement of `own` accepts.
    fn from(own: semver::Version) -> Self {
        let (text, accepts) = (own.to_string().into(), Self::caret(&own));
        Self(Arc::new(Parsed { text, own, accepts }))
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Self::parse(text)?)
    }
}

impl TryFrom<&str> for Version {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

/// As its text.
impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Version, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_bare_version_is_a_caret_requirement() {
        let v = version("0.2.1");
        for (other, accepted) in
            [("0.2.1", true), ("0.2.9", true), ("0.2.0", false), ("0.3.0", false), ("1.0.0", false)]
        {
            assert_eq!(v.accepts(&other.parse().unwrap()), accepted, "{other}");
        }
        assert_eq!(v, version("0.2.1, ^0.2.1"));
        assert_eq!(v, semver::Version::new(0, 2, 1).into());
    }

    #[test]
    fn the_own_version_is_accepted_whatever_the_requirement_says() {
        let v = version("0.2.0, <0.1.0");
        assert!(v.accepts(&semver::Version::new(0, 2, 0)));
        assert!(v.accepts(&semver::Version::new(0, 0, 9)));
        assert!(!v.accepts(&semver::Version::new(0, 2, 1)));
        assert!(version("1.0.0-rc.1, >=2").accepts(&"1.0.0-rc.1".parse().unwrap()));
    }

    #[test]
    fn compatibility_needs_both() {
        let (old, new, newer) = (version("0.1.0, <0.3.0"), version("0.2.0, >=0.1.0"), version("0.3.0, >=0.1.0"));
        assert!(old.is_compatible_with(&new) && new.is_compatible_with(&old));
        assert!(!old.is_compatible_with(&newer) && !newer.is_compatible_with(&old));
        assert!(!new.accepts(&"0.2.0-alpha".parse().unwrap()), "pre-releases match only when named (Cargo's rule)");
    }

    #[test]
    fn nonsense_is_refused_with_what_it_is() {
        for bad in ["", ",", "1", "1.2", "v1.2.3", "1.2.3,", "1.2.3, nonsense", ">=1.0.0", "1.2.3,,"] {
            assert!(matches!(bad.parse::<Version>(), Err(Error::Version(_))), "{bad:?}");
        }
        let long = format!("1.0.0-{}", "a".repeat(Version::MAX_LEN));
        assert!(matches!(long.parse::<Version>(), Err(Error::Version(InvalidVersion::TooLong(134)))));
        let grows = format!("1.0.0{}", ",1".repeat((Version::MAX_LEN - 5) / 2));
        assert!(matches!(grows.parse::<Version>(), Err(Error::Version(_))), "its own text would be too long to send");
    }

    proptest! {
        #[test]
        fn text_round_trips(a in 0u64..5, b in 0u64..5, c in 0u64..5, req in proptest::option::of("(>=|<|=|~|\\^)[0-4]\\.[0-4](\\.[0-4])?(, <[5-9])?")) {
            let text = match req { Some(req) => format!("{a}.{b}.{c}, {req}"), None => format!("{a}.{b}.{c}") };
            let parsed: Version = text.parse().unwrap();
            prop_assert_eq!(parsed.to_string().parse::<Version>().unwrap(), parsed.clone());
            prop_assert!(parsed.accepts(&semver::Version::new(a, b, c)));
        }

        #[test]
        fn the_text_follows_from_the_parts(own in "0?[0-9]{1,3}\\.[0-9]\\.[0-9](-[a-z0-9.]{1,6})?(\\+[a-z0-9.]{1,6})?", req in proptest::option::of("(>=|\\^)?[0-4](\\.[0-4])?")) {
            let text = match req { Some(req) => format!(" {own} ,{req}"), None => format!(" {own} ") };
            if let Ok(parsed) = text.parse::<Version>() {
                let bare = parsed == Version::from(parsed.own().clone());
                let expected = if bare { parsed.own().to_string() } else { format!("{}, {}", parsed.own(), parsed.requirement()) };
                prop_assert_eq!(parsed.to_string(), expected);
            }
        }

        #[test]
        fn arbitrary_text_never_panics_and_what_parses_is_short(text in "\\PC{0,200}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert!(text.len() <= Version::MAX_LEN && version.to_string().len() <= Version::MAX_LEN);
            }
        }
    }
}
