//! The columns of one JSON object, by name and type. What is wrong with one is said with its name, its value and what it
//! takes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::shown;

/// More than any table has. A row with more is not one of ours.
const MOST_COLUMNS: usize = 64;

/// What is left of a row: columns are taken out of it one by one. A column is asked for as `table.column`.
pub(super) struct Columns<'a>(Vec<(Cow<'a, str>, Value)>);

impl<'a> Columns<'a> {
    /// The columns of this object.
    pub(super) fn of(object: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(object).map_err(|error| {
            let said = error.to_string();
            let what = said.rfind(" at line ").and_then(|end| said.get(..end)).unwrap_or(&said);
            let place = match error.line() {
                0 | 1 => format!("character {}", error.column()),
                line => format!("character {} of its line {line}", error.column()),
            };
            Error::InvalidInput { field: "row", reason: format!("is not what JSON allows at its {place}: {what}") }
        })
    }

    /// The value of a column; `None` if it is missing or null.
    fn take(&mut self, column: &'static str) -> Option<Value> {
        let (_, name) = column.split_once('.').unwrap_or(("", column));
        let at = self.0.iter().position(|(there, _)| there == name)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, column: &'static str) -> Result<Option<String>> {
        match self.take(column) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(column, &other, "a text")),
        }
    }

    /// A whole number that this type can hold.
    pub(super) fn number<N: TryFrom<i128> + Bounded>(&mut self, column: &'static str) -> Result<Option<N>> {
        let Some(value) = self.take(column) else { return Ok(None) };
        let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
        let number = number.and_then(|number| N::try_from(number).ok());
        number
            .map(Some)
            .ok_or_else(|| wrong(column, &value, &format!("a whole number from {} to {}", N::LEAST, N::MOST)))
    }

    pub(super) fn moment(&mut self, column: &'static str) -> Result<Option<Timestamp>> {
        let Some(text) = self.text(column)? else { return Ok(None) };
        Timestamp::of_column(&text).map(Some).ok_or_else(|| {
            let takes =
                "a moment such as 2025-11-25 10:22:00 (in UTC) or 2025-11-25T10:22:00.5+01:00, in the years 0 to 9999";
            wrong(column, &Value::String(text), takes)
        })
    }

    /// What is parsed from a text: an identifier.
    pub(super) fn id<I: FromStr<Err = Error>>(&mut self, column: &'static str) -> Result<Option<I>> {
        self.text(column)?.map(|text| text.parse().map_err(|error| of_column(column, error))).transpose()
    }

    /// An error if a column is left that nobody asked for: what it says would be lost.
    pub(super) fn finish(self, known: &str) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => {
                let reason = format!("has a column {}; its table has {known}", shown(name));
                Err(Error::InvalidInput { field: "row", reason })
            }
        }
    }
}

/// A kind of number, and what it can hold.
pub(super) trait Bounded {
    const LEAST: &str;
    const MOST: &str;
}

impl Bounded for u64 {
    const LEAST: &str = "0";
    const MOST: &str = "18446744073709551615";
}

impl Bounded for u32 {
    const LEAST: &str = "0";
    const MOST: &str = "4294967295";
}

impl Bounded for i16 {
    const LEAST: &str = "-32768";
    const MOST: &str = "32767";
}

/// This value of a column that must have one.
pub(super) fn required<T>(column: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::InvalidInput { field: column, reason: "is missing or null; it must be there".into() })
}

fn wrong(column: &'static str, value: &Value, takes: &str) -> Error {
    let value = match value {
        Value::String(text) => shown(text),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    };
    Error::InvalidInput { field: column, reason: format!("is {value}; it takes {takes}") }
}

/// What was said of a value, said of its column.
pub(super) fn of_column(column: &'static str, error: Error) -> Error {
    match error {
        Error::InvalidInput { reason, .. } => Error::InvalidInput { field: column, reason },
        Error::TooLarge { bytes, max, .. } => Error::TooLarge { field: column, bytes, max },
        other => other,
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Vec<(Cow<'de, str>, Value)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut columns = Vec::with_capacity(MOST_COLUMNS / 2);
                while let Some(Name(name)) = map.next_key()? {
                    if columns.iter().any(|(there, _)| *there == name) {
                        return Err(de::Error::custom(format!("a second column {}", shown(&name))));
                    }
                    if columns.len() == MOST_COLUMNS {
                        return Err(de::Error::custom(format!("more than {MOST_COLUMNS} columns")));
                    }
                    columns.push((name, map.next_value()?));
                }
                Ok(columns)
            }
        }

        deserializer.deserialize_map(Object).map(Self)
    }
}

/// A name that is borrowed from the input if nothing in it is escaped.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
