//! Rows as bytes: one format-version byte, then the body in bincode's standard configuration.
//!
//! The configuration must never change: it is part of the file format. bincode specifies it in its `docs/spec.md`.
//! Decoding is for bytes nobody vouches for: it has a size limit (without one, nine bytes of input can ask for more
//! memory than there is), wants every byte used, and answers `Corrupt` whatever it is given.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::ROW_MAX_BYTES;
use crate::planted::{Bug, planted};

const FORMAT: Configuration<LittleEndian, Varint, Limit<ROW_MAX_BYTES>> =
    bincode::config::standard().with_limit::<ROW_MAX_BYTES>();

/// The row of this body, in this version of its format.
pub(super) fn encode(table: &'static str, version: u8, body: &impl Serialize) -> Result<Vec<u8>> {
    let mut row = Vec::with_capacity(256);
    row.push(version);
    bincode::serde::encode_into_std_write(body, &mut row, FORMAT)
        .map_err(|error| Error::corrupt(table, format!("a row cannot be encoded: {error}")))?;
    Ok(row)
}

/// The body of this row, borrowed from it where it can be.
pub(super) fn decode<'a, T: Deserialize<'a>>(table: &'static str, version: u8, row: &'a [u8]) -> Result<T> {
    let (&found, body) = row.split_first().ok_or_else(|| Error::corrupt(table, "a row is empty"))?;
    if found != version {
        return Err(Error::corrupt(table, format!("a row has format {found}, not {version}")));
    }
    let (value, used) = bincode::serde::borrow_decode_from_slice(body, FORMAT)
        .map_err(|error| Error::corrupt(table, format!("a row cannot be decoded: {error}")))?;
    if used != body.len() && !planted(Bug::SurplusBytesAccepted) {
        return Err(Error::corrupt(table, format!("a row has {} bytes too many", body.len() - used)));
    }
    Ok(value)
}
