//! Typed identifiers.
//!
//! | id | is | order |
//! |---|---|---|
//! | [`ThreadId`], [`TaskId`] | a ULID | rises in commit order |
//! | [`ClaimId`] | a ULID, its 80 random bits fresh from the operating system | says nothing |
//! | [`MessageId`] | a number from 1 | rises in commit order |
//! | [`AgentId`] | a name the caller chose, 1 to 256 bytes | by bytes |
//!
//! Each prints, parses, and is text in human-readable serde formats and compact in binary ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ulid::Ulid;

use crate::error::{Error, Result};
use crate::limits;
use crate::planted::{Bug, planted};

/// Declares an identifier that is a ULID: 48 bits of milliseconds, then 80 bits that tell apart what was made within
/// one. As bytes and as text it sorts like the number. See <https://github.com/ulid/spec>.
macro_rules! ulid_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }

            pub(crate) const fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                parse_ulid($field, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.to_bytes().serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    text_of(deserializer)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes)
                }
            }
        }
    };
}

ulid_id! {
    /// Which thread. Rises in commit order, also within one microsecond.
    ThreadId, "thread id"
}

ulid_id! {
    /// Which task. Rises in commit order, also within one microsecond.
    TaskId, "task id"
}

ulid_id! {
    /// Which claim: the fencing token that whoever settles a task must present. A new one for each claim; its 80
    /// random bits come fresh from the operating system, so that holding one tells nothing about another.
    ///
    /// The idea is Martin Kleppmann's, from "How to do distributed locking" (2016).
    ClaimId, "claim id"
}

fn parse_ulid(field: &'static str, text: &str) -> Result<Ulid> {
    let malformed = || Error::InvalidInput {
        field,
        reason: format!("{} is not a ULID: 26 characters of Crockford's base 32, the first at most 7", shown(text)),
    };
    let id = Ulid::from_string(text).map_err(|_| malformed())?;
    // 26 characters hold 130 bits: the parser lets the two surplus ones fall off the top.
    if id.to_string().eq_ignore_ascii_case(text) || planted(Bug::OverflowingUlidAccepted) {
        Ok(id)
    } else {
        Err(malformed())
    }
}

/// Somebody's malformed input in a message: quoted, and cut where it would flood a log.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes)", text.get(..end).unwrap_or_default(), text.len()),
    }
}

fn text_of<'de, T: FromStr<Err = Error>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Text<T>(std::marker::PhantomData<T>);

    impl<T: FromStr<Err = Error>> de::Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an identifier as text")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(std::marker::PhantomData))
}

/// Which message: a number from 1, unique in the store and rising in commit order.
///
/// As text it is decimal, also in JSON, where a number of 64 bits would lose its last digits in some readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// The id with this number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| Error::InvalidInput {
            field: "message id",
            reason: format!("{} is not a whole number from 0 to {}", shown(text), u64::MAX),
        })
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() { text_of(deserializer) } else { u64::deserialize(deserializer).map(Self) }
    }
}

/// Which agent: a name the caller chose, 1 to 256 bytes of UTF-8.
///
/// ```
/// # fn main() -> khala::Result<()> {
/// let agent = khala::AgentId::new("reviewer-1")?;
/// assert_eq!(agent.as_str(), "reviewer-1");
/// assert!(khala::AgentId::new("").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct AgentId(String);

impl AgentId {
    /// The agent of this name.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidInput`] for an empty name, [`Error::TooLarge`] for one over 256 bytes.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        limits::check_name("agent id", &name)?;
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({:?})", self.0)
    }
}

impl AsRef<str> for AgentId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&str> for AgentId {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for AgentId {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_of(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back_from_its_text_and_its_json() {
        let id: ThreadId = "01D39ZY06FGSCTVN4T2V9PKHFZ".parse().unwrap();
        assert_eq!(id.to_string().parse::<ThreadId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<ThreadId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        assert_eq!(serde_json::to_string(&MessageId::from_u64(7)).unwrap(), "\"7\"");
        assert_eq!(serde_json::from_str::<MessageId>("\"7\"").unwrap(), MessageId::from_u64(7));
        assert!(serde_json::from_str::<AgentId>("\"\"").is_err());
    }

    #[test]
    fn text_that_is_not_an_id_is_refused_and_shown() {
        for text in ["", "01D39ZY06FGSCTVN4T2V9PKHF", "01D39ZY06FGSCTVN4T2V9PKHFU", "81D39ZY06FGSCTVN4T2V9PKHFZ"] {
            let message = text.parse::<TaskId>().unwrap_err().to_string();
            assert!(message.contains("task id") && message.contains(text), "{message}");
        }
        let flood = "é".repeat(1_000).parse::<ClaimId>().unwrap_err().to_string();
        assert!(flood.len() < 300 && flood.contains("2000 bytes"), "{flood}");
        assert!("-1".parse::<MessageId>().is_err());
        assert!("18446744073709551616".parse::<MessageId>().is_err());
    }

    #[test]
    fn an_agent_has_a_name_of_1_to_256_bytes() {
        assert!(AgentId::new("").is_err());
        assert!(AgentId::new("é".repeat(128)).is_ok());
        assert!(matches!(AgentId::new("é".repeat(129)), Err(Error::TooLarge { bytes: 258, max: 256, .. })));
    }
}
